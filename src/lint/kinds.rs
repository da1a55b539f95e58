//! Objects that ask an API server for a kind that it does not have.

use cluster::Object;
use policy::{Finding, FindingKind, Severity};

/// The kinds that policies are made of, where API servers have them.
const SERVED: &[(&str, &[&str])] = &[
    ("networking.k8s.io/v1", &["NetworkPolicy"]),
    ("policy.networking.k8s.io/v1alpha1", &["AdminNetworkPolicy", "BaselineAdminNetworkPolicy"]),
    ("policy.networking.k8s.io/v1alpha2", &["ClusterNetworkPolicy"]),
    ("projectcalico.org/v3", CALICO),
    ("crd.projectcalico.org/v1", CALICO),
];

const CALICO: &[&str] = &[
    "NetworkPolicy",
    "GlobalNetworkPolicy",
    "StagedNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "Tier",
    "NetworkSet",
    "GlobalNetworkSet",
    "HostEndpoint",
    "Profile",
];

/// Groups that had policies once, or are asked for them by mistake.
const OTHERS: &[&str] = &["extensions", "apps", ""];

/// How alike a name and a known one must be to be meant: 1 is the same.
const ALIKE: f64 = 0.93;

/// Names every object whose kind is none of its group and version, and was meant to be.
pub(super) fn check(objects: &[Object]) -> Vec<Finding> {
    objects.iter().filter_map(|object| Some(finding(object, wrong(object)?))).collect()
}

fn wrong(object: &Object) -> Option<String> {
    let (version, kind) = (&*object.api_version, &*object.kind);
    let group = group(version);
    let is_of_family = SERVED.iter().any(|(served, _)| self::group(served) == group);
    if !is_of_family && !OTHERS.contains(&group) {
        return None;
    }
    let having = |kind: &str| -> Vec<&str> {
        let has = SERVED.iter().filter(|(_, kinds)| kinds.contains(&kind));
        has.map(|(version, _)| *version).collect()
    };
    let places = having(kind);
    if places.contains(&version) {
        return None;
    }
    let is_young = group == "policy.networking.k8s.io";
    if !places.is_empty() && places.iter().any(|one| self::group(one) == group) && is_young {
        // A version that is still to come.
        return None;
    }
    if !places.is_empty() {
        let right = places.join(" or ");
        return Some(format!("there is no {kind} in {version}: {right} would be right"));
    }
    let known = SERVED.iter().filter(|(served, _)| is_of_family && self::group(served) == group);
    let near = known.flat_map(|(served, kinds)| kinds.iter().map(move |kind| (*served, *kind)));
    let near = near.map(|(served, known)| (strsim::jaro_winkler(kind, known), served, known));
    let (alike, served, meant) = near.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (alike >= ALIKE)
        .then(|| format!("there is no {kind} in {version}: {meant} of {served} would be right"))
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

fn finding(object: &Object, message: String) -> Finding {
    Finding {
        source: object.source.to_string(),
        object: object.key().to_string(),
        field: "kind".to_owned(),
        kind: FindingKind::Refused,
        severity: Severity::Error,
        message,
    }
}

#[cfg(test)]
mod tests {
    use cluster::manifests::parse;

    use super::check;

    fn said(version: &str, kind: &str) -> Vec<String> {
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n");
        let found = parse(&"a.yaml".into(), &text);
        check(&found.objects).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_kind_that_its_group_does_not_have_is_named_with_the_right_one() {
        assert_eq!(
            said("extensions/v1beta1", "NetworkPolicy"),
            ["there is no NetworkPolicy in extensions/v1beta1: networking.k8s.io/v1 or \
              projectcalico.org/v3 or crd.projectcalico.org/v1 would be right"]
        );
        assert_eq!(
            said("networking.k8s.io/v1", "NetworkPolcy"),
            ["there is no NetworkPolcy in networking.k8s.io/v1: NetworkPolicy of \
              networking.k8s.io/v1 would be right"]
        );
        assert_eq!(
            said("networking.k8s.io/v1", "Tier"),
            ["there is no Tier in networking.k8s.io/v1: projectcalico.org/v3 or \
              crd.projectcalico.org/v1 would be right"]
        );
    }

    #[test]
    fn what_others_have_and_what_is_to_come_is_left_alone() {
        for (version, kind) in [
            ("networking.k8s.io/v1", "NetworkPolicy"),
            ("networking.k8s.io/v1", "Ingress"),
            ("projectcalico.org/v3", "IPPool"),
            ("projectcalico.org/v3", "FelixConfiguration"),
            ("policy.networking.k8s.io/v1beta1", "ClusterNetworkPolicy"),
            ("cilium.io/v2", "CiliumNetworkPolicy"),
            ("crd.antrea.io/v1beta1", "NetworkPolicy"),
            ("apps/v1", "Deployment"),
            ("v1", "Pod"),
        ] {
            assert_eq!(said(version, kind), [""; 0], "{version} {kind}");
        }
        let of_calico = "GlobalThreatFeed GlobalAlert GlobalReport GlobalReportType ExternalNetwork \
                         EgressGatewayPolicy PolicyRecommendationScope PacketCapture HostCapture \
                         BGPPeer BGPFilter BGPConfiguration IPAMConfiguration IPReservation \
                         BlockAffinity CalicoNodeStatus ClusterInformation BFDConfiguration \
                         KubeControllersConfiguration RemoteClusterConfiguration LicenseKey \
                         UISettings ManagedCluster SecurityEventWebhook";
        for kind in of_calico.split_whitespace() {
            assert_eq!(said("projectcalico.org/v3", kind), [""; 0], "{kind}");
        }
    }
}
