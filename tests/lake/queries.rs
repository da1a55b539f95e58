//! The page of useful questions: each is asked of a lake on disk.

use std::process::Command;

use super::{World, said};

/// The lake that `pipelines/lake.yaml` makes of the recording in this repository.
fn lake() -> World {
    let folder = tempfile::tempdir().unwrap().keep();
    let world = World::new(folder.join("history").to_str().unwrap().to_owned(), Vec::new());
    assert!(
        world.daemon("0").ended(),
        "{}",
        std::fs::read_to_string(world.state.path().join("log")).unwrap()
    );
    world
}

/// What stands between ```sql and ```.
fn questions(page: &str) -> Vec<String> {
    let blocks = page.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_question_of_the_page_is_answered() {
    let world = lake();
    let page = std::fs::read_to_string("docs/query.md").unwrap();
    let questions = questions(&page);
    assert!(questions.len() >= 12, "{}", questions.len());
    let mut with_rows = 0;
    for question in &questions {
        // The recording is of another day than today.
        let question =
            question.replace("now() - INTERVAL", "TIMESTAMP '2027-01-15T09:00:00Z' - INTERVAL");
        let rows = world.query(&question);
        with_rows += usize::from(!rows.is_empty());
    }
    assert!(with_rows >= questions.len() / 2, "{with_rows} of {} have rows", questions.len());
    let why = world.query("SELECT sentence FROM flows WHERE action = 'deny'");
    assert!(why[0]["sentence"].as_str().unwrap().contains("cart-clients"), "{why:?}");
}

#[test]
fn answers_are_tables_json_csv_and_parquet() {
    let world = lake();
    let sql = "SELECT action, count(*) AS n FROM flows GROUP BY action ORDER BY action";
    let config = ["query", "-c", "pipelines/lake.yaml"];
    let csv = world.whyflow(&[&config[..], &["--csv", sql]].concat());
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert!(csv.starts_with("action,n\nallow,"), "{csv}");
    let file = world.state.path().join("out.parquet");
    world.whyflow(
        &[&config[..], &["--parquet", file.to_str().unwrap(), "SELECT * FROM flows"]].concat(),
    );
    let kept = std::fs::read(&file).unwrap();
    assert_eq!((&kept[..4], &kept[kept.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
    let wrong =
        world.command(&["query", "-c", "pipelines/lake.yaml", "SELECT nonsense FROM flows"]);
    let output = { wrong }.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("nonsense"), "{}", said(&output));
    let nowhere = Command::new(env!("CARGO_BIN_EXE_whyflow"))
        .args(["query", "--folder", "/nowhere/at/all", "SELECT 1"])
        .output()
        .unwrap();
    assert!(said(&nowhere).contains("the lake /nowhere/at/all"), "{}", said(&nowhere));
}
