//! The text of the file, and where in it a byte stands.

use std::ops::Range;

/// A configuration text and the name it is reported under.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    text: String,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
}

/// One line of the file with the part of it that a message is about, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    /// The line, or the surroundings of the place in a long one, without characters that a terminal would act on.
    pub(super) text: String,
    /// What stands in `text` before the place, in characters.
    pub(super) indent: usize,
    /// How many characters are marked.
    pub(super) width: usize,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.to_owned(), text: text.to_owned(), lines }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The line (from 1) that a byte stands in.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    pub(super) fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        let line = self.line(span.start);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        let text = self.text.get(start..end).unwrap_or("");
        let text = text.strip_suffix('\r').unwrap_or(text);
        let before = count(text, span.start - start);
        let marked = count(text, span.end.saturating_sub(start)).saturating_sub(before).max(1);
        let cut = before.saturating_sub(CONTEXT);
        let shown: String = text.chars().skip(cut).take(CONTEXT * 2).map(visible).collect();
        let indent = before - cut;
        let width = marked.min(shown.chars().count().saturating_sub(indent)).max(1);
        Excerpt { line, column: before + 1, text: shown, indent, width }
    }
}

/// Characters in the first `bytes` bytes.
fn count(text: &str, bytes: usize) -> usize {
    let end = text.floor_char_boundary(bytes);
    text.get(..end).unwrap_or(text).chars().count()
}

/// A character that takes one column and does nothing to a terminal.
pub(super) fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Characters shown on either side of the place.
const CONTEXT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_columns_in_characters() {
        let source = Source::new("t", "a = 1\r\n\tb = \"é\" # x\n");
        let at = source.excerpt(&(12..16));
        assert_eq!((at.line, at.column, at.width), (2, 6, 3));
        assert_eq!(at.text, " b = \"é\" # x", "a tab takes one column");
        assert_eq!(source.excerpt(&(4..5)).text, "a = 1", "without the carriage return");
    }

    #[test]
    fn a_place_past_the_end_is_on_the_last_line() {
        let source = Source::new("t", "a");
        assert_eq!(source.excerpt(&(1..1)), Excerpt { line: 1, column: 2, text: "a".into(), indent: 1, width: 1 });
        assert_eq!(Source::new("t", "").excerpt(&(0..0)).line, 1);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = "x".repeat(5000);
        let at = Source::new("t", &text).excerpt(&(3000..4000));
        assert_eq!((at.column, at.indent, at.text.len(), at.width), (3001, 100, 200, 100));
    }
}
