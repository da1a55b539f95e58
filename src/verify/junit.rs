//! The outcomes as JUnit's XML, which CI servers read.

use std::fmt::Write as _;

use super::outcome::{Outcome, Result};
use super::report;

/// A `testsuite` for each file, a `testcase` for each case. A surprise is a failure, what has no
/// answer an error.
pub(super) fn report(suites: &[(String, Vec<Outcome>)]) -> String {
    let all: Vec<&Outcome> = suites.iter().flat_map(|(_, outcomes)| outcomes).collect();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _infallible = writeln!(text, "<testsuites name=\"whyflow verify\" {}>", counts(&all));
    for (file, outcomes) in suites {
        let name = escaped(file);
        let _infallible = writeln!(
            text,
            "  <testsuite name=\"{name}\" {}>",
            counts(&outcomes.iter().collect::<Vec<_>>())
        );
        for outcome in outcomes {
            add(&mut text, &name, outcome);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn counts(outcomes: &[&Outcome]) -> String {
    let count = |result| outcomes.iter().filter(|outcome| outcome.result == result).count();
    let (failures, errors) = (count(Result::Surprise), count(Result::Unanswered));
    format!("tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\"", outcomes.len())
}

fn add(text: &mut String, file: &str, outcome: &Outcome) {
    let name = escaped(&outcome.name);
    let head = format!(
        "    <testcase classname=\"{file}\" name=\"{name}\" file=\"{file}\" line=\"{}\"",
        outcome.line
    );
    let element = match outcome.result {
        Result::AsExpected => {
            let _infallible = writeln!(text, "{head}/>");
            return;
        }
        Result::Surprise => "failure",
        Result::Unanswered => "error",
    };
    let message = escaped(outcome.surprise.as_deref().unwrap_or_default());
    let detail = escaped(&report::detail(outcome).join("\n"));
    let _infallible = write!(
        text,
        "{head}>\n      <{element} message=\"{message}\">{detail}</{element}>\n    </testcase>\n"
    );
}

/// Text as XML has it; what XML 1.0 has no way to write becomes `?`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            '\u{fffe}' | '\u{ffff}' => out.push('?'),
            control if control.is_control() && control < '\u{20}' => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_xml_cannot_hold_is_written_otherwise() {
        assert_eq!(
            escaped("a <b> & \"c\"\u{1}\n\u{7f}"),
            "a &lt;b&gt; &amp; &quot;c&quot;?\n\u{7f}"
        );
    }
}
