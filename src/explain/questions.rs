//! Many questions, a line of JSON each, answered in order with a line of JSON each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::answer::{Answer, Failed};
use super::ask::Asker;
use super::asked::Asked;

/// A longer line is no question.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Answers every question of a file, or of standard input for `-`; says whether all had an answer.
pub(super) fn answer(file: &Path, asker: &mut Asker<'_>) -> Result<bool> {
    let mut out = BufWriter::new(io::stdout().lock());
    let answered = if file == Path::new("-") {
        answer_all(BufReader::new(io::stdin().lock()), &mut out, asker)
    } else {
        let opened = File::open(file)
            .with_context(|| format!("cannot read questions from '{}'", file.display()))?;
        answer_all(BufReader::new(opened), &mut out, asker)
    };
    out.flush().context("cannot write to standard output")?;
    answered
}

fn answer_all<R: io::Read>(
    mut from: BufReader<R>,
    out: &mut impl Write,
    asker: &mut Asker<'_>,
) -> Result<bool> {
    let (mut line, mut number, mut answered_all) = (Vec::new(), 0_usize, true);
    loop {
        line.clear();
        let read = (&mut from).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.context("cannot read the questions")? == 0 {
            return Ok(answered_all);
        }
        number += 1;
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES_MAX;
        if !is_whole {
            skip_line(&mut from)?;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = match Asked::from_json(&line) {
            Ok(asked) if is_whole => asker.ask(&asked),
            Ok(_) => Answer::Failed(Failed::new(format!("line {number} is too long"))),
            Err(error) => Answer::Failed(Failed::new(format!("line {number}: {error:#}"))),
        };
        answered_all &= answer.is_answered();
        writeln!(out, "{}", answer.json()).context("cannot write to standard output")?;
        // Whoever asks one by one waits for each answer.
        if from.buffer().is_empty() {
            out.flush().context("cannot write to standard output")?;
        }
    }
}

fn skip_line(from: &mut impl BufRead) -> Result<()> {
    loop {
        let buffer = from.fill_buf().context("cannot read the questions")?;
        let (end, used) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (true, at + 1),
            None => (buffer.is_empty(), buffer.len()),
        };
        from.consume(used);
        if end {
            return Ok(());
        }
    }
}
