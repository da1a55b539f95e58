//! A question as it is asked, on the command line or in a line of JSON.

use anyhow::{Context as _, Result, bail, ensure};
use schemas::Protocol;
use serde::Deserialize;

/// May `from` open a connection to `to` on this port?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who opens it, as asked.
    pub from: String,
    /// Whom it is to reach, as asked.
    pub to: String,
    /// Transport protocol; `None` when a port's name is to say it.
    pub protocol: Option<Protocol>,
    /// Destination port.
    pub port: Port,
}

/// A destination port as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// For ICMP `type << 8 | code`; 0 for protocols without ports.
    Number(u16),
    /// As the destination's containers call it.
    Name(String),
}

/// A question as a line of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    from: String,
    to: String,
    #[serde(default)]
    protocol: Option<LineProtocol>,
    /// May be left out where the protocol has none.
    #[serde(default)]
    port: Option<LinePort>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a protocol is its name or its number")]
enum LineProtocol {
    Number(u8),
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a port is a number up to 65535 or a name")]
enum LinePort {
    Number(u16),
    Text(String),
}

// === impl Asked ===

impl Asked {
    /// A question of the command line: `8080`, `http`, `53/udp`, `8.0/icmp`.
    ///
    /// # Errors
    /// When the port or protocol is none.
    pub fn parse(from: &str, to: &str, port: &str) -> Result<Self> {
        let (port, protocol) = match port.split_once('/') {
            Some((port, protocol)) => (port, Some(parse_protocol(protocol)?)),
            None => match parse_protocol(port) {
                Ok(bare) if !bare.has_ports() && port.parse::<u16>().is_err() => ("0", Some(bare)),
                _ => (port, None),
            },
        };
        let port = Port::parse(port, protocol)?;
        Self::new(from, to, protocol, port)
    }

    /// A question of a line of JSON.
    ///
    /// # Errors
    /// When the line is no question.
    pub fn from_json(line: &[u8]) -> Result<Self> {
        let line: Line = serde_json::from_slice(line).context(
            "a question is {\"from\": \"shop/web\", \"to\": \"shop/db\", \"protocol\": \"tcp\", \
             \"port\": 5432}",
        )?;
        let protocol = match line.protocol {
            None => None,
            Some(LineProtocol::Number(number)) => Some(Protocol(number.into())),
            Some(LineProtocol::Text(text)) => Some(parse_protocol(&text)?),
        };
        let port = match line.port {
            Some(LinePort::Number(number)) => Port::Number(number),
            Some(LinePort::Text(text)) => Port::parse(&text, protocol)?,
            None if protocol.is_some_and(|protocol| !protocol.has_ports()) => Port::Number(0),
            None => bail!("the port is missing: a number from 1 to 65535, or a name"),
        };
        Self::new(&line.from, &line.to, protocol, port)
    }

    fn new(from: &str, to: &str, protocol: Option<Protocol>, port: Port) -> Result<Self> {
        let has_ports = protocol.is_none_or(Protocol::has_ports);
        ensure!(
            port != Port::Number(0) || !has_ports,
            "port 0 is no port: 1 to 65535 would be right"
        );
        let (from, to) = (from.to_owned(), to.to_owned());
        Ok(Self { from, to, protocol, port })
    }
}

fn parse_protocol(text: &str) -> Result<Protocol> {
    Protocol::parse(text).filter(|protocol| !protocol.is_frame()).with_context(|| {
        format!("'{text}' is no protocol: tcp, udp, sctp, icmp, icmp6 or a number")
    })
}

// === impl Port ===

impl Port {
    fn parse(text: &str, protocol: Option<Protocol>) -> Result<Self> {
        if protocol.is_some_and(Protocol::is_icmp) {
            return icmp(text);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse();
            let number = number.map_err(|_| anyhow::anyhow!("'{text}' is no port: 1 to 65535"))?;
            return Ok(Self::Number(number));
        }
        let is_named = text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(is_named, "'{text}' is no port: a number from 1 to 65535, or a name");
        Ok(Self::Name(text.to_owned()))
    }
}

/// `TYPE` or `TYPE.CODE`.
fn icmp(text: &str) -> Result<Port> {
    let (kind, code) = text.split_once('.').unwrap_or((text, "0"));
    match (kind.parse::<u8>(), code.parse::<u8>()) {
        (Ok(kind), Ok(code)) => Ok(Port::Number(u16::from(kind) << 8 | u16::from(code))),
        _ => bail!("'{text}' is no ICMP type and code: 8.0 is an echo request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_or_a_name_and_tcp_where_nothing_is_said() {
        let port = |text| Asked::parse("a", "b", text).map(|asked| (asked.protocol, asked.port));
        assert_eq!(port("80").unwrap(), (None, Port::Number(80)));
        assert_eq!(port("53/UDP").unwrap(), (Some(Protocol::UDP), Port::Number(53)));
        assert_eq!(port("http").unwrap(), (None, Port::Name("http".into())));
        assert_eq!(port("8.1/icmp").unwrap(), (Some(Protocol::ICMP), Port::Number(0x0801)));
        assert_eq!(port("icmp").unwrap(), (Some(Protocol::ICMP), Port::Number(0)));
        assert_eq!(port("0/47").unwrap(), (Some(Protocol(47)), Port::Number(0)));
        for bad in ["0", "65536", "80/tpc", "", "8.256/icmp", "80 81", "1/0x0806"] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_of_json_is_a_question_or_an_error_that_shows_one() {
        let read = |text: &str| Asked::from_json(text.as_bytes());
        let asked = read(r#"{"from":"a/b","to":"10.0.0.1","port":80,"protocol":"udp"}"#).unwrap();
        assert_eq!((asked.protocol, asked.port), (Some(Protocol::UDP), Port::Number(80)));
        assert_eq!(read(r#"{"from":"a","to":"b","port":"http"}"#).unwrap().protocol, None);
        for protocol in ["47", r#""47""#] {
            let line = format!(r#"{{"from":"a","to":"b","protocol":{protocol},"port":0}}"#);
            assert_eq!(read(&line).unwrap().protocol, Some(Protocol(47)));
        }
        let bare = read(r#"{"from":"a","to":"b","protocol":"esp"}"#).unwrap();
        assert_eq!(bare.port, Port::Number(0));
        let error = read(r#"{"from":"a","to":"b"}"#).unwrap_err().to_string();
        assert!(error.contains("the port is missing"), "{error}");
        for bad in [
            "",
            "{}",
            r#"{"from":"a","to":"b","port":80,"x":1}"#,
            r#"{"from":"a","to":"b","port":70000}"#,
        ] {
            let error = format!("{:#}", read(bad).unwrap_err());
            assert!(error.contains("a question is {"), "{error}");
        }
    }
}
