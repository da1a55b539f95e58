//! What is counted of rows wherever they are: the accounting's unit.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use schemas::Flow;
use serde::{Deserialize, Serialize};

/// Rows, and what they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows.
    pub rows: u64,
    /// Observations of the kernel that the rows stand for.
    pub observations: u64,
    /// Packets that the rows count, in and out.
    pub packets: u64,
}

// === impl Tally ===

impl Tally {
    /// Of these flows.
    #[must_use]
    pub fn of(flows: &[Flow]) -> Self {
        flows.iter().map(Self::from).sum()
    }

    /// Of rows in either layout of [`schemas::columns`].
    #[must_use]
    pub fn of_columns(rows: &RecordBatch) -> Self {
        let sum = |name: &str| {
            let column = rows.column_by_name(name).and_then(|column| column.as_primitive_opt());
            let total = column.and_then(arrow::compute::sum::<Int64Type>).unwrap_or_default();
            u64::try_from(total).unwrap_or_default()
        };
        Self {
            rows: rows.num_rows() as u64,
            observations: sum("observations"),
            packets: sum("packets_in").saturating_add(sum("packets_out")),
        }
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl From<&Flow> for Tally {
    fn from(flow: &Flow) -> Self {
        let counters = &flow.counters;
        Self { rows: 1, observations: counters.observations, packets: counters.packets() }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            observations: self.observations.saturating_add(other.observations),
            packets: self.packets.saturating_add(other.packets),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Tally {
    type Output = Self;

    /// Stops at zero.
    fn sub(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(other.rows),
            observations: self.observations.saturating_sub(other.observations),
            packets: self.packets.saturating_sub(other.packets),
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), Add::add)
    }
}
