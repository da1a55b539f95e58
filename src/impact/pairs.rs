//! The impact on every pair that may open a connection.

use anyhow::Result;
use policy::Question;
use schemas::Verdict;

use super::change::{Change, Found, Said};
use crate::lint::counted;
use crate::objects::Described;
use crate::reach::differences;

/// Pairs with ranges of ports whose verdict is another.
pub(super) fn changes(before: &mut Described, after: &mut Described) -> Result<Found> {
    let mut changes = Vec::new();
    let compared = differences::each(before, after, |one, [before, after]| {
        let names = (one.from.as_str(), one.to.as_str());
        changes.push(Change {
            protocol: one.ports.protocol,
            first: one.ports.first,
            last: one.ports.last,
            before: said(before, names),
            after: said(after, names),
            flows: None,
            from: one.from.clone(),
            to: one.to.clone(),
        });
        Ok(())
    })?;
    let mut notes = Vec::new();
    if compared.lone > 0 {
        let lone = counted(compared.lone, "row");
        notes.push(format!(
            "{lone} of workloads, pods or nodes in only one of the two, not compared"
        ));
    }
    if compared.undecided > 0 {
        let pairs = counted(compared.undecided, "pair");
        notes.push(format!("{pairs} with ports that are unknown or incomplete before and after"));
    }
    if compared.unclear > 0 {
        let pairs = counted(compared.unclear, "pair");
        notes.push(format!("{pairs} of these may change: what is not known could hide it"));
    }
    let is_certain = |verdict| matches!(verdict, Verdict::Allow | Verdict::Deny);
    let is_whole = compared.unclear == 0
        && changes.iter().all(|change: &Change| is_certain(change.after.verdict));
    Ok(Found {
        changes,
        more: 0,
        more_denied: false,
        asked: compared.pairs,
        noun: "pair",
        notes,
        is_whole,
    })
}

/// What the policies say, and why.
pub(super) fn said(
    (described, question): (&Described, &Question<'_>),
    names: (&str, &str),
) -> Said {
    let judgement = described.policies.judge(question);
    let what = (question.protocol, question.port);
    Said::of(described.ground().explain(question, judgement, names, what))
}
