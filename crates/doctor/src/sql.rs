//! SQL that sets something for the session instead of the transaction.
//!
//! Read by its words, as Postgres reads them: comments, quoted names, strings and dollar quotes are told apart. A whole
//! grammar would refuse the statements that programs put together from parts.

/// What of a statement counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// A name or a keyword, as Postgres folds it.
    Name(String),
    /// The contents of a string.
    Text(String),
    /// Anything else, one character.
    Sign(char),
}

/// The setting that a statement gives a value for the session: a setting of the application's own, as tenants are
/// (`app.tenant_id`), or the role. Settings of Postgres itself are not meant, nor what is set for the transaction.
pub(crate) fn set_for_session(text: &str) -> Option<String> {
    // Most strings are none of it, and are not taken apart.
    let mut threes = text.as_bytes().windows(3);
    if !threes.any(|three| three.eq_ignore_ascii_case(b"set")) {
        return None;
    }
    // "Set role permissions" is a heading; a statement about the role is written in capitals.
    let capitals = text.trim_start().starts_with("SET");
    let words = words(text);
    words
        .split(|word| *word == Word::Sign(';'))
        .find_map(|statement| set(statement, capitals).or_else(|| set_config(statement)))
}

/// `SET app.tenant_id = …`, `SET SESSION app.tenant_id TO …`, `SET ROLE …`.
fn set(statement: &[Word], capitals: bool) -> Option<String> {
    let [Word::Name(set), rest @ ..] = statement else {
        return None;
    };
    if set != "set" {
        return None;
    }
    let rest = match rest {
        [Word::Name(scope), rest @ ..] if scope == "session" => rest,
        rest => rest,
    };
    match rest {
        [
            Word::Name(role),
            Word::Name(_) | Word::Text(_) | Word::Sign('$'),
            ..,
        ] if capitals && role == "role" => Some("the role".to_owned()),
        [
            Word::Name(first),
            Word::Sign('.'),
            Word::Name(second),
            assign,
            _,
            ..,
        ] => {
            let assigns = match assign {
                Word::Sign('=') => true,
                Word::Name(to) => to == "to",
                _ => false,
            };
            assigns.then(|| format!("{first}.{second}"))
        }
        _ => None,
    }
}

/// `set_config('app.tenant_id', …, false)` in any statement.
fn set_config(statement: &[Word]) -> Option<String> {
    let calls = statement.windows(3).enumerate();
    for (at, window) in calls {
        let [Word::Name(name), Word::Sign('('), Word::Text(setting)] = window else {
            continue;
        };
        if name != "set_config" || !(setting.contains('.') || setting == "role") {
            continue;
        }
        let arguments = arguments(statement.get(at + 2..).unwrap_or_default());
        if let Some([Word::Name(local)]) = arguments.get(2).map(Vec::as_slice)
            && matches!(local.as_str(), "false" | "f")
        {
            return Some(setting.clone());
        }
    }
    None
}

/// The arguments of a call, from its first word to its closing parenthesis.
fn arguments(words: &[Word]) -> Vec<Vec<Word>> {
    let mut depth = 0_usize;
    let mut all = vec![Vec::new()];
    for word in words {
        match word {
            Word::Sign('(') => depth += 1,
            Word::Sign(')') if depth == 0 => break,
            Word::Sign(')') => depth -= 1,
            Word::Sign(',') if depth == 0 => {
                all.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = all.last_mut() {
            last.push(word.clone());
        }
    }
    all
}

fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = if first.is_whitespace() {
            rest.trim_start()
        } else if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (name, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            words.push(Word::Name(name.to_owned()));
            after
        } else if let Some(quoted) = rest.strip_prefix('\'') {
            let (string, after) = quoted.split_once('\'').unwrap_or((quoted, ""));
            words.push(Word::Text(string.to_owned()));
            after
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            words.push(Word::Name(name.to_lowercase()));
            after
        } else {
            words.push(Word::Sign(first));
            rest.get(first.len_utf8()..).unwrap_or_default()
        };
    }
    words
}

#[cfg(test)]
mod tests {
    use super::set_for_session;

    #[test]
    fn what_is_set_for_the_session_is_told_from_what_is_not() {
        let session = [
            ("SET app.tenant_id = $1", "app.tenant_id"),
            ("set session app.tenant_id to 'x'", "app.tenant_id"),
            ("-- for all\nSET App.\"tenant\" = 'a''b'", "app.tenant"),
            ("SET ROLE tenant_1", "the role"),
            ("BEGIN; SET app.org = '1'; COMMIT", "app.org"),
            (
                "SELECT set_config('app.tenant_id', $1, false)",
                "app.tenant_id",
            ),
            (
                "select set_config('app.t', coalesce($1, ''), FALSE), 1",
                "app.t",
            ),
        ];
        for (text, setting) in session {
            assert_eq!(set_for_session(text).as_deref(), Some(setting), "{text}");
        }
        let not = [
            "SET LOCAL app.tenant_id = $1",
            "SELECT set_config('app.tenant_id', $1, true)",
            "SELECT set_config('statement_timeout', '1s', false)",
            "SET statement_timeout = '1s'",
            "SET search_path TO a, b",
            "SET LOCAL ROLE tenant_1",
            "UPDATE t SET app.x = 1",
            "set app.tenant",
            "SET ROLE",
            "Set role permissions",
            "SELECT 'SET app.tenant_id = 1'",
            "/* SET app.tenant_id = 1 */ SELECT 1",
            "Set the tenant. Then go = on",
            "",
        ];
        for text in not {
            assert_eq!(set_for_session(text), None, "{text}");
        }
    }

    #[test]
    fn half_a_statement_is_none() {
        for text in [
            "'",
            "\"",
            "/*",
            "set_config('",
            "set_config('a.b', (",
            "SET a.",
            "$$",
        ] {
            assert_eq!(set_for_session(text), None, "{text}");
        }
    }
}
