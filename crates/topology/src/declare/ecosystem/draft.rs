//! The manifest that an ecosystem file is translated into, and where each part of it comes from.

use super::Placed;
use crate::declare::Mistake;
use serde_json::Value;
use std::ops::Range;

/// A manifest in the making: one table of apps, and what stands beside it.
#[derive(Debug, Default)]
pub(super) struct Draft {
    text: String,
    places: Vec<(Range<usize>, String)>,
    apps: Vec<String>,
}

/// A key, its value, and where they come from.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    place: String,
    value: Node,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    /// As it stands in the ecosystem file; what is in it comes from below its place.
    Json(Value),
    Table(Vec<Entry>),
}

impl Entry {
    pub(super) fn new(key: &str, place: String, value: Node) -> Self {
        let key = key.to_owned();
        Self { key, place, value }
    }

    pub(super) fn text(key: &str, place: String, text: &str) -> Self {
        Self::new(key, place, Node::Json(text.into()))
    }

    /// The value, if it is text.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Node::Json(value) => value.as_str(),
            Node::Table(_) => None,
        }
    }
}

impl Draft {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A line for an app.
    pub(super) fn app(&mut self, entry: Entry) {
        self.apps.push(entry.key.clone());
        self.text.push_str("apps.");
        self.root(entry);
    }

    /// A line beside the apps.
    pub(super) fn root(&mut self, entry: Entry) {
        self.entry(entry);
        self.text.push('\n');
    }

    /// What the reader found, under the keys of the ecosystem file.
    pub(super) fn place(&self, at: usize, mut mistake: Mistake) -> Placed {
        let around = self.places.iter().filter(|(range, _)| range.contains(&at));
        let innermost = around.min_by_key(|(range, _)| range.len());
        for app in &self.apps {
            for text in [&mut mistake.found, &mut mistake.expected] {
                *text = text.replace(&format!("[apps.{app}.pools."), "[pools.");
                *text = text.replace(&format!("[apps.{app}]"), app);
            }
        }
        let place = innermost.map_or_else(|| "apps".to_owned(), |(_, place)| place.clone());
        Placed { place, mistake }
    }

    fn entry(&mut self, Entry { key, place, value }: Entry) {
        let start = self.text.len();
        self.quoted(&key);
        self.text.push_str(" = ");
        match value {
            Node::Json(value) => self.json(&place, value),
            Node::Table(entries) => self.table(entries),
        }
        self.places.push((start..self.text.len(), place));
    }

    fn table(&mut self, entries: Vec<Entry>) {
        self.text.push('{');
        for (index, entry) in entries.into_iter().enumerate() {
            self.text.push_str(if index == 0 { " " } else { ", " });
            self.entry(entry);
        }
        self.text.push_str(" }");
    }

    fn json(&mut self, place: &str, value: Value) {
        match value {
            Value::Object(entries) => {
                // TOML has no word for nothing: as if the key were not there.
                let entries = entries.into_iter().filter(|(_, value)| !value.is_null());
                let entries = entries.map(|(key, value)| {
                    let place = format!("{place}.{key}");
                    Entry::new(&key, place, Node::Json(value))
                });
                self.table(entries.collect());
            }
            Value::Array(values) => {
                self.text.push('[');
                for (index, value) in values.into_iter().enumerate() {
                    self.text.push_str(if index == 0 { "" } else { ", " });
                    self.json(place, value);
                }
                self.text.push(']');
            }
            Value::String(text) => self.quoted(&text),
            Value::Null => self.quoted("null"),
            Value::Bool(_) | Value::Number(_) => self.text.push_str(&value.to_string()),
        }
    }

    /// JSON's escapes are TOML's, but for one character that JSON lets through.
    fn quoted(&mut self, text: &str) {
        let json = Value::from(text).to_string();
        self.text.push_str(&json.replace('\u{7f}', "\\u007f"));
    }
}
