//! Where the policies and the kernel disagree, the flow says so; and only where evidence is there.

use std::time::Duration;

use lab::Lie;
use serde_json::Value;

use crate::daemon::{Daemon, Wish, demo_objects, lab};

const LIES: [Lie; 2] = [Lie::UnexplainedDrop, Lie::MissingDeny];

#[test]
fn a_drop_that_no_policy_explains_is_said_to_be_one() {
    let Some(rows) = rows("the lies", true) else { return };
    let said = disagreements(&rows);
    let of_prometheus = said.iter().find(|(row, _)| {
        row["source"]["name"].as_str().unwrap().starts_with("prometheus")
            && row["destination"]["port"] == 9113
    });
    let (row, cause) = of_prometheus.unwrap_or_else(|| panic!("not among {said:?}"));
    assert!(cause.contains("no policy says so"), "{cause}");
    assert_eq!(row["action"], "allow");
    assert_eq!(row["outcome"], "dropped");
}

#[test]
fn a_denial_that_was_delivered_is_said_to_be_one() {
    let Some(rows) = rows("the lies", true) else { return };
    let said = disagreements(&rows);
    let of_batch = said.iter().find(|(row, _)| {
        row["source"]["name"].as_str().unwrap().starts_with("batch")
            && row["destination"]["name"].as_str().unwrap().starts_with("cache")
    });
    let (row, cause) = of_batch.unwrap_or_else(|| panic!("not among {said:?}"));
    assert!(cause.contains("policy denies, but it was delivered"), "{cause}");
    assert_eq!(row["action"], "deny");
}

#[test]
fn nobody_disagrees_where_nothing_was_changed_behind_the_policies_back() {
    if !testing::may_load_bpf("the lies") {
        return;
    }
    let said = watch(&[], true);
    assert_eq!(disagreements(&said), []);
}

#[test]
fn without_evidence_an_unexplained_drop_is_not_claimed() {
    let Some(rows) = rows("the lies", false) else { return };
    let claimed = disagreements(&rows).into_iter().any(|(_, cause)| cause.contains("dropped"));
    assert!(!claimed);
}

fn rows(what: &str, evidence: bool) -> Option<Vec<Value>> {
    testing::may_load_bpf(what).then(|| watch(&LIES, evidence))
}

/// Rows of the demo's lab over enough of its traffic for each call to have been made.
fn watch(lies: &[Lie], evidence: bool) -> Vec<Value> {
    let lab = lab(demo_objects(), lies);
    let mut daemon = Daemon::start(&lab, Wish { evidence, ..Wish::default() });
    testing::eventually("two closed windows", Duration::from_mins(1), || {
        (daemon.files_stored() >= 3).then_some(())
    });
    daemon.stop();
    daemon.flows()
}

fn disagreements(rows: &[Value]) -> Vec<(Value, String)> {
    let said = rows.iter().filter_map(|row| Some((row, row["disagreement"].as_str()?)));
    said.map(|(row, cause)| (row.clone(), cause.to_owned())).collect()
}
