//! The forms of the corpus's files.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Schema {
    pub schema: String,
    pub suite: Option<String>,
}

/// `expected.json` of form `policy-corpus/1`.
#[derive(Deserialize)]
pub(crate) struct Case {
    #[serde(default)]
    pub assume: Vec<String>,
    pub endpoints: BTreeMap<String, CaseEndpoint>,
    pub connections: Vec<Connection>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum CaseEndpoint {
    Workload {
        namespace: String,
        name: String,
        kind: String,
        #[serde(default)]
        pods: Vec<CasePod>,
    },
    External {
        from: String,
        to: String,
    },
    HostEndpoint {
        name: String,
        #[serde(default)]
        node: Option<String>,
        #[serde(default)]
        ips: Vec<String>,
    },
}

#[derive(Deserialize)]
pub(crate) struct CasePod {
    pub name: String,
}

#[derive(Deserialize)]
pub(crate) struct Connection {
    pub src: String,
    pub dst: String,
    pub protocol: String,
    pub ports: Ports,
    pub allowed: bool,
    pub ingress: Option<Side>,
    pub egress: Option<Side>,
    #[serde(default)]
    pub src_ports: Vec<(u16, u16)>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Allowed,
    Denied,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ports {
    Ranges(Vec<(u16, u16)>),
    /// `"all"`.
    All(All),
}

#[derive(Clone, Copy, Deserialize)]
pub(crate) enum All {
    #[serde(rename = "all")]
    All,
}

/// `explain.json`.
#[derive(Deserialize)]
pub(crate) struct Explained {
    pub pairs: Vec<ExplainedPair>,
}

#[derive(Deserialize)]
pub(crate) struct ExplainedPair {
    pub src: String,
    pub dst: String,
    pub entries: Vec<Entry>,
}

#[derive(Deserialize)]
pub(crate) struct Entry {
    pub allowed: bool,
    pub connections: Vec<EntryPorts>,
    pub egress: Option<EntrySide>,
    pub ingress: Option<EntrySide>,
}

#[derive(Deserialize)]
pub(crate) struct EntryPorts {
    pub protocol: String,
    pub ports: Ports,
}

#[derive(Deserialize)]
pub(crate) struct EntrySide {
    pub result: Side,
    #[serde(default)]
    pub policies: Vec<EntryPolicy>,
    pub pending_policies: Option<Vec<EntryPolicy>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EntryPolicy {
    pub kind: String,
    #[serde(default)]
    pub ns: Option<String>,
    pub name: String,
    #[serde(default)]
    pub effect: Option<String>,
    #[serde(default)]
    pub rule: Option<EntryRule>,
    #[serde(default)]
    pub flowlog: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EntryRule {
    /// From 1.
    pub index: Option<u32>,
}

// === impl Ports ===

impl Ports {
    pub(crate) fn ranges(&self) -> Vec<(u16, u16)> {
        match self {
            Self::All(All::All) => vec![(1, u16::MAX)],
            Self::Ranges(ranges) => ranges.clone(),
        }
    }
}
