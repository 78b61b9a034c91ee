//! One value of the manifest, whatever it is: as it stands there, or of the environment; each with its place and its name for
//! the message when it is wrong.

use super::{Reader, Value};
use crate::declare::{DatabaseUrl, Mistake, Sourced, Variables};
use crate::tag::Name;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Where a value came from, for the message when it is wrong.
pub(super) struct Given<'v> {
    /// The text to parse, for a value of the environment; the TOML value otherwise.
    pub(super) value: Content<'v>,
    pub(super) variable: Option<String>,
    pub(super) span: Range<usize>,
}

pub(super) enum Content<'v> {
    Environment(String),
    Literal(&'v DeValue<'v>),
}

impl Reader<'_> {
    /// `None` after a mistake; `Some((None, …))` where no URL is given.
    pub(super) fn url(
        &mut self,
        table: &DeTable<'_>,
    ) -> Option<(Option<DatabaseUrl>, Option<String>)> {
        let Some(value) = table.get("url") else {
            return Some((None, None));
        };
        let variable = variable_of(value.get_ref());
        if let Some(name) = &variable
            && self.look_up(name).is_none()
            && value.get_ref().get("default").is_none()
        {
            self.only_setting_keys(value);
            return Some((None, variable));
        }
        let given = self.given(value)?;
        let Some(text) = given.text() else {
            self.refuse(&given, DatabaseUrl::EXPECTED);
            return None;
        };
        match DatabaseUrl::parse(&text) {
            Ok(url) => Some((Some(url), variable)),
            Err(error) => {
                self.mistakes.push(Mistake {
                    span: given.span,
                    variable: given.variable,
                    found: error.to_string(),
                    expected: DatabaseUrl::EXPECTED.into(),
                });
                None
            }
        }
    }

    pub(super) fn command(&mut self, value: &Value<'_>) -> Option<Vec<String>> {
        let expected = "a list of a programme and its arguments, as in [\"node\", \"server.js\"]";
        let words = self.texts(value, expected)?;
        if words.first().is_none_or(String::is_empty) {
            self.mistake(value.span(), "an empty command", expected);
            return None;
        }
        Some(words)
    }

    pub(super) fn texts(&mut self, value: &Value<'_>, expected: &str) -> Option<Vec<String>> {
        let Some(items) = value.get_ref().as_array() else {
            self.mistake(value.span(), shown(value.get_ref()), expected);
            return None;
        };
        let texts: Vec<Option<String>> = items
            .iter()
            .map(|item| self.parsed(item, "text", |text| Some(text.to_owned())))
            .collect();
        texts.into_iter().collect()
    }

    pub(super) fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<Option<String>> {
        match table.get(key) {
            None => Some(None),
            Some(value) => self
                .parsed(value, "text that is not empty", |text| {
                    (!text.is_empty()).then(|| text.to_owned())
                })
                .map(Some),
        }
    }

    pub(super) fn flag(&mut self, table: &DeTable<'_>, key: &str) -> Option<bool> {
        let Some(value) = table.get(key) else {
            return Some(false);
        };
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mistake(value.span(), shown(value.get_ref()), "true or false");
        }
        flag
    }

    /// The variables of an app. No value is repeated: it may be a password.
    pub(super) fn variables(&mut self, table: &DeTable<'_>) -> Option<Variables> {
        let Some(value) = table.get("env") else {
            return Some(Variables::default());
        };
        let entries = self.table(value, "of variables, as in { NODE_ENV = \"production\" }")?;
        let mut variables = Some(BTreeMap::new());
        for (name, value) in entries {
            let text = value.get_ref().as_str();
            match text.filter(|text| is_variable(name.get_ref()) && !text.contains('\0')) {
                Some(text) => {
                    if let Some(variables) = &mut variables {
                        variables.insert(name.get_ref().to_string(), text.to_owned());
                    }
                }
                None => {
                    self.mistake(
                        name.span(),
                        format!("the variable {:?}", name.get_ref()),
                        "NAME = \"value\", the name without \"=\", neither with a NUL",
                    );
                    variables = None;
                }
            }
        }
        variables.map(Variables)
    }

    pub(super) fn duration(&mut self, table: &DeTable<'_>, key: &str) -> Option<Duration> {
        const DEFAULT: Duration = Duration::from_secs(30);
        const RANGE: RangeInclusive<Duration> =
            Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
        let Some(value) = table.get(key) else {
            return Some(DEFAULT);
        };
        self.parsed(
            value,
            "a time between \"1ms\" and \"24h\", as in \"30s\"",
            |text| {
                humantime::parse_duration(text)
                    .ok()
                    .filter(|duration| RANGE.contains(duration))
            },
        )
    }

    pub(super) fn count(
        &mut self,
        value: &Value<'_>,
        range: RangeInclusive<u32>,
        why: &str,
    ) -> Option<Sourced<u32>> {
        let given = self.given(value)?;
        let number: Option<u32> = match &given.value {
            Content::Environment(text) => whole_number(text),
            Content::Literal(DeValue::Integer(integer)) => {
                u32::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            Content::Literal(_) => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(value) => Some(Sourced {
                value,
                variable: given.variable,
            }),
            None => {
                self.refuse(
                    &given,
                    format!(
                        "a whole number from {} to {}{why}",
                        range.start(),
                        range.end()
                    ),
                );
                None
            }
        }
    }

    pub(super) fn parsed<T>(
        &mut self,
        value: &Value<'_>,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let given = self.given(value)?;
        let parsed = given.text().and_then(|text| parse(&text));
        if parsed.is_none() {
            self.refuse(&given, expected);
        }
        parsed
    }

    /// A value, or what `{ env, default }` resolves to.
    pub(super) fn given<'v>(&mut self, value: &'v Value<'v>) -> Option<Given<'v>> {
        let span = value.span();
        let Some(table) = value.get_ref().as_table() else {
            return Some(Given {
                value: Content::Literal(value.get_ref()),
                variable: None,
                span,
            });
        };
        self.only_setting_keys(value);
        let Some(variable) = variable_of(value.get_ref()) else {
            self.mistake(
                span,
                "a table without env",
                "a value, or { env = \"VARIABLE\", default = value }",
            );
            return None;
        };
        let value = match (self.look_up(&variable), table.get("default")) {
            (Some(text), _) => Content::Environment(text),
            (None, Some(default)) => Content::Literal(default.get_ref()),
            (None, None) => {
                self.mistakes.push(Mistake {
                    span,
                    variable: Some(variable),
                    found: "nothing, it is not set".into(),
                    expected: "the variable to be set, or a default beside it".into(),
                });
                return None;
            }
        };
        Some(Given {
            value,
            variable: Some(variable),
            span,
        })
    }

    pub(super) fn only_setting_keys(&mut self, value: &Value<'_>) {
        if let Some(table) = value.get_ref().as_table() {
            self.only(table, &["env", "default"]);
        }
    }

    pub(super) fn table<'v>(
        &mut self,
        value: &'v Value<'v>,
        place: &str,
    ) -> Option<&'v DeTable<'v>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.mistake(
                value.span(),
                shown(value.get_ref()),
                format!("a table {place}"),
            );
        }
        table
    }

    /// The entries of a table of named things, in the order of the file.
    pub(super) fn named<T>(
        &mut self,
        value: &Value<'_>,
        place: &str,
        mut read: impl FnMut(&mut Self, Name, &Value<'_>) -> Option<T>,
    ) -> Vec<Option<T>> {
        let Some(table) = self.table(value, &format!("[{place}.NAME]")) else {
            return vec![None];
        };
        table
            .iter()
            .map(|(key, value)| match Name::new(key.get_ref().as_ref()) {
                Ok(name) => read(self, name, value),
                Err(_) => {
                    self.mistake(
                        key.span(),
                        format!("the name {:?}", key.get_ref()),
                        "a lowercase letter, then lowercase letters, digits, \"_\" or \"-\", not ending in \"-\" and digits",
                    );
                    // What stands below a wrong name has its own mistakes to report.
                    if let Ok(stand_in) = Name::new("unnamed") {
                        read(self, stand_in, value);
                    }
                    None
                }
            })
            .collect()
    }

    pub(super) fn only(&mut self, table: &DeTable<'_>, keys: &[&str]) {
        for key in table.keys() {
            if !keys.contains(&key.get_ref().as_ref()) {
                self.mistake(
                    key.span(),
                    format!("the key {:?}", key.get_ref()),
                    format!("one of {}", keys.join(", ")),
                );
            }
        }
    }
}

impl Given<'_> {
    pub(super) fn text(&self) -> Option<String> {
        match &self.value {
            Content::Environment(text) => Some(text.clone()),
            Content::Literal(DeValue::String(text)) => Some(text.clone().into_owned()),
            Content::Literal(_) => None,
        }
    }

    pub(super) fn shown(&self) -> String {
        match &self.value {
            // A database URL in the wrong variable would show its password.
            Content::Environment(text) if text.contains("://") => "a URL".into(),
            Content::Environment(text) => format!("{text:?}"),
            Content::Literal(value) => shown(value),
        }
    }
}

impl<T> Sourced<T> {
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced {
            value: convert(self.value),
            variable: self.variable,
        }
    }
}

pub(super) fn variable_of(value: &DeValue<'_>) -> Option<String> {
    value
        .get("env")
        .and_then(|name| name.get_ref().as_str())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// What the system takes for a variable's name.
pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Digits only: `str::parse` would take `+3` too, which no other reader of the variable does.
pub(super) fn whole_number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// A value as a person would name it.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.contains("://") => "a URL".into(),
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
