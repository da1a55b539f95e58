//! The graph in Prometheus' words, read when it is scraped.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Nodes;
use crate::{Account, Amount};

#[derive(Debug)]
struct Scraped(Nodes);

type Accounts = [(String, Account)];

/// A part of an account: its name, what it is, and where it stands.
type Part = (&'static str, &'static str, fn(&Account) -> Amount);

/// A unit that amounts are counted in.
type Unit = (&'static str, fn(Amount) -> u64);

/// Registers every node's and edge's numbers, also of those that are added later.
pub(super) fn register(registry: &mut Registry, nodes: &Nodes) {
    registry.register_collector(Box::new(Scraped(nodes.clone())));
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let accounts = self.0.accounts();
        let parts: [Part; 2] = [
            ("received", "What a node has received", |account| account.received),
            ("sent", "What a node has sent", |account| account.sent),
        ];
        for (part, help, amount) in parts {
            for (unit, value) in units() {
                let name = format!("graph_{part}_{unit}");
                let mut family = counters(&mut encoder, &name, help)?;
                for (node, account) in &accounts {
                    let labels = [("node", node.as_str())];
                    count(&mut family, &labels, value(amount(account)))?;
                }
            }
        }
        dropped(&mut encoder, &accounts)?;
        held(&mut encoder, &accounts)?;
        own(&mut encoder, &accounts)?;
        self.edges(&mut encoder)
    }
}

impl Scraped {
    fn edges(&self, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
        let edges = self.0.edges();
        let mut rows = gauges(encoder, "graph_edge_rows", "Rows on the edge behind a node")?;
        for (edge, stats) in &edges {
            gauge(&mut rows, &[("edge", edge.as_str())], stats.rows as u64)?;
        }
        let mut bytes = gauges(encoder, "graph_edge_bytes", "Bytes on the edge behind a node")?;
        for (edge, stats) in &edges {
            gauge(&mut bytes, &[("edge", edge.as_str())], stats.bytes as u64)?;
        }
        let mut full = counters(encoder, "graph_edge_full", "How often an edge was found full")?;
        for (edge, stats) in &edges {
            count(&mut full, &[("edge", edge.as_str())], stats.full)?;
        }
        Ok(())
    }
}

fn dropped(encoder: &mut DescriptorEncoder, accounts: &Accounts) -> Result<(), Error> {
    for (unit, value) in units() {
        let name = format!("graph_dropped_{unit}");
        let mut family = counters(encoder, &name, "What a node has let go, by reason")?;
        for (node, account) in accounts {
            for (reason, amount) in &account.dropped {
                let labels = [("node", node.as_str()), ("reason", reason)];
                count(&mut family, &labels, value(*amount))?;
            }
        }
    }
    Ok(())
}

fn held(encoder: &mut DescriptorEncoder, accounts: &Accounts) -> Result<(), Error> {
    for (unit, value) in units() {
        let name = format!("graph_held_{unit}");
        let mut family = gauges(encoder, &name, "What a node keeps for a later batch")?;
        for (node, account) in accounts {
            gauge(&mut family, &[("node", node.as_str())], value(account.held))?;
        }
    }
    Ok(())
}

/// What nodes tell of themselves.
fn own(encoder: &mut DescriptorEncoder, accounts: &Accounts) -> Result<(), Error> {
    let mut family = gauges(encoder, "graph_node_size", "What a node holds, by name")?;
    for (node, account) in accounts {
        for (name, value) in &account.gauges {
            gauge(&mut family, &[("node", node.as_str()), ("name", name)], *value)?;
        }
    }
    let mut family = counters(encoder, "graph_node_events", "What a node counts, by name")?;
    for (node, account) in accounts {
        for (name, value) in &account.counts {
            count(&mut family, &[("node", node.as_str()), ("name", name)], *value)?;
        }
    }
    Ok(())
}

fn units() -> [Unit; 2] {
    [("observations", |amount| amount.observations), ("packets", |amount| amount.packets)]
}

fn counters<'s>(
    encoder: &'s mut DescriptorEncoder,
    name: &'s str,
    help: &str,
) -> Result<MetricEncoder<'s>, Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauges<'s>(
    encoder: &'s mut DescriptorEncoder,
    name: &'s str,
    help: &str,
) -> Result<MetricEncoder<'s>, Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn count<const N: usize>(
    family: &mut MetricEncoder,
    labels: &[(&str, &str); N],
    value: u64,
) -> Result<(), Error> {
    family.encode_family(labels)?.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)
}

fn gauge<const N: usize>(
    family: &mut MetricEncoder,
    labels: &[(&str, &str); N],
    value: u64,
) -> Result<(), Error> {
    family.encode_family(labels)?.encode_gauge(&value)
}
