//! Numbers, times and foreign text, short enough for a column and harmless for a terminal.

use ratatui::text::Span;

/// An age in a table: one number and its unit, coarse, so that a screen at rest hardly changes.
pub(super) fn coarse(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6_000 => format!("{}m", seconds / 60),
        6_000..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long a session does what it does: to milliseconds and tenths of a second as long as these matter.
pub(super) fn fine(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..10_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        _ => coarse(ms),
    }
}

/// Memory in mebibytes, to tenths as long as these matter.
pub(super) fn memory(bytes: u64) -> String {
    let tenths = bytes * 10 / (1024 * 1024);
    match tenths {
        0..100 => format!("{}.{}M", tenths / 10, tenths % 10),
        _ => format!("{}M", tenths / 10),
    }
}

/// Processor time in per cent of a core.
pub(super) fn cores(cores: f64) -> String {
    let percent = cores * 100.0;
    match percent {
        ..9.95 => format!("{percent:.1}%"),
        _ => format!("{percent:.0}%"),
    }
}

/// The time of day, UTC, as the log has it.
pub(super) fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000 % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// Text from elsewhere (statements, workers' words) in one line: what a terminal would take for an order is left out.
pub(super) fn harmless(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The beginning of a text in at most so many columns, with `…` where something is missing.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let room = columns.saturating_sub(1);
    for letter in text.chars() {
        let next = format!("{kept}{letter}");
        if width(&next) > room {
            break;
        }
        kept = next;
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// A text in lines of at most so many columns, broken between words where that is possible. Its own lines stay.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in harmless(paragraph).split(' ') {
            let mut word = word.to_owned();
            while !word.is_empty() {
                let space = usize::from(!line.is_empty());
                let room = columns.saturating_sub(width(&line) + space);
                if width(&word) <= room {
                    line.push_str(&" ".repeat(space));
                    line.push_str(&word);
                    word.clear();
                } else if line.is_empty() {
                    let (head, tail) = split(&word, columns);
                    lines.push(head);
                    word = tail;
                } else {
                    lines.push(std::mem::take(&mut line));
                }
            }
        }
        // Of a word that was broken to its end nothing is left.
        if !line.is_empty() || paragraph.is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// A word that is too long, at the column where it has to be broken. At least one character comes first.
fn split(word: &str, columns: usize) -> (String, String) {
    let mut head = String::new();
    let mut letters = word.chars();
    while let Some(letter) = letters.clone().next() {
        let next = format!("{head}{letter}");
        if !head.is_empty() && width(&next) > columns {
            break;
        }
        head = next;
        letters.next();
    }
    (head, letters.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_take_four_columns_or_five() {
        let table = [
            (7, "0s", "7ms"),
            (3_456, "3s", "3.4s"),
            (99_999, "99s", "99s"),
            (100_000, "1m", "1m"),
            (5_999_000, "99m", "99m"),
            (6_000_000, "1h", "1h"),
            (172_799_000, "47h", "47h"),
            (172_800_000, "2d", "2d"),
        ];
        for (ms, coarsely, finely) in table {
            assert_eq!((coarse(ms), fine(ms)), (coarsely.into(), finely.into()));
        }
        assert_eq!(memory(9_600_000), "9.1M");
        assert_eq!(memory(64_000_000), "61M");
        assert_eq!(cores(0.0041), "0.4%");
        assert_eq!(cores(1.2), "120%");
        assert_eq!(clock(1_764_078_123_456), "13:42:03");
    }

    #[test]
    fn what_a_terminal_would_obey_is_no_part_of_a_line() {
        let text = "SELECT\n\t1\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m; --\r";
        assert_eq!(harmless(text), "SELECT 1 ]0;owned [2J 31m; --");
    }

    #[test]
    fn lines_are_as_long_as_they_may_be_and_lose_nothing() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("seventeen\n- b", 4), ["seve", "ntee", "n", "- b"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
        assert_eq!(wrap("", 4), Vec::<String>::new());
        assert_eq!(cut("one two", 5), "one …");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("one", 0), "");
    }
}
