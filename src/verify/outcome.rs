//! What became of a case.

use policy::{DecidedBy, Explanation, Side};
use schemas::policy::NearMiss;
use schemas::{Protocol, Verdict};
use serde::Serialize;

use super::cases::{Case, Decider};
use crate::explain::{Answer, Asker};

/// A case and its answer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) line: u64,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) protocol: Option<Protocol>,
    /// For ICMP `type << 8 | code`; null where it is asked by a name that leads nowhere.
    pub(super) port: Option<u16>,
    pub(super) expected: Verdict,
    pub(super) found: Verdict,
    pub(super) result: Result,
    /// What is not as expected; null where all is.
    pub(super) surprise: Option<String>,
    /// Who decides, of the sides with the pair's verdict.
    pub(super) decided_by: Vec<DecidedBy>,
    /// Why the policies answer so.
    pub(super) sentence: String,
    pub(super) near_misses: Vec<NearMiss>,
    /// As the case says.
    pub(super) because: Option<String>,
}

/// How an answer is to what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Result {
    AsExpected,
    /// Another verdict, or another policy decides.
    Surprise,
    /// There is no answer, or one that is not certain.
    Unanswered,
}

// === impl Outcome ===

impl Outcome {
    /// Asks.
    pub(super) fn of(case: Case, asker: &mut Asker<'_>) -> Self {
        let answer = asker.ask(&case.asked);
        let found = answer.verdict();
        let mut outcome = Self {
            name: case.name,
            line: case.line,
            from: case.asked.from,
            to: case.asked.to,
            protocol: None,
            port: None,
            expected: case.expect,
            found,
            result: Result::AsExpected,
            surprise: None,
            decided_by: Vec::new(),
            sentence: String::new(),
            near_misses: Vec::new(),
            because: case.because,
        };
        match answer {
            Answer::Failed(failed) => {
                (outcome.protocol, outcome.port) = (failed.protocol, failed.port);
                outcome.sentence = failed.sentence;
                outcome.become_another(Result::Unanswered, "no answer".to_owned());
            }
            Answer::Explained(explanation) => {
                outcome.take(*explanation);
                outcome.compare(case.decider.as_ref());
            }
        }
        outcome
    }

    fn take(&mut self, explanation: Explanation) {
        let Explanation { protocol, port, egress, ingress, sentence, .. } = explanation;
        (self.protocol, self.port, self.sentence) = (Some(protocol), Some(port), sentence);
        for Side { verdict, decided_by, near_misses, .. } in [egress, ingress] {
            if verdict == self.found {
                self.decided_by.extend(decided_by);
                self.near_misses.extend(near_misses);
            }
        }
    }

    fn compare(&mut self, decider: Option<&Decider>) {
        if self.found != self.expected {
            let is_certain = matches!(self.found, Verdict::Allow | Verdict::Deny);
            let result = if is_certain { Result::Surprise } else { Result::Unanswered };
            return self.become_another(
                result,
                format!("expected {}, found {}", self.expected, self.found),
            );
        }
        let Some(decider) = decider else { return };
        if !self.decided_by.iter().any(|one| decider.is(one)) {
            let deciders: Vec<String> = self.decided_by.iter().map(named).collect();
            let found = match &deciders[..] {
                [] => "no policy".to_owned(),
                _ => deciders.join(" and "),
            };
            let message =
                format!("expected {} by {}, found {found}", self.expected, decider.name());
            self.become_another(Result::Surprise, message);
        }
    }

    fn become_another(&mut self, result: Result, surprise: String) {
        (self.result, self.surprise) = (result, Some(surprise));
    }
}

/// `NetworkPolicy shop/web rule 0`.
fn named(decided: &DecidedBy) -> String {
    let DecidedBy { kind, namespace, name, rule, .. } = decided;
    let slash = if namespace.is_empty() { "" } else { "/" };
    let part = rule.map_or(" with no rule".to_owned(), |rule| format!(" rule {}", rule.index));
    format!("{kind:?} {namespace}{slash}{name}{part}")
}

// === impl Decider ===

impl Decider {
    fn is(&self, found: &DecidedBy) -> bool {
        let is_policy = self.policy.as_ref().is_none_or(|policy| is_named(policy, found));
        let index = found.rule.map(|rule| rule.index);
        is_policy && self.rule.is_none_or(|rule| index == Some(rule))
    }

    fn name(&self) -> String {
        let policy = self.policy.as_deref().unwrap_or("a policy's");
        match self.rule {
            Some(rule) => format!("{policy} rule {rule}"),
            None => policy.to_owned(),
        }
    }
}

/// `NAME`, `NAMESPACE/NAME`, `KIND/NAME` or `KIND/NAMESPACE/NAME`.
fn is_named(policy: &str, found: &DecidedBy) -> bool {
    let is_kind = |kind: &str| format!("{:?}", found.kind).eq_ignore_ascii_case(kind);
    match *policy.split('/').collect::<Vec<_>>() {
        [name] => name == found.name,
        [first, name] => {
            let is_first = first == found.namespace || found.namespace.is_empty() && is_kind(first);
            name == found.name && is_first
        }
        [kind, namespace, name] => {
            name == found.name && namespace == found.namespace && is_kind(kind)
        }
        _ => false,
    }
}
