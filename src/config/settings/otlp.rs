//! An OTLP endpoint as meant: what is written, else the standard variables, else their defaults.

use std::path::PathBuf;
use std::time::Duration;

use exporters::config::{
    OtlpCompression, OtlpConfig, OtlpProtocol, OtlpSignal, OtlpTls, Temporality,
};

use crate::config::problem::Wrong;
use crate::config::written::{self, Otlp};

/// Looks up the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One exporter's settings; what is wrong is named by this field.
pub(super) fn meant(
    written: &Otlp,
    field: &str,
    variable: Variable<'_>,
    wrong: &mut Vec<Wrong>,
) -> OtlpConfig {
    let Otlp { signal, request_max_kib, series_max, temporality, .. } = written;
    let signal = match signal {
        written::OtlpSignal::Logs => OtlpSignal::Logs,
        written::OtlpSignal::Metrics => OtlpSignal::Metrics,
        written::OtlpSignal::Traces => OtlpSignal::Traces,
    };
    let environment = Environment { signal, variable };
    let protocol = protocol(written, &environment, field, wrong);
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let file = |path: &Option<PathBuf>, name: &str| {
        path.clone().or_else(|| environment.get(name).map(|(_, path)| path.into()))
    };
    OtlpConfig {
        headers: headers(written, &environment, field, wrong),
        compression: compression(written, &environment, field, wrong),
        timeout: timeout(written, &environment, field, wrong),
        tls: OtlpTls {
            ca_file: file(&written.ca_file, "CERTIFICATE"),
            certificate_file: file(&written.certificate_file, "CLIENT_CERTIFICATE"),
            key_file: file(&written.key_file, "CLIENT_KEY"),
            server_name: None,
        },
        request_bytes_max: size(*request_max_kib) << 10,
        temporality: match temporality {
            written::OtlpTemporality::Cumulative => Temporality::Cumulative,
            written::OtlpTemporality::Delta => Temporality::Delta,
        },
        series_max: size(*series_max),
        ..OtlpConfig::new(signal, protocol, endpoint(written, &environment, protocol, field, wrong))
    }
}

/// The standard variables of one signal.
struct Environment<'a> {
    signal: OtlpSignal,
    variable: Variable<'a>,
}

// === impl Environment ===

impl Environment<'_> {
    /// The signal's own variable, else that of all signals, and whether it is the first.
    fn get(&self, name: &str) -> Option<(bool, String)> {
        let signal = match self.signal {
            OtlpSignal::Logs => "LOGS",
            OtlpSignal::Metrics => "METRICS",
            OtlpSignal::Traces => "TRACES",
        };
        let own = (self.variable)(&format!("OTEL_EXPORTER_OTLP_{signal}_{name}"));
        let of_all = || (self.variable)(&format!("OTEL_EXPORTER_OTLP_{name}"));
        let own = own.filter(|text| !text.is_empty()).map(|text| (true, text));
        own.or_else(|| of_all().filter(|text| !text.is_empty()).map(|text| (false, text)))
    }
}

fn endpoint(
    written: &Otlp,
    environment: &Environment<'_>,
    protocol: OtlpProtocol,
    field: &str,
    wrong: &mut Vec<Wrong>,
) -> String {
    let default = if protocol == OtlpProtocol::Grpc { "4317" } else { "4318" };
    let found = written.endpoint.clone().map(|text| (false, text));
    let found = found.or_else(|| environment.get("ENDPOINT"));
    let (is_whole, text) = found.unwrap_or((false, format!("http://127.0.0.1:{default}")));
    // For gRPC the specification takes `host:port` too, and a variable that says whether to encrypt.
    let is_bare = protocol == OtlpProtocol::Grpc && !text.contains("://");
    let text = match environment.get("INSECURE") {
        Some((_, insecure)) if is_bare && insecure.eq_ignore_ascii_case("true") => {
            format!("http://{text}")
        }
        _ if is_bare => format!("https://{text}"),
        _ => text,
    };
    let is_address = ["http://", "https://"].iter().any(|it| {
        text.strip_prefix(it)
            .is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
    });
    if !is_address {
        let message = format!(
            "found \"{text}\"; it takes an address with `http://` or `https://`, as in \
             `http://127.0.0.1:{default}`"
        );
        wrong.push(Wrong::new(format!("{field}.endpoint"), message));
    }
    let path = match environment.signal {
        OtlpSignal::Logs => "v1/logs",
        OtlpSignal::Metrics => "v1/metrics",
        OtlpSignal::Traces => "v1/traces",
    };
    // A signal's own variable is the whole address; any other gets the signal's path.
    if protocol == OtlpProtocol::Grpc || is_whole || text.ends_with(path) {
        return text;
    }
    format!("{}/{path}", text.trim_end_matches('/'))
}

fn protocol(
    written: &Otlp,
    environment: &Environment<'_>,
    field: &str,
    wrong: &mut Vec<Wrong>,
) -> OtlpProtocol {
    match (written.protocol, environment.get("PROTOCOL")) {
        (Some(written::OtlpProtocol::Grpc), _) => OtlpProtocol::Grpc,
        (Some(written::OtlpProtocol::Http), _) | (None, None) => OtlpProtocol::Http,
        (None, Some((_, text))) => match text.as_str() {
            "grpc" => OtlpProtocol::Grpc,
            "http/protobuf" => OtlpProtocol::Http,
            _ => {
                let message = format!(
                    "found \"{text}\" in OTEL_EXPORTER_OTLP_PROTOCOL; it takes `grpc` or `http/protobuf`"
                );
                wrong.push(Wrong::new(format!("{field}.protocol"), message));
                OtlpProtocol::Http
            }
        },
    }
}

fn compression(
    written: &Otlp,
    environment: &Environment<'_>,
    field: &str,
    wrong: &mut Vec<Wrong>,
) -> OtlpCompression {
    match (written.compression, environment.get("COMPRESSION")) {
        (Some(written::OtlpCompression::None), _) => OtlpCompression::None,
        (Some(written::OtlpCompression::Zstd), _) => OtlpCompression::Zstd,
        (Some(written::OtlpCompression::Gzip), _) | (None, None) => OtlpCompression::Gzip,
        (None, Some((_, text))) => match text.as_str() {
            "none" => OtlpCompression::None,
            "gzip" => OtlpCompression::Gzip,
            "zstd" => OtlpCompression::Zstd,
            _ => {
                let message = format!(
                    "found \"{text}\" in OTEL_EXPORTER_OTLP_COMPRESSION; it takes `none`, `gzip` or `zstd`"
                );
                wrong.push(Wrong::new(format!("{field}.compression"), message));
                OtlpCompression::Gzip
            }
        },
    }
}

fn timeout(
    written: &Otlp,
    environment: &Environment<'_>,
    field: &str,
    wrong: &mut Vec<Wrong>,
) -> Duration {
    if let Some(written) = written.timeout_milliseconds {
        return Duration::from_millis(written.into());
    }
    let Some((_, text)) = environment.get("TIMEOUT") else { return Duration::from_secs(10) };
    let Some(millis) = text.trim().parse::<u32>().ok().filter(|millis| *millis > 0) else {
        let message = format!(
            "found \"{text}\" in OTEL_EXPORTER_OTLP_TIMEOUT; it takes milliseconds, as in 10000"
        );
        wrong.push(Wrong::new(format!("{field}.timeout_milliseconds"), message));
        return Duration::from_secs(10);
    };
    Duration::from_millis(millis.into())
}

/// `key=value` pairs behind commas, values with `%` escapes; what is written stands over them.
fn headers(
    written: &Otlp,
    environment: &Environment<'_>,
    field: &str,
    wrong: &mut Vec<Wrong>,
) -> Vec<(String, String)> {
    let mut headers = written.headers.clone();
    let text = environment.get("HEADERS").map(|(_, text)| text).unwrap_or_default();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            let message = "OTEL_EXPORTER_OTLP_HEADERS has a part without `=`; it takes \
                           `name=value,name=value`";
            wrong.push(Wrong::new(format!("{field}.headers"), message));
            continue;
        };
        let decoded = unescaped(value.trim());
        headers.entry(name.trim().to_owned()).or_insert(decoded);
    }
    headers.into_iter().collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(written: &Otlp, variables: &[(&str, &str)]) -> (OtlpConfig, Vec<Wrong>) {
        let mut wrong = Vec::new();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = meant(written, "exporters.c.otlp", &variable, &mut wrong);
        (config, wrong)
    }

    #[test]
    fn the_standard_variables_say_what_is_not_written() {
        let (config, wrong) = of(
            &Otlp::default(),
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, b=c"),
                ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "zstd"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ],
        );
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(config.endpoint, "http://c:4318/v1/logs");
        let headers = [("authorization", "Bearer x"), ("b", "c")];
        assert_eq!(config.headers, headers.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(config.compression, OtlpCompression::Zstd);
        assert_eq!(config.timeout, Duration::from_millis(2_500));
    }

    #[test]
    fn what_is_written_stands_over_the_environment() {
        let endpoint = Some("http://d:1".to_owned());
        let protocol = Some(written::OtlpProtocol::Grpc);
        let (config, _) = of(
            &Otlp { endpoint, protocol, ..Otlp::default() },
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ],
        );
        assert_eq!((config.protocol, &*config.endpoint), (OtlpProtocol::Grpc, "http://d:1"));
    }

    #[test]
    fn for_grpc_an_address_without_a_scheme_encrypts_unless_a_variable_says_no() {
        let protocol = Some(written::OtlpProtocol::Grpc);
        let written = Otlp { protocol, ..Otlp::default() };
        let address = ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317");
        let (config, wrong) = of(&written, &[address]);
        assert_eq!((&*config.endpoint, wrong.len()), ("https://c:4317", 0));
        let (config, _) = of(&written, &[address, ("OTEL_EXPORTER_OTLP_INSECURE", "True")]);
        assert_eq!(config.endpoint, "http://c:4317");
    }

    #[test]
    fn a_signals_own_variable_is_the_whole_address() {
        let metrics = Otlp { signal: written::OtlpSignal::Metrics, ..Otlp::default() };
        let (config, _) = of(&metrics, &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c/x")]);
        assert_eq!(config.endpoint, "http://c/x");
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x"),
        ];
        let (_, wrong) = of(&Otlp::default(), &variables);
        assert_eq!(wrong.len(), 4, "{wrong:?}");
    }
}
