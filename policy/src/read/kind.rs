//! Which kinds of object are read, and as what.

use schemas::PolicyKind;

use crate::settings::Dialect;

/// What is to be read of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Policy(PolicyKind, Dialect),
    /// A kind of policy that is not read.
    Unread,
    Tier,
    NetworkSet,
    GlobalNetworkSet,
    HostEndpoint,
    Profile,
    FelixConfiguration,
    Node,
    Slice,
    Namespace,
}

/// Kinds of policy that exist and are not read, by group.
const UNREAD: [(&str, &str); 4] = [
    ("k8s.ovn.org", "EgressFirewall"),
    ("security.istio.io", "AuthorizationPolicy"),
    ("policy.linkerd.io", "AuthorizationPolicy"),
    ("policy.linkerd.io", "ServerAuthorization"),
];

// === impl Kind ===

impl Kind {
    pub(crate) fn of(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let known = match (group, version) {
            ("", "v1") => {
                return match kind {
                    "Node" => Some(Self::Node),
                    "Namespace" => Some(Self::Namespace),
                    _ => None,
                };
            }
            ("discovery.k8s.io", "v1") => {
                return (kind == "EndpointSlice").then_some(Self::Slice);
            }
            ("networking.k8s.io", "v1") => (kind == "NetworkPolicy")
                .then_some(Self::Policy(PolicyKind::NetworkPolicy, Dialect::Kubernetes)),
            ("policy.networking.k8s.io", "v1alpha1") => match kind {
                "AdminNetworkPolicy" => {
                    Some(Self::Policy(PolicyKind::AdminNetworkPolicy, Dialect::Admin))
                }
                "BaselineAdminNetworkPolicy" => {
                    Some(Self::Policy(PolicyKind::BaselineAdminNetworkPolicy, Dialect::Admin))
                }
                _ => None,
            },
            ("policy.networking.k8s.io", "v1alpha2") => (kind == "ClusterNetworkPolicy")
                .then_some(Self::Policy(PolicyKind::ClusterNetworkPolicy, Dialect::Cluster)),
            ("projectcalico.org", "v3") | ("crd.projectcalico.org", "v1") => Self::calico(kind),
            _ => None,
        };
        let is_list = kind.ends_with("List");
        let is_policy = kind.contains("NetworkPolicy") || UNREAD.contains(&(group, kind));
        known.or((is_policy && !is_list).then_some(Self::Unread))
    }

    fn calico(kind: &str) -> Option<Self> {
        let policy = |kind| Some(Self::Policy(kind, Dialect::Calico));
        match kind {
            "NetworkPolicy" => policy(PolicyKind::CalicoNetworkPolicy),
            "GlobalNetworkPolicy" => policy(PolicyKind::GlobalNetworkPolicy),
            "StagedNetworkPolicy" => policy(PolicyKind::StagedNetworkPolicy),
            "StagedGlobalNetworkPolicy" => policy(PolicyKind::StagedGlobalNetworkPolicy),
            "StagedKubernetesNetworkPolicy" => policy(PolicyKind::StagedKubernetesNetworkPolicy),
            "Tier" => Some(Self::Tier),
            "NetworkSet" => Some(Self::NetworkSet),
            "GlobalNetworkSet" => Some(Self::GlobalNetworkSet),
            "HostEndpoint" => Some(Self::HostEndpoint),
            "Profile" => Some(Self::Profile),
            "FelixConfiguration" => Some(Self::FelixConfiguration),
            _ => None,
        }
    }

    /// Whether its fields are read to the last one.
    pub(crate) const fn is_read_whole(self) -> bool {
        !matches!(self, Self::Unread | Self::Node | Self::Namespace | Self::Slice)
    }

    pub(crate) fn is_namespaced(self, kind: &str) -> bool {
        match self {
            Self::Policy(kind, _) => matches!(
                kind,
                PolicyKind::NetworkPolicy
                    | PolicyKind::CalicoNetworkPolicy
                    | PolicyKind::StagedNetworkPolicy
                    | PolicyKind::StagedKubernetesNetworkPolicy
            ),
            Self::NetworkSet | Self::Slice => true,
            // Cilium, Antrea, Istio and their like name what has no namespace so.
            Self::Unread => !kind.contains("Cluster") && !kind.contains("Global"),
            _ => false,
        }
    }
}
