//! What the kernel's reasons for a drop tell, and where that disagrees with the policies.

use std::sync::Arc;

use schemas::evidence::Dropped;
use schemas::observation::Names;
use schemas::{Since, Verdict};

use super::row::Row;

/// The reasons that the enforcement of a policy can cause (`enum skb_drop_reason`,
/// include/net/dropreason-core.h), without their prefix.
const BY_POLICY: [&str; 8] = [
    "NETFILTER_DROP",
    "NETFILTER_INGRESS",
    "TC_INGRESS",
    "TC_EGRESS",
    "TC_CHAIN_NOTFOUND",
    "XDP",
    "BPF_CGROUP_EGRESS",
    "OVS_DROP_EXPLICIT",
];

/// What other reasons mean, for people.
const MEANINGS: [(&str, &str); 10] = [
    ("NO_SOCKET", "nothing listens on the port"),
    ("SOCKET_RCVBUFF", "the receiver's socket buffer was full"),
    ("SOCKET_BACKLOG", "the receiver's socket was behind"),
    ("IP_INNOROUTES", "there was no route"),
    ("IP_OUTNOROUTES", "there was no route"),
    ("IP_INHDR", "the IP header was wrong or its hop limit reached"),
    ("TCP_CSUM", "the TCP checksum was wrong"),
    ("UDP_CSUM", "the UDP checksum was wrong"),
    ("NEIGH_FAILED", "the next hop did not answer"),
    ("QDISC_DROP", "a queue was full"),
];

const PREFIX: &str = "SKB_DROP_REASON_";

/// Whether the enforcement of a policy can cause this reason.
pub(super) fn is_by_policy(reason: &str) -> bool {
    let reason = reason.strip_prefix(PREFIX).unwrap_or(reason);
    BY_POLICY.contains(&reason)
}

/// Where what the policies say and what the kernel did disagree: the likely cause.
pub(super) fn disagreement(row: &Row, names: &Names) -> Option<Arc<str>> {
    if row.judged.is_changed {
        return None;
    }
    let action = row.judged.side(row.reporter).verdict;
    if action == Verdict::Deny {
        return delivered(row, names);
    }
    if row.judged.verdict != Verdict::Allow || row.judged.side(row.reporter).trace.is_none() {
        return None;
    }
    let unexplained = by_policy(row, names).max_by_key(|dropped| dropped.packets)?;
    let (place, reason) = (names.get(unexplained.by.place), names.get(unexplained.by.reason));
    let reason = reason.strip_prefix(PREFIX).unwrap_or(&reason);
    Some(format!("dropped by the kernel at {place} ({reason}), no policy says so").into())
}

/// A denial that the kernel did not carry out.
fn delivered(row: &Row, names: &Names) -> Option<Arc<str>> {
    let dropped: u64 = by_policy(row, names).map(|dropped| dropped.packets).sum();
    // What a pod's own namespace drops has passed its interface.
    if row.answered == 0 && row.delivered <= dropped {
        return None;
    }
    let cause = match row.since {
        Since::Opened => "",
        Since::Seen => ": it was opened before it was first seen, perhaps under other policies",
    };
    Some(format!("policy denies, but it was delivered{cause}").into())
}

fn by_policy<'a>(row: &'a Row, names: &'a Names) -> impl Iterator<Item = &'a Dropped> {
    let drops = row.drops.iter().flat_map(|drops| drops.iter());
    drops.filter(|dropped| is_by_policy(&names.get(dropped.by.reason)))
}

/// What the kernel dropped for a reason that no policy can cause: evidence of something else.
pub(super) fn other_cause(row: &Row, names: &Names) -> Option<String> {
    let drops = row.drops.as_ref()?;
    let others = drops.iter().filter(|dropped| !is_by_policy(&names.get(dropped.by.reason)));
    let most = others.max_by_key(|dropped| dropped.packets)?;
    let (reason, place) = (names.get(most.by.reason), names.get(most.by.place));
    let reason = reason.strip_prefix(PREFIX).unwrap_or(&reason);
    let meaning = MEANINGS.iter().find(|(known, _)| *known == reason);
    let meaning = meaning.map(|(_, meaning)| format!(", {meaning}")).unwrap_or_default();
    Some(format!("the kernel dropped packets at {place} ({reason}{meaning})"))
}
