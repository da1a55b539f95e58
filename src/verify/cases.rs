//! A file of cases: as written, and as questions.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use schemas::Verdict;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::config::problem::{Problem, Problems};
use crate::explain::Asked;

/// Unit tests for network policies: questions to them, and the answers that are expected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "whyflow verify")]
struct Written {
    /// The questions, asked in this order.
    #[schemars(length(min = 1))]
    cases: Vec<WrittenCase>,
}

/// A question, and the answer that is expected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "case")]
struct WrittenCase {
    /// What it is called in the report; made of the question when it is left out.
    #[serde(default)]
    name: Option<String>,
    /// Who opens the connection: `NAMESPACE/NAME` (a pod, else a workload of that name),
    /// `NAMESPACE/KIND/NAME`, `node/NAME`, or an address.
    #[schemars(length(min = 1))]
    from: String,
    /// Whom it is to reach, in the same forms.
    #[schemars(length(min = 1))]
    to: String,
    /// Destination port by number, by the name that the destination declares, or with its protocol
    /// as in `53/udp`. For ICMP `TYPE.CODE`, in quotes. Left out for protocols without ports.
    #[serde(default)]
    #[schemars(schema_with = "port_schema")]
    port: Option<PortText>,
    /// `tcp` when it is left out; `udp`, `sctp`, `icmp`, `icmp6` or a number.
    #[serde(default)]
    protocol: Option<String>,
    /// The verdict.
    expect: Expected,
    /// The policy that must decide: `NAME`, `NAMESPACE/NAME` or `KIND/NAMESPACE/NAME`.
    #[serde(default)]
    decided_by: Option<String>,
    /// The rule of it that must match, counted from 0 as it is written.
    #[serde(default)]
    rule: Option<u32>,
    /// Why it is expected: said when the answer is another.
    #[serde(default)]
    because: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PortText {
    Number(u16),
    Text(String),
}

/// A verdict as it is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Expected {
    /// Both sides allow.
    Allow,
    /// One of the sides denies.
    Deny,
    /// A fact is missing.
    Unknown,
    /// A policy that is not read could change it.
    Incomplete,
}

/// A question, and the answer that is expected.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// Where it stands.
    pub(super) line: u64,
    pub(super) asked: Asked,
    pub(super) expect: Verdict,
    pub(super) decider: Option<Decider>,
    pub(super) because: Option<String>,
}

/// The policy, or the rule of any policy, that is to decide.
#[derive(Clone, Debug)]
pub(super) struct Decider {
    pub(super) policy: Option<String>,
    pub(super) rule: Option<u32>,
}

/// The cases of a file.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) file: String,
    pub(super) cases: Vec<Case>,
}

fn port_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": ["integer", "string"], "minimum": 1, "maximum": 65535, "minLength": 1,
    })
}

/// The JSON Schema of a file of cases.
///
/// # Panics
/// Never: the schema is made from this program's own types.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

fn schema() -> serde_json::Value {
    schemars::schema_for!(Written).to_value()
}

/// The cases of every file that can be read; of the others standard error says what is wrong.
/// Says whether all could be.
pub(super) fn read(files: &[PathBuf]) -> (Vec<Suite>, bool) {
    let mut suites = Vec::new();
    for file in files {
        match load(file) {
            Ok(suite) => suites.push(suite),
            Err(problems) => {
                problems.to_string().lines().for_each(|line| eprintln!("error: {line}"));
            }
        }
    }
    let read_all = suites.len() == files.len();
    (suites, read_all)
}

fn load(path: &Path) -> Result<Suite, Problems> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problems::of_file(&file, format!("cannot read it: {error}")))?;
    parse(&file, &text)
}

fn parse(file: &str, text: &str) -> Result<Suite, Problems> {
    let (written, lines) = config::conforming::<Written>(file, text, &schema())?;
    let (mut cases, mut problems) = (Vec::new(), Vec::<Problem>::new());
    for (position, case) in written.cases.into_iter().enumerate() {
        let path = format!("cases[{position}]");
        match case.meant(lines.line(&path)) {
            Ok(case) => cases.push(case),
            Err((field, message)) => {
                problems.push(lines.wrong(&format!("{path}.{field}"), message));
            }
        }
    }
    if problems.is_empty() {
        return Ok(Suite { file: file.to_owned(), cases });
    }
    Err(Problems::new(file, problems))
}

// === impl WrittenCase ===

impl WrittenCase {
    /// The question, or the field that is wrong and why.
    fn meant(self, line: u64) -> Result<Case, (&'static str, String)> {
        let port = self.port.map(|port| match port {
            PortText::Number(number) => number.to_string(),
            PortText::Text(text) => text,
        });
        let text = match (&port, &self.protocol) {
            (Some(port), Some(protocol)) if !port.contains('/') => format!("{port}/{protocol}"),
            (Some(port), Some(_)) => {
                return Err((
                    "port",
                    format!("'{port}' says the protocol, and so does `protocol`"),
                ));
            }
            (Some(port), None) => port.clone(),
            (None, Some(protocol)) => format!("0/{protocol}"),
            (None, None) => return Err(("port", MISSING.to_owned())),
        };
        let asked = Asked::parse(&self.from, &self.to, &text).map_err(|error| {
            let of_protocol = format!("{error:#}").contains("is no protocol");
            let field = if of_protocol && port.as_ref().is_none_or(|port| !port.contains('/')) {
                "protocol"
            } else {
                "port"
            };
            let message =
                if port.is_none() && !of_protocol { MISSING.into() } else { format!("{error:#}") };
            (field, message)
        })?;
        let question = format!("{} to {} on {text}", self.from, self.to);
        let has_decider = self.decided_by.is_some() || self.rule.is_some();
        let decider = Decider { policy: self.decided_by, rule: self.rule };
        Ok(Case {
            name: self.name.unwrap_or(question),
            line,
            asked,
            expect: self.expect.into(),
            decider: has_decider.then_some(decider),
            because: self.because,
        })
    }
}

const MISSING: &str = "is missing; it takes a number from 1 to 65535, a port's name, or `53/udp`";

impl From<Expected> for Verdict {
    fn from(expected: Expected) -> Self {
        match expected {
            Expected::Allow => Self::Allow,
            Expected::Deny => Self::Deny,
            Expected::Unknown => Self::Unknown,
            Expected::Incomplete => Self::Incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(text: &str) -> String {
        parse("a.yaml", text).map(|suite| suite.cases.len()).unwrap_err().to_string()
    }

    #[test]
    fn a_port_is_a_number_a_name_or_says_its_protocol() {
        let text = "cases:\n\
                    - {from: a/b, to: c/d, port: 80, expect: allow}\n\
                    - {from: a/b, to: c/d, port: 53/udp, expect: deny}\n\
                    - {from: a/b, to: c/d, port: http, expect: deny, rule: 1}\n\
                    - {from: a/b, to: c/d, port: '8.0', protocol: icmp, expect: deny}\n\
                    - {from: a/b, to: c/d, protocol: '47', expect: unknown, because: so}\n";
        let suite = parse("a.yaml", text).unwrap();
        let lines: Vec<u64> = suite.cases.iter().map(|case| case.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6]);
        assert_eq!(suite.cases[1].name, "a/b to c/d on 53/udp");
        assert_eq!(suite.cases[2].decider.as_ref().unwrap().rule, Some(1));
        assert_eq!(suite.cases[4].expect, Verdict::Unknown);
    }

    #[test]
    fn everything_that_is_wrong_is_named_with_its_line() {
        let text = "cases:\n\
                    - from: a/b\n  \
                      too: c/d\n  \
                      port: 0\n  \
                      expect: alow\n\
                    - {from: a/b, to: c/d, port: 1, expect: allow, rule: -1}\n";
        assert_eq!(
            wrong(text),
            "a.yaml:2:3: cases[0].to: is missing; it takes text that is not empty\n\
             a.yaml:3:3: cases[0].too: there is no such field; did you mean `to`?\n\
             a.yaml:4:9: cases[0].port: found the number 0; it takes a whole number from 1 to \
             65535, or text that is not empty\n\
             a.yaml:5:11: cases[0].expect: found \"alow\"; it takes one of `allow`, `deny`, \
             `unknown`, `incomplete`; did you mean `allow`?\n\
             a.yaml:6:54: cases[1].rule: found the number -1; it takes a whole number from 0 up"
        );
        let one = |fields: &str| {
            wrong(&format!("cases:\n- {{from: a/b, to: c/d, expect: deny{fields}}}"))
        };
        assert!(one("").contains("a.yaml:2:3: cases[0].port: is missing"), "{}", one(""));
        assert!(one(", protocol: tcp").contains("cases[0].port: is missing"));
        assert!(
            one(", port: 1, protocol: tpc").contains("cases[0].protocol: 'tpc' is no protocol")
        );
        assert!(one(", port: 1/tpc").contains("cases[0].port: 'tpc' is no protocol"));
        assert!(one(", port: 1/tcp, protocol: udp").contains("and so does `protocol`"));
        assert!(wrong("cases: []").contains("takes at least 1"));
        assert!(wrong("").contains("cases: is missing"));
        assert!(wrong("cases: [").contains("is not YAML"));
    }

    /// Pieces that files of cases are made of, so that random texts get past the YAML parser.
    fn piece() -> impl Strategy<Value = String> {
        let known = [
            "cases:",
            "\n",
            "\n- ",
            "\n  ",
            "{",
            "}",
            ", ",
            "from: a/b",
            "to: c/d",
            "port: ",
            "80",
            "-1",
            "8.0",
            "1e99",
            "http",
            "53/udp",
            "0",
            "protocol: icmp",
            "protocol: 256",
            "expect: ",
            "allow",
            "deny",
            "rule: ",
            "decided_by: x",
            "because: ~",
            "name: [",
            "]",
            "&a ",
            "*a",
            "<<: *a",
            "'",
            "\"",
            "#",
            "~",
            "---\n",
            "\t",
            "99999999999999999999",
        ];
        prop_oneof![
            8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
            1 => ".{0,12}",
        ]
    }

    proptest! {
        #[test]
        fn any_text_is_a_file_of_cases_or_is_wrong_at_a_line(
            pieces in proptest::collection::vec(piece(), 0..32)
        ) {
            if let Err(problems) = parse("a.yaml", &pieces.concat()) {
                prop_assert!(problems.count() > 0);
                for problem in problems.iter() {
                    prop_assert!(problem.line > 0 && !problem.message.is_empty(), "{problem:?}");
                }
            }
        }
    }
}
