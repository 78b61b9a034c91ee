//! The names of environment variables, and files of them.

use crate::url;
use poolwright_topology::hazard::{Code, Hazard, Place, Position};

/// Whether a text can be the name of a variable, as programs write them: `DATABASE_URL`.
pub(crate) fn is_variable(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_uppercase())
        && name.len() > 2
        && characters.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// What process managers number their workers by.
pub(crate) const INSTANCE_VARIABLES: [&str; 2] = ["PM2_INSTANCE_ID", "NODE_APP_INSTANCE"];

/// A variable of a file, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) line: u32,
}

/// The variables of a file like `.env`. A value of several lines is left out.
pub(crate) fn read(text: &str) -> Vec<Set> {
    let lines = text.lines().zip(1..);
    let read = lines.filter_map(|(line, number)| {
        let mut entries = dotenvy::Iter::new(line.as_bytes());
        let (name, value) = entries.next()?.ok()?;
        Some(Set {
            name,
            value,
            line: number,
        })
    });
    read.collect()
}

/// What is wrong with the variables of a file.
pub(crate) fn judge(file: &str, text: &str) -> Vec<Hazard> {
    let mut found = Vec::new();
    for Set { name, value, line } in read(text) {
        let place = Place::new(file, Some(Position { line, column: 1 }));
        if url::limits_connections(&value) {
            let message =
                format!("{name} limits connections by connection_limit, which is ignored");
            found.push(Hazard::at(
                Code::ConnectionLimitInUrl,
                place.clone(),
                message,
            ));
        }
        if INSTANCE_VARIABLES.contains(&name.as_str()) {
            let message = format!("{name} is set for every worker");
            found.push(Hazard::at(Code::InstanceIdSet, place, message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_their_lines_and_comments_are_none() {
        let read = read("# PM2_INSTANCE_ID=1\nA=1\n\nexport URL='postgres://h/d' # b\nno line\n");
        let read: Vec<_> = read
            .iter()
            .map(|set| (set.name.as_str(), set.line))
            .collect();
        assert_eq!(read, [("A", 2), ("URL", 4)]);
    }

    #[test]
    fn names_in_capitals_are_variables() {
        for (name, expected) in [
            ("DATABASE_URL", true),
            ("Url", false),
            ("PG", false),
            ("A b", false),
        ] {
            assert_eq!(is_variable(name), expected, "{name}");
        }
    }
}
