//! What stands on a terminal as a picture that a browser shows.

use std::fmt::Write;

/// Of one cell, in pixels.
const WIDTH: usize = 9;
/// Of one row.
const HEIGHT: usize = 19;
/// Around the screen.
const EDGE: usize = 14;
/// From a row's top to its letters' base.
const BASE: usize = 14;

/// One cell of a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// What stands in it; nothing where the cell before is wider than one.
    pub symbol: String,
    /// Its colour.
    pub ink: Ink,
    /// Whether it is bold.
    pub bold: bool,
    /// Whether colour and ground are exchanged.
    pub reversed: bool,
}

impl Cell {
    /// One in which nothing stands.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            symbol: " ".to_owned(),
            ink: Ink::Text,
            bold: false,
            reversed: false,
        }
    }
}

/// The colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Ink {
    Text,
    Green,
    Yellow,
    Red,
    Grey,
}

impl Ink {
    const fn colour(self) -> &'static str {
        match self {
            Self::Text => "#d6deeb",
            Self::Green => "#7ec699",
            Self::Yellow => "#f0c674",
            Self::Red => "#ff6c6b",
            Self::Grey => "#7f8c98",
        }
    }
}

/// The ground that everything stands on.
const GROUND: &str = "#141a21";

/// The screen, row by row, as SVG: text, so that it is searched and read aloud like any other.
#[must_use]
pub fn svg(title: &str, rows: &[Vec<Cell>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (width, height) = (columns * WIDTH + 2 * EDGE, rows.len() * HEIGHT + 2 * EDGE);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"15\">\n",
        escaped(title)
    );
    for (index, row) in rows.iter().enumerate() {
        for run in runs(row) {
            run.write(index, &mut picture);
        }
    }
    picture.push_str("</g>\n</svg>\n");
    picture
}

/// Neighbours that look the same.
struct Run<'a> {
    from: usize,
    cells: &'a [Cell],
}

fn runs(row: &[Cell]) -> Vec<Run<'_>> {
    let same = |a: &Cell, b: &Cell| (a.ink, a.bold, a.reversed) == (b.ink, b.bold, b.reversed);
    let mut from = 0;
    let runs = row.chunk_by(same).map(|cells| {
        let run = Run { from, cells };
        from += cells.len();
        run
    });
    runs.collect()
}

impl Run<'_> {
    fn write(&self, row: usize, picture: &mut String) {
        let Some(first) = self.cells.first() else {
            return;
        };
        let text: String = self.cells.iter().map(|cell| cell.symbol.as_str()).collect();
        let (x, y) = (EDGE + self.from * WIDTH, EDGE + row * HEIGHT);
        let wide = self.cells.len() * WIDTH;
        let ink = match first.reversed {
            true => GROUND,
            false => first.ink.colour(),
        };
        if first.reversed {
            let ground = first.ink.colour();
            let _infallible = writeln!(
                picture,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{HEIGHT}\" fill=\"{ground}\"/>"
            );
        }
        let written = text.trim_start();
        let before = text.chars().count() - written.chars().count();
        let written = written.trim_end();
        if written.is_empty() {
            return;
        }
        let x = x + before * WIDTH;
        let wide = written.chars().count() * WIDTH;
        let weight = if first.bold {
            " font-weight=\"bold\""
        } else {
            ""
        };
        // The browser's letters are stretched to the terminal's columns; of spaces in a row it would keep one.
        let _infallible = writeln!(
            picture,
            "<text x=\"{x}\" y=\"{}\" textLength=\"{wide}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{ink}\"{weight}>{}</text>",
            y + BASE,
            escaped(written).replace(' ', "\u{a0}")
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str, ink: Ink, reversed: bool) -> Vec<Cell> {
        let cell = |letter: char| Cell {
            symbol: letter.to_string(),
            ink,
            bold: false,
            reversed,
        };
        text.chars().map(cell).collect()
    }

    #[test]
    fn neighbours_that_look_the_same_are_one_piece_at_their_place_and_nothing_is_markup() {
        let mut row = cells("a<b", Ink::Text, false);
        row.extend(cells("  ", Ink::Grey, false));
        row.extend(cells("!", Ink::Red, true));
        let picture = svg("x & y", &[row]);
        assert!(picture.contains("<title>x &amp; y</title>"));
        assert!(picture.contains(">a&lt;b</text>"));
        assert_eq!(picture.matches("<text ").count(), 2, "{picture}");
        let at = EDGE + 5 * WIDTH;
        assert!(picture.contains(&format!("<rect x=\"{at}\"")), "{picture}");
        assert!(picture.contains(&format!("<text x=\"{at}\"")), "{picture}");
    }
}
