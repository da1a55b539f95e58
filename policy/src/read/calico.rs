//! Reads Calico's NetworkPolicy, GlobalNetworkPolicy and their staged kinds.

use std::sync::Arc;

use schemas::Action;

use crate::model::{Check, Choice, Hosts, Rule, RuleAction, Stage, Subject, tiers};
use crate::nets::Nets;
use crate::read::fields::{Faults, Field, Object};
use crate::read::{calico_checks, calico_rule};
use crate::selector::Selector;

/// What a Calico policy's spec says.
pub(crate) struct Spec {
    pub(crate) tier: Arc<str>,
    pub(crate) order: f64,
    pub(crate) subject: Subject,
    pub(crate) ingress: Option<Box<[Rule]>>,
    pub(crate) egress: Option<Box<[Rule]>>,
    pub(crate) hosts: Hosts,
}

/// Labels that Calico gives to what it knows.
pub(crate) mod keys {
    pub(crate) const NAMESPACE: &str = "projectcalico.org/namespace";
    pub(crate) const ORCHESTRATOR: &str = "projectcalico.org/orchestrator";
    pub(crate) const SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount";
    pub(crate) const NAME: &str = "projectcalico.org/name";
    pub(crate) const METADATA_NAME: &str = "kubernetes.io/metadata.name";
    /// Before the labels of an endpoint's namespace.
    pub(crate) const OF_NAMESPACE: &str = "pcns.";
    /// Before the labels of an endpoint's service account.
    pub(crate) const OF_SERVICE_ACCOUNT: &str = "pcsa.";
}

const RULES_MAX: usize = 1_024;

/// Reads a spec; `namespace` is `None` for a global policy.
pub(crate) fn spec(
    spec: &mut Object<'_>,
    namespace: Option<&Arc<str>>,
    faults: &mut Faults,
) -> Spec {
    let tier = spec.text("tier", faults).filter(|tier| !tier.is_empty());
    let order = spec.get("order").and_then(|field| field.number(faults));
    let subject = subject(spec, namespace, faults);
    let hosts = hosts(spec, namespace, faults);
    spec.skip("performanceHints");
    let types = types(spec, faults);
    let ingress = rules(spec, "ingress", namespace, faults);
    let egress = rules(spec, "egress", namespace, faults);
    let inferred = (!ingress.is_empty() || egress.is_empty(), !egress.is_empty());
    let (applies_in, applies_out) = types.unwrap_or(inferred);
    if hosts.pre_dnat && applies_out {
        faults.error("spec.types", "must not hold Egress with preDNAT, which is for ingress");
    }
    if !applies_in && !ingress.is_empty() {
        faults.warning("spec.ingress", "is not asked: types leaves Ingress out");
    }
    if !applies_out && !egress.is_empty() {
        faults.warning("spec.egress", "is not asked: types leaves Egress out");
    }
    Spec {
        tier: tier.unwrap_or(tiers::DEFAULT).into(),
        order: order.unwrap_or(f64::INFINITY),
        subject,
        ingress: applies_in.then_some(ingress),
        egress: applies_out.then_some(egress),
        hosts,
    }
}

/// The staged action of a staged policy.
pub(crate) fn staged_action(spec: &mut Object<'_>, faults: &mut Faults) -> Stage {
    let Some(field) = spec.get("stagedAction") else { return Stage::Set };
    match field.value.as_str() {
        Some("Delete") => Stage::Delete,
        // Calico evaluates these three alike.
        Some("Set" | "Learn" | "Ignore" | "") => Stage::Set,
        _ => {
            field.is_not("Set, Delete, Learn or Ignore", faults);
            Stage::Set
        }
    }
}

/// A selector that stands in a field; a blank or missing one is `None`.
pub(crate) fn selector<'a>(
    object: &mut Object<'a>,
    name: &'a str,
    faults: &mut Faults,
) -> Option<Selector> {
    let field = object.get(name)?;
    let text = field.text(faults)?;
    if text.trim().is_empty() {
        return None;
    }
    match Selector::parse(text) {
        Ok(selector) => Some(selector),
        Err(error) => {
            faults.error(&field.path, error.to_string());
            None
        }
    }
}

/// A namespace selector over the labels of an endpoint: `all()` is what has a namespace,
/// `global()` what has none.
pub(crate) fn of_namespace(selector: &Selector) -> Selector {
    match selector {
        Selector::All => Selector::Has(keys::NAMESPACE.into()),
        Selector::Global => Selector::Not(Box::new(Selector::Has(keys::NAMESPACE.into()))),
        // Calico reads `all()` so wherever it stands in the expression.
        Selector::Not(inner) => Selector::Not(Box::new(of_namespace(inner))),
        Selector::And(parts) => Selector::And(parts.iter().map(of_namespace).collect()),
        Selector::Or(parts) => Selector::Or(parts.iter().map(of_namespace).collect()),
        one => one.prefixed(keys::OF_NAMESPACE),
    }
}

/// A policy's service account selector over the labels of an endpoint; in a rule `all()` is
/// anyone, with a service account or without.
pub(crate) fn of_service_account(selector: &Selector) -> Selector {
    match selector {
        Selector::All => Selector::Has(keys::SERVICE_ACCOUNT.into()),
        one => one.prefixed(keys::OF_SERVICE_ACCOUNT),
    }
}

/// Notes a `global()` where an API server refuses it: what stores it all the same is read by
/// Calico as `all()`, or in a namespace selector as no namespace.
pub(crate) fn refuse_global(selector: Option<&Selector>, path: &str, faults: &mut Faults) {
    if selector.is_some_and(Selector::has_global) {
        faults.refuse(path, "global() may only stand alone, in a rule's namespaceSelector");
    }
}

fn subject(spec: &mut Object<'_>, namespace: Option<&Arc<str>>, faults: &mut Faults) -> Subject {
    let labels = selector(spec, "selector", faults);
    refuse_global(labels.as_ref(), "spec.selector", faults);
    let accounts = selector(spec, "serviceAccountSelector", faults);
    refuse_global(accounts.as_ref(), "spec.serviceAccountSelector", faults);
    let namespaces =
        if namespace.is_some() { None } else { selector(spec, "namespaceSelector", faults) };
    refuse_global(namespaces.as_ref(), "spec.namespaceSelector", faults);
    let parts = [
        labels,
        accounts.map(|selector| of_service_account(&selector)),
        namespaces.map(|selector| of_namespace(&selector)),
    ];
    let selector = parts.into_iter().flatten().reduce(Selector::and).unwrap_or(Selector::All);
    let check = Check::Selected(Choice { selector, nets: Nets::default() });
    Subject { namespace: namespace.cloned(), checks: [check].into(), hosts: namespace.is_none() }
}

fn hosts(spec: &mut Object<'_>, namespace: Option<&Arc<str>>, faults: &mut Faults) -> Hosts {
    if namespace.is_some() {
        return Hosts::default();
    }
    let mut flag = |name| spec.get(name).and_then(|field| field.flag(faults)).unwrap_or_default();
    let hosts = Hosts {
        apply_on_forward: flag("applyOnForward"),
        pre_dnat: flag("preDNAT"),
        do_not_track: flag("doNotTrack"),
    };
    if (hosts.pre_dnat || hosts.do_not_track) && !hosts.apply_on_forward {
        faults.error("spec.applyOnForward", "must be true with preDNAT or doNotTrack");
    }
    if hosts.pre_dnat && hosts.do_not_track {
        faults.error("spec.preDNAT", "must not be true together with doNotTrack");
    }
    hosts
}

fn types(spec: &mut Object<'_>, faults: &mut Faults) -> Option<(bool, bool)> {
    let entries = spec.list("types", faults);
    let mut named = (false, false);
    for entry in &entries {
        if entries.iter().filter(|other| other.value == entry.value).count() > 1 {
            faults.refuse(&entry.path, format!("{} must not be named twice", entry.value));
        }
        match entry.value.as_str() {
            Some("Ingress") => named.0 = true,
            Some("Egress") => named.1 = true,
            _ => entry.is_not("Ingress or Egress", faults),
        }
    }
    (!entries.is_empty()).then_some(named)
}

/// Reads one list of rules.
pub(crate) fn rules(
    spec: &mut Object<'_>,
    list: &'static str,
    namespace: Option<&Arc<str>>,
    faults: &mut Faults,
) -> Box<[Rule]> {
    let entries = spec.list(list, faults);
    if entries.len() > RULES_MAX {
        let message = format!("holds {} rules; at most {RULES_MAX} are taken", entries.len());
        faults.error(format!("spec.{list}"), message);
    }
    let rule = |(index, entry): (u32, &Field<'_>)| {
        calico_checks::rule(entry, list, namespace.is_none(), faults);
        calico_rule::rule(entry, index, namespace, faults)
    };
    (0..).zip(&entries).filter_map(rule).collect()
}

/// What a rule does.
pub(crate) fn action(field: &Field<'_>, faults: &mut Faults) -> Option<RuleAction> {
    match field.value.as_str() {
        Some("Allow") => Some(RuleAction::Decide(Action::Allow)),
        Some("Deny") => Some(RuleAction::Decide(Action::Deny)),
        Some("Pass") => Some(RuleAction::Decide(Action::Pass)),
        Some("Log") => Some(RuleAction::Log),
        _ => {
            field.is_not("Allow, Deny, Pass or Log", faults);
            None
        }
    }
}
