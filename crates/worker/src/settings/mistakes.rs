//! What is wrong with an environment, in the words that the operator reads; never with a password in them.

use std::fmt;

/// One variable that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    variable: &'static str,
    found: Option<String>,
    expected: String,
}

/// Every mistake of an environment; its text is what the operator reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(Vec<Mistake>);

impl Mistake {
    /// `found` is `None` where the variable is not set, and has no password any more ([`without_password`]).
    pub(super) fn new(variable: &'static str, found: Option<String>, expected: String) -> Self {
        Self {
            variable,
            found,
            expected,
        }
    }
}

impl Mistakes {
    pub(super) fn new(mistakes: Vec<Mistake>) -> Self {
        Self(mistakes)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "invalid environment, {count} {noun}:")?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{}: found \"{found}\"", self.variable)?,
            None => write!(f, "{}: not set", self.variable)?,
        }
        write!(f, ", expected {}", self.expected)
    }
}

/// `text` with what stands where a URL has its password replaced by `***`.
///
/// Works on text instead of a parsed URL because it is needed most where the text is no URL: from
/// the first `:` after `://` (or from the start) up to the last `@`. It also hides `password=` in a
/// query.
pub(super) fn without_password(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let masked = match rest.rfind('@') {
        Some(at) => match rest[..at].find(':') {
            Some(colon) => format!("{}:***{}", &rest[..colon], &rest[at..]),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let query = match masked.find("password=") {
        Some(at) => {
            let value = at + "password=".len();
            let end = masked[value..]
                .find('&')
                .map_or(masked.len(), |length| value + length);
            format!("{}***{}", &masked[..value], &masked[end..])
        }
        None => masked,
    };
    format!("{scheme}{query}")
}
