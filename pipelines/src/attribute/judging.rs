//! Asks the policies, which remember what they said of a pair, and shares what is made of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use policy::{AtTime, Compiled, InternedParty, InternedQuestion, Judgement, Timeline};
use schemas::{
    Addr, Connection, Endpoint, Handle, InitiatorFrom, Protocol, Reason, Reporter, Table, Trace,
    Tuple, UnixNanos, Verdict,
};
use xxhash_rust::xxh3::xxh3_128;

use super::judged::{Counted, Judged, Side};
use super::{AttributeConfig, sentence};
use crate::Ends;
use crate::connect::{IcmpRole, icmp_role};
use crate::memo::Memo;

/// Judges pairs.
pub(super) struct Judging {
    policies: Timeline,
    traces: Table<Trace>,
    /// What is not allowed, by pair: its reasons name the pair.
    denied: Memo<u128, Arc<Judged>>,
    /// What is allowed, by what the policies say, which they share: it is held here so that its
    /// place in memory stays its own.
    allowed: Memo<(usize, u64), Alike>,
    /// What is said of a side in short, by the place of its trace, which they hold.
    sides: Memo<(usize, Reporter), (Arc<Trace>, Arc<Side>)>,
    /// What was said first with what is pending now, by both: they are held here so that their
    /// places in memory stay their own.
    renewed: Memo<(usize, usize), Renewed>,
    settle: Duration,
    reasons: Arc<AtomicUsize>,
    reasons_max: usize,
    now: Option<Arc<Compiled>>,
    said: Said,
    pub(super) totals: Totals,
}

/// What the policies say of many pairs, and what is made of it.
type Alike = (Arc<Judgement>, Arc<Judged>);

/// What was said first, what is said now, and what comes of them.
type Renewed = (Arc<Judged>, Arc<Judged>, Arc<Judged>);

/// What was done.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) judged: u64,
    pub(super) cut_short: u64,
    pub(super) not_interned: u64,
}

/// What is said without asking any policy.
struct Said {
    frame: Arc<Judged>,
    icmp: Arc<Judged>,
    none_yet: Arc<Judged>,
    not_kept: Arc<Judged>,
}

/// The most answers that are shared by what is allowed.
const ALLOWED_MAX: usize = 65_536;

/// The most sides with short reasons that are shared.
const SIDES_MAX: usize = 32_768;

/// The most answers with what is pending since that are shared.
const RENEWED_MAX: usize = 16_384;

// === impl Said ===

impl Default for Said {
    fn default() -> Self {
        let allow = |sentence| Judged::without_policy(Verdict::Allow, sentence, 0);
        let unknown = |sentence| Judged::without_policy(Verdict::Unknown, sentence, 0);
        Self {
            frame: allow("not IP: no policy applies"),
            icmp: allow("ICMP that serves other traffic: no policy applies"),
            none_yet: unknown("no policies had been read yet"),
            not_kept: unknown("policy of that time not kept"),
        }
    }
}

// === impl Judging ===

impl Judging {
    pub(super) fn new(config: &AttributeConfig, policies: Timeline, traces: Table<Trace>) -> Self {
        Self {
            policies,
            traces,
            denied: Memo::new(config.denied_max),
            allowed: Memo::new(ALLOWED_MAX),
            sides: Memo::new(SIDES_MAX),
            renewed: Memo::new(RENEWED_MAX),
            settle: config.settle,
            reasons: Arc::default(),
            reasons_max: config.reasons_max,
            now: None,
            said: Said::default(),
            totals: Totals::default(),
        }
    }

    pub(super) fn denied(&self) -> usize {
        self.denied.len()
    }

    pub(super) fn denied_forgotten(&self) -> u64 {
        self.denied.forgotten()
    }

    pub(super) fn reasons(&self) -> usize {
        self.reasons.load(Ordering::Relaxed)
    }

    /// Looks up the set in force at a batch's end.
    pub(super) fn begin(&mut self, to: UnixNanos) {
        self.now = set_at(&self.policies, to);
    }

    /// The number of the set in force at the batch's end; 0 when there is none.
    pub(super) fn edition_now(&self) -> u64 {
        self.now.as_ref().map_or(0, |set| set.edition())
    }

    /// What no policy speaks of: frames that are not IP, ICMP errors, neighbour discovery (RFC
    /// 4861) and multicast listeners (RFC 2710, RFC 3810).
    pub(super) fn exempt(&self, row: &Connection) -> Option<Arc<Judged>> {
        let Tuple { protocol, dst_port, .. } = row.tuple;
        if protocol.is_frame() {
            return Some(self.said.frame.clone());
        }
        if !protocol.is_icmp() {
            return None;
        }
        let is_of_the_link =
            protocol == Protocol::ICMPV6 && matches!(dst_port >> 8, 130..=137 | 143);
        let is_error = icmp_role(protocol, dst_port) == IcmpRole::Error;
        (is_error || is_of_the_link).then(|| self.said.icmp.clone())
    }

    /// What the set in force at the connection's opening says.
    pub(super) fn first(&mut self, row: &Connection, ends: &Ends) -> Arc<Judged> {
        match self.policies.at(row.opened_at) {
            AtTime::Set(set) => self.by_set(&set, row, ends),
            AtTime::NotKept => self.said.not_kept.clone(),
            AtTime::NoneYet => self.said.none_yet.clone(),
        }
    }

    /// The first answer, with what has changed since or was just changing: the sets in force now
    /// and shortly before and after the opening are compared with it.
    pub(super) fn again(
        &mut self,
        row: &Connection,
        ends: &Ends,
        first: &Arc<Judged>,
    ) -> Arc<Judged> {
        if first.revision == 0 && first.egress.trace.is_none() {
            return first.clone();
        }
        let now = self.now.clone().filter(|set| set.edition() != first.edition);
        let now = now.map(|set| self.by_set(&set, row, ends));
        let renewed = now.as_ref().map_or_else(|| first.clone(), |now| self.renewed(first, now));
        let sides = |judged: &Judged| (judged.egress.verdict, judged.ingress.verdict);
        if let Some(other) = now.filter(|now| sides(now) != sides(first)) {
            return Arc::new(changed(&renewed, other.verdict));
        }
        let around = [row.opened_at.before(self.settle), row.opened_at.after(self.settle)];
        let around = around.map(|at| set_at(&self.policies, at));
        for set in around.into_iter().flatten() {
            if set.revision() == first.revision {
                continue;
            }
            let other = self.by_set(&set, row, ends);
            if sides(&other) != sides(first) {
                return Arc::new(changed(&renewed, other.verdict));
            }
        }
        renewed
    }

    /// The first answer with what would come of it by the policies of now, the staged ones
    /// enforced.
    fn renewed(&mut self, first: &Arc<Judged>, now: &Arc<Judged>) -> Arc<Judged> {
        let sides = [(&first.egress, &now.egress), (&first.ingress, &now.ingress)];
        if sides.into_iter().all(|(first, now)| is_pending_same(first, now)) {
            return first.clone();
        }
        let key = (Arc::as_ptr(first).addr(), Arc::as_ptr(now).addr());
        if let Some((_, _, known)) = self.renewed.get(&key) {
            return known;
        }
        let [egress, ingress] = sides.map(|(first, now)| self.renewed_side(first, now));
        let Judged { verdict, revision, edition, is_changed, .. } = **first;
        let renewed = Arc::new(Judged {
            egress,
            ingress,
            verdict,
            revision,
            edition,
            is_changed,
            counted: None,
        });
        self.renewed.insert(key, (first.clone(), now.clone(), renewed.clone()));
        renewed
    }

    fn renewed_side(&mut self, first: &Arc<Side>, now: &Side) -> Arc<Side> {
        let (Some(trace), Some(new)) = (&first.trace, &now.trace) else { return first.clone() };
        let trace = self.intern(Trace {
            pending: new.pending.clone(),
            pending_verdict: new.pending_verdict,
            ..Trace::clone(trace)
        });
        Arc::new(Side::new(first.verdict, Some(trace), first.reason.clone()))
    }

    fn by_set(&mut self, set: &Compiled, row: &Connection, ends: &Ends) -> Arc<Judged> {
        if let Some(sentence) = missing(row, ends) {
            return Judged::without_policy(Verdict::Unknown, &sentence, set.revision());
        }
        self.totals.judged += 1;
        let questions = questions(row, ends);
        let Some(question) = questions.first() else {
            let sentence = "the service that was called has no known endpoints";
            return Judged::without_policy(Verdict::Unknown, sentence, set.revision());
        };
        let judgement = set.judge_interned(question);
        let sides = (judgement.egress.verdict, judgement.ingress.verdict);
        let others = questions.iter().skip(1).map(|question| set.judge_interned(question));
        let is_one =
            others.map(|other| (other.egress.verdict, other.ingress.verdict)).all(|s| s == sides);
        let is_all = ends.backends.as_ref().is_none_or(|backends| backends.is_all);
        if !is_one || !is_all {
            let sentence = "which endpoint of the service was reached is not known, \
                            and the policies do not say the same of all of them";
            return Judged::without_policy(Verdict::Unknown, sentence, set.revision());
        }
        if row.initiator_from == InitiatorFrom::FirstSeen && !is_same_reversed(set, question, row) {
            let sentence = "which end opened it is not known, \
                            and the policies do not say the same of both directions";
            return Judged::without_policy(Verdict::Unknown, sentence, set.revision());
        }
        if judgement.verdict == Verdict::Allow {
            return self.allowed(set, judgement);
        }
        let key = key(set.revision(), row, ends);
        if let Some(known) = self.denied.get(&key) {
            return known;
        }
        let judged = self.denial(set, question, &judgement);
        self.denied.insert(key, judged.clone());
        judged
    }

    /// What is allowed needs no more than a short reason.
    fn allowed(&mut self, set: &Compiled, judgement: Arc<Judgement>) -> Arc<Judged> {
        let key = (Arc::as_ptr(&judgement).addr(), set.revision());
        if let Some((_, known)) = self.allowed.get(&key) {
            return known;
        }
        let made = self.made(set, &judgement, None);
        self.allowed.insert(key, (judgement, made.clone()));
        made
    }

    /// What is not allowed is explained.
    fn denial(
        &mut self,
        set: &Compiled,
        question: &InternedQuestion<'_>,
        judgement: &Judgement,
    ) -> Arc<Judged> {
        let has_room = self.reasons() < self.reasons_max;
        self.totals.cut_short += u64::from(!has_room);
        let explained = has_room.then(|| set.explain(&question.question(), judgement));
        self.made(set, judgement, explained)
    }

    fn made(
        &mut self,
        set: &Compiled,
        judgement: &Judgement,
        explained: Option<(Reason, Reason)>,
    ) -> Arc<Judged> {
        let egress = self.brief(&judgement.egress, Reporter::Src);
        let ingress = self.brief(&judgement.ingress, Reporter::Dst);
        let counted = explained.is_some().then(|| Counted::new(&self.reasons));
        let (egress, ingress) = match explained {
            None => (egress, ingress),
            Some((why_egress, why_ingress)) => {
                (egress.with_reason(why_egress), ingress.with_reason(why_ingress))
            }
        };
        Arc::new(Judged {
            egress,
            ingress,
            verdict: judgement.verdict,
            revision: set.revision(),
            edition: set.edition(),
            is_changed: false,
            counted,
        })
    }

    fn intern(&mut self, trace: Trace) -> Handle<Trace> {
        self.traces.intern(trace.clone()).unwrap_or_else(|| {
            self.totals.not_interned += 1;
            Handle::lone(trace)
        })
    }

    /// What is said of a side that needs no more than a short reason.
    fn brief(&mut self, trace: &Arc<Trace>, side: Reporter) -> Arc<Side> {
        let key = (Arc::as_ptr(trace).addr(), side);
        if let Some((_, known)) = self.sides.get(&key) {
            return known;
        }
        let interned = self.intern(Trace::clone(trace));
        let sentence = sentence::brief(&interned, side).into();
        let reason = Arc::new(Reason { sentence, near_misses: Vec::new() });
        let made = Arc::new(Side::new(interned.verdict, Some(interned), reason));
        self.sides.insert(key, (trace.clone(), made.clone()));
        made
    }
}

fn set_at(policies: &Timeline, at: UnixNanos) -> Option<Arc<Compiled>> {
    match policies.at(at) {
        AtTime::Set(set) => Some(set),
        AtTime::NotKept | AtTime::NoneYet => None,
    }
}

/// The same answer, whose reasons say that the policies have changed.
fn changed(first: &Judged, now: Verdict) -> Judged {
    let said = |side: &Arc<Side>| {
        let Reason { sentence, near_misses } = &*side.reason;
        let sentence = sentence::changed(sentence, now).into();
        let reason = Arc::new(Reason { sentence, near_misses: near_misses.clone() });
        Arc::new(Side { reason, ..Side::clone(side) })
    };
    Judged {
        egress: said(&first.egress),
        ingress: said(&first.ingress),
        verdict: first.verdict,
        revision: first.revision,
        edition: first.edition,
        is_changed: true,
        counted: None,
    }
}

/// Whether two answers say the same of what is pending.
fn is_pending_same(first: &Side, now: &Side) -> bool {
    match (&first.trace, &now.trace) {
        (Some(first), Some(now)) => {
            first.pending == now.pending && first.pending_verdict == now.pending_verdict
        }
        _ => true,
    }
}

/// The fact without which no policy can be asked.
fn missing(row: &Connection, ends: &Ends) -> Option<String> {
    if !ends.is_source_known {
        return Some(format!("who {} was is not known", row.tuple.src));
    }
    if !ends.is_destination_known {
        let reached = row.translated.as_ref().unwrap_or(&row.tuple);
        return Some(format!("who {} was is not known", reached.dst));
    }
    let Tuple { protocol, src_port, dst_port, .. } = row.tuple;
    if protocol.has_ports() && src_port == 0 && dst_port == 0 {
        return Some("a fragment whose ports are not known".to_owned());
    }
    None
}

/// The question to the policies; one for each backend that a service call may have reached.
fn questions<'a>(row: &Connection, ends: &'a Ends) -> Vec<InternedQuestion<'a>> {
    let reached = row.translated.as_ref().unwrap_or(&row.tuple);
    let from = InternedParty { addr: Some(row.tuple.src), endpoint: &ends.source };
    let ask = |addr: Addr, port: u16, endpoint: &'a Handle<Endpoint>| InternedQuestion {
        from,
        to: InternedParty { addr: Some(addr), endpoint },
        protocol: row.tuple.protocol,
        port,
        source_port: None,
    };
    match &ends.backends {
        None => vec![ask(reached.dst, reached.dst_port, &ends.destination)],
        Some(backends) => {
            backends.list.iter().map(|one| ask(one.addr, one.port, &one.endpoint)).collect()
        }
    }
}

/// Whether the policies would say the same if the other end had opened.
fn is_same_reversed(set: &Compiled, question: &InternedQuestion<'_>, row: &Connection) -> bool {
    let reached = row.translated.as_ref().unwrap_or(&row.tuple);
    let port = if row.tuple.protocol.has_ports() { reached.src_port } else { question.port };
    let reversed = InternedQuestion { from: question.to, to: question.from, port, ..*question };
    let (there, back) = (set.judge_interned(question), set.judge_interned(&reversed));
    there.verdict == back.verdict
}

/// A pair under a set of policies, hashed: everything that an answer depends on.
fn key(revision: u64, row: &Connection, ends: &Ends) -> u128 {
    let reached = row.translated.as_ref().unwrap_or(&row.tuple);
    let mut bytes = [0; 96];
    let is_first_seen = row.initiator_from == InitiatorFrom::FirstSeen;
    let source_port = if is_first_seen { reached.src_port } else { 0 };
    let backends = ends.backends.as_ref().map_or(0, |backends| {
        let list = backends.list.iter();
        list.fold(u64::from(backends.is_all) + 1, |hash, one| {
            (hash ^ one.endpoint.id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(one.port)
        })
    });
    let words = [revision, ends.source.id(), ends.destination.id(), backends];
    for (place, word) in words.into_iter().enumerate() {
        bytes[8 * place..8 * place + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes[32..48].copy_from_slice(&row.tuple.src.0);
    bytes[48..64].copy_from_slice(&reached.dst.0);
    let shorts = [row.tuple.protocol.0, reached.dst_port, source_port, u16::from(is_first_seen)];
    for (place, short) in shorts.into_iter().enumerate() {
        bytes[64 + 2 * place..66 + 2 * place].copy_from_slice(&short.to_le_bytes());
    }
    xxh3_128(&bytes)
}
