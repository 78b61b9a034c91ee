//! Bytes of a text → lines and columns, many times over.

use poolwright_topology::hazard::Position;

/// Where the lines of a text begin.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1));
        Self {
            text,
            starts: starts.collect(),
        }
    }

    /// The place of a byte; both numbers from 1, the column in characters.
    pub(crate) fn position(&self, byte: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= byte).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..byte).unwrap_or_default();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Position {
            line: number(line),
            column: number(before.chars().count() + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;
    use poolwright_topology::hazard::Position;

    #[test]
    fn lines_and_one_look_at_the_text_agree() {
        let text = "ä\n\nbß\r\nc";
        let lines = Lines::of(text);
        for (byte, _) in text.char_indices() {
            assert_eq!(lines.position(byte), Position::of(text, byte), "{byte}");
        }
    }
}
