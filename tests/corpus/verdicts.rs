//! Every connection of a case against the verdict of each of its ports.

use std::collections::HashMap;

use policy::{Question, Reach, reach};
use schemas::{Protocol, Verdict};

use super::case::{Case, Connection, Side};
use super::cluster_of_case::{Cluster, End};
use super::score::Score;

pub(crate) const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// What every port of a pair gets, once asked.
type Reached = HashMap<(String, String), Vec<Reach>>;

pub(crate) fn check(cluster: &Cluster, case: &Case, score: &mut Score) {
    let mut reached = Reached::new();
    for connection in &case.connections {
        let found = check_connection(cluster, connection, &mut reached);
        match found {
            Ok(()) => score.check(true, String::new),
            Err(Wrong::WaitsFor(what)) => score.skip(what),
            Err(Wrong::Answer(wrong)) => {
                score.check(false, || format!("{} to {}: {wrong}", connection.src, connection.dst));
            }
        }
    }
}

pub(crate) enum Wrong {
    WaitsFor(&'static str),
    Answer(String),
}

fn check_connection(
    cluster: &Cluster,
    connection: &Connection,
    reached: &mut Reached,
) -> Result<(), Wrong> {
    let (from, to) = (
        cluster.ends(&connection.src).map_err(Wrong::Answer)?,
        cluster.ends(&connection.dst).map_err(Wrong::Answer)?,
    );
    for from in &from {
        for to in &to {
            check_pair(cluster, connection, (from, to), reached)?;
        }
    }
    Ok(())
}

fn check_pair(
    cluster: &Cluster,
    connection: &Connection,
    (from, to): (&End, &End),
    reached: &mut Reached,
) -> Result<(), Wrong> {
    for protocol in protocols(&connection.protocol) {
        for (first, last) in connection.ports.ranges() {
            for port in [first, last] {
                ask(cluster, connection, (from, to), (protocol, port))?;
            }
            if connection.src_ports.is_empty() {
                let key = (from.name.clone(), to.name.clone());
                let all = reached.entry(key).or_insert_with(|| {
                    reach(&cluster.described.policies, from.party(), to.party(), &PROTOCOLS)
                });
                every_port(cluster, connection, all, (protocol, first, last))?;
            }
        }
    }
    Ok(())
}

fn every_port(
    cluster: &Cluster,
    connection: &Connection,
    all: &[Reach],
    (protocol, first, last): (Protocol, u16, u16),
) -> Result<(), Wrong> {
    let mut covered = 0_u32;
    for one in all.iter().filter(|one| one.protocol == protocol) {
        let (from, to) = (one.first.max(first), one.last.min(last));
        if from > to {
            continue;
        }
        covered += u32::from(to - from) + 1;
        judge_as(cluster, connection.allowed, one.verdict, || {
            format!("reach has {} for {protocol} {from}-{to}", one.verdict)
        })?;
    }
    if covered != u32::from(last - first) + 1 {
        return Err(Wrong::Answer(format!("reach leaves out ports of {protocol} {first}-{last}")));
    }
    Ok(())
}

fn ask(
    cluster: &Cluster,
    connection: &Connection,
    (from, to): (&End, &End),
    (protocol, port): (Protocol, u16),
) -> Result<(), Wrong> {
    let bounds = connection.src_ports.iter().flat_map(|(first, last)| [Some(*first), Some(*last)]);
    let mut source_ports: Vec<Option<u16>> = bounds.collect();
    if source_ports.is_empty() {
        source_ports.push(None);
    }
    for source_port in source_ports {
        let question = Question { from: from.party(), to: to.party(), protocol, port, source_port };
        let judgement = cluster.described.policies.judge(&question);
        let what = || {
            format!(
                "{} to {} {protocol} {port} (source port {source_port:?}) is {} (egress {}, \
                 ingress {})",
                from.name,
                to.name,
                judgement.verdict,
                judgement.egress.verdict,
                judgement.ingress.verdict
            )
        };
        judge_as(cluster, connection.allowed, judgement.verdict, what)?;
        for (side, verdict) in [
            (connection.egress, judgement.egress.verdict),
            (connection.ingress, judgement.ingress.verdict),
        ] {
            if let Some(side) = side {
                judge_as(cluster, side == Side::Allowed, verdict, || {
                    format!("a side: {}", what())
                })?;
            }
        }
    }
    Ok(())
}

fn judge_as(
    cluster: &Cluster,
    allowed: bool,
    verdict: Verdict,
    what: impl FnOnce() -> String,
) -> Result<(), Wrong> {
    let wanted = if allowed { Verdict::Allow } else { Verdict::Deny };
    if verdict == wanted {
        return Ok(());
    }
    Err(match cluster.waits_for(verdict) {
        Some(what) => Wrong::WaitsFor(what),
        None => Wrong::Answer(format!("wanted {wanted}, but {}", what())),
    })
}

pub(crate) fn protocols(name: &str) -> Vec<Protocol> {
    match Protocol::parse(name) {
        Some(protocol) => vec![protocol],
        None => PROTOCOLS.to_vec(),
    }
}
