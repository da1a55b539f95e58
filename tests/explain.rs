//! `explain` and `reach` as their user meets them.
//!
//! `BLESS=1 cargo test` writes what the commands of docs/explain.md print anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const CLUSTER: &str = "tests/explain/cluster.yaml";

fn whyflow(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_whyflow"));
    command.args(args);
    command
}

fn explain(args: &[&str]) -> Output {
    whyflow(&[&["explain", "--manifests", CLUSTER], args].concat())
}

fn answer(args: &[&str]) -> Value {
    let output = explain(&[args, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn verdict(args: &[&str]) -> String {
    answer(args)["verdict"].as_str().unwrap().to_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaints(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Answers questions of a file, which standard input is: a pipe would fill up.
fn asked(manifests: &Path, questions: &str) -> (Vec<Value>, Output) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(questions.as_bytes()).unwrap();
    file.rewind().unwrap();
    let manifests = manifests.to_str().unwrap();
    let mut command = command(&["explain", "--manifests", manifests, "--questions", "-"]);
    let output = command.stdin(file).output().unwrap();
    let lines = said(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output)
}

#[test]
fn the_exit_code_says_whether_it_could_answer_and_not_what() {
    assert_eq!(code(&explain(&["shop/web", "shop/cart", "8080"])), Some(0));
    assert_eq!(code(&explain(&["shop/web", "shop/db-0", "5432"])), Some(0));
    let unknown = explain(&["shop/web", "shop/car", "8080"]);
    assert_eq!(code(&unknown), Some(2));
    assert_eq!(
        said(&unknown),
        "unknown: nothing is called 'shop/car': in 'shop' there are cart, db-0, db-1, web\n"
    );
    assert_eq!(code(&explain(&["shop/web", "shop/cart", "99999"])), Some(2));
    assert_eq!(code(&explain(&["shop/web", "shop/cart"])), Some(2));
    assert_eq!(
        code(&whyflow(&["explain", "--manifests", "tests/nowhere", "a/b", "a/b", "1"])),
        Some(2)
    );
}

#[test]
fn a_side_names_its_decider_its_rule_and_what_nearly_matched() {
    let allowed = answer(&["shop/web", "shop/cart", "8085"]);
    assert_eq!(allowed["verdict"], "allow");
    assert_eq!(allowed["egress"]["decided_by"], Value::Null);
    let decided = &allowed["ingress"]["decided_by"];
    assert_eq!(decided["kind"], "NetworkPolicy");
    assert_eq!((&decided["namespace"], &decided["name"]), (&json!("shop"), &json!("cart")));
    assert_eq!(decided["rule"], json!({"index": 0, "calico_index": 0}));

    let denied = answer(&["shop/web", "shop/db-0", "sql"]);
    assert_eq!((&denied["verdict"], &denied["port"]), (&json!("deny"), &json!(5432)));
    assert_eq!(denied["ingress"]["decided_by"]["rule"], Value::Null);
    let nearest = &denied["ingress"]["near_misses"][0];
    assert_eq!(nearest["policy"]["name"], "db");
    assert_eq!(nearest["failed"][0]["wanted"], "app=cart");
    assert_eq!(nearest["failed"][0]["found"], "app=web");
}

#[test]
fn each_form_of_an_end_is_understood() {
    assert_eq!(verdict(&["shop/deployment/web", "shop/pod/cart", "http"]), "allow");
    assert_eq!(verdict(&["shop/cart", "198.51.100.7", "443"]), "allow");
    assert_eq!(verdict(&["shop/cart", "198.51.100.70", "443"]), "deny");
    assert_eq!(verdict(&["shop/cart", "198.51.100.7", "443/udp"]), "deny");
    assert_eq!(verdict(&["node/n1", "shop/db-0", "80"]), "deny");
    assert_eq!(verdict(&["10.244.0.10", "10.244.0.20", "5432"]), "allow");
    assert_eq!(verdict(&["shop/db-1", "shop/db-1", "8.0/icmp"]), "allow");
    let nobody = answer(&["shop/cart", "10.244.0.99", "80"]);
    assert_eq!(nobody["egress"], Value::Null);
    assert!(nobody["error"].as_str().unwrap().contains("no pod or node there has it"), "{nobody}");
}

#[test]
fn pods_of_one_workload_that_differ_are_named() {
    assert_eq!(verdict(&["shop/cart", "shop/db", "5432"]), "allow");
    let output = explain(&["shop/web", "shop/db", "5432"]);
    assert_eq!(code(&output), Some(2));
    let text = said(&output);
    assert!(text.contains("shop/web to shop/db-0 is denied"), "{text}");
    assert!(text.contains("shop/web to shop/db-1 is allowed"), "{text}");
}

#[test]
fn address_families_that_differ_are_named() {
    assert_eq!(verdict(&["fd00::99", "shop/cart", "9090"]), "allow");
    assert_eq!(verdict(&["10.1.2.3", "shop/cart", "9090"]), "deny");
}

#[test]
fn icmp_is_asked_of_the_addresses_that_it_can_have() {
    let found = |from: &str, what: &str| answer(&[from, "shop/cart", what]);
    for (from, other) in [("fd00::99", "8.0/icmp"), ("10.1.2.3", "128.0/icmp6")] {
        let answer = found(from, other);
        assert_eq!(answer["verdict"], "unknown");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("do not both have an IP"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let pod = |name: &str, four: &str, six: &str| {
        let ips = json!([{"ip": four}, {"ip": six}]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "status": {"podIP": four, "podIPs": ips}})
    };
    let from = json!([{"ipBlock": {"cidr": "0.0.0.0/0"}}]);
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "four", "namespace": "shop"},
        "spec": {"podSelector": {}, "ingress": [{"from": from}]}});
    let items = json!([pod("a", "10.0.0.1", "fd00::1"), pod("b", "10.0.0.2", "fd00::2"), policy]);
    std::fs::write(folder.path().join("all.json"), items.to_string()).unwrap();
    let question =
        |protocol| json!({"from": "shop/a", "to": "shop/b", "protocol": protocol}).to_string();
    let questions = [question("icmp"), question("icmp6")].join("\n");
    let (answers, _) = asked(folder.path(), &questions);
    let verdicts: Vec<&Value> = answers.iter().map(|answer| &answer["verdict"]).collect();
    assert_eq!(verdicts, ["allow", "deny"]);
}

#[test]
fn an_address_of_a_service_leads_to_its_backends() {
    let answer = answer(&["shop/web", "10.96.0.10", "80"]);
    assert_eq!((&answer["verdict"], &answer["port"]), (&json!("allow"), &json!(80)));
    let sentence = answer["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("10.96.0.10 is the service shop/cart:80, asked of"), "{sentence}");
}

#[test]
fn a_reading_that_is_assumed_changes_the_answer() {
    let asked = ["10.244.0.20", "shop/cart", "9090"];
    assert_eq!(verdict(&asked), "deny");
    let v6 = ["shop/web", "shop/cart", "9090"];
    assert_eq!(verdict(&v6), "unknown");
    let assumed = answer(&[&v6[..], &["--assume", "ipblock-skips-pods"]].concat());
    assert_eq!(assumed["verdict"], "deny");
    assert_eq!(code(&explain(&[&v6[..], &["--assume", "wishes"]].concat())), Some(2));
}

#[test]
fn a_policy_of_a_kind_that_is_not_read_leaves_open_what_it_could_touch() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(CLUSTER, folder.path().join("cluster.yaml")).unwrap();
    std::fs::write(
        folder.path().join("cilium.yaml"),
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: x, namespace: shop}\n",
    )
    .unwrap();
    let question = json!({"from": "shop/web", "to": "shop/cart", "port": 8080});
    let (answers, output) = asked(folder.path(), &question.to_string());
    assert_eq!((&answers[0]["verdict"], code(&output)), (&json!("incomplete"), Some(2)));
    assert!(answers[0]["sentence"].as_str().unwrap().contains("CiliumNetworkPolicy shop/x"));
    let reach = whyflow(&["reach", "--manifests", folder.path().to_str().unwrap()]);
    assert_eq!(code(&reach), Some(2));
    assert!(said(&reach).contains("(incomplete: all)"), "{}", said(&reach));
}

#[test]
fn questions_are_answered_in_order_and_a_bad_one_in_its_place() {
    let manifests = PathBuf::from(CLUSTER);
    let questions = [
        r#"{"from":"shop/web","to":"shop/cart","protocol":"tcp","port":8080}"#,
        "",
        r#"{"from":"shop/web","to":"shop/nobody","port":8080}"#,
        "not a question",
        r#"{"from":"shop/web","to":"shop/db-0","port":5432}"#,
    ];
    let (answers, output) = asked(&manifests, &questions.join("\n"));
    let verdicts: Vec<&str> =
        answers.iter().map(|answer| answer["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["allow", "unknown", "unknown", "deny"]);
    assert_eq!(answers[1]["to"], "shop/nobody");
    assert!(answers[2]["error"].as_str().unwrap().starts_with("line 4: a question is {"));
    assert_eq!(code(&output), Some(2));
    let (answers, output) = asked(&manifests, &format!("{}\n", questions[0]).repeat(1_000));
    assert_eq!((answers.len(), code(&output)), (1_000, Some(0)));
}

#[test]
fn what_cannot_be_read_is_named_and_leaves_open_what_it_could_touch() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::copy(CLUSTER, folder.path().join("cluster.yaml")).unwrap();
    put(
        "other.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: other}\nspec: {containers: []}\n\
         status: {podIP: 10.244.0.50}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b, \
         namespace: other}\nspec: {containers: []}\nstatus: {podIP: 10.244.0.51}\n",
    );
    let ask = |from: &str, to: &str| {
        let question = json!({"from": from, "to": to, "port": 8080});
        let (mut answers, output) = asked(folder.path(), &question.to_string());
        (answers.remove(0), output)
    };
    let verdict = |from: &str, to: &str| ask(from, to).0["verdict"].as_str().unwrap().to_owned();
    assert_eq!(
        (verdict("shop/web", "shop/cart"), verdict("other/a", "other/b")),
        ("allow".into(), "allow".into())
    );

    // One policy: what it is and where it would be can be seen.
    put(
        "bad.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: deny\n  namespace: other\nspec: {\n",
    );
    let (answer, output) = ask("other/a", "other/b");
    assert_eq!((&answer["verdict"], code(&output)), (&json!("incomplete"), Some(2)));
    assert_eq!(answer["ingress"]["trace"]["as_read"], "allow");
    let complaint = complaints(&output);
    assert!(
        complaint.contains("bad.yaml:") && complaint.contains("NetworkPolicy other/deny"),
        "{complaint}"
    );
    assert_eq!(complaint.matches("bad.yaml").count(), 1, "{complaint}");
    assert_eq!(verdict("shop/web", "shop/cart"), "allow");

    // Anything: it could be any policy.
    put("bad.yaml", "{{ .Values.everything }}\n");
    assert_eq!(verdict("shop/web", "shop/cart"), "incomplete");

    // A pod: no policy, but a question about it has no answer.
    put("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: c, namespace: other}\nspec: 7\n");
    assert_eq!(verdict("shop/web", "shop/cart"), "allow");
    assert!(
        complaints(&ask("shop/web", "shop/cart").1).contains("Pod other/c: spec: invalid type")
    );
    let (answer, _) = ask("other/c", "shop/cart");
    assert_eq!(answer["egress"], Value::Null);

    // A namespace: what its labels are.
    put("bad.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {a: 1}}\n");
    assert_eq!(verdict("other/a", "shop/cart"), "incomplete");
    assert_eq!(verdict("shop/web", "shop/cart"), "allow");
}

#[test]
fn reach_and_explain_say_the_same() {
    for manifests in [CLUSTER, "lab/manifests"] {
        let output = whyflow(&["reach", "--manifests", manifests, "--json"]);
        assert_eq!(code(&output), Some(0));
        let pairs = said(&output);
        let pairs = pairs.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let (mut wanted, mut questions) = (Vec::new(), String::new());
        for pair in pairs.filter(|pair| is_asked(&pair["from"]) && is_asked(&pair["to"])) {
            for port in [1_u64, 53, 80, 443, 5432, 8080, 8091, 65535] {
                for protocol in ["tcp", "udp"] {
                    wanted.push(reached(&pair, protocol, port));
                    let (from, to) = (&pair["from"], &pair["to"]);
                    let question =
                        json!({"from": from, "to": to, "protocol": protocol, "port": port});
                    questions = format!("{questions}{question}\n");
                }
            }
        }
        assert!(wanted.len() > 100, "{}", wanted.len());
        let (answers, _) = asked(Path::new(manifests), &questions);
        assert_eq!(answers.len(), wanted.len());
        for (answer, wanted) in answers.iter().zip(&wanted) {
            assert_eq!(answer["verdict"], *wanted, "{answer}");
        }
    }
}

/// Neither a range of addresses nor one family of a pair.
fn is_asked(name: &Value) -> bool {
    let name = name.as_str().unwrap();
    !name.contains([' ', ':']) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn reached(pair: &Value, protocol: &str, port: u64) -> Value {
    let holds = |one: &&Value| {
        let (first, last) = (one["first"].as_u64().unwrap(), one["last"].as_u64().unwrap());
        one["protocol"] == protocol && (first..=last).contains(&port)
    };
    let found = pair["connections"].as_array().unwrap().iter().find(holds);
    found.map_or(json!("deny"), |one| one["verdict"].clone())
}

#[test]
fn the_page_shows_what_the_commands_print() {
    let page = Path::new("docs/explain.md");
    let kept = std::fs::read_to_string(page).unwrap();
    let mut written = String::new();
    let mut rest = kept.as_str();
    let mut commands = 0;
    while let Some((before, block)) = rest.split_once("```console\n") {
        let (block, after) = block.split_once("```").unwrap();
        let line = block.lines().next().unwrap();
        let args: Vec<&str> = line.strip_prefix("$ whyflow ").unwrap().split(' ').collect();
        let output = whyflow(&args);
        let text = match serde_json::from_slice::<policy::Explanation>(&output.stdout) {
            Ok(answer) => format!("{}\n", serde_json::to_string_pretty(&answer).unwrap()),
            Err(_) => said(&output),
        };
        written.extend([before, "```console\n", line, "\n", &text, "```"]);
        rest = after;
        commands += 1;
    }
    written += rest;
    assert_eq!(commands, 3);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(page, &written).unwrap();
    } else {
        assert!(
            kept == written,
            "docs/explain.md differs; BLESS=1 writes it anew. Now:\n{written}"
        );
    }
}
