//! Requests, each as one server span that continues the trace of whoever sent it, and as one measurement.
//!
//! Named by the route's template and never by the path: an order's id in a name would make as many names as there are orders.

use super::names;
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::Response;
use axum::routing::Route;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header of a caller that traces.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Observes requests, at every endpoint of a router.
///
/// A layer of its own and no middleware of axum's: that one allocates five times for each request, and all that is done for telemetry is, for a read that
/// takes a tenth of a millisecond, code that the processor has not at hand.
#[derive(Debug, Clone)]
struct Observe {
    traced: bool,
    durations: Option<Histogram<f64>>,
}

/// An endpoint whose requests are observed.
#[derive(Debug, Clone)]
struct Observed<S> {
    endpoint: S,
    traced: bool,
    durations: Option<Arc<Durations>>,
}

pin_project! {
    /// A request that is answered.
    struct Answering<F> {
        #[pin]
        endpoint: Instrumented<F>,
        left_out: Option<Context>,
        measured: Option<Measured>,
    }
}

/// What is told of a request when it is answered.
struct Measured {
    begun: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    durations: Arc<Durations>,
}

/// The histogram of requests, with a place for each kind of them that there was at one endpoint, few as a rule: the SDK looks a place up by all attributes, with
/// every measurement.
#[derive(Debug)]
struct Durations {
    histogram: Histogram<f64>,
    places: RwLock<Vec<Place>>,
}

#[derive(Debug)]
struct Place {
    method: &'static str,
    status: u16,
    route: Option<Box<str>>,
    histogram: BoundHistogram<f64>,
}

struct Headers<'a>(&'a HeaderMap);

/// `router`, whose requests are traced, and measured where there is a meter.
pub(super) fn observed(router: Router, traced: bool, meter: Option<&Meter>) -> Router {
    let durations = meter.map(|meter| {
        meter
            .f64_histogram(names::REQUEST_DURATION)
            .with_unit("s")
            .with_description("How long requests took")
            .with_boundaries(names::SECONDS.to_vec())
            .build()
    });
    router.layer(Observe { traced, durations })
}

impl Layer<Route> for Observe {
    type Service = Observed<Route>;

    fn layer(&self, endpoint: Route) -> Observed<Route> {
        let durations = self.durations.clone().map(|histogram| {
            Arc::new(Durations {
                histogram,
                places: RwLock::default(),
            })
        });
        Observed {
            endpoint,
            traced: self.traced,
            durations,
        }
    }
}

impl<S: Service<Request, Response = Response>> Service<Request> for Observed<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.endpoint.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Answering<S::Future> {
        let (span, left_out) = match self.traced {
            true => span(&request),
            false => (Span::none(), None),
        };
        let measured = self.durations.clone().map(|durations| Measured {
            begun: Instant::now(),
            method: known(request.method()),
            route: request.extensions().get().cloned(),
            durations,
        });
        Answering {
            endpoint: self.endpoint.call(request).instrument(span),
            left_out,
            measured,
        }
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Answering<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let _left_out = this.left_out.clone().map(Context::attach);
        let answered = ready!(this.endpoint.as_mut().poll(context));
        if let Ok(response) = &answered {
            let status = response.status();
            let span = this.endpoint.span();
            if !span.is_none() {
                span.set_attribute(names::HTTP_STATUS, i64::from(status.as_u16()));
                if status.is_server_error() {
                    span.record("otel.status_code", "ERROR");
                    span.set_attribute(names::ERROR_TYPE, status.as_u16().to_string());
                }
            }
            if let Some(measured) = this.measured.take() {
                measured.answered(status.as_u16());
            }
        }
        Poll::Ready(answered)
    }
}

impl Measured {
    fn answered(self, status: u16) {
        let route = self.route.as_ref().map(MatchedPath::as_str);
        self.durations
            .record(self.begun.elapsed(), self.method, status, route);
    }
}

impl Durations {
    fn record(&self, time: Duration, method: &'static str, status: u16, route: Option<&str>) {
        let of_these = |place: &&Place| {
            place.status == status && place.method == method && place.route.as_deref() == route
        };
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.iter().find(of_these) {
            place.histogram.record(time.as_secs_f64());
            return;
        }
        drop(places);
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have made it meanwhile.
        if let Some(place) = places.iter().find(of_these) {
            place.histogram.record(time.as_secs_f64());
            return;
        }
        let named = route.map(|route| KeyValue::new(names::HTTP_ROUTE, route.to_owned()));
        let attributes = [
            KeyValue::new(names::HTTP_METHOD, method),
            KeyValue::new(names::URL_SCHEME, "http"),
            KeyValue::new(names::HTTP_STATUS, i64::from(status)),
        ];
        let attributes: Vec<_> = attributes.into_iter().chain(named).collect();
        let histogram = self.histogram.bind(&attributes);
        histogram.record(time.as_secs_f64());
        places.push(Place {
            method,
            status,
            route: route.map(Into::into),
            histogram,
        });
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
fn span(request: &Request) -> (Span, Option<Context>) {
    let route = request.extensions().get::<MatchedPath>();
    let parent = match request.headers().contains_key(TRACEPARENT) {
        true => TraceContextPropagator::new().extract(&Headers(request.headers())),
        false => Context::new(),
    };
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
