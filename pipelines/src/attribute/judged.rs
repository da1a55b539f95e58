//! What the policies say of a pair.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use schemas::policy::Decider;
use schemas::{Handle, PolicyHit, Reason, Reporter, Trace, Verdict};
use xxhash_rust::xxh3::Xxh3;

use crate::digest::text;

/// What the policies say of both sides: shared by all connections of which they say the same.
#[derive(Debug)]
pub struct Judged {
    /// The source's side.
    pub egress: Arc<Side>,
    /// The destination's side.
    pub ingress: Arc<Side>,
    /// The pair's verdict.
    pub verdict: Verdict,
    /// The policies by which this was judged; 0 when none were.
    pub revision: u64,
    /// The set by which this was judged; 0 when none was.
    pub(super) edition: u64,
    /// The policies have changed since the connection was opened, or just before, and the others
    /// say something else.
    pub is_changed: bool,
    /// Its place among the long reasons that are held.
    #[expect(dead_code, reason = "it counts by being held")]
    pub(super) counted: Option<Counted>,
}

/// What one side's policies say.
#[derive(Clone, Debug)]
pub struct Side {
    /// What they give.
    pub verdict: Verdict,
    /// How; `None` for what no policy speaks of.
    pub trace: Option<Handle<Trace>>,
    /// Why, for people.
    pub reason: Arc<Reason>,
    /// A hash of the verdict and the trace by value, the same wherever it is computed.
    pub digest: u128,
}

/// One of a number of things that exist at one time.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicUsize>);

// === impl Judged ===

impl Judged {
    /// The same said of both sides without any policy.
    pub(crate) fn without_policy(verdict: Verdict, sentence: &str, revision: u64) -> Arc<Self> {
        let reason = Reason { sentence: sentence.into(), near_misses: Vec::new() };
        let side = Arc::new(Side::new(verdict, None, Arc::new(reason)));
        let (egress, ingress) = (side.clone(), side);
        let (is_changed, counted) = (false, None);
        Arc::new(Self { egress, ingress, verdict, revision, edition: 0, is_changed, counted })
    }

    /// What the policies of this reporter's side say.
    #[must_use]
    pub fn side(&self, reporter: Reporter) -> &Side {
        match reporter {
            Reporter::Src => &self.egress,
            Reporter::Dst => &self.ingress,
        }
    }
}

// === impl Side ===

impl Side {
    pub(super) fn new(verdict: Verdict, trace: Option<Handle<Trace>>, reason: Arc<Reason>) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&[verdict as u8, u8::from(trace.is_some())]);
        if let Some(trace) = &trace {
            hasher.update(&[trace.verdict as u8, trace.pending_verdict as u8]);
            hasher.update(&[trace.as_read as u8]);
            for hits in [&trace.enforced, &trace.pending] {
                hasher.update(&hits.len().to_le_bytes());
                hits.iter().for_each(|hit| digest_hit(&mut hasher, hit));
            }
        }
        Self { verdict, trace, reason, digest: hasher.digest128() }
    }

    /// The same for another reason.
    pub(super) fn with_reason(&self, reason: Reason) -> Arc<Self> {
        Arc::new(Self { reason: Arc::new(reason), ..self.clone() })
    }
}

fn digest_hit(hasher: &mut Xxh3, hit: &PolicyHit) {
    hasher.update(&[hit.policy.kind as u8, hit.action as u8]);
    for part in [&hit.policy.tier, &hit.policy.namespace, &hit.policy.name] {
        text(hasher, part);
    }
    match hit.decider {
        Decider::Rule(rule) => {
            hasher.update(&rule.index.to_le_bytes());
            hasher.update(&rule.calico_index.to_le_bytes());
        }
        Decider::EndOfTier => hasher.update(&[0xff]),
    }
}

// === impl Counted ===

impl Counted {
    pub(super) fn new(number: &Arc<AtomicUsize>) -> Self {
        number.fetch_add(1, Ordering::Relaxed);
        Self(number.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
