use std::collections::BTreeMap;

use serde_json::Value;

use super::{Form, Limits, Looked, Sql, SqlError};
use crate::Place;
use crate::tests::Lake;

/// A lake with a question asked of it, on a thread that may wait.
fn ask(lake: &Lake, sql: &str) -> Result<(Vec<Value>, Looked), SqlError> {
    let (text, looked) = write(lake, sql, Form::Json)?;
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Ok((rows, looked))
}

fn write(lake: &Lake, sql: &str, form: Form) -> Result<(String, Looked), SqlError> {
    let place = Place::Folder(lake.dir.path().into());
    let open = Sql::open(&place.into(), Limits::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let mut out = Vec::new();
    runtime.block_on(async { open.ask(sql).await?.write(form, &mut out).await })?;
    Ok((String::from_utf8_lossy(&out).into_owned(), open.looked()))
}

fn whole(error: &SqlError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn texts(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_table_has_every_row_once_and_every_column() {
    let lake = Lake::new(11);
    let (rows, looked) = ask(&lake, "SELECT * FROM flows ORDER BY id").unwrap();
    assert_eq!(texts(&rows, "id"), lake.rows.keys().cloned().collect::<Vec<_>>());
    assert_eq!((looked.at, looked.of), (8, 8));
    for (row, expected) in rows.iter().zip(lake.rows.values()) {
        let expected = serde_json::to_value(expected).unwrap();
        assert_eq!(row["action"], expected["action"]);
        assert_eq!(row["source_name"].as_str(), expected["source"]["name"].as_str());
        assert_eq!(row["packets_in"], expected["counters"]["packets_in"]);
        let labels: BTreeMap<String, Value> =
            serde_json::from_value(row["source_labels"].clone()).unwrap();
        let said = expected["source"].get("labels").cloned();
        let said = said.map(|it| serde_json::from_value::<BTreeMap<_, _>>(it).unwrap());
        assert_eq!(labels, said.unwrap_or_default());
        assert_eq!(row["date"], expected["window_start"].as_str().unwrap()[..10]);
    }
}

#[test]
fn sums_by_sql_are_the_rows_sums() {
    let lake = Lake::new(12);
    let sql = "SELECT destination_namespace AS ns, sum(packets_in) AS packets, count(*) AS rows
               FROM flows WHERE action = 'deny' GROUP BY ns ORDER BY ns";
    let (rows, _) = ask(&lake, sql).unwrap();
    let mut expected: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in lake.rows.values().filter(|row| row.action == schemas::Verdict::Deny) {
        let sums = expected.entry(row.destination.namespace.to_string()).or_default();
        *sums = (sums.0 + row.counters.packets_in, sums.1 + 1);
    }
    let sums = |row: &Value| (row["packets"].as_u64().unwrap(), row["rows"].as_u64().unwrap());
    let found =
        rows.iter().map(|row| (row["ns"].as_str().unwrap_or_default().to_owned(), sums(row)));
    assert!(!expected.is_empty());
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn a_condition_on_the_time_passes_over_files_and_explain_says_which_are_left() {
    let lake = Lake::new(13);
    let newest = lake.rows.values().map(|row| row.window_start).max().unwrap().to_string();
    let (date, hour) = (&newest[..10], &newest[11..13]);
    let in_hour = lake
        .rows
        .values()
        .filter(|row| row.window_start.to_string().starts_with(&format!("{date}T{hour}")));
    let in_hour = in_hour.count() as u64;
    for condition in [
        format!("date = '{date}' AND hour = {hour}"),
        format!("window_start >= '{date}T{hour}:00:00Z'"),
        format!("window_start >= date_trunc('hour', TIMESTAMP '{newest}')"),
    ] {
        let (rows, looked) =
            ask(&lake, &format!("SELECT count(*) AS n FROM flows WHERE {condition}")).unwrap();
        assert_eq!(rows[0]["n"], in_hour, "{condition}");
        assert_eq!((looked.at, looked.of), (2, 8), "{condition}");
    }
    let explain = format!("EXPLAIN SELECT id FROM flows WHERE hour = {hour} AND source_name = 'x'");
    let (plan, _) = write(&lake, &explain, Form::Table(100)).unwrap();
    assert!(plan.contains(&format!("hour={hour}/")), "{plan}");
    assert!(plan.contains("pruning_predicate="), "{plan}");
    assert_eq!(plan.matches(".parquet").count(), 2, "{plan}");
}

#[test]
fn statistics_pass_over_row_groups() {
    let lake = Lake::new(14);
    let newest = lake.rows.values().map(|row| row.window_start).max().unwrap();
    let sql = format!("EXPLAIN ANALYZE SELECT id FROM flows WHERE window_start = '{newest}'");
    let (plan, _) = write(&lake, &sql, Form::Table(100)).unwrap();
    assert!(plan.contains("row_groups_pruned_statistics="), "{plan}");
}

#[test]
fn a_lake_without_files_has_the_table_all_the_same() {
    let lake = Lake::empty(15);
    let (rows, looked) = ask(&lake, "SELECT count(*) AS n FROM flows").unwrap();
    assert_eq!((rows[0]["n"].as_u64(), looked), (Some(0), Looked::default()));
    let (csv, _) = write(&lake, "SELECT id, action FROM flows", Form::Csv).unwrap();
    assert_eq!(csv, "id,action\n");
}

#[test]
fn a_question_that_would_change_something_or_is_none_is_refused() {
    let lake = Lake::new(16);
    let file = lake.dir.path().join("out.csv");
    let copy = format!("COPY flows TO '{}'", file.display());
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "DROP TABLE flows",
        "INSERT INTO flows SELECT * FROM flows",
        "SET datafusion.execution.batch_size = 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        &copy,
        "SELECT 1; SELECT 2",
        "SELECT FROM WHERE",
        "",
    ] {
        assert!(ask(&lake, sql).is_err(), "{sql}");
    }
    assert!(!file.exists());
    let error = whole(&ask(&lake, "SELECT sauce_name FROM flows").unwrap_err());
    assert!(error.contains("sauce_name") && error.contains("source_name"), "{error}");
    assert!(error.len() < 200, "not all columns: {error}");
    let error = whole(&ask(&lake, "SELECT * FROM flow").unwrap_err());
    assert!(error.contains("flow"), "{error}");
    let error = write(&lake, "SELECT id, source_labels FROM flows", Form::Csv).unwrap_err();
    assert!(error.to_string().contains("source_labels"), "{error}");
}

#[test]
fn a_question_that_needs_more_memory_than_it_may_take_says_so() {
    let lake = Lake::new(17);
    let place = Place::Folder(lake.dir.path().into());
    let open = Sql::open(&place.into(), Limits { memory_bytes: 1_000 }).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let sql = "SELECT array_agg(a.sentence) FROM flows a CROSS JOIN flows b GROUP BY a.id";
    let answered =
        runtime.block_on(async { open.ask(sql).await?.write(Form::Json, std::io::sink()).await });
    assert!(whole(&answered.unwrap_err()).to_lowercase().contains("resources exhausted"));
}

#[test]
fn an_answer_as_parquet_is_read_back() {
    let lake = Lake::new(18);
    let place = Place::Folder(lake.dir.path().into());
    let open = Sql::open(&place.into(), Limits::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let mut out = Vec::new();
    let answer = runtime.block_on(open.ask("SELECT * FROM flows")).unwrap();
    let written = runtime.block_on(answer.write(Form::Parquet, &mut out)).unwrap();
    assert_eq!(written.rows, lake.rows.len());
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        bytes::Bytes::from(out),
    );
    let rows = reader.unwrap().build().unwrap().map(|batch| batch.unwrap().num_rows());
    assert_eq!(rows.sum::<usize>(), lake.rows.len());
}
