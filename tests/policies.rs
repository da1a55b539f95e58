//! `lint`, `verify`, `impact` and the forms of `reach`, as their user meets them.
//!
//! `BLESS=1 cargo test` writes what the commands of their pages print anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const SHOP: &str = "tests/policies/shop.yaml";

fn whyflow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_whyflow")).args(args).output().unwrap()
}

fn of_shop(command: &str, args: &[&str]) -> Output {
    whyflow(&[&[command, "--manifests", SHOP], args].concat())
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

fn lines(output: &Output) -> Vec<Value> {
    said(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A folder with files of these names and texts.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn lint_counts_errors_and_not_warnings() {
    assert_eq!(code(&of_shop("lint", &[])), Some(0));
    let flawed = whyflow(&["lint", "--manifests", SHOP, "tests/policies/flawed.yaml"]);
    assert_eq!(code(&flawed), Some(1));
    let warned = folder(&[(
        "a.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: \
         shop}\nspec:\n  podSelector: {matchLabels: {app: nobody}}\n",
    )]);
    let warned = whyflow(&["lint", "--manifests", SHOP, path(warned.path())]);
    assert_eq!(code(&warned), Some(0));
    assert!(said(&warned).contains("a.yaml:4: warning: "), "{}", said(&warned));
    assert!(said(&warned).contains("0 errors, 1 warning: "), "{}", said(&warned));
}

#[test]
fn lint_gives_each_finding_as_a_line_of_json_with_its_own_line_in_the_file() {
    let output = whyflow(&[
        "lint",
        "--manifests",
        SHOP,
        "--manifests",
        "tests/policies/flawed.yaml",
        "--json",
    ]);
    let found = lines(&output);
    let kinds: Vec<&str> = found.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    for kind in ["refused", "selects_nothing", "never_matches", "shadowed", "unresolved"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let text = std::fs::read_to_string("tests/policies/flawed.yaml").unwrap();
    let at = |wanted: &str| 1 + text.lines().position(|line| line.contains(wanted)).unwrap();
    let line =
        |field: &str| found.iter().find(|one| one["field"] == field).unwrap()["line"].clone();
    assert_eq!(line("spec.ingress[0].form"), json!(at("form:")));
    assert_eq!(line("spec.ingress[0].ports[0].protocol"), json!(at("protocol: tpc")));
    assert_eq!(line("spec.tier"), json!(at("tier: security")));
}

#[test]
fn lint_names_what_is_no_yaml_and_what_cannot_be_read() {
    let broken = folder(&[("a.yaml", "kind: [\n"), ("b.yaml", "just: a document\n")]);
    let output = whyflow(&["lint", "--manifests", path(broken.path())]);
    assert_eq!(code(&output), Some(1));
    assert!(said(&output).contains("a.yaml:1: error: "), "{}", said(&output));
    for (files, what) in
        [(&[][..], "no manifest in"), (&[("a.txt", "kind: Pod")][..], "no manifest")]
    {
        let empty = folder(files);
        let output = whyflow(&["lint", "--manifests", path(empty.path())]);
        assert_eq!(code(&output), Some(2));
        assert!(complaints(&output).contains(what), "{}", complaints(&output));
    }
    let binary = tempfile::tempdir().unwrap();
    std::fs::write(binary.path().join("a.yaml"), b"kind: \xff\n").unwrap();
    let output = whyflow(&["lint", "--manifests", path(binary.path())]);
    assert_eq!(code(&output), Some(2));
    assert!(complaints(&output).contains("not UTF-8"), "{}", complaints(&output));
    assert_eq!(code(&whyflow(&["lint", "--manifests", "tests/nowhere"])), Some(2));
}

#[test]
fn the_cases_of_the_lab_are_as_expected() {
    let output = whyflow(&["verify", "--manifests", "lab/manifests", "lab/cases.yaml"]);
    assert_eq!(code(&output), Some(0), "{}{}", said(&output), complaints(&output));
}

#[test]
fn verify_tells_surprises_from_questions_without_an_answer() {
    let cases = |text: &str| {
        let folder = folder(&[("cases.yaml", &format!("cases:\n{text}\n"))]);
        of_shop("verify", &[path(&folder.path().join("cases.yaml"))])
    };
    let case = |rest: &str| format!("- {{from: shop/frontend, to: shop/cart, port: 8080, {rest}}}");
    for (rest, wanted) in [
        ("expect: allow", 0),
        ("expect: allow, decided_by: allow-frontend, rule: 0", 0),
        ("expect: allow, decided_by: networkpolicy/shop/allow-frontend", 0),
        ("expect: deny", 1),
        ("expect: allow, decided_by: default-deny", 1),
        ("expect: allow, rule: 1", 1),
    ] {
        let output = cases(&case(rest));
        assert_eq!(code(&output), Some(wanted), "{rest}: {}", said(&output));
    }
    let nobody = cases("- {from: shop/fronted, to: shop/cart, port: 8080, expect: deny}");
    assert_eq!(code(&nobody), Some(2));
    assert!(said(&nobody).contains("nothing is called 'shop/fronted'"), "{}", said(&nobody));
}

#[test]
fn verify_names_everything_that_is_wrong_with_a_file_of_cases() {
    let folder = folder(&[("cases.yaml", "cases:\n- from: a/b\n  too: c/d\n  expect: alow\n")]);
    let file = folder.path().join("cases.yaml");
    let output = of_shop("verify", &[path(&file), "tests/policies/cases.yaml"]);
    assert_eq!(code(&output), Some(2));
    for wanted in [
        "cases.yaml:2:3: cases[0].to: is missing",
        ":3:3: cases[0].too: ",
        ":4:11: cases[0].expect: ",
    ] {
        assert!(complaints(&output).contains(wanted), "{wanted} in {}", complaints(&output));
    }
    assert!(said(&output).contains("3 cases: 3 as expected"), "{}", said(&output));
    let none = of_shop("verify", &["tests/nowhere.yaml"]);
    assert_eq!(code(&none), Some(2));
    assert!(
        complaints(&none).contains("tests/nowhere.yaml: cannot read it"),
        "{}",
        complaints(&none)
    );
}

#[test]
fn verify_writes_a_report_for_ci_and_lines_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let files = ["tests/policies/cases.yaml", "tests/policies/surprising.yaml"];
    let output = of_shop("verify", &[files[0], files[1], "--json", "--junit", path(&report)]);
    assert_eq!(code(&output), Some(1));
    let cases = lines(&output);
    assert_eq!(cases.len(), 5);
    let surprise = &cases[3];
    assert_eq!(surprise["result"], "surprise");
    assert_eq!((&surprise["expected"], &surprise["found"]), (&json!("allow"), &json!("deny")));
    assert_eq!((&surprise["file"], &surprise["line"]), (&json!(files[1]), &json!(2)));
    assert_eq!(surprise["near_misses"][0]["policy"]["name"], "allow-frontend");
    let xml = std::fs::read_to_string(report).unwrap();
    assert!(
        xml.contains(
            "<testsuites name=\"whyflow verify\" tests=\"5\" failures=\"1\" errors=\"0\">"
        )
    );
    assert!(xml.contains("<failure message=\"expected allow, found deny\">"), "{xml}");
    assert_eq!(xml.matches("<testcase ").count(), 5);
}

#[test]
fn the_schema_of_cases_is_the_one_that_is_checked_in() {
    let kept = Path::new("schemas/cases.schema.json");
    let printed = said(&whyflow(&["verify", "--schema"]));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(kept, &printed).unwrap();
    }
    assert_eq!(std::fs::read_to_string(kept).unwrap_or_default(), printed);
}

#[test]
fn impact_lists_pairs_whose_verdict_changes_and_guards_against_new_denials() {
    let proposed = ["--proposed", "tests/policies/proposed.yaml", "--reach", "--json"];
    let output = of_shop("impact", &proposed);
    assert_eq!(code(&output), Some(1), "{}", complaints(&output));
    let changes = lines(&output);
    assert_eq!(changes.len(), 2);
    let denied = changes.iter().find(|one| one["from"] == "shop/frontend").unwrap();
    assert_eq!((&denied["first"], &denied["last"]), (&json!(8080), &json!(8080)));
    assert_eq!(denied["before"]["decided_by"][0]["name"], "allow-frontend");
    assert_eq!(denied["after"]["verdict"], "deny");
    assert_eq!(denied["after"]["decided_by"][0]["name"], "default-deny");
    assert!(denied["after"]["sentence"].as_str().unwrap().contains("nearest: "), "{denied}");

    let removed = of_shop("impact", &["--remove", "networkpolicy/shop/default-deny", "--reach"]);
    assert_eq!(code(&removed), Some(0));
    assert!(said(&removed).contains("0 newly denied"), "{}", said(&removed));
    let same = of_shop("impact", &["--proposed", SHOP, "--reach"]);
    assert_eq!((code(&same), said(&same).as_str()), (Some(0), "nothing changes: 12 pairs asked\n"));
}

#[test]
fn impact_agrees_with_reach_before_and_after() {
    let after = std::fs::read_to_string(SHOP).unwrap()
        + "---\n"
        + &std::fs::read_to_string("tests/policies/proposed.yaml").unwrap();
    // The second of two objects of one name is the one that was proposed.
    let (old, new) =
        after.split_once("kind: NetworkPolicy\nmetadata: {name: allow-frontend").unwrap();
    let cut = new.find("---").unwrap();
    let folder = folder(&[(
        "after.yaml",
        &format!("{old}kind: ConfigMap\nmetadata: {{name: x}}\n{}", &new[cut..]),
    )]);
    let reached = |manifests: &str| {
        let pairs = lines(&whyflow(&["reach", "--manifests", manifests, "--json"]));
        let one = |pair: Value, port: u64| {
            let holds = |range: &Value| {
                range["protocol"] == "tcp"
                    && range["first"].as_u64() <= Some(port)
                    && range["last"].as_u64() >= Some(port)
            };
            pair["connections"].as_array().unwrap().iter().any(holds)
        };
        pairs
            .into_iter()
            .map(|pair| (pair["from"].clone(), pair["to"].clone(), one(pair, 8080)))
            .collect::<Vec<_>>()
    };
    let (before, after) = (reached(SHOP), reached(path(folder.path())));
    let differs: Vec<_> = before.iter().filter(|pair| !after.contains(pair)).collect();
    let changes = lines(&of_shop(
        "impact",
        &["--proposed", "tests/policies/proposed.yaml", "--reach", "--json"],
    ));
    assert_eq!(differs.len(), changes.len(), "{differs:?}");
    for (from, to, was_open) in differs {
        let change = changes.iter().find(|one| (&one["from"], &one["to"]) == (from, to)).unwrap();
        assert_eq!(change["before"]["verdict"] == "allow", *was_open, "{change}");
    }
}

#[test]
fn a_staged_policy_changes_nothing_until_it_is_asked_as_enforced() {
    let staged = ["--proposed", "tests/policies/staged.yaml", "--reach"];
    let output = of_shop("impact", &staged);
    assert_eq!(code(&output), Some(0));
    assert!(said(&output).starts_with("nothing changes"), "{}", said(&output));
    assert!(complaints(&output).contains("is staged and so enforces nothing: with --staged"));
    let output = of_shop("impact", &[&staged[..], &["--staged", "--json"]].concat());
    let changes = lines(&output);
    let opened = changes.iter().find(|one| one["from"] == "shop/batch").unwrap();
    assert_eq!((&opened["first"], &opened["after"]["verdict"]), (&json!(8080), &json!("allow")));
    assert_eq!(opened["after"]["decided_by"][0]["kind"], "CalicoNetworkPolicy");
}

#[test]
fn impact_says_what_it_cannot_answer() {
    let wrong = |args: &[&str], wanted: &str| {
        let output = of_shop("impact", args);
        assert_eq!(code(&output), Some(2), "{args:?}");
        assert!(complaints(&output).contains(wanted), "{args:?}: {}", complaints(&output));
    };
    wrong(&["--remove", "networkpolicy/shop/nothing", "--reach"], "there is none");
    wrong(&["--proposed", "tests/nowhere.yaml", "--reach"], "tests/nowhere.yaml");
    wrong(&["--reach"], "--proposed");
    wrong(&["--staged"], "--flows");
    wrong(&["--staged", "--flows", "tests/nowhere"], "tests/nowhere");
    wrong(&["--staged", "--reach", "--since", "1h"], "--flows");
    wrong(&["--staged", "--reach", "--assume", "staged-adds"], "choose one");
    let refused = folder(&[(
        "a.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: \
         shop}\nspec: {podSelector: {}, ingres: []}\n",
    )]);
    wrong(&["--proposed", path(refused.path()), "--reach"], "spec.ingres");
}

#[test]
fn a_policy_that_is_not_read_may_hide_what_changes() {
    let unread = folder(&[(
        "a.yaml",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: shop}\n",
    )]);
    let output = of_shop(
        "impact",
        &[
            "--manifests",
            path(unread.path()),
            "--proposed",
            "tests/policies/proposed.yaml",
            "--reach",
        ],
    );
    assert_eq!(code(&output), Some(2), "{}", said(&output));
    assert!(complaints(&output).contains("may change"), "{}", complaints(&output));
}

#[test]
fn every_form_of_reach_shows_the_same_pairs() {
    let form = |form: &str| {
        let output = of_shop("reach", &["--format", form]);
        assert_eq!(code(&output), Some(0), "{form}");
        said(&output)
    };
    let pairs = lines(&of_shop("reach", &["--json"]));
    assert_eq!(said(&of_shop("reach", &["--json"])), form("json"));
    let open: Vec<&Value> = pairs
        .iter()
        .filter(|pair| pair["connections"].as_array().unwrap() != &[] as &[Value])
        .collect();
    let ranges: usize = open.iter().map(|pair| pair["connections"].as_array().unwrap().len()).sum();
    assert_eq!(form("csv").lines().count(), 1 + ranges);
    assert!(form("csv").contains("\nshop/frontend,shop/cart,tcp,8080,8080,allow,allow,allow\n"));
    assert_eq!(form("dot").matches(" -> ").count(), open.len());
    assert_eq!(form("mermaid").matches(" -->").count(), open.len());
    assert_eq!(form("table").lines().count(), 1 + open.len());
}

#[test]
fn the_pages_show_what_the_commands_print() {
    for name in ["lint", "verify", "impact", "reach"] {
        let page = PathBuf::from(format!("docs/{name}.md"));
        let kept = std::fs::read_to_string(&page).unwrap();
        let (mut written, mut rest, mut commands) = (String::new(), kept.as_str(), 0);
        while let Some((before, block)) = rest.split_once("```console\n") {
            let (block, after) = block.split_once("```").unwrap();
            let line = block.lines().next().unwrap();
            let args: Vec<&str> = line.strip_prefix("$ whyflow ").unwrap().split(' ').collect();
            let output = whyflow(&args);
            let text = complaints(&output) + &said(&output);
            written.extend([before, "```console\n", line, "\n", &text, "```"]);
            rest = after;
            commands += 1;
        }
        written += rest;
        assert!(commands > 0, "{name}");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(page, &written).unwrap();
        } else {
            assert!(
                kept == written,
                "docs/{name}.md differs; BLESS=1 writes it anew. Now:\n{written}"
            );
        }
    }
}
