//! OpenTelemetry: traces and metrics to a collector, by OTLP over HTTP.
//!
//! Only where the environment names one (`OTEL_EXPORTER_OTLP_ENDPOINT`, see [`crate::settings`]). Without it there is no [`Export`]: no thread, no
//! connection, no span is made, and no request passes through anything of this module.
//!
//! | signal | what | made in |
//! | --- | --- | --- |
//! | traces | requests, workflows and their steps, queries of the ORM | `requests`, [`durable`], `spans` |
//! | metrics | the pools, the waits for them, the time of requests | `pools`, `requests` |
//! | logs | stay on standard output, with `trace_id` and `span_id` | [`crate::telemetry`] |
//!
//! Both are collected in the background by threads of the SDK, in queues that are bounded: what does not fit is lost, and nothing
//! of the worker waits.

mod delivery;
pub mod durable;
mod names;
mod pools;
mod requests;
mod sampling;
mod spans;

use crate::gauges::Gauges;
use crate::identity::ORM_POOL;
use crate::lending::Lending;
use crate::settings::{DatabaseUrl, Settings};
use crate::telemetry::chain;
use crate::worker::Service;
use axum::Router;
use delivery::{Client, Complaint, Numbers, Spans};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};
use sampling::Sampling;
use spans::Conventional;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

/// Who made the spans and metrics, in the words of the conventions.
const SCOPE: &str = "poolwright-worker";

/// Which traces are recorded; none in a process that exports none.
static SAMPLING: OnceLock<Sampling> = OnceLock::new();

/// Where telemetry goes, until [`Export::finish`].
#[derive(Debug, Clone)]
pub struct Export {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The SDK does not take what the environment says.
    #[error("the exporter cannot be made")]
    Exporter(#[from] ExporterBuildError),
    /// There is no TLS.
    #[error("the HTTP client cannot be made")]
    Client(#[from] rustls::Error),
}

impl Export {
    /// Starts to export what the environment asks for; `None` when it asks for nothing.
    ///
    /// Opens no connection: the first one is made by the first batch, on `runtime`.
    ///
    /// # Errors
    /// [`ExportError`] when the SDK refuses its own variables. No reason not to serve.
    pub fn start(
        service: Service,
        settings: &Settings,
        runtime: Handle,
    ) -> Result<Option<Self>, ExportError> {
        let signals = &settings.signals;
        if !signals.traces && !signals.metrics {
            return Ok(None);
        }
        let resource = resource(service, settings);
        let client = Client::new(signals.timeout, signals.trusted.as_deref(), runtime)?;
        let complaint = Complaint::default();
        let traces = match signals.traces {
            true => Some(traces(&client, &complaint, &resource, &settings.orm_url)?),
            false => None,
        };
        let metrics = match signals.metrics {
            true => Some(metrics(client, complaint, resource)?),
            false => None,
        };
        if traces.is_some() {
            SAMPLING.set(Sampling::new(signals.limited)).ok();
        }
        Ok(Some(Self { traces, metrics }))
    }

    /// What makes OpenTelemetry's spans of `tracing`'s, if they are wanted.
    pub(crate) fn layer(&self) -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
        let tracer = self.traces.as_ref()?.tracer(SCOPE);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        // Of spans alone: a line within a span is no part of it.
        let exported = filter_fn(is_exported).with_max_level_hint(Level::INFO);
        Some(layer.with_filter(exported).boxed())
    }

    /// `router`, whose requests are observed.
    pub(crate) fn observed(&self, router: Router) -> Router {
        requests::observed(router, self.traces.is_some(), self.meter().as_ref())
    }

    /// Exports the pools' metrics. Has to be called in the runtime.
    pub(crate) fn pools(&self, gauges: &Gauges, lending: &Lending) {
        if let Some(meter) = self.meter() {
            pools::export(&meter, gauges, lending);
        }
    }

    fn meter(&self) -> Option<Meter> {
        self.metrics.as_ref().map(|provider| provider.meter(SCOPE))
    }

    /// Sends what is still held, for at most `limit`; what is left then is lost. A second call does nothing.
    ///
    /// Reads the pools once more, so they have to be open. Cancel safe.
    pub(crate) async fn finish(&self, limit: Duration) {
        let Self { traces, metrics } = self.clone();
        let (done, finished) = oneshot::channel();
        // On a thread of its own, and not one of the runtime's, whose end would wait for it: the SDK gives up
        // by itself, but one after the other.
        let flush = move || {
            let traces = traces.map(|provider| provider.shutdown_with_timeout(limit));
            let metrics = metrics.map(|provider| provider.shutdown_with_timeout(limit));
            // Nobody waits any more when this took too long.
            done.send((traces, metrics)).ok();
        };
        let thread = std::thread::Builder::new().name("telemetry".to_owned());
        if thread.spawn(flush).is_ok() {
            tokio::time::timeout(limit, finished).await.ok();
        }
    }
}

fn traces(
    client: &Client,
    complaint: &Complaint,
    resource: &Resource,
    orm: &DatabaseUrl,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client.clone())
        .build()?;
    let batches = BatchSpanProcessor::builder(Spans {
        exporter,
        complaint: complaint.clone(),
    });
    let database = vec![
        KeyValue::new(names::DB_SYSTEM, "postgresql"),
        KeyValue::new(names::DB_NAMESPACE, orm.database().to_owned()),
        KeyValue::new(names::POOL_NAME, ORM_POOL),
    ];
    Ok(SdkTracerProvider::builder()
        .with_span_processor(Conventional::new(batches.build(), database))
        .with_resource(resource.clone())
        .build())
}

fn metrics(
    client: Client,
    complaint: Complaint,
    resource: Resource,
) -> Result<SdkMeterProvider, ExporterBuildError> {
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(client)
        .build()?;
    let reader = PeriodicReader::builder(Numbers {
        exporter,
        complaint,
    });
    Ok(SdkMeterProvider::builder()
        .with_reader(reader.build())
        .with_resource(resource)
        .build())
}

/// Who sends: the app and its version, then the slot, the executor and the process, which `OTEL_RESOURCE_ATTRIBUTES` cannot change.
fn resource(service: Service, settings: &Settings) -> Resource {
    let identity = &settings.identity;
    let version = settings.app_version.as_deref().unwrap_or(service.version);
    let named = settings.signals.service_name.clone();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new(names::SERVICE_NAME, identity.slot().app().to_string()),
            KeyValue::new(names::SERVICE_VERSION, version.to_owned()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_attributes(named.map(|name| KeyValue::new(names::SERVICE_NAME, name)))
        .with_attributes([
            KeyValue::new(names::SERVICE_INSTANCE_ID, identity.slot().to_string()),
            KeyValue::new(names::DBOS_EXECUTOR_ID, identity.executor_id()),
            KeyValue::new(names::PROCESS_PID, i64::from(identity.pid())),
        ])
        .build()
}

/// Spans of the service and of this crate, of SeaORM's queries, and of DBOS' steps. The engine's other spans are open for as long as the
/// process, or would keep a request's open ([`durable`]).
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && *metadata.level() <= Level::INFO
        && (metadata.target() == "dbos::step"
            || !["dbos", "hyper", "sqlx", "tower"]
                .into_iter()
                .any(|name| is_of(metadata, name)))
}

/// Whether a span tells of what it is part of, and nothing by itself: below a request that is not recorded, or beside all of them, it is
/// not made.
fn is_detail(metadata: &Metadata<'_>) -> bool {
    is_of(metadata, "sea_orm") || is_of(metadata, "dbos")
}

/// Whether something is of the library `name`.
fn is_of(metadata: &Metadata<'_>, name: &str) -> bool {
    let rest = metadata.target().strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether spans of a callsite are made at all: of a detail, as [`is_made`] has it each time.
pub(crate) fn interest(metadata: &Metadata<'_>) -> Interest {
    match is_exported(metadata) {
        false => Interest::never(),
        true if is_detail(metadata) => Interest::sometimes(),
        true => Interest::always(),
    }
}

/// Whether a span is made, `within` another one or not.
pub(crate) fn is_made(metadata: &Metadata<'_>, within: impl FnOnce() -> bool) -> bool {
    // In this order: of most there is nothing around them.
    (!is_detail(metadata) || within()) && is_exported(metadata)
}

/// Makes `span` a child of whatever is current in `parent`; a root when that is nothing.
fn adopt(span: &Span, parent: Context) {
    if parent.span().span_context().is_valid() {
        // Refused only for a span that is entered already, and this one has just been made.
        span.set_parent(parent).ok();
    }
}

/// The context of what is not recorded below `parent`; `None` when it is recorded.
fn left_out(parent: &Context) -> Option<Context> {
    SAMPLING
        .get()
        .and_then(|sampling| sampling.left_out(parent))
}

/// The trace and the span that the calling code runs in, in hexadecimal; none where nothing is traced.
pub(crate) fn current() -> Option<(String, String)> {
    SAMPLING.get()?;
    let context = Context::current();
    let span = context.span().span_context().clone();
    span.is_valid()
        .then(|| (span.trace_id().to_string(), span.span_id().to_string()))
}

/// Says that nothing is exported, and why.
pub(crate) fn refused(error: &ExportError) {
    tracing::warn!(error = chain(error), "no telemetry is exported");
}
