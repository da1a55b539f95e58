//! The values of the stored layout's dictionaries: one struct for each endpoint, trace, reason,
//! service, interface and lane.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;

use super::arrays::{
    Columns, counts, flags, large_numbers, lists, made_texts, maps, numbers, structs, texts,
};
use crate::batch::Lane;
use crate::endpoint::{DeclaredPort, Endpoint, Labels, Service};
use crate::evidence::Dropped;
use crate::json::word::Word;
use crate::json::{HitJson, InterfaceJson, PoliciesJson};
use crate::observation::Names;
use crate::policy::{FailedTerm, NearMiss, PolicyRef, Reason};

type Made = Result<ArrayRef, ArrowError>;

pub(super) fn endpoints(values: &[&Endpoint]) -> Made {
    let each = || values.iter().copied();
    let all_ports = || each().flat_map(|endpoint| endpoint.ports.iter());
    let addresses = each().flat_map(|endpoint| &endpoint.addresses);
    let addresses = made_texts(addresses.map(|addr| Some(addr.to_string())));
    let owner = |endpoint: &Endpoint| endpoint.owner.clone();
    let columns: Columns = vec![
        ("kind", texts(each().map(|endpoint| endpoint.kind.word()))),
        ("namespace", texts(each().map(|endpoint| &*endpoint.namespace))),
        ("name", texts(each().map(|endpoint| &*endpoint.name))),
        ("aggregated_name", texts(each().map(|endpoint| &*endpoint.aggregated_name))),
        ("labels", labels(each().map(|endpoint| &*endpoint.labels))?),
        ("namespace_labels", labels(each().map(|endpoint| &*endpoint.namespace_labels))?),
        ("service_account", texts(each().map(|endpoint| &*endpoint.service_account))),
        (
            "service_account_labels",
            labels(each().map(|endpoint| &*endpoint.service_account_labels))?,
        ),
        ("owner_kind", made_texts(each().map(|e| owner(e).map(|owner| owner.kind.to_string())))),
        ("owner_name", made_texts(each().map(|e| owner(e).map(|owner| owner.name.to_string())))),
        ("node", texts(each().map(|endpoint| &*endpoint.node))),
        ("zone", texts(each().map(|endpoint| &*endpoint.zone))),
        ("host_network", flags(each().map(|endpoint| endpoint.host_network))),
        ("addresses", lists(each().map(|endpoint| endpoint.addresses.len()), addresses)?),
        ("declared_ports", {
            lists(each().map(|endpoint| endpoint.ports.len()), declared_ports(all_ports())?)?
        }),
    ];
    Ok(Arc::new(structs(columns, values.len())?))
}

fn labels<'a>(sets: impl Iterator<Item = &'a Labels> + Clone) -> Made {
    let pairs: Vec<_> = sets.clone().flat_map(Labels::iter).collect();
    maps(sets.map(|labels| labels.iter().len()), &pairs)
}

fn declared_ports<'a>(ports: impl Iterator<Item = &'a DeclaredPort> + Clone) -> Made {
    let rows = ports.clone().count();
    let columns = vec![
        ("name", texts(ports.clone().map(|port| &*port.name))),
        ("protocol", made_texts(ports.clone().map(|port| Some(port.protocol.to_string())))),
        ("port", numbers(ports.map(|port| Some(port.port)))),
    ];
    Ok(Arc::new(structs(columns, rows)?))
}

pub(super) fn services(values: &[&Service]) -> Made {
    let each = || values.iter();
    let columns = vec![
        ("namespace", texts(each().map(|service| &*service.namespace))),
        ("name", texts(each().map(|service| &*service.name))),
        ("port_name", texts(each().map(|service| &*service.port_name))),
        ("port", numbers(each().map(|service| Some(service.port)))),
    ];
    Ok(Arc::new(structs(columns, values.len())?))
}

pub(super) fn lane(lane: Option<&Lane>, cluster: Option<&Arc<str>>) -> Made {
    let columns = vec![
        ("cluster", made_texts(std::iter::once(cluster.map(ToString::to_string)))),
        ("node", made_texts(std::iter::once(lane.map(|lane| lane.node.to_string())))),
        ("boot_id", made_texts(std::iter::once(lane.map(|lane| lane.boot_id.to_string())))),
        ("incarnation", large_numbers(std::iter::once(lane.map(|lane| lane.incarnation.into())))),
    ];
    Ok(Arc::new(structs(columns, 1)?))
}

pub(super) fn interfaces(values: &[InterfaceJson]) -> Made {
    let columns = vec![
        ("node", made_texts(values.iter().map(|interface| Some(interface.node.to_string())))),
        ("netns", texts(values.iter().map(|interface| &*interface.netns))),
        ("name", made_texts(values.iter().map(|interface| Some(interface.name.to_string())))),
    ];
    Ok(Arc::new(structs(columns, values.len())?))
}

pub(super) fn policies(values: &[PoliciesJson]) -> Made {
    let decided: Vec<_> = values.iter().map(PoliciesJson::decided_by).collect();
    let each = || decided.iter().map(Option::as_ref);
    let rule = || each().map(|by| by.and_then(|by| by.rule));
    let text = |text: Option<&Arc<str>>| text.map(ToString::to_string);
    let columns = vec![
        ("pending_action", texts(values.iter().map(|trace| trace.pending_action.word()))),
        ("as_read", texts(values.iter().map(|trace| trace.as_read.word()))),
        ("policies_enforced", hits(values.iter().map(|trace| &*trace.enforced))?),
        ("policies_pending", hits(values.iter().map(|trace| &*trace.pending))?),
        ("decided_by_kind", texts(each().map(|by| by.map_or("", |by| by.kind.word())))),
        ("decided_by_tier", made_texts(each().map(|by| text(by.map(|by| &by.tier))))),
        ("decided_by_namespace", made_texts(each().map(|by| text(by.map(|by| &by.namespace))))),
        ("decided_by_name", made_texts(each().map(|by| text(by.map(|by| &by.name))))),
        ("decided_by_rule", numbers(rule().map(|rule| rule.map(|rule| rule.index)))),
        ("decided_by_calico_rule", numbers(rule().map(|rule| rule.map(|r| r.calico_index)))),
    ];
    Ok(Arc::new(structs(columns, values.len())?))
}

fn hits<'a>(traces: impl Iterator<Item = &'a [HitJson]> + Clone) -> Made {
    let each = || traces.clone().flatten();
    let triggers: Vec<_> = each().map(|hit| hit.trigger.as_ref()).collect();
    let mut columns = vec![
        ("kind", texts(each().map(|hit| hit.kind.word()))),
        ("tier", texts(each().map(|hit| &*hit.tier))),
        ("namespace", texts(each().map(|hit| &*hit.namespace))),
        ("name", texts(each().map(|hit| &*hit.name))),
        ("action", texts(each().map(|hit| hit.action.word()))),
        ("policy_index", numbers(each().map(|hit| Some(hit.policy_index)))),
        ("rule_index", numbers(each().map(|hit| hit.rule_index))),
        ("calico_rule_index", numbers(each().map(|hit| hit.calico_rule_index))),
    ];
    let [kind, tier, namespace, name] = policy_refs(&triggers.iter().copied());
    columns.extend([
        ("trigger_kind", kind),
        ("trigger_tier", tier),
        ("trigger_namespace", namespace),
        ("trigger_name", name),
    ]);
    lists(traces.map(<[_]>::len), Arc::new(structs(columns, triggers.len())?))
}

/// Kind, tier, namespace and name.
fn policy_refs<'a>(refs: &(impl Iterator<Item = Option<&'a PolicyRef>> + Clone)) -> [ArrayRef; 4] {
    let text = |part: fn(&PolicyRef) -> &str| {
        texts(refs.clone().map(move |policy| policy.map_or("", part)))
    };
    [text(|p| p.kind.word()), text(|p| &p.tier), text(|p| &p.namespace), text(|p| &p.name)]
}

pub(super) fn reasons(values: &[&Reason]) -> Made {
    let misses = values.iter().map(|reason| &*reason.near_misses);
    let columns = vec![
        ("sentence", texts(values.iter().map(|reason| &*reason.sentence))),
        ("near_misses", near_misses(misses)?),
    ];
    Ok(Arc::new(structs(columns, values.len())?))
}

fn near_misses<'a>(groups: impl Iterator<Item = &'a [NearMiss]> + Clone) -> Made {
    let each = || groups.clone().flatten();
    let [kind, tier, namespace, name] = policy_refs(&each().map(|miss| Some(&miss.policy)));
    let terms = failed_terms(each().flat_map(|miss| &miss.failed))?;
    let columns = vec![
        ("kind", kind),
        ("tier", tier),
        ("namespace", namespace),
        ("name", name),
        ("rule_index", numbers(each().map(|miss| Some(miss.rule.index)))),
        ("calico_rule_index", numbers(each().map(|miss| Some(miss.rule.calico_index)))),
        ("failed", lists(each().map(|miss| miss.failed.len()), terms)?),
    ];
    let rows = each().count();
    lists(groups.map(<[_]>::len), Arc::new(structs(columns, rows)?))
}

fn failed_terms<'a>(terms: impl Iterator<Item = &'a FailedTerm> + Clone) -> Made {
    let rows = terms.clone().count();
    let columns = vec![
        ("field", texts(terms.clone().map(|term| &*term.field))),
        ("wanted", texts(terms.clone().map(|term| &*term.wanted))),
        ("found", texts(terms.map(|term| &*term.found))),
    ];
    Ok(Arc::new(structs(columns, rows)?))
}

pub(super) fn drops<'a>(
    groups: impl Iterator<Item = &'a [Dropped]> + Clone,
    names: &Names,
) -> Made {
    let each = || groups.clone().flatten();
    let name = |id| Some(names.get(id).to_string());
    let columns = vec![
        ("reason", made_texts(each().map(|dropped| name(dropped.by.reason)))),
        ("place", made_texts(each().map(|dropped| name(dropped.by.place)))),
        ("packets", counts(each().map(|dropped| dropped.packets))),
        ("bytes", counts(each().map(|dropped| dropped.bytes))),
    ];
    let rows = each().count();
    lists(groups.map(<[_]>::len), Arc::new(structs(columns, rows)?))
}
