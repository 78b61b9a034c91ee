//! JSON lines on standard output: one object a line, `level` in lower case, the text under `msg`,
//! the fields beside it. The shape that the Node stack's logger writes too, so that one collector
//! reads both. A line that is written within a span has its `trace_id` and `span_id`.

use crate::otel;
use serde_json::{Map, Value};
use std::fmt::Debug;
use std::io::Write;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// Below `warn` the libraries speak of every statement and every executor; what an operator needs to
/// know of those, the worker says itself.
const DEFAULT_FILTER: &str = "info,dbos=warn,sqlx=warn,sea_orm=warn";

struct JsonLines;

struct Fields(Map<String, Value>);

/// Sends what `tracing` records to standard output, and its spans to `export` where there is one. `RUST_LOG` chooses the lines; the second
/// call in a process changes nothing.
pub fn init(export: Option<&otel::Export>) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    // No line tells of a span: without an export none is made, and with one `RUST_LOG` is not asked about each.
    let events = filter_fn(|metadata| metadata.is_event());
    Registry::default()
        .with(export.and_then(otel::Export::layer))
        .with(JsonLines.with_filter(events.and(filter)))
        .try_init()
        .ok();
}

/// Writes a line that no filter takes away: those that the contract promises.
pub fn announce(level: Level, msg: &str, fields: Map<String, Value>) {
    write(level, Value::from(msg), fields);
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let msg = fields.0.remove("message").unwrap_or_default();
        let target = event.metadata().target();
        fields.0.insert("target".into(), target.into());
        write(*event.metadata().level(), msg, fields.0);
    }
}

fn write(level: Level, msg: Value, mut fields: Map<String, Value>) {
    let now = OffsetDateTime::now_utc().format(&Rfc3339);
    fields.insert("level".into(), level.as_str().to_ascii_lowercase().into());
    fields.insert("msg".into(), msg);
    if let Some((trace, span)) = otel::current() {
        fields.insert("trace_id".into(), trace.into());
        fields.insert("span_id".into(), span.into());
    }
    fields.insert("time".into(), now.unwrap_or_default().into());
    let mut line = Value::Object(fields).to_string();
    line.push('\n');
    // In one write, so that lines of several workers on one pipe do not mix. There is no one to
    // tell when standard output is closed.
    std::io::stdout().lock().write_all(line.as_bytes()).ok();
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0
            .insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.insert(field.name().into(), chain(value).into());
    }
}

/// An error and its sources in one line, without what a source only repeats.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
