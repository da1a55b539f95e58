//! Which pairs may open other connections in one cluster than in another.

use std::collections::BTreeMap;

use anyhow::Result;
use policy::{Party, Question};
use schemas::{Endpoint, Handle, Protocol, Verdict};

use super::outside::{self, Region};
use super::rows::{self, Row};
use super::ways;
use crate::objects::Described;

/// A pair and a range of ports whose verdict is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Who opens the connection.
    pub from: String,
    /// Whom it reaches.
    pub to: String,
    /// Which ports.
    pub ports: Ports,
    /// What the policies say in the first cluster.
    pub before: Verdict,
    /// What they say in the second.
    pub after: Verdict,
}

/// A range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Transport protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Pairs that are in both.
    pub pairs: usize,
    /// Of these, pairs with ports that are unknown or incomplete in both.
    pub undecided: usize,
    /// Of these, pairs whose ports are incomplete, or of which the policies of the two say
    /// something else: there a difference may be hidden.
    pub unclear: usize,
    /// Workloads, pods and nodes that are in one only.
    pub lone: usize,
}

/// One range of ports of a pair, before and after.
type Changed = (Ports, Verdict, Verdict);

/// The question about a difference's first port, to the first cluster and to the second.
pub type Asked<'a> = [(&'a Described, &'a Question<'a>); 2];

/// Both ends of a pair.
type Ends<'a> = (Party<'a>, Party<'a>);

/// Two clusters, whose rows and regions are cut alike.
struct Clusters<'a> {
    before: &'a Described,
    after: &'a Described,
    compared: Compared,
}

/// Calls `each` with every difference.
///
/// # Errors
/// The first of `each`.
pub fn each(
    before: &mut Described,
    after: &mut Described,
    mut each: impl FnMut(Difference, Asked<'_>) -> Result<()>,
) -> Result<Compared> {
    // What is one row, or one range of addresses, in either is one in both.
    let mut nets = [before.nets.clone(), after.nets.clone()].concat();
    nets.sort_unstable();
    nets.dedup();
    before.nets.clone_from(&nets);
    after.nets = nets;
    let mut clusters = Clusters { before, after, compared: Compared::default() };
    let rows = clusters.rows();
    for from in &rows {
        for to in &rows {
            clusters.between(from, to, &mut each)?;
        }
    }
    for row in rows.iter().filter(|row| !row.0.is_node) {
        clusters.outside(row, &mut each)?;
    }
    Ok(clusters.compared)
}

// === impl Clusters ===

impl Clusters<'_> {
    /// The rows that are in both.
    fn rows(&mut self) -> Vec<(Row, Row)> {
        let before = rows::of(self.before);
        let after = rows::of(self.after);
        let count = before.len() + after.len();
        let mut named: BTreeMap<String, Row> =
            after.into_iter().map(|row| (row.name.clone(), row)).collect();
        let both = before.into_iter().filter_map(|row| Some((named.remove(&row.name)?, row)));
        let both: Vec<(Row, Row)> = both.map(|(after, before)| (before, after)).collect();
        self.compared.lone = count - 2 * both.len();
        both
    }

    fn between(
        &mut self,
        from: &(Row, Row),
        to: &(Row, Row),
        each: &mut impl FnMut(Difference, Asked<'_>) -> Result<()>,
    ) -> Result<()> {
        let (Some(before), Some(after)) =
            (ways::one_of_each(&from.0, &to.0), ways::one_of_each(&from.1, &to.1))
        else {
            return Ok(());
        };
        let of_family = |is_v4| {
            let before = ways::parties((before.0, before.1), is_v4)?;
            Some((before, ways::parties((after.0, after.1), is_v4)?))
        };
        let [v4, v6] =
            [true, false].map(|is_v4| of_family(is_v4).map(|ends| (self.changed(ends), ends)));
        self.compared.pairs += 1;
        let is_same = match (&v4, &v6) {
            (Some((v4, _)), Some((v6, _))) => v4 == v6,
            _ => true,
        };
        let families = match (v4, v6) {
            (Some(v4), _) if is_same => vec![("", v4)],
            (v4, v6) if is_same => [v4, v6].into_iter().flatten().map(|one| ("", one)).collect(),
            (v4, v6) => {
                let v4 = v4.map(|one| (" (IPv4)", one));
                v4.into_iter().chain(v6.map(|one| (" (IPv6)", one))).collect()
            }
        };
        for (suffix, (changed, ends)) in families {
            let names = (format!("{}{suffix}", from.0.name), format!("{}{suffix}", to.0.name));
            self.tell(&names, &changed, ends, each)?;
        }
        Ok(())
    }

    /// A row with every range of addresses outside, both ways.
    fn outside(
        &mut self,
        row: &(Row, Row),
        each: &mut impl FnMut(Difference, Asked<'_>) -> Result<()>,
    ) -> Result<()> {
        let (Some(before), Some(after)) = (row.0.members.first(), row.1.members.first()) else {
            return Ok(());
        };
        for is_v4 in [true, false] {
            if before.addresses.is_empty() && !is_v4 {
                continue;
            }
            let Some((before, after)) = ways::parties((before, after), is_v4) else { continue };
            for is_egress in [true, false] {
                self.compared.pairs += 1;
                for (range, changed) in self.by_region((before, after), is_v4, is_egress) {
                    let other: Handle<Endpoint> = self.before.view.unknown(range.0.into());
                    let other = Party { addr: Some(range.0.into()), endpoint: &other };
                    let (name, range) = (row.0.name.clone(), outside::said(range));
                    let names = if is_egress { (name, range) } else { (range, name) };
                    let ends = directed((before, after), other, is_egress);
                    self.tell(&names, &changed, ends, each)?;
                }
            }
        }
        Ok(())
    }

    /// Ranges of addresses outside with what changes there; neighbours that change alike are one.
    fn by_region(
        &mut self,
        own: (Party<'_>, Party<'_>),
        is_v4: bool,
        is_egress: bool,
    ) -> Vec<(Region, Vec<Changed>)> {
        let mut found: Vec<(Region, Vec<Changed>)> = Vec::new();
        let Compared { undecided, unclear, .. } = self.compared;
        for (first, last) in outside::regions(&self.before.nets, is_v4) {
            let endpoint: Handle<Endpoint> = self.before.view.unknown(first.into());
            let other = Party { addr: Some(first.into()), endpoint: &endpoint };
            let changed = self.changed(directed(own, other, is_egress));
            match found.last_mut() {
                Some((range, before)) if *before == changed => range.1 = last,
                _ => found.push(((first, last), changed)),
            }
        }
        // All ranges of addresses are one pair.
        self.compared.undecided = self.compared.undecided.min(undecided + 1);
        self.compared.unclear = self.compared.unclear.min(unclear + 1);
        found
    }

    /// The ports whose verdict is another.
    fn changed(&mut self, (before, after): (Ends<'_>, Ends<'_>)) -> Vec<Changed> {
        let ends = (before, after);
        let before = ways::judged(self.before, before.0, before.1);
        let after = ways::judged(self.after, after.0, after.1);
        let mut found: Vec<Changed> = Vec::new();
        let (mut is_undecided, mut is_unclear) = (false, false);
        for one in &before {
            for other in after.iter().filter(|other| other.protocol == one.protocol) {
                let (first, last) = (one.first.max(other.first), one.last.min(other.last));
                if first > last {
                    continue;
                }
                let verdicts = (one.verdict, other.verdict);
                if verdicts.0 != verdicts.1 {
                    add(&mut found, (one.protocol, first, last), verdicts);
                } else if matches!(one.verdict, Verdict::Unknown | Verdict::Incomplete) {
                    is_undecided = true;
                    let ports = Ports { protocol: one.protocol, first, last };
                    is_unclear |= one.verdict == Verdict::Incomplete || self.differs(ends, ports);
                }
            }
        }
        self.compared.undecided += usize::from(is_undecided);
        self.compared.unclear += usize::from(is_unclear);
        found
    }

    /// Whether the policies of the two say anything else of the first of these ports.
    fn differs(&self, (before, after): (Ends<'_>, Ends<'_>), ports: Ports) -> bool {
        let before = self.before.policies.judge_shared(&question(before, ports));
        before != self.after.policies.judge_shared(&question(after, ports))
    }

    fn tell(
        &self,
        (from, to): &(String, String),
        changed: &[Changed],
        (before, after): (Ends<'_>, Ends<'_>),
        each: &mut impl FnMut(Difference, Asked<'_>) -> Result<()>,
    ) -> Result<()> {
        for &(ports, old, new) in changed {
            let (before, after) = (question(before, ports), question(after, ports));
            each(
                Difference { from: from.clone(), to: to.clone(), ports, before: old, after: new },
                [(self.before, &before), (self.after, &after)],
            )?;
        }
        Ok(())
    }
}

/// Adds a range, to the one before it where that ends there and changes alike.
fn add(
    found: &mut Vec<Changed>,
    (protocol, first, last): (Protocol, u16, u16),
    (before, after): (Verdict, Verdict),
) {
    if let Some((ports, from, to)) = found.last_mut()
        && (ports.protocol, *from, *to) == (protocol, before, after)
        && ports.last.checked_add(1) == Some(first)
    {
        ports.last = last;
        return;
    }
    found.push((Ports { protocol, first, last }, before, after));
}

/// The row's end in both clusters, with the same address outside.
fn directed<'a>(
    (before, after): (Party<'a>, Party<'a>),
    other: Party<'a>,
    is_egress: bool,
) -> (Ends<'a>, Ends<'a>) {
    let ends = |own| if is_egress { (own, other) } else { (other, own) };
    (ends(before), ends(after))
}

fn question((from, to): Ends<'_>, ports: Ports) -> Question<'_> {
    Question { from, to, protocol: ports.protocol, port: ports.first, source_port: None }
}
