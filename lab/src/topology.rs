//! The wires: namespaces, veths, addresses and routes, as `ip -batch` commands.
//!
//! ```text
//!  pod eth0 ── pod7cba6f02 [ node-a ] up0 ── up-0 [ switch: br0 ] up-1 ── up0 [ node-b ] …
//!                                                      └── up-out ── eth0 [ outside ]
//! ```
//!
//! Every veth is made inside the lab's namespaces, so that the machine's own never sees one.

use std::fmt::Write;
use std::net::IpAddr;

use crate::error::Result;
use crate::netns::Netns;
use crate::plan::{GATEWAY_V4, GATEWAY_V6, Node, Plan, Pod, UPLINK};

/// A router that every pod finds at the other end of its veth.
const ROUTER_V4: &str = "169.254.1.1";
const ROUTER_V6: &str = "fe80::1";

/// What every namespace of the lab needs: IPv6 without waiting, ICMP answers without limits.
const COMMON: &[(&str, &str)] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_msgs_per_sec", "100000"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

/// What a node needs besides.
const FORWARDING: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
];

/// No late segment confuses conntrack; its sysctls are there once rules have asked for it.
const TRACKING: &[(&str, &str)] = &[("netfilter/nf_conntrack_tcp_be_liberal", "1")];

/// The bridge passes frames and asks nobody.
const BRIDGING: &[(&str, &str)] = &[
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];

/// Makes the switch, the nodes and the outside, and joins them.
///
/// # Errors
/// No privilege, or something of these names is there.
pub(crate) fn build(plan: &Plan) -> Result<()> {
    let switch = plan.switch();
    let outside = &plan.outside;
    switch.create(&[COMMON, BRIDGING].concat())?;
    for node in &plan.nodes {
        node.netns.create(&[COMMON, FORWARDING].concat())?;
    }
    outside.netns.create(&[COMMON, FORWARDING].concat())?;
    switch.ip(&switch_commands(plan))?;
    for node in &plan.nodes {
        node.netns.ip(&node_commands(plan, node))?;
    }
    outside.netns.ip(&outside_commands(plan))
}

/// Sets what can only be set once the nodes have their rules.
///
/// # Errors
/// No privilege.
pub(crate) fn settle(plan: &Plan) -> Result<()> {
    plan.nodes.iter().try_for_each(|node| node.netns.configure(TRACKING))
}

/// Makes a pod's namespace and joins it to its node.
///
/// # Errors
/// No privilege, or something of these names is there.
pub(crate) fn build_pod(node: &Node, pod: &Pod) -> Result<()> {
    let Some(interface) = &pod.interface else { return Ok(()) };
    pod.netns.create(COMMON)?;
    node.netns.ip(&attach_commands(node, pod, interface))?;
    pod.netns.ip(&pod_commands(pod))
}

/// Takes a pod's wire and namespace away.
///
/// # Errors
/// No privilege.
pub(crate) fn remove_pod(node: &Netns, pod: &Pod) -> Result<()> {
    let Some(interface) = &pod.interface else { return Ok(()) };
    node.ip(&format!("link del {interface}\n"))?;
    pod.netns.delete()
}

fn switch_commands(plan: &Plan) -> String {
    let mut text = String::from("link set lo up\nlink add br0 type bridge\nlink set br0 up\n");
    let ends = plan.nodes.iter().enumerate();
    let ends = ends.map(|(index, node)| (format!("up-{index}"), UPLINK, &node.netns));
    for (port, peer, netns) in ends.chain([("up-out".to_owned(), "eth0", &plan.outside.netns)]) {
        let netns = netns.name();
        line(&mut text, format_args!("link add {port} type veth peer name {peer} netns {netns}"));
        line(&mut text, format_args!("link set {port} master br0 up"));
    }
    text
}

fn node_commands(plan: &Plan, node: &Node) -> String {
    let mut text = format!(
        "link set lo up\nlink set {UPLINK} up\n\
         addr add {}/24 dev {UPLINK}\naddr add {}/64 dev {UPLINK} nodad\n\
         route add default via {GATEWAY_V4}\nroute add ::/0 via {GATEWAY_V6} dev {UPLINK}\n",
        node.v4, node.v6
    );
    for other in plan.nodes.iter().filter(|other| other.name != node.name) {
        line(&mut text, format_args!("route add {} via {}", other.pods_v4, other.v4));
        line(&mut text, format_args!("route add {} via {}", other.pods_v6, other.v6));
    }
    text
}

fn outside_commands(plan: &Plan) -> String {
    let mut text = format!(
        "link set lo up\nlink set eth0 up\n\
         addr add {GATEWAY_V4}/24 dev eth0\naddr add {GATEWAY_V6}/64 dev eth0 nodad\n"
    );
    for address in &plan.outside.addresses {
        let length = if address.is_ipv4() { 32 } else { 128 };
        line(&mut text, format_args!("addr add {address}/{length} dev lo"));
    }
    for node in &plan.nodes {
        line(&mut text, format_args!("route add {} via {}", node.pods_v4, node.v4));
        line(&mut text, format_args!("route add {} via {}", node.pods_v6, node.v6));
    }
    text
}

fn attach_commands(node: &Node, pod: &Pod, interface: &str) -> String {
    let netns = pod.netns.name();
    let mut text = format!(
        "link add {interface} type veth peer name eth0 netns {netns}\n\
         addr add {ROUTER_V4}/32 dev {interface} scope link\n\
         link set {interface} up\n\
         addr add {ROUTER_V6}/64 dev {interface} nodad\n"
    );
    for address in pod.addresses() {
        let (length, own) = match address {
            IpAddr::V4(_) => (32, IpAddr::V4(node.v4)),
            IpAddr::V6(_) => (128, IpAddr::V6(node.v6)),
        };
        let to = format_args!("route add {address}/{length} dev {interface} src {own}");
        line(&mut text, to);
    }
    text
}

fn pod_commands(pod: &Pod) -> String {
    format!(
        "link set lo up\nlink set eth0 up\n\
         addr add {}/32 dev eth0\naddr add {}/128 dev eth0 nodad\n\
         route add {ROUTER_V4} dev eth0 scope link\n\
         route add default via {ROUTER_V4} dev eth0\n\
         route add ::/0 via {ROUTER_V6} dev eth0\n",
        pod.v4, pod.v6
    )
}

fn line(text: &mut String, command: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    writeln!(text, "{command}").unwrap_or_default();
}
