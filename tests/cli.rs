//! The command line as its user meets it: help, exit codes, and what is said of a broken config.
//!
//! `BLESS=1 cargo test` writes the checked-in texts anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::path::Path;
use std::process::{Command, Output};

fn whyflow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_whyflow"))
        .args(args)
        .env_remove("WHYFLOW_TEST_UNSET")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Compares with a checked-in text, or writes it when `BLESS` is set.
#[track_caller]
fn assert_same(path: &Path, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == text, "{} differs; BLESS=1 writes it anew. Now:\n{text}", path.display());
}

#[test]
fn every_error_of_a_config_is_named_at_once() {
    let output = whyflow(&["check", "-c", "tests/config/broken.yaml"]);
    assert_eq!(code(&output), Some(1));
    assert_same(Path::new("tests/config/broken.txt"), &said(&output));
}

#[test]
fn values_that_cannot_be_meant_are_named_at_once() {
    let output = whyflow(&["check", "-c", "tests/config/meaningless.yaml"]);
    assert_eq!(code(&output), Some(1));
    assert_same(Path::new("tests/config/meaningless.txt"), &said(&output));
}

#[test]
fn text_that_is_not_yaml_is_named_with_its_line() {
    let output = whyflow(&["check", "-c", "tests/config/not-yaml.yaml"]);
    assert_eq!(code(&output), Some(1));
    assert_same(Path::new("tests/config/not-yaml.txt"), &said(&output));
}

#[test]
fn a_config_that_is_not_there_cannot_be_checked() {
    let output = whyflow(&["check", "-c", "tests/config/nowhere.yaml"]);
    assert_eq!(code(&output), Some(2));
    assert!(said(&output).contains("cannot read it"), "{output:?}");
}

#[test]
fn the_pipelines_that_are_shipped_are_right() {
    for file in std::fs::read_dir("pipelines").unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let output = whyflow(&["check", "-c", path.to_str().unwrap()]);
            assert_eq!(code(&output), Some(0), "{}", said(&output));
        }
    }
}

#[test]
fn the_checked_in_schema_is_the_types() {
    assert_same(
        Path::new("schemas/config.schema.json"),
        &whyflow::config::reference::schema_text(),
    );
    let printed = said(&whyflow(&["check", "--schema"]));
    assert_eq!(printed, whyflow::config::reference::schema_text());
}

#[test]
fn the_checked_in_openapi_document_is_what_the_api_takes_and_gives() {
    assert_same(Path::new("schemas/openapi.json"), &api::openapi_text());
}

#[test]
fn the_config_page_describes_the_types() {
    assert_same(Path::new("docs/config.md"), &whyflow::config::reference::page());
}

#[test]
fn every_command_has_help_with_an_example() {
    let help = said(&whyflow(&["--help"]));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = commands
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.contains(&"check"), "{help}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let output = whyflow(&[name, "--help"]);
        assert_eq!(code(&output), Some(0), "{name}");
        assert!(said(&output).contains("Example"), "`whyflow {name} --help` has no example");
    }
}

#[test]
fn a_daemon_with_a_wrong_config_does_not_start_and_says_why() {
    let output = whyflow(&["run", "-c", "tests/config/broken.yaml"]);
    assert_eq!(code(&output), Some(2));
    let named = String::from_utf8_lossy(&output.stderr);
    assert!(named.contains("tests/config/broken.yaml:3:1: captur:"), "{named}");
}

#[test]
fn a_question_to_no_daemon_says_how_to_have_one() {
    // A port that was free a moment ago, and that nothing of this test listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    for command in ["status", "flows"] {
        let output = whyflow(&[command, "--address", &address]);
        assert_eq!(code(&output), Some(2));
        let named = String::from_utf8_lossy(&output.stderr);
        assert!(named.contains("whyflow run -c FILE"), "{named}");
    }
}

#[test]
fn a_filter_that_cannot_be_meant_is_named_without_any_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let output = whyflow(&["flows", "--folder", folder, "--port", "http"]);
    assert_eq!(code(&output), Some(2));
    let named = String::from_utf8_lossy(&output.stderr);
    assert!(named.contains("port: found \"http\""), "{named}");
}

#[test]
fn an_unknown_command_is_a_question_that_could_not_be_answered() {
    let output = whyflow(&["chekc"]);
    assert_eq!(code(&output), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("check"), "{output:?}");
}

#[test]
fn a_folder_that_is_no_spool_is_named_and_nothing_is_made_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let output = whyflow(&["spool", "list", "--folder", path]);
    assert_eq!(code(&output), Some(2));
    let named = String::from_utf8_lossy(&output.stderr);
    assert!(named.contains("is not a spool's folder"), "{named}");
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
}

#[test]
fn the_otlp_page_has_every_line_of_the_table() {
    use schemas::otel::{ENDS, METRICS, Origin, ROW};
    let page = std::fs::read_to_string("docs/otlp.md").unwrap();
    for attribute in ROW.iter().chain(ENDS) {
        let origin = match attribute.origin {
            Origin::Registry => "registry",
            Origin::Directed => "registry, behind a direction",
            Origin::Own => "whyflow",
        };
        let line = format!("| `{}` | `{}` | {origin} |", attribute.name, attribute.field);
        assert!(page.contains(&line), "docs/otlp.md lacks\n{line}");
    }
    for metric in METRICS {
        let line = format!("| `{}` | `{}` | {} |", metric.name, metric.unit, metric.description);
        assert!(page.contains(&line), "docs/otlp.md lacks\n{line}");
    }
}
