//! What a program serves and calls, as annotations say it: `http:8080`,
//! `http://cart.shop:8080/ every 1s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing that a program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serve {
    /// What is spoken.
    pub kind: ServeKind,
    /// The port.
    pub port: u16,
}

/// What a program can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeKind {
    /// HTTP/1.1 over TCP: `/bytes/N` answers N bytes, every other path a line.
    Http,
    /// TCP that sends back what it gets.
    Tcp,
    /// UDP that sends back what it gets.
    Udp,
    /// DNS over UDP for the cluster's services.
    Dns,
}

/// One call that a program makes, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Call {
    /// Whom.
    pub target: Target,
    /// Between two calls, and between two messages on a connection that is held.
    pub every: Duration,
    /// How many calls; none is no end.
    pub times: Option<u64>,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Payload of one message, or of one HTTP answer.
    pub bytes: u32,
    /// Datagrams of one UDP call.
    pub datagrams: u32,
    /// Whether one TCP connection is held, with a message in each interval.
    pub hold: bool,
    /// Whether names are asked for their IPv6 address.
    pub ipv6: bool,
}

/// Whom a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An HTTP GET.
    Http {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Path with its slash.
        path: String,
    },
    /// Messages to a TCP echo.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Datagrams to a UDP echo.
    Udp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A question to the cluster's resolver.
    Dns {
        /// The name asked for.
        name: String,
    },
}

// === impl Serve ===

impl FromStr for Serve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("found '{text}', expected http, tcp, udp or dns, ':' and a port");
        let (kind, port) = text.split_once(':').ok_or_else(wrong)?;
        let kind = match kind {
            "http" => ServeKind::Http,
            "tcp" => ServeKind::Tcp,
            "udp" => ServeKind::Udp,
            "dns" => ServeKind::Dns,
            _ => return Err(wrong()),
        };
        Ok(Self { kind, port: port.parse().map_err(|_| wrong())? })
    }
}

impl TryFrom<String> for Serve {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Serve> for String {
    fn from(serve: Serve) -> Self {
        serve.to_string()
    }
}

impl fmt::Display for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ServeKind::Http => "http",
            ServeKind::Tcp => "tcp",
            ServeKind::Udp => "udp",
            ServeKind::Dns => "dns",
        };
        write!(f, "{kind}:{}", self.port)
    }
}

// === impl Call ===

const EXPECTED_CALL: &str = "expected http://HOST:PORT/PATH, tcp://HOST:PORT, udp://HOST:PORT or \
                             dns:NAME, then any of 'every 1s', 'times 5', 'timeout 2s', 'bytes 64', \
                             'datagrams 1', 'hold', 'over ipv6'";

impl Call {
    /// One call of the target, a second between two, without end.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            every: Duration::from_secs(1),
            times: None,
            timeout: Duration::from_secs(2),
            bytes: 64,
            datagrams: 1,
            hold: false,
            ipv6: false,
        }
    }
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |found: &str| format!("found '{found}' in '{text}', {EXPECTED_CALL}");
        let mut words = text.split_whitespace();
        let mut call = Self::new(words.next().unwrap_or_default().parse()?);
        while let Some(word) = words.next() {
            if word == "hold" {
                call.hold = true;
                continue;
            }
            let value = words.next().ok_or_else(|| wrong(word))?;
            match word {
                "every" => call.every = duration(value).ok_or_else(|| wrong(value))?,
                "timeout" => call.timeout = duration(value).ok_or_else(|| wrong(value))?,
                "times" => call.times = Some(value.parse().map_err(|_| wrong(value))?),
                "bytes" => call.bytes = value.parse().map_err(|_| wrong(value))?,
                "datagrams" => call.datagrams = value.parse().map_err(|_| wrong(value))?,
                "over" if matches!(value, "ipv4" | "ipv6") => call.ipv6 = value == "ipv6",
                _ => return Err(wrong(word)),
            }
        }
        Ok(call)
    }
}

impl TryFrom<String> for Call {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Call> for String {
    fn from(call: Call) -> Self {
        call.to_string()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} every {}ms", self.target, self.every.as_millis())?;
        write!(f, " timeout {}ms bytes {}", self.timeout.as_millis(), self.bytes)?;
        write!(f, " datagrams {}", self.datagrams)?;
        if let Some(times) = self.times {
            write!(f, " times {times}")?;
        }
        if self.hold {
            f.write_str(" hold")?;
        }
        write!(f, " over {}", if self.ipv6 { "ipv6" } else { "ipv4" })
    }
}

/// `1s`, `500ms`, `2m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

// === impl Target ===

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("found '{text}', {EXPECTED_CALL}");
        if let Some(name) = text.strip_prefix("dns:") {
            return Ok(Self::Dns { name: name.to_owned() });
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse().map_err(|_| wrong())?;
        match scheme {
            "http" => Ok(Self::Http { host, port, path: path.to_owned() }),
            "tcp" => Ok(Self::Tcp { host, port }),
            "udp" => Ok(Self::Udp { host, port }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| {
            if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
        };
        match self {
            Self::Http { host, port, path } => write!(f, "http://{}:{port}{path}", bracketed(host)),
            Self::Tcp { host, port } => write!(f, "tcp://{}:{port}", bracketed(host)),
            Self::Udp { host, port } => write!(f, "udp://{}:{port}", bracketed(host)),
            Self::Dns { name } => write!(f, "dns:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reads_back_as_it_was_written() {
        for text in [
            "http://cart.shop:8080/bytes/10 every 500ms times 3 over ipv6",
            "udp://[fd00::1]:9000 datagrams 5 timeout 10s bytes 1200",
            "tcp://db.data:5432 hold every 2m",
            "dns:cart.shop.svc.cluster.local",
        ] {
            let call: Call = text.parse().unwrap();
            assert_eq!(call.to_string().parse::<Call>().unwrap(), call, "{text}");
        }
    }

    #[test]
    fn what_is_no_call_is_named() {
        for text in ["ftp://a:1", "http://a/", "udp://a:1 every soon", "tcp://a:1 often 3"] {
            assert!(text.parse::<Call>().unwrap_err().contains("expected http://"), "{text}");
        }
    }
}
