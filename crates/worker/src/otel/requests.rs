//! Requests, each as one server span that continues the trace of whoever sent it, and as one measurement.
//!
//! Named by the route's template and never by the path: an order's id in a name would make as many names as there are orders.

use super::names;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::{self, Next};
use axum::response::Response;
use opentelemetry::context::FutureExt;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// What is made of a request.
#[derive(Debug, Clone)]
struct Requests {
    traced: bool,
    durations: Option<Arc<Durations>>,
}

/// The histogram of requests, with a place for each kind of them that there was: the SDK looks a place up by all attributes, with every
/// measurement.
#[derive(Debug)]
struct Durations {
    histogram: Histogram<f64>,
    places: RwLock<HashMap<Kind, Routes>>,
}

/// A method and a status.
type Kind = (&'static str, u16);

/// By route; what has none has an empty one.
type Routes = HashMap<Box<str>, BoundHistogram<f64>>;

struct Headers<'a>(&'a HeaderMap);

/// `router`, whose requests are traced, and measured where there is a meter.
pub(super) fn observed(router: Router, traced: bool, meter: Option<&Meter>) -> Router {
    let durations = meter.map(|meter| Arc::new(Durations::new(meter)));
    router.layer(middleware::from_fn_with_state(
        Requests { traced, durations },
        observe,
    ))
}

async fn observe(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (span, left_out) = match requests.traced {
        true => span(&request, route.as_ref()),
        false => (Span::none(), None),
    };
    let answering = next.run(request).instrument(span.clone());
    let response = match left_out {
        Some(context) => answering.with_context(context).await,
        None => answering.await,
    };
    let status = response.status();
    span.set_attribute(names::HTTP_STATUS, i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.set_attribute(names::ERROR_TYPE, status.as_u16().to_string());
    }
    if let Some(durations) = &requests.durations {
        let route = route.as_ref().map_or("", MatchedPath::as_str);
        durations.record(begun.elapsed(), (known(&method), status.as_u16()), route);
    }
    response
}

impl Durations {
    fn new(meter: &Meter) -> Self {
        let histogram = meter
            .f64_histogram(names::REQUEST_DURATION)
            .with_unit("s")
            .with_description("How long requests took")
            .with_boundaries(names::SECONDS.to_vec())
            .build();
        Self {
            histogram,
            places: RwLock::default(),
        }
    }

    fn record(&self, time: Duration, kind: Kind, route: &str) {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(&kind).and_then(|routes| routes.get(route)) {
            place.record(time.as_secs_f64());
            return;
        }
        drop(places);
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        let routes = places.entry(kind).or_default();
        let place = routes.entry(route.into()).or_insert_with(|| {
            let (method, status) = kind;
            let route =
                (!route.is_empty()).then(|| KeyValue::new(names::HTTP_ROUTE, route.to_owned()));
            let attributes = [
                KeyValue::new(names::HTTP_METHOD, method),
                KeyValue::new(names::URL_SCHEME, "http"),
                KeyValue::new(names::HTTP_STATUS, i64::from(status)),
            ];
            let attributes: Vec<_> = attributes.into_iter().chain(route).collect();
            self.histogram.bind(&attributes)
        });
        place.record(time.as_secs_f64());
    }
}

/// The conventions' word for a method that they do not know.
const OTHER: &str = "_OTHER";

/// A method as the conventions name it: what a client makes up makes no series of its own.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => OTHER,
    }
}

/// The request's span; where it is not recorded none, and the context that says so.
fn span(request: &Request, route: Option<&MatchedPath>) -> (Span, Option<Context>) {
    let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
    if let Some(left_out) = super::left_out(&parent) {
        return (Span::none(), Some(left_out));
    }
    let method = known(request.method());
    // The conventions' word for a span of a method that they do not know.
    let word = if method == OTHER { "HTTP" } else { method };
    let name = match route {
        Some(route) => format!("{word} {}", route.as_str()),
        None => word.to_owned(),
    };
    // No parent but the caller's: what this task did before is another request.
    let span = tracing::info_span!(
        parent: None,
        "request",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
    );
    super::adopt(&span, parent);
    span.set_attribute(names::HTTP_METHOD, method);
    span.set_attribute(names::URL_SCHEME, "http");
    span.set_attribute(names::URL_PATH, request.uri().path().to_owned());
    if let Some(route) = route {
        span.set_attribute(names::HTTP_ROUTE, route.as_str().to_owned());
    }
    (span, None)
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_makes_up_is_one_method_and_what_http_has_is_itself() {
        for method in [Method::GET, Method::POST, Method::PATCH, Method::TRACE] {
            assert_eq!(known(&method), method.as_str());
        }
        for made_up in ["BREW", "get", "GETS"] {
            assert_eq!(known(&made_up.parse().unwrap()), OTHER);
        }
    }
}
