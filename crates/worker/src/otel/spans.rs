//! What the libraries call their spans, said in the words of the conventions.
//!
//! SeaORM and DBOS record spans of their own (`sea_orm.execute`, `step`) with fields of older or no conventions. They are what is
//! exported, so that nothing is timed twice; only their names and attributes are changed here, when they end.

use super::names;
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use std::borrow::Cow;
use std::time::Duration;

/// The longest statement that is exported, in bytes. An `IN` of a thousand parameters says no more than its beginning.
const STATEMENT_MAX: usize = 2_048;

/// Hands spans on in the words of the conventions.
#[derive(Debug)]
pub(super) struct Conventional<P> {
    next: P,
    /// Of every query: where to.
    database: Vec<KeyValue>,
}

impl<P> Conventional<P> {
    /// Hands spans on to `next`; `database` is said of every query.
    pub(super) fn new(next: P, database: Vec<KeyValue>) -> Self {
        Self { next, database }
    }
}

impl<P: SpanProcessor> SpanProcessor for Conventional<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        if let Some(call) = span.name.strip_prefix("sea_orm.") {
            let call = call.to_owned();
            query(&mut span, &call, &self.database);
        } else if span.name == "step" {
            step(&mut span);
        }
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// A span of SeaORM's, of its function `call`.
fn query(span: &mut SpanData, call: &str, database: &[KeyValue]) {
    let statement = text(&take(span, "db.statement"));
    // An error's message quotes values; the status says that there was one.
    for name in ["db.system", "db.operation", "exception.message"] {
        take(span, name);
    }
    let operation = match &statement {
        Some(statement) => first_word(statement).to_ascii_uppercase(),
        None => call.to_ascii_uppercase(),
    };
    let collection = statement.as_deref().and_then(collection);
    span.name = match &collection {
        Some(collection) => format!("{operation} {collection}").into(),
        None => operation.clone().into(),
    };
    let own = [
        Some(KeyValue::new(names::DB_OPERATION, operation)),
        collection.map(|name| KeyValue::new(names::DB_COLLECTION, name)),
        statement.map(|text| KeyValue::new(names::DB_QUERY_TEXT, without_literals(&text))),
    ];
    span.attributes.extend(own.into_iter().flatten());
    span.attributes.extend(database.iter().cloned());
}

/// A span of an attempt at a step of DBOS'.
fn step(span: &mut SpanData) {
    let Some(name) = text(&take(span, "step_name")) else {
        return;
    };
    span.name = Cow::Owned(name.clone());
    for (from, to) in [
        ("step_id", names::DBOS_STEP_ID),
        ("attempt", names::DBOS_ATTEMPT),
    ] {
        // `tracing` hands unsigned numbers on as text.
        let number = text(&take(span, from)).and_then(|text| text.parse::<i64>().ok());
        span.attributes
            .extend(number.map(|number| KeyValue::new(to, number)));
    }
    span.attributes
        .push(KeyValue::new(names::DBOS_TYPE, "step"));
    span.attributes.push(KeyValue::new(names::DBOS_NAME, name));
}

fn take(span: &mut SpanData, name: &str) -> Option<Value> {
    let at = span
        .attributes
        .iter()
        .position(|attribute| attribute.key.as_str() == name)?;
    Some(span.attributes.swap_remove(at).value)
}

fn text(value: &Option<Value>) -> Option<String> {
    value.as_ref().map(|value| value.as_str().into_owned())
}

fn first_word(statement: &str) -> &str {
    statement.split_whitespace().next().unwrap_or_default()
}

/// The table that a statement is about: the name after the first `FROM`, `INTO` or `UPDATE`.
fn collection(statement: &str) -> Option<String> {
    let mut words = statement.split_whitespace();
    words.find(|word| {
        ["FROM", "INTO", "UPDATE"]
            .iter()
            .any(|keyword| word.eq_ignore_ascii_case(keyword))
    })?;
    let name = words.next()?.trim_end_matches([',', ';', '(']);
    let plain = name.replace('"', "");
    let named = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    (!plain.is_empty() && plain.chars().all(named)).then_some(plain)
}

/// The statement with every literal replaced by `?`, and cut at [`STATEMENT_MAX`].
///
/// SeaORM's own statements have parameters and no literals; one that a service wrote by hand may have.
fn without_literals(statement: &str) -> String {
    let mut shown = String::with_capacity(statement.len().min(STATEMENT_MAX));
    let mut rest = statement.chars().peekable();
    // The last character decides whether a digit begins a number or goes on with a name or a parameter.
    let mut last = ' ';
    while let Some(c) = rest.next() {
        if shown.len() >= STATEMENT_MAX {
            shown.push('…');
            break;
        }
        match c {
            '\'' => {
                // To the closing quote; two in a row are one inside.
                while let Some(c) = rest.next() {
                    if c == '\'' && rest.next_if_eq(&'\'').is_none() {
                        break;
                    }
                }
                shown.push('?');
            }
            '"' => {
                shown.push(c);
                for c in rest.by_ref() {
                    shown.push(c);
                    if c == '"' {
                        break;
                    }
                }
            }
            c if c.is_ascii_digit() && !(last.is_alphanumeric() || "_$".contains(last)) => {
                while rest.next_if(|c| c.is_alphanumeric() || *c == '.').is_some() {}
                shown.push('?');
            }
            c => shown.push(c),
        }
        last = c;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_statement_is_exported() {
        let cases = [
            (
                r#"INSERT INTO "orders" ("id", "quantity") VALUES ($1, $12)"#,
                r#"INSERT INTO "orders" ("id", "quantity") VALUES ($1, $12)"#,
            ),
            (
                "SELECT * FROM t1 WHERE name = 'it''s a secret' AND n = 42 AND f > 1.5e3",
                "SELECT * FROM t1 WHERE name = ? AND n = ? AND f > ?",
            ),
            (r#"SELECT "a 1" FROM b2_3"#, r#"SELECT "a 1" FROM b2_3"#),
            ("SELECT 'open", "SELECT ?"),
        ];
        for (statement, shown) in cases {
            assert_eq!(without_literals(statement), shown);
        }
        let long = without_literals(&"a, ".repeat(2_000));
        assert!(long.len() <= STATEMENT_MAX + '…'.len_utf8());
    }

    #[test]
    fn a_query_is_named_by_what_it_does_to_which_table() {
        let cases = [
            (r#"INSERT INTO "orders" ("id") VALUES ($1)"#, Some("orders")),
            (
                r#"SELECT "o"."id" FROM "public"."orders" LIMIT $1"#,
                Some("public.orders"),
            ),
            (r#"UPDATE "orders" SET "status" = $1"#, Some("orders")),
            ("SELECT set_config('app.tenant_id', $1, true)", None),
            ("SELECT * FROM (SELECT 1) AS x", None),
        ];
        for (statement, table) in cases {
            assert_eq!(collection(statement).as_deref(), table, "{statement}");
        }
    }
}
