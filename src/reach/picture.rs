//! Who may open what as a picture: an arrow for each pair that may, by namespace. Graphviz or
//! Mermaid draws it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemas::Verdict;

use super::{Pair, said};

/// The same picture for either program.
struct Picture<'a> {
    /// Names by namespace, each with its number; what has no namespace is in the last, unnamed.
    groups: BTreeMap<Option<&'a str>, Vec<(usize, &'a str)>>,
    /// From, to, what it says, and whether it is certain.
    arrows: Vec<(usize, usize, String, bool)>,
}

/// For Graphviz. An arrow with dashes is one that is not certain.
pub(super) fn dot(pairs: &[Pair]) -> String {
    let picture = Picture::of(pairs);
    let mut text = String::from("digraph reach {\n  rankdir=LR;\n  node [shape=box];\n");
    for (number, (namespace, names)) in picture.groups.iter().enumerate() {
        let mut indent = "  ";
        if let Some(namespace) = namespace {
            let label = quoted(namespace, "\\\"");
            let _infallible = writeln!(text, "  subgraph cluster_{number} {{\n    label={label};");
            indent = "    ";
        }
        for (id, name) in names {
            let label = quoted(name, "\\\"");
            let _infallible = writeln!(text, "{indent}n{id} [label={label}];");
        }
        if namespace.is_some() {
            text.push_str("  }\n");
        }
    }
    for (from, to, ports, is_certain) in &picture.arrows {
        let style = if *is_certain { "" } else { ", style=dashed" };
        let label = quoted(ports, "\\\"");
        let _infallible = writeln!(text, "  n{from} -> n{to} [label={label}{style}];");
    }
    text.push_str("}\n");
    text
}

/// For Mermaid. An arrow with dots is one that is not certain.
pub(super) fn mermaid(pairs: &[Pair]) -> String {
    let picture = Picture::of(pairs);
    let mut text = String::from("flowchart LR\n");
    for (number, (namespace, names)) in picture.groups.iter().enumerate() {
        let mut indent = "  ";
        if let Some(namespace) = namespace {
            let label = quoted(namespace, "#quot;");
            let _infallible = writeln!(text, "  subgraph g{number}[{label}]");
            indent = "    ";
        }
        for (id, name) in names {
            let label = quoted(name, "#quot;");
            let _infallible = writeln!(text, "{indent}n{id}[{label}]");
        }
        if namespace.is_some() {
            text.push_str("  end\n");
        }
    }
    for (from, to, ports, is_certain) in &picture.arrows {
        let arrow = if *is_certain { "-->" } else { "-.->" };
        let label = quoted(ports, "#quot;");
        let _infallible = writeln!(text, "  n{from} {arrow}|{label}| n{to}");
    }
    text
}

fn quoted(text: &str, quote: &str) -> String {
    format!("\"{}\"", text.replace('\\', "/").replace('"', quote).replace(['\n', '\r'], " "))
}

// === impl Picture ===

impl<'a> Picture<'a> {
    fn of(pairs: &'a [Pair]) -> Self {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for name in pairs.iter().flat_map(|pair| [plain(&pair.from).0, plain(&pair.to).0]) {
            let next = numbers.len();
            numbers.entry(name).or_insert(next);
        }
        let mut groups: BTreeMap<Option<&str>, Vec<(usize, &str)>> = BTreeMap::new();
        for (name, number) in &numbers {
            let (group, short) = match name.split_once('/') {
                Some((namespace, short)) if is_namespace(namespace) => (Some(namespace), short),
                _ => (None, *name),
            };
            groups.entry(group).or_default().push((*number, short));
        }
        let arrow = |pair: &Pair| {
            let (from, family) = plain(&pair.from);
            let (to, _) = plain(&pair.to);
            let is_certain = pair.connections.iter().all(|one| one.verdict == Verdict::Allow);
            let ports = format!("{}{family}", said(&pair.connections));
            (numbers[from], numbers[to], ports, is_certain)
        };
        Self { arrows: pairs.iter().map(arrow).collect(), groups }
    }
}

/// A name without the address family that it is about, and that family.
fn plain(name: &str) -> (&str, &str) {
    let at = name.find(" (IPv").unwrap_or(name.len());
    name.split_at(at)
}

/// Neither `node/…` nor a block of addresses.
fn is_namespace(text: &str) -> bool {
    text != "node" && !text.contains(['.', ':'])
}

#[cfg(test)]
mod tests {
    use policy::Reach;
    use schemas::Protocol;

    use super::*;

    #[test]
    fn names_are_quoted_and_families_of_one_pair_are_two_arrows() {
        let open = |verdict| Reach {
            protocol: Protocol::TCP,
            first: 1,
            last: 80,
            verdict,
            egress: verdict,
            ingress: verdict,
        };
        let pair = |from: &str, to: &str, verdict| Pair {
            from: from.to_owned(),
            to: to.to_owned(),
            connections: vec![open(verdict)],
        };
        let pairs = [
            pair("a/\"x\" (IPv4)", "node/n (IPv4)", Verdict::Allow),
            pair("a/\"x\" (IPv6)", "node/n (IPv6)", Verdict::Unknown),
            pair("10.0.0.0/8", "a/\"x\"", Verdict::Allow),
        ];
        assert_eq!(
            dot(&pairs),
            "digraph reach {\n  rankdir=LR;\n  node [shape=box];\n  n2 [label=\"10.0.0.0/8\"];\n  \
             n1 [label=\"node/n\"];\n  subgraph cluster_1 {\n    label=\"a\";\n    \
             n0 [label=\"\\\"x\\\"\"];\n  }\n  n0 -> n1 [label=\"tcp 1-80 (IPv4)\"];\n  \
             n0 -> n1 [label=\"(unknown: tcp 1-80) (IPv6)\", style=dashed];\n  \
             n2 -> n0 [label=\"tcp 1-80\"];\n}\n"
        );
        assert!(
            mermaid(&pairs).contains("    n0[\"#quot;x#quot;\"]\n  end\n"),
            "{}",
            mermaid(&pairs)
        );
        assert!(mermaid(&pairs).contains("  n0 -.->|\"(unknown: tcp 1-80) (IPv6)\"| n1\n"));
    }
}
