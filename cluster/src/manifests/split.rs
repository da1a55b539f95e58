//! A file's documents, so that a broken one does not take its neighbours with it.

/// Some lines of a file that stand alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// The line of the file that it begins with, from 1.
    pub(super) line: usize,
    /// Its text, with the `---` that opens it.
    pub(super) text: &'a str,
}

/// Cuts before every line that begins with `---`: nothing else may stand there in YAML (1.2.2
/// §9.1.2), not even in a block of text. Directives and comments stay with what follows them.
pub(super) fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut has_content) = (0, 1, false);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if opens(line) && has_content {
            chunks.push(Chunk { line: start_line, text: &text[start..offset] });
            (start, start_line) = (offset, index + 1);
        }
        has_content = has_content || opens(line) || is_content(line);
        offset += line.len();
    }
    chunks.push(Chunk { line: start_line, text: &text[start..] });
    chunks
}

fn opens(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_content(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with(['%', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_at_its_document_markers() {
        let text = "# one\n%YAML 1.2\n---\na: |\n ---\n--- # two\n---\nb: 1\n...\n";
        let chunks: Vec<_> = chunks(text).into_iter().map(|c| (c.line, c.text)).collect();
        assert_eq!(
            chunks,
            [
                (1, "# one\n%YAML 1.2\n---\na: |\n ---\n"),
                (6, "--- # two\n"),
                (7, "---\nb: 1\n...\n")
            ]
        );
    }
}
