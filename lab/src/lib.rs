//! A miniature Kubernetes-like cluster on one Linux host.
//!
//! Nodes and pods are network namespaces, services and network policies are nftables rules in
//! the nodes' namespaces, derived from ordinary manifests, and real programs serve and call. The
//! machine's own namespace is not touched: no link, rule, route or sysctl of it is ever changed.
//!
//! This crate refuses to know whyflow's evaluator: what it enforces is what verdicts are compared
//! with.

mod clock;
pub mod error;

pub mod annotations;
pub mod calls;
pub mod manifests;
mod names;

pub mod declared;
pub mod dialects;
mod workloads;

pub mod netns;
pub mod plan;
mod topology;

pub mod enforce;
pub mod services;

mod conntrack;

mod files;
mod live;
pub mod programs;

pub mod agent;

pub mod lab;
pub mod status;

pub mod probe;
pub mod random;

pub use agent::log::Event;
pub use annotations::{Lie, UnexplainedDrop};
pub use error::{Error, Result};
pub use lab::{Lab, OUTSIDE, Spec, down};
pub use manifests::Object;
pub use plan::{Node, Plan, Pod};
pub use probe::{Outcome, Probe, Protocol};
pub use programs::Program;
pub use random::random_policies;
