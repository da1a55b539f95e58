//! `calico-checker.json`: tiers, end of tier, staged policies, for one endpoint. Its flows with
//! ports are all of TCP.

use std::net::IpAddr;

use anyhow::Result;
use policy::{Assume, Explanation, Party, Question};
use schemas::{Action, Addr, Protocol, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};
use whyflow::objects::{Described, NOW};

use super::calico::{NAMESPACE, Rule, describe, manifest, no_profile, tier};
use super::score::Score;

#[derive(Deserialize)]
pub(crate) struct Suite {
    cases: Vec<TierCase>,
}

#[derive(Deserialize)]
struct TierCase {
    case: String,
    endpoint: Endpoint,
    flows: Vec<Flow>,
}

#[derive(Deserialize)]
struct Endpoint {
    tiers: Vec<Tier>,
    profiles: Vec<Profile>,
}

#[derive(Deserialize)]
struct Tier {
    name: String,
    default_action: String,
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    name: String,
    kind: String,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
struct Profile {
    #[serde(default)]
    ingress: Vec<Rule>,
    #[serde(default)]
    egress: Vec<Rule>,
}

#[derive(Deserialize)]
struct Flow {
    direction: String,
    flow: Value,
    enforced: String,
    pending: Option<String>,
    enforced_trace: Option<Vec<Hit>>,
    enforced_trace_actions: Option<Vec<String>>,
    enforced_trace_rule_index: Option<i64>,
}

#[derive(Deserialize)]
struct Hit {
    kind: String,
    tier: String,
    name: String,
    rule_index: i64,
    action: String,
}

pub(crate) fn check(suite: &Suite, score: &mut Score) {
    for case in &suite.cases {
        let described = match described(&case.endpoint) {
            Ok(described) => described,
            Err(error) => {
                score.check(false, || format!("{}: {error:#}", case.case));
                continue;
            }
        };
        for flow in &case.flows {
            if case.endpoint.speaks_of_http() {
                score.skip("HTTP, which no question has");
                continue;
            }
            let wrong = check_flow(&described, flow);
            score.check(wrong.is_none(), || {
                format!("{}: {} ({:?})", case.case, wrong.unwrap_or_default(), described.errors())
            });
        }
    }
}

fn check_flow(described: &Described, flow: &Flow) -> Option<String> {
    let explanation = ask(described, flow).map_err(|error| format!("{error:#}"));
    let explanation = match explanation {
        Ok(explanation) => explanation,
        Err(error) => return Some(error),
    };
    let side = if flow.direction == "egress" { explanation.egress } else { explanation.ingress };
    let verdict = |name: &str| if name == "allow" { Verdict::Allow } else { Verdict::Deny };
    let mut wrong = Vec::new();
    if side.verdict != verdict(&flow.enforced) {
        wrong.push(format!("wanted {}, found {}", flow.enforced, side.verdict));
    }
    if flow.pending.as_ref().is_some_and(|wanted| side.trace.pending_verdict != verdict(wanted)) {
        wrong.push(format!("pending is {}", side.trace.pending_verdict));
    }
    let actions: Vec<Action> = side.trace.enforced.iter().map(|hit| hit.action).collect();
    let actions: Vec<String> = actions.iter().map(ToString::to_string).collect();
    if flow.enforced_trace_actions.as_ref().is_some_and(|wanted| *wanted != actions) {
        wrong.push(format!("actions are {actions:?}"));
    }
    let last = side.hits.last().cloned().unwrap_or_default();
    if let Some(index) = flow.enforced_trace_rule_index
        && !last.ends_with(&format!("|{index}"))
    {
        wrong.push(format!("the last hit is {last}"));
    }
    // A profile stands for itself here, whatever its name is there.
    let policies = flow.enforced_trace.iter().flatten().filter(|hit| hit.kind != "Profile");
    for (place, hit) in policies.enumerate() {
        let Hit { tier, name, rule_index, action, .. } = hit;
        let wanted = format!("{place}|{tier}|gnp:{tier}.{name}|{action}|{rule_index}");
        if !side.hits.contains(&wanted) {
            wrong.push(format!("wanted {wanted} among {:?}", side.hits));
        }
    }
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

fn ask(described: &Described, flow: &Flow) -> Result<Explanation> {
    let subject = described.view.find(&format!("{NAMESPACE}/subject"), NOW)?;
    let subject = &subject[0];
    let number = |name: &str| flow.flow.get(name).and_then(Value::as_u64);
    let addr = |name: &str| -> Option<Addr> {
        Some(Addr::from(flow.flow.get(name)?.as_str()?.parse::<IpAddr>().ok()?))
    };
    let (source, destination) = (addr("src_ip"), addr("dst_ip"));
    let is_egress = flow.direction == "egress";
    let other = if is_egress { destination } else { source };
    let outside: Addr = "192.0.2.1".parse::<IpAddr>()?.into();
    let peer = described.view.unknown(other.unwrap_or(outside));
    let own = if is_egress { source } else { destination };
    let subject = Party { addr: own.or(subject.addresses.first().copied()), endpoint: subject };
    let peer = Party { addr: other.or(Some(outside)), endpoint: &peer };
    let (from, to) = if is_egress { (subject, peer) } else { (peer, subject) };
    let question = Question {
        from,
        to,
        protocol: Protocol(u16::try_from(number("protocol").unwrap_or(6))?),
        port: u16::try_from(number("dst_port").unwrap_or(80))?,
        source_port: number("src_port").map(u16::try_from).transpose()?,
    };
    let judgement = described.policies.judge(&question);
    let reasons = described.policies.explain(&question, &judgement);
    let what = (question.protocol, question.port);
    Ok(Explanation::new(("from", "to"), what, &judgement, reasons))
}

fn described(endpoint: &Endpoint) -> Result<Described> {
    let mut bodies = vec![json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "subject", "namespace": NAMESPACE},
        "spec": {"containers": []}, "status": {"podIP": "10.65.0.1"},
    })];
    for (place, written) in endpoint.tiers.iter().enumerate() {
        bodies.push(tier(&written.name, place, &written.default_action));
        for (place, policy) in written.policies.iter().enumerate() {
            bodies.push(policy.manifest(&written.name, place));
        }
    }
    let rules = |rules: &[Rule]| {
        rules.iter().flat_map(|rule| rule.written(&["TCP"], false)).collect::<Vec<_>>()
    };
    match &endpoint.profiles[..] {
        [] => bodies.push(no_profile()),
        profiles => bodies.extend(profiles.iter().map(|profile| {
            let spec =
                json!({"ingress": rules(&profile.ingress), "egress": rules(&profile.egress)});
            manifest("Profile", &format!("kns.{NAMESPACE}"), spec)
        })),
    }
    describe(bodies, Assume::default())
}

// === impl Policy ===

impl Policy {
    fn manifest(&self, tier: &str, place: usize) -> Value {
        let mut spec = json!({"tier": tier, "order": place, "selector": "all()"});
        let mut types = Vec::new();
        for (name, kind, rules) in
            [("ingress", "Ingress", &self.ingress), ("egress", "Egress", &self.egress)]
        {
            if let Some(rules) = rules {
                let rules: Vec<Value> =
                    rules.iter().flat_map(|rule| rule.written(&["TCP"], false)).collect();
                spec[name] = json!(rules);
                types.push(kind);
            }
        }
        spec["types"] = json!(types);
        manifest(&self.kind, &format!("{tier}.{}", self.name), spec)
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn speaks_of_http(&self) -> bool {
        let policies = self.tiers.iter().flat_map(|tier| &tier.policies);
        let rules =
            policies.flat_map(|policy| policy.ingress.iter().chain(&policy.egress).flatten());
        let profiles = self.profiles.iter().flat_map(|one| one.ingress.iter().chain(&one.egress));
        rules.chain(profiles).any(|rule| rule.http.is_some())
    }
}
