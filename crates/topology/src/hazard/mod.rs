//! What breaks a topology before it runs: the hazards that `doctor` names, as data.
//!
//! A [`Code`] is a kind of hazard; its name, its severity, why it matters and what cures it stand in one table, so that
//! text, JSON, SARIF and the documentation cannot say different things. A [`Hazard`] is one of them at a place. Who
//! looks for them in files, in Postgres or in a running fleet, judges nothing that is not a function here.

mod code;
pub mod live;

pub use code::{Code, Shown};

use crate::finding::Severity;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::fmt;

/// One hazard that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hazard {
    /// Where; nowhere in the project for what only Postgres shows of a fleet without a manifest.
    pub place: Option<Place>,
    /// Which.
    pub code: Code,
    /// What was found there, in one sentence.
    pub message: String,
}

/// A place in a file of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, relative to where the examination began, with `/` between its parts.
    pub file: String,
    /// Where in it; nothing where the whole file is meant, or a file without lines.
    pub position: Option<Position>,
}

/// A line and a column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Hazard {
    /// One hazard at a place.
    #[must_use]
    pub fn at(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self {
            place: Some(place),
            code,
            message: message.into(),
        }
    }
}

impl Place {
    /// A place in a file.
    #[must_use]
    pub fn new(file: impl Into<String>, position: Option<Position>) -> Self {
        Self {
            file: file.into(),
            position,
        }
    }
}

impl Position {
    /// The place of a byte in a text.
    #[must_use]
    pub fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
        Self {
            line: count(before.bytes().filter(|byte| *byte == b'\n').count()),
            column: count(before.get(start..).unwrap_or_default().chars().count()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.position {
            Some(Position { line, column }) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// The fields are documented in `docs/doctor.md` and stable.
impl Serialize for Hazard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Hazard", 7)?;
        fields.serialize_field("code", self.code.id())?;
        fields.serialize_field("name", self.code.name())?;
        fields.serialize_field::<Severity>("severity", &self.code.severity())?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("why", self.code.why())?;
        fields.serialize_field("cure", self.code.cure())?;
        fields.serialize_field("place", &self.place)?;
        fields.end()
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Place", 3)?;
        fields.serialize_field("file", &self.file)?;
        fields.serialize_field("line", &self.position.map(|position| position.line))?;
        fields.serialize_field("column", &self.position.map(|position| position.column))?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_by_its_line_and_its_characters() {
        let text = "é = 1\nßß x\n";
        let at = |byte| {
            let Position { line, column } = Position::of(text, byte);
            (line, column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(text.find('x').unwrap()), (2, 4));
        assert_eq!(at(text.len()), (3, 1));
        assert_eq!(at(usize::MAX), (3, 1));
    }

    #[test]
    fn a_place_reads_as_editors_take_it() {
        let place = Place::new("src/db.ts", Some(Position { line: 3, column: 7 }));
        assert_eq!(place.to_string(), "src/db.ts:3:7");
        assert_eq!(Place::new("package.json", None).to_string(), "package.json");
    }
}
