//! An OTLP receiver: takes spans and metrics as a collector does, over HTTP in protobuf.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::Listener;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Attributes by name.
pub type Attributes = BTreeMap<String, Value>;

/// A span as it was received. Ids are hexadecimal, times in nanoseconds of the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Of the trace.
    pub trace_id: String,
    /// Its own.
    pub span_id: String,
    /// Its parent's; empty for a root.
    pub parent_span_id: String,
    /// Its name.
    pub name: String,
    /// OTLP's number: 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// When it began.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Whether it says that it failed.
    pub failed: bool,
    /// What it says of itself.
    pub attributes: Attributes,
    /// Who sent it.
    pub resource: Attributes,
    /// The spans that it is linked to, as (trace id, span id).
    pub links: Vec<(String, String)>,
}

/// One number of one metric as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// When it was read, in nanoseconds of the epoch.
    pub at: u64,
    /// The number; of a histogram the sum of what was recorded.
    pub value: f64,
    /// How many values a histogram has recorded; 1 for any other metric.
    pub count: u64,
    /// What it says of itself.
    pub attributes: Attributes,
    /// Who sent it.
    pub resource: Attributes,
}

/// A receiver on a port of 127.0.0.1, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    url: String,
    received: Arc<Mutex<Received>>,
    task: JoinHandle<()>,
}

/// Connections by TLS. One whose client does not trust it is none.
struct Secured {
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (plain, from) = Listener::accept(&mut self.listener).await;
            if let Ok(secured) = self.tls.accept(plain).await {
                return (secured, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

#[derive(Debug, Default)]
struct Received {
    requests: usize,
    spans: Vec<Span>,
    points: Vec<Point>,
}

impl Collector {
    /// Listens.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self::serving(listener, url))
    }

    /// The same by TLS, under a certificate that nobody knows; answers with that too, as PEM.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn secured() -> Result<(Self, String)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://{}", listener.local_addr()?);
        let own = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()])?;
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.into())?;
        let listener = Secured {
            listener,
            tls: TlsAcceptor::from(Arc::new(tls)),
        };
        Ok((Self::serving(listener, url), own.cert.pem()))
    }

    fn serving<L: Listener>(listener: L, url: String) -> Self
    where
        L::Addr: std::fmt::Debug,
    {
        let received = Arc::<Mutex<Received>>::default();
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(Arc::clone(&received));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Self {
            url,
            received,
            task,
        }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` has to be.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many requests were made, of either kind.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.read(|received| received.requests)
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.read(|received| received.spans.clone())
    }

    /// Every number so far, in the order in which they came.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        self.read(|received| received.points.clone())
    }

    fn read<T>(&self, look: impl FnOnce(&Received) -> T) -> T {
        look(&self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Shared = State<Arc<Mutex<Received>>>;

async fn traces(State(received): Shared, body: Bytes) -> impl IntoResponse {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return Err(StatusCode::BAD_REQUEST);
    };
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    received.requests += 1;
    for of_resource in request.resource_spans {
        let resource = resource(of_resource.resource);
        for span in of_resource.scope_spans.into_iter().flat_map(|s| s.spans) {
            let status = span.status.map(|status| status.code());
            received.spans.push(Span {
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_span_id: hex(&span.parent_span_id),
                name: span.name,
                kind: span.kind,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                failed: status == Some(SpanStatus::Error),
                attributes: attributes(span.attributes),
                resource: resource.clone(),
                links: span
                    .links
                    .iter()
                    .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
                    .collect(),
            });
        }
    }
    Ok(accepted())
}

async fn metrics(State(received): Shared, body: Bytes) -> impl IntoResponse {
    let Ok(request) = ExportMetricsServiceRequest::decode(body) else {
        return Err(StatusCode::BAD_REQUEST);
    };
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    received.requests += 1;
    for of_resource in request.resource_metrics {
        let resource = resource(of_resource.resource);
        let metrics = of_resource.scope_metrics.into_iter();
        for metric in metrics.flat_map(|scope| scope.metrics) {
            let of_metric = |(at, value, count, own): Number| Point {
                metric: metric.name.clone(),
                unit: metric.unit.clone(),
                at,
                value,
                count,
                attributes: attributes(own),
                resource: resource.clone(),
            };
            let numbers = metric.data.map(numbers).unwrap_or_default();
            received.points.extend(numbers.into_iter().map(of_metric));
        }
    }
    Ok(accepted())
}

/// When, how much, how often, of what.
type Number = (u64, f64, u64, Vec<KeyValue>);

fn numbers(data: Data) -> Vec<Number> {
    let points = match data {
        Data::Gauge(gauge) => gauge.data_points,
        Data::Sum(sum) => sum.data_points,
        Data::Histogram(histogram) => {
            let points = histogram.data_points.into_iter();
            return points
                .map(|point| {
                    let sum = point.sum.unwrap_or_default();
                    (point.time_unix_nano, sum, point.count, point.attributes)
                })
                .collect();
        }
        Data::ExponentialHistogram(_) | Data::Summary(_) => return Vec::new(),
    };
    let number = |value| match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        #[expect(
            clippy::as_conversions,
            reason = "counts of a test stay far below 2^52"
        )]
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => 0.0,
    };
    points
        .into_iter()
        .map(|point| {
            (
                point.time_unix_nano,
                number(point.value),
                1,
                point.attributes,
            )
        })
        .collect()
}

/// An empty message: everything was taken.
fn accepted() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/x-protobuf")], Vec::<u8>::new())
}

fn resource(resource: Option<Resource>) -> Attributes {
    attributes(
        resource
            .map(|resource| resource.attributes)
            .unwrap_or_default(),
    )
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let of_pair =
        |KeyValue { key, value, .. }| (key, value.map_or(Value::Null, |v| plain(v.value)));
    pairs.into_iter().map(of_pair).collect()
}

fn plain(value: Option<any_value::Value>) -> Value {
    use any_value::Value::{ArrayValue, BoolValue, DoubleValue, IntValue, StringValue};
    match value {
        Some(StringValue(text)) => text.into(),
        Some(BoolValue(flag)) => flag.into(),
        Some(IntValue(number)) => number.into(),
        Some(DoubleValue(number)) => number.into(),
        Some(ArrayValue(array)) => array.values.into_iter().map(|v| plain(v.value)).collect(),
        Some(other) => json!(format!("{other:?}")),
        None => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
