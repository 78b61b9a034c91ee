//! A line of arguments → arguments, as PM2 splits `args` and `node_args` that are text.

/// Splits at white space. What is in quotes is one argument and loses them; quotes in the middle of one
/// (`--name="a b"`) keep it together and stay.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (argument, after) = match first {
            '"' | '\'' => quoted(rest, first).unwrap_or_else(|| bare(rest)),
            _ => bare(rest),
        };
        if !argument.is_empty() {
            arguments.push(argument.to_owned());
        }
        rest = after.trim_start();
    }
    arguments
}

fn quoted(text: &str, quote: char) -> Option<(&str, &str)> {
    text.strip_prefix(quote)?.split_once(quote)
}

fn bare(text: &str) -> (&str, &str) {
    let mut open = None;
    let mut before = None;
    let end = text.find(|c: char| {
        match open {
            Some(quote) if c == quote => open = None,
            Some(_) => {}
            // Only after `=`: an apostrophe in a word opens nothing.
            None if before == Some('=') && matches!(c, '"' | '\'') => open = Some(c),
            None if c.is_whitespace() => return true,
            None => {}
        }
        before = Some(c);
        false
    });
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn arguments_are_split_as_pm2_splits_them() {
        let table: [(&str, &[&str]); 6] = [
            ("", &[]),
            ("  --port 3000\t-v ", &["--port", "3000", "-v"]),
            (r#"--title "a b" 'c d'"#, &["--title", "a b", "c d"]),
            (r#"--title="a b" x"#, &[r#"--title="a b""#, "x"]),
            ("it's fine", &["it's", "fine"]),
            (r#""open end"#, &["\"open", "end"]),
        ];
        for (line, expected) in table {
            assert_eq!(split(line), expected, "{line}");
        }
    }
}
