use schemas::json::FlowJson;
use schemas::samples::Sampler;

use super::Stdout;
use super::table::Table;

fn sample(rows: usize) -> Vec<FlowJson> {
    let mut sampler = Sampler::new(11, 8);
    let flows = sampler.closed(0, rows).rows;
    flows.iter().map(|flow| FlowJson::new(flow, &sampler.words())).collect()
}

fn printed(rows: &[FlowJson], table: Option<Table>) -> String {
    let mut stdout = Stdout::new(Vec::new(), table);
    stdout.write(rows).unwrap();
    String::from_utf8(stdout.to).unwrap()
}

#[test]
fn json_lines_are_read_back_equal() {
    let rows = sample(30);
    let text = printed(&rows, None);
    let lines: Vec<FlowJson> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts = |rows: &[FlowJson]| {
        rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&lines), texts(&rows));
}

#[test]
fn a_table_fits_its_width_and_keeps_the_reasons_of_denials() {
    let rows = sample(60);
    for width in [40, 80, 120, 200] {
        let text = printed(&rows, Some(Table::new(width, false)));
        for line in text.lines() {
            assert!(line.chars().count() <= width.max(80), "{width}: {line}");
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let whole = words.join(" ");
        for row in rows.iter().filter(|row| row.action != schemas::Verdict::Allow) {
            assert!(whole.contains(&*row.sentence), "{width}: {}", row.sentence);
        }
    }
}

#[test]
fn a_table_reads_as_it_did() {
    insta::assert_snapshot!("wide", printed(&sample(12), Some(Table::new(160, false))));
    insta::assert_snapshot!("colours", printed(&sample(4), Some(Table::new(100, true))));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let mut row = sample(1).remove(0);
    row.source.name = "\x1b[2J\rpod".into();
    row.sentence = "one\ntwo\x07".into();
    let text = printed(&[row], Some(Table::new(200, false)));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}
