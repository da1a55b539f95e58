//! What every question may say: which flows, and of which time.

use schemas::UnixNanos;
use schemas::filter::Filter;

use crate::asker::{AskError, Asker, Found};
use crate::parameter::{Parameter, names};
use crate::query::{self, BadQuery};

/// Which flows of which time.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) filter: Filter,
    pub(super) from: Option<UnixNanos>,
    pub(super) to: Option<UnixNanos>,
}

// === impl Asked ===

impl Asked {
    /// Reads the part of an address after `?`; what is not of every question goes to `own`.
    pub(super) fn parse(
        text: &str,
        now: UnixNanos,
        known: &[&[Parameter]],
        mut own: impl FnMut(&str, &str) -> Result<(), BadQuery>,
    ) -> Result<Self, BadQuery> {
        let mut asked = Self::default();
        let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
        if let Some((_, json)) = pairs.iter().find(|(name, _)| name == "filters") {
            asked.filter = query::filters(json)?;
        }
        for (name, value) in &pairs {
            let is_known = known.iter().copied().flatten().any(|known| known.name == name);
            if !is_known {
                let known = names(known);
                let message = format!("there is no such parameter; there are {known}");
                return Err(BadQuery { parameter: name.to_string(), message });
            }
            match &**name {
                "from" => asked.from = Some(query::instant(name, value, now)?),
                "to" => asked.to = Some(query::instant(name, value, now)?),
                _ if query::shorthand(&mut asked.filter, name, value)? => {}
                _ => own(name, value)?,
            }
        }
        Ok(asked)
    }

    pub(super) fn find(&self, asker: &Asker) -> Result<Found, AskError> {
        asker.overlapping(self.from, self.to)
    }
}
