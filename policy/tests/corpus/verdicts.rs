//! Compares what is expected with what the evaluator says, range by range.

use std::path::Path;

use policy::{Reach, Severity};
use schemas::{Protocol, Verdict};
use serde_json::Value;

use super::case::Case;

/// What a suite came to.
#[derive(Default)]
pub(crate) struct Tally {
    cases: usize,
    assertions: usize,
    pub(crate) failed: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, case: &Case) {
        self.cases += 1;
        if case.expected["expect"] == "error" {
            self.invalid(case);
            return;
        }
        for connection in case.expected["connections"].as_array().into_iter().flatten() {
            self.connection(case, connection);
        }
    }

    pub(crate) fn print(&self, suite: &Path) {
        let Self { cases, assertions, failed } = self;
        let suite = suite.file_name().unwrap_or_default().to_string_lossy();
        println!("{suite}: {cases} cases, {assertions} assertions, {} failed", failed.len());
        for failure in failed.iter() {
            println!("    {failure}");
        }
    }

    fn invalid(&mut self, case: &Case) {
        self.assertions += 1;
        let wanted = match case.expected["tool_specific"].as_bool() {
            Some(true) => return,
            _ => Severity::Error,
        };
        if !case.problems.iter().any(|problem| problem.severity == wanted) {
            self.failed.push(format!("{}: nothing refused", case.name));
        }
    }

    fn connection(&mut self, case: &Case, connection: &Value) {
        let text = |field: &str| connection[field].as_str().unwrap_or_default();
        let protocols = match text("protocol") {
            "all" => vec![Protocol::TCP, Protocol::UDP, Protocol::SCTP],
            one => vec![Protocol::parse(one).unwrap()],
        };
        let ranges = |field: &str| match connection[field].as_array() {
            Some(list) => list.iter().map(|range| (port(&range[0]), port(&range[1]))).collect(),
            None => vec![(1, u16::MAX)],
        };
        let source_ports = connection.get("src_ports").map(|_| ranges("src_ports"));
        let source_ports: Vec<Option<u16>> = match source_ports {
            None => vec![None],
            Some(ranges) => ranges.iter().flat_map(|(a, b)| [Some(*a), Some(*b)]).collect(),
        };
        for from in case.parties(text("src")) {
            for to in case.parties(text("dst")) {
                for source_port in &source_ports {
                    let found =
                        policy::reach_from(&case.compiled, from, to, *source_port, &protocols);
                    self.assertions += 1;
                    let wrong = found.iter().find(|range| {
                        is_asked(range, &ranges("ports")) && !agrees(range, connection)
                    });
                    if let Some(range) = wrong {
                        let (name, src, dst) = (&case.name, text("src"), text("dst"));
                        let place = format!("{name}: {src} > {dst}");
                        self.failed.push(format!("{place}: {range:?}, expected {connection}"));
                    }
                }
            }
        }
    }
}

fn port(value: &Value) -> u16 {
    u16::try_from(value.as_u64().unwrap()).unwrap()
}

fn is_asked(range: &Reach, asked: &[(u16, u16)]) -> bool {
    asked.iter().any(|(first, last)| range.first <= *last && *first <= range.last)
}

fn agrees(range: &Reach, connection: &Value) -> bool {
    let of = |allowed: bool| if allowed { Verdict::Allow } else { Verdict::Deny };
    let side = |field: &str, found: Verdict| {
        connection.get(field).is_none_or(|wanted| of(wanted == "allowed") == found)
    };
    range.verdict == of(connection["allowed"].as_bool().unwrap())
        && side("ingress", range.ingress)
        && side("egress", range.egress)
}
