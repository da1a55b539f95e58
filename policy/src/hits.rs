//! Policy hits as the strings of Calico's flow logs, and back.
//!
//! Since v3.32 a hit reads `index|tier|kind:[namespace/]name|action|rule`, before that
//! `index|tier|name part|action|rule`; rule -1 is the end of a tier, and the policy is its
//! trigger. AdminNetworkPolicy and BaselineAdminNetworkPolicy exist in the older form alone.

use schemas::policy::{Decider, RuleIndex};
use schemas::{Action, PolicyHit, PolicyKind, PolicyRef};
use thiserror::Error;

/// Why a string is not a policy hit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HitError {
    /// Not five parts.
    #[error("a policy hit has five parts between '|', found {found} in '{text}'")]
    Parts {
        /// The string.
        text: String,
        /// How many parts it has.
        found: usize,
    },
    /// A part that is not what it should be.
    #[error("'{found}' is no {part} of a policy hit; it should be {wanted}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What was there.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
}

const PROFILE_TIER: &str = "__PROFILE__";
const ADMIN_PREFIX: &str = "kanp.adminnetworkpolicy.";
const BASELINE_PREFIX: &str = "kbanp.baselineadminnetworkpolicy.";
const KUBERNETES_PREFIX: &str = "knp.default.";
const STAGED_PREFIX: &str = "staged:";

/// The short names of the newer form.
const SHORT: [(PolicyKind, &str); 8] = [
    (PolicyKind::CalicoNetworkPolicy, "np"),
    (PolicyKind::GlobalNetworkPolicy, "gnp"),
    (PolicyKind::StagedNetworkPolicy, "snp"),
    (PolicyKind::StagedGlobalNetworkPolicy, "sgnp"),
    (PolicyKind::StagedKubernetesNetworkPolicy, "sknp"),
    (PolicyKind::NetworkPolicy, "knp"),
    (PolicyKind::ClusterNetworkPolicy, "kcnp"),
    (PolicyKind::Profile, "pro"),
];

/// A trace in the newer form, in order.
#[must_use]
pub fn print_all(hits: &[PolicyHit]) -> Vec<String> {
    hits.iter().enumerate().map(|(index, hit)| print(index, hit)).collect()
}

/// A hit in the newer form; a kind that only the older form has is written in that.
#[must_use]
pub fn print(index: usize, hit: &PolicyHit) -> String {
    let PolicyRef { kind, tier, namespace, name } = &hit.policy;
    let Some((_, short)) = SHORT.iter().find(|(known, _)| known == kind) else {
        return print_before_v3_32(index, hit);
    };
    let tier = if *kind == PolicyKind::Profile { PROFILE_TIER } else { tier };
    let slash = if namespace.is_empty() { "" } else { "/" };
    let (action, rule) = (hit.action, rule_text(hit.decider));
    format!("{index}|{tier}|{short}:{namespace}{slash}{name}|{action}|{rule}")
}

/// A hit in the form before v3.32.
#[must_use]
pub fn print_before_v3_32(index: usize, hit: &PolicyHit) -> String {
    let PolicyRef { kind, tier, namespace, name } = &hit.policy;
    let bare = name.strip_prefix(&format!("{tier}.")).unwrap_or(name);
    let part = match kind {
        PolicyKind::CalicoNetworkPolicy => format!("{namespace}/{tier}.{bare}"),
        PolicyKind::GlobalNetworkPolicy | PolicyKind::ClusterNetworkPolicy => {
            format!("{tier}.{bare}")
        }
        PolicyKind::StagedNetworkPolicy => format!("{namespace}/{tier}.{STAGED_PREFIX}{bare}"),
        PolicyKind::StagedGlobalNetworkPolicy => format!("{tier}.{STAGED_PREFIX}{bare}"),
        PolicyKind::StagedKubernetesNetworkPolicy => {
            format!("{namespace}/{STAGED_PREFIX}{KUBERNETES_PREFIX}{name}")
        }
        PolicyKind::NetworkPolicy => format!("{namespace}/{KUBERNETES_PREFIX}{name}"),
        PolicyKind::AdminNetworkPolicy => format!("{ADMIN_PREFIX}{name}"),
        PolicyKind::BaselineAdminNetworkPolicy => format!("{BASELINE_PREFIX}{name}"),
        PolicyKind::Profile => format!("{PROFILE_TIER}.{name}"),
    };
    let tier = if *kind == PolicyKind::Profile { PROFILE_TIER } else { tier };
    let (action, rule) = (hit.action, rule_text(hit.decider));
    format!("{index}|{tier}|{part}|{action}|{rule}")
}

/// Reads a hit in either form: its place in the trace, and the hit.
///
/// # Errors
/// When a part is missing, or is not what it should be.
pub fn parse(text: &str) -> Result<(usize, PolicyHit), HitError> {
    let parts: Vec<&str> = text.split('|').collect();
    let [index, tier, name, action, rule] = parts[..] else {
        return Err(HitError::Parts { text: text.to_owned(), found: parts.len() });
    };
    let index = index.parse().map_err(|_| part("index", index, "a number from 0"))?;
    let policy = parse_policy(tier, name)?;
    let action = [Action::Allow, Action::Deny, Action::Pass]
        .into_iter()
        .find(|known| known.to_string() == action)
        .ok_or_else(|| part("action", action, "allow, deny or pass"))?;
    let decider = if rule == "-1" {
        Decider::EndOfTier
    } else {
        let number = rule.parse().map_err(|_| part("rule", rule, "a number from -1"))?;
        Decider::Rule(RuleIndex { index: number, calico_index: number })
    };
    Ok((index, PolicyHit { policy, decider, action }))
}

fn parse_policy(tier: &str, text: &str) -> Result<PolicyRef, HitError> {
    let is_profile = tier == PROFILE_TIER;
    if !is_profile && !is_subdomain(tier) {
        return Err(part("tier", tier, "the name of a tier"));
    }
    let newer = text.split_once(':').and_then(|(short, rest)| {
        let (kind, _) = SHORT.iter().find(|(_, known)| *known == short)?;
        Some((*kind, rest))
    });
    let (kind, namespace, name) = match newer {
        Some((kind, rest)) => {
            let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
            (kind, namespace, name)
        }
        None => parse_older(tier, text)?,
    };
    if is_profile != (kind == PolicyKind::Profile) {
        return Err(part("tier", tier, "__PROFILE__ for a profile and for nothing else"));
    }
    if !is_subdomain(name) {
        return Err(part("name", name, "the name of a policy"));
    }
    if is_namespaced(kind) == namespace.is_empty() || !is_label_or_empty(namespace) {
        let wanted = "a namespace where the kind has one, and none where it has not";
        return Err(part("namespace", namespace, wanted));
    }
    let tier = if is_profile { "" } else { tier };
    Ok(PolicyRef { kind, tier: tier.into(), namespace: namespace.into(), name: name.into() })
}

/// Kind, namespace and name of an older form's name part.
fn parse_older<'a>(tier: &str, text: &'a str) -> Result<(PolicyKind, &'a str, &'a str), HitError> {
    if let Some(name) = text.strip_prefix(ADMIN_PREFIX) {
        return Ok((PolicyKind::AdminNetworkPolicy, "", name));
    }
    if let Some(name) = text.strip_prefix(BASELINE_PREFIX) {
        return Ok((PolicyKind::BaselineAdminNetworkPolicy, "", name));
    }
    let (namespace, rest) = text.split_once('/').unwrap_or(("", text));
    if let Some(name) = rest.strip_prefix(KUBERNETES_PREFIX) {
        return Ok((PolicyKind::NetworkPolicy, namespace, name));
    }
    if let Some(rest) = rest.strip_prefix(STAGED_PREFIX) {
        let name = rest.strip_prefix(KUBERNETES_PREFIX).unwrap_or(rest);
        return Ok((PolicyKind::StagedKubernetesNetworkPolicy, namespace, name));
    }
    let Some(name) = rest.strip_prefix(tier).and_then(|rest| rest.strip_prefix('.')) else {
        let wanted = "'kind:[namespace/]name', or the older '[namespace/]tier.name'";
        return Err(part("policy", text, wanted));
    };
    let staged = name.strip_prefix(STAGED_PREFIX);
    let kind = match (staged.is_some(), namespace.is_empty()) {
        _ if tier == PROFILE_TIER => PolicyKind::Profile,
        (true, true) => PolicyKind::StagedGlobalNetworkPolicy,
        (true, false) => PolicyKind::StagedNetworkPolicy,
        (false, true) => PolicyKind::GlobalNetworkPolicy,
        (false, false) => PolicyKind::CalicoNetworkPolicy,
    };
    Ok((kind, namespace, staged.unwrap_or(name)))
}

const fn is_namespaced(kind: PolicyKind) -> bool {
    matches!(
        kind,
        PolicyKind::CalicoNetworkPolicy
            | PolicyKind::NetworkPolicy
            | PolicyKind::StagedNetworkPolicy
            | PolicyKind::StagedKubernetesNetworkPolicy
    )
}

fn rule_text(decider: Decider) -> String {
    match decider {
        Decider::Rule(index) => index.calico_index.to_string(),
        Decider::EndOfTier => "-1".to_owned(),
    }
}

fn part(part: &'static str, found: &str, wanted: &'static str) -> HitError {
    HitError::Part { part, found: found.to_owned(), wanted }
}

fn is_label_or_empty(text: &str) -> bool {
    text.is_empty() || (crate::names::is_dns_label(text))
}

fn is_subdomain(text: &str) -> bool {
    crate::names::is_dns_subdomain(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_of_the_newer_form_survive_reading_and_writing() {
        for text in [
            "0|tier|np:namespace/tier.name|allow|1",
            "0|default|knp:namespace/name|allow|2",
            "1|tier|snp:namespace/name.with.dots|deny|0",
            "1|default|sknp:namespace/name|deny|3",
            "3|kube-admin|kcnp:name|pass|4",
            "1|__PROFILE__|pro:kns.default|allow|0",
            "1|tier1|np:ns1/tier1.policy1|allow|-1",
            "2|kube-admin|gnp:kube-admin.policy1|allow|-1",
            "1|tier2|snp:default/np2-1|deny|-1",
            "4|tier2|sgnp:np2-1|deny|-1",
        ] {
            let (index, hit) = parse(text).unwrap();
            assert_eq!(print(index, &hit), text);
        }
    }

    #[test]
    fn hits_of_the_older_form_survive_reading_and_writing() {
        for text in [
            "0|tier|tier.name|allow|0",
            "0|tier|ns/tier.name|allow|0",
            "0|default|ns/knp.default.name|allow|2",
            "0|tier|tier.staged:name|deny|0",
            "0|tier|ns/tier.staged:name|deny|-1",
            "0|default|ns/staged:knp.default.name|deny|1",
            "0|adminnetworkpolicy|kanp.adminnetworkpolicy.name|pass|1",
            "0|baselineadminnetworkpolicy|kbanp.baselineadminnetworkpolicy.default|deny|1",
            "0|__PROFILE__|__PROFILE__.kns.default|allow|0",
        ] {
            let (index, hit) = parse(text).unwrap();
            assert_eq!(print_before_v3_32(index, &hit), text);
        }
    }

    #[test]
    fn what_is_no_hit_is_refused() {
        for text in [
            "x|tier|np:ns/tier.name|allow|1",
            "0|tier|np:ns/tier.name|allow|x",
            "0|tier|np:ns/tier.name|allow|-2",
            "0|tier|np:ns/tier.name|allow|1|more",
            "0|tier|np:ns/tier.n@me|allow|1",
            "0|ti@er|np:ns/tier.name|allow|1",
            "0|_|np:ns/tier.name|allow|1",
            "0|tier|np:ns/tier.name|badaction|1",
            "0||np:ns/tier.name|allow|1",
            "0|tier|np:ns/|allow|1",
            "0|___PROFILE__|pro:kns.default|allow|0",
            "0|__PROFILE__|pro:kns.Default|allow|0",
            "0|__PROFILE__|pro:__PROFILE__|deny|-1",
            "0|tier|gnp:ns/name|allow|1",
            "0|tier|np:name|allow|1",
            "0|tier|pro:kns.default|allow|0",
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
