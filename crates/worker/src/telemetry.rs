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
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// Below `warn` the libraries speak of every statement and every executor; what an operator needs to
/// know of those, the worker says itself.
const DEFAULT_FILTER: &str = "info,dbos=warn,sqlx=warn,sea_orm=warn";

struct JsonLines;

/// Decides, for all layers, which lines are written and which spans are made.
///
/// In front of them, and not as a filter of each: a span that every layer's own filter declines at run time is made nevertheless, and entered and
/// left with every poll, for nobody (`tracing-subscriber` 0.3). So is every span of every library where a layer is an `Option` that is `None`.
struct Gate {
    lines: EnvFilter,
    /// Whether there is anybody to tell of spans.
    spans: bool,
}

struct Fields(Map<String, Value>);

/// Sends what `tracing` records to standard output, and its spans to `export` where there is one. `RUST_LOG` chooses the lines; the second
/// call in a process changes nothing.
pub fn init(export: Option<&otel::Export>) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    subscriber(export.and_then(otel::Export::layer), filter)
        .try_init()
        .ok();
}

/// Writes the lines that the filter lets through, and tells `spans` of spans.
fn subscriber(
    spans: Option<Box<dyn Layer<Registry> + Send + Sync>>,
    lines: EnvFilter,
) -> impl Subscriber + Send + Sync {
    let gate = Gate {
        lines,
        spans: spans.is_some(),
    };
    Registry::default().with(spans).with(JsonLines).with(gate)
}

/// Writes a line that no filter takes away: those that the contract promises.
pub fn announce(level: Level, msg: &str, fields: Map<String, Value>) {
    write(level, Value::from(msg), fields);
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Gate {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match (metadata.is_span(), self.spans) {
            (true, true) => otel::interest(metadata),
            (true, false) => Interest::never(),
            (false, _) => Filter::<S>::callsite_enabled(&self.lines, metadata),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        match metadata.is_span() {
            true => self.spans && otel::is_made(metadata, || context.lookup_current().is_some()),
            false => self.lines.enabled(metadata, context),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let lines = self.lines.max_level_hint()?;
        Some(match self.spans {
            true => lines.max(LevelFilter::INFO),
            false => lines,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::subscriber::with_default;
    use tracing::{info_span, warn_span};
    use tracing_subscriber::layer::Identity;

    fn query() -> tracing::Span {
        info_span!(target: "sea_orm::database", "sea_orm.query_all")
    }

    #[test]
    fn no_span_is_made_where_there_is_nobody_to_tell() {
        with_default(subscriber(None, EnvFilter::new("info")), || {
            assert!(info_span!("request").is_disabled());
            assert!(query().is_disabled());
            assert!(warn_span!(target: "sqlx::query", "query").is_disabled());
        });
    }

    #[test]
    fn a_query_is_a_span_within_a_request_and_nothing_by_itself() {
        let told = Identity::new().with_filter(LevelFilter::INFO);
        let subscriber = subscriber(Some(told.boxed()), EnvFilter::new("off"));
        with_default(subscriber, || {
            assert!(query().is_disabled());
            let request = info_span!("request");
            assert!(!request.is_disabled());
            request.in_scope(|| {
                assert!(!query().is_disabled());
                assert!(warn_span!(target: "sqlx::query", "query").is_disabled());
            });
            assert!(query().is_disabled());
        });
    }
}
