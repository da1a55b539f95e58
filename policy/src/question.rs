//! A question to the policies, and their answer.

use std::sync::Arc;

use schemas::{Addr, Endpoint, Handle, Protocol, Trace, Verdict};

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// The address in use; `None` when it is not known.
    pub addr: Option<Addr>,
    /// Who has it.
    pub endpoint: &'a Endpoint,
}

/// May this connection be opened?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who opens it.
    pub from: Party<'a>,
    /// Whom it reaches, after any service address was translated.
    pub to: Party<'a>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; for ICMP `type << 8 | code`; 0 for protocols without ports.
    pub port: u16,
    /// Source port; `None` when it is not known or any.
    pub source_port: Option<u16>,
}

/// One end of a connection that is interned: whoever asks again is known by his number.
#[derive(Clone, Copy, Debug)]
pub struct InternedParty<'a> {
    /// The address in use; `None` when it is not known.
    pub addr: Option<Addr>,
    /// Who has it.
    pub endpoint: &'a Handle<Endpoint>,
}

/// A question between interned endpoints.
#[derive(Clone, Copy, Debug)]
pub struct InternedQuestion<'a> {
    /// Who opens it.
    pub from: InternedParty<'a>,
    /// Whom it reaches, after any service address was translated.
    pub to: InternedParty<'a>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// As in [`Question`].
    pub port: u16,
    /// As in [`Question`].
    pub source_port: Option<u16>,
}

/// What both sides' policies say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// The source's side; of two answers of one set that are alike, the same one.
    pub egress: Arc<Trace>,
    /// The destination's side.
    pub ingress: Arc<Trace>,
    /// The pair's verdict.
    pub verdict: Verdict,
}

// === impl InternedQuestion ===

impl<'a> InternedQuestion<'a> {
    /// The question that it is.
    #[must_use]
    pub fn question(&self) -> Question<'a> {
        let party = |end: InternedParty<'a>| Party { addr: end.addr, endpoint: end.endpoint };
        let Self { from, to, protocol, port, source_port } = *self;
        Question { from: party(from), to: party(to), protocol, port, source_port }
    }
}
