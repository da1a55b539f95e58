//! What passed, what did not, and what could not be asked yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;

/// One case's assertions.
pub(crate) struct Score {
    suite: String,
    case: String,
    passed: usize,
    wrong: Vec<String>,
    /// What is not read yet, with how many assertions wait for it.
    skipped: BTreeMap<String, usize>,
}

/// All cases, by suite.
#[derive(Default)]
pub(crate) struct Table {
    suites: BTreeMap<String, Line>,
    /// By case; of one that could not be run at all the name is not known.
    wrong: BTreeMap<String, Vec<String>>,
}

#[derive(Default)]
struct Line {
    cases: usize,
    passed: usize,
    wrong: usize,
    skipped: usize,
    waits_for: BTreeSet<String>,
}

// === impl Score ===

impl Score {
    pub(crate) fn new(suite: &str, case: &str) -> Self {
        Self {
            suite: suite.into(),
            case: case.into(),
            passed: 0,
            wrong: Vec::new(),
            skipped: BTreeMap::new(),
        }
    }

    pub(crate) fn check(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if holds {
            self.passed += 1;
        } else {
            self.wrong.push(wrong());
        }
    }

    pub(crate) fn skip(&mut self, waits_for: &str) {
        *self.skipped.entry(waits_for.into()).or_default() += 1;
    }
}

// === impl Table ===

impl Table {
    /// A case that could not be run at all counts as wrong.
    pub(crate) fn add(&mut self, score: Result<Score>) {
        let score = match score {
            Ok(score) => score,
            Err(error) => {
                return self.wrong.entry(String::new()).or_default().push(format!("{error:#}"));
            }
        };
        let line = self.suites.entry(score.suite.clone()).or_default();
        line.cases += 1;
        line.passed += score.passed;
        line.wrong += score.wrong.len();
        line.skipped += score.skipped.values().sum::<usize>();
        line.waits_for.extend(score.skipped.into_keys());
        let place = format!("{}/{}", score.suite, score.case);
        if !score.wrong.is_empty() {
            let wrong = score.wrong.into_iter().map(|wrong| format!("{place}: {wrong}"));
            self.wrong.entry(place.clone()).or_default().extend(wrong);
        }
    }

    /// The first few of each case.
    pub(crate) fn wrong(&self, of_each: usize) -> Vec<&String> {
        self.wrong.values().flat_map(|wrong| wrong.iter().take(of_each)).collect()
    }

    /// Cases with a wrong answer, as `suite/case`.
    pub(crate) fn wrong_cases(&self) -> BTreeSet<&str> {
        self.wrong.keys().map(String::as_str).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["suite", "cases", "assertions", "passed", "wrong", "skipped"];
        let [suite, cases, assertions, passed, wrong, skipped] = head;
        writeln!(f, "{suite:<26}{cases:>7}{assertions:>12}{passed:>10}{wrong:>8}{skipped:>9}")?;
        for (suite, line) in &self.suites {
            let Line { cases, passed, wrong, skipped, waits_for } = line;
            let all = passed + wrong + skipped;
            write!(f, "{suite:<26}{cases:>7}{all:>12}{passed:>10}{wrong:>8}{skipped:>9}")?;
            for reason in waits_for {
                write!(f, "  {reason}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
