//! JSON Schemas of the values that are written as a text of their own.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::HitKind;
use super::word::Word as _;
use crate::endpoint::Labels;
use crate::flow::RowId;
use crate::net::{Addr, Protocol};
use crate::policy::PolicyKind;

/// A time as it is written out: for `schemars(with)`.
pub(super) struct Time;

macro_rules! text {
    ($type:ident: $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text!(Time: {"type": "string", "format": "date-time"});
text!(RowId: {"type": "string", "pattern": "^[0-9a-f]{32}$"});
text!(Addr: {"type": "string", "description": "An IPv4 or IPv6 address."});
text!(Protocol: {"type": "string", "description": "Lower-case name or number."});
text!(Labels: {"type": "object", "additionalProperties": {"type": "string"}});

impl JsonSchema for HitKind {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HitKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kinds = PolicyKind::WORDS.iter().map(|(_, word)| *word);
        let words: Vec<&str> = kinds.chain([Self::EndOfTier.word()]).collect();
        json_schema!({"type": "string", "enum": words})
    }
}
