//! What changes, for people and as JSON.

use policy::{DecidedBy, Explanation};
use schemas::{Protocol, UnixNanos, Verdict};
use serde::Serialize;

use crate::reach::PROTOCOLS;

/// A connection whose verdict is another.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    /// Who opens it.
    pub(super) from: String,
    /// Whom it reaches.
    pub(super) to: String,
    pub(super) protocol: Protocol,
    /// First and last destination port; for ICMP `type << 8 | code`.
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) before: Said,
    pub(super) after: Said,
    /// Null for pairs.
    pub(super) flows: Option<Tally>,
}

/// What the policies say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Said {
    pub(super) verdict: Verdict,
    /// Who decides, of the sides with that verdict.
    pub(super) decided_by: Vec<DecidedBy>,
    pub(super) sentence: String,
}

/// What was recorded of such connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Rows of the folder.
    pub(super) rows: u64,
    /// Connections opened, as the side that counts more says.
    pub(super) connections: u64,
    #[serde(serialize_with = "text")]
    pub(super) first_seen: UnixNanos,
    #[serde(serialize_with = "text")]
    pub(super) last_seen: UnixNanos,
}

/// Everything that was found.
pub(super) struct Found {
    pub(super) changes: Vec<Change>,
    /// Changes beyond those that are listed.
    pub(super) more: usize,
    /// One of these is a new denial.
    pub(super) more_denied: bool,
    /// How many pairs or rows were asked.
    pub(super) asked: usize,
    /// What they are.
    pub(super) noun: &'static str,
    /// What people should know beside.
    pub(super) notes: Vec<String>,
    /// Whether everything that was given could be asked.
    pub(super) is_whole: bool,
}

/// The columns of the table.
pub(super) const HEADERS: [&str; 6] = ["FROM", "TO", "PORT", "BEFORE", "AFTER", "WHY"];

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn text<S: serde::Serializer>(time: &UnixNanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn counted_rows(rows: u64) -> String {
    format!("{rows} row{}", if rows == 1 { "" } else { "s" })
}

// === impl Change ===

impl Change {
    /// Denied, and was not.
    pub(super) fn is_newly_denied(&self) -> bool {
        self.after.verdict == Verdict::Deny && self.before.verdict != Verdict::Deny
    }

    /// As the table has them: what one policy changes of one pair is one row, whatever its ports.
    pub(super) fn rows(all: &[Self]) -> Vec<[String; 6]> {
        let mut rows: Vec<(&Self, [String; 6])> = Vec::new();
        for change in all {
            match rows.last_mut() {
                Some((before, row)) if before.is_like(change) => {
                    row[2] = format!("{} {}", row[2], change.ports());
                }
                _ => rows.push((change, change.row())),
            }
        }
        let all = PROTOCOLS.map(|protocol| format!("all/{protocol}")).join(" ");
        for (_, row) in &mut rows {
            if row[2] == all {
                "all".clone_into(&mut row[2]);
            }
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn is_like(&self, other: &Self) -> bool {
        let deciders = |said: &Said| (said.verdict, said.decided_by.clone());
        self.flows.is_none()
            && (&self.from, &self.to) == (&other.from, &other.to)
            && deciders(&self.before) == deciders(&other.before)
            && deciders(&self.after) == deciders(&other.after)
    }

    fn row(&self) -> [String; 6] {
        let why = &self.after.sentence;
        let why = match self.flows {
            Some(Tally { rows, .. }) => format!("{why} ({})", counted_rows(rows)),
            None => why.clone(),
        };
        let (before, after) = (self.before.verdict.to_string(), self.after.verdict.to_string());
        [self.from.clone(), self.to.clone(), self.ports(), before, after, why]
    }

    /// One line.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    fn ports(&self) -> String {
        let Self { protocol, first, last, .. } = self;
        match (first, last) {
            (port, _) if protocol.is_icmp() => format!("{}.{}/{protocol}", port >> 8, port & 0xff),
            _ if !protocol.has_ports() => protocol.to_string(),
            (1, &u16::MAX) => format!("all/{protocol}"),
            (first, last) if first == last => format!("{first}/{protocol}"),
            _ => format!("{first}-{last}/{protocol}"),
        }
    }
}

// === impl Said ===

impl Said {
    pub(super) fn of(explanation: Explanation) -> Self {
        let Explanation { verdict, egress, ingress, sentence, .. } = explanation;
        let sides = [egress, ingress].into_iter().filter(|side| side.verdict == verdict);
        Self { verdict, decided_by: sides.filter_map(|side| side.decided_by).collect(), sentence }
    }
}
