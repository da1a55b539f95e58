//! What a row stands for, and what it weighs on an edge.

use schemas::{Batch, Connection, Flow, Observation, Seen, Update};

use crate::{Amount, Attributed, Enriched, Standing};
use schemas::InterfaceKind::Pod;

/// What travels in batches.
pub trait Row: Send + 'static {
    /// The observations and packets that it stands for.
    fn amount(&self) -> Amount;

    /// The memory that it takes, estimated.
    fn bytes(&self) -> usize;
}

/// What an edge carries.
pub trait Load: Send + 'static {
    /// Rows in it.
    fn rows(&self) -> usize;

    /// The memory that it takes, estimated.
    fn bytes(&self) -> usize;
}

impl<T: Row> Load for Batch<T> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.rows.iter().map(Row::bytes).sum::<usize>()
    }
}

impl Row for Observation {
    fn amount(&self) -> Amount {
        let is_counted = self.drop.is_none() && self.interface_kind == Pod;
        Amount { observations: 1, packets: if is_counted { self.packets } else { 0 } }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Row for Connection {
    fn amount(&self) -> Amount {
        let is_counted = self.seen == Seen::Interface;
        let packets = if is_counted { self.counters.packets() } else { 0 };
        Amount { observations: self.counters.observations, packets }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Row for Enriched {
    fn amount(&self) -> Amount {
        match self.standing {
            Standing::Counted => self.connection.amount(),
            Standing::Preview => Amount::default(),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Row for Attributed {
    fn amount(&self) -> Amount {
        match self.standing {
            Standing::Counted => self.connection.amount(),
            Standing::Preview => Amount::default(),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Row for Update {
    fn amount(&self) -> Amount {
        match self {
            Self::Opened(_) => Amount::default(),
            Self::Closed(closed) => closed.rows.iter().map(flow_amount).sum(),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + Load::rows(self) * size_of::<Flow>()
    }
}

impl Load for Update {
    fn rows(&self) -> usize {
        match self {
            Self::Opened(rows) => rows.len(),
            Self::Closed(closed) => closed.rows.len(),
        }
    }

    fn bytes(&self) -> usize {
        Row::bytes(self)
    }
}

fn flow_amount(flow: &Flow) -> Amount {
    let is_counted = flow.key.seen == Seen::Interface;
    let packets = if is_counted { flow.counters.packets() } else { 0 };
    Amount { observations: flow.counters.observations, packets }
}
