//! One trace across the durable boundary.
//!
//! A workflow runs on a task of the engine's, perhaps in another process days later. What connects it with the request that
//! started it is a [`TraceParent`] in the workflow's *input*: the one thing that DBOS hands to every run of it without another read of
//! its database. (Its attributes would be the place for it, but a run is not given them.)
//!
//! The engine's own span of a workflow cannot be the one that is exported: its parent is whatever was current when its task was made,
//! nothing in a process that recovers, and in the process that started it the request's span, which would be kept open, and
//! unexported, for as long as the workflow runs.

use super::names;
use crate::abandoned;
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::Display;
use tracing::Instrument;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header of W3C's trace context.
const TRACEPARENT: &str = "traceparent";

/// The span that started a workflow, as text that outlives the process. Empty where nothing is traced.
///
/// Belongs into the workflow's input; there with `#[serde(default)]`, so that inputs which were recorded before are still read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceParent(Option<String>);

impl TraceParent {
    /// The span of whoever calls.
    #[must_use]
    pub fn current() -> Self {
        let context = Context::current();
        if !context.span().span_context().is_valid() {
            return Self(None);
        }
        let mut headers = HashMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut headers);
        Self(headers.remove(TRACEPARENT))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    fn context(&self) -> Context {
        let header = self.0.iter().map(|id| (TRACEPARENT.to_owned(), id.clone()));
        let headers: HashMap<_, _> = header.collect();
        TraceContextPropagator::new().extract(&headers)
    }
}

/// Runs the body of the workflow `name` as one span below `parent`, in whichever process and however often it is run. Where that ends and DBOS cannot
/// record it, the workflow is taken up again, also where nothing is traced.
///
/// Cancel safe as far as `body` is.
///
/// # Errors
/// What `body` says.
pub async fn workflow<T, E: Display>(
    name: &'static str,
    parent: &TraceParent,
    body: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let body = abandoned::remembered(body);
    if super::SAMPLING.get().is_none() {
        return body.await;
    }
    let parent = parent.context();
    if let Some(left_out) = super::left_out(&parent) {
        return body.with_context(left_out).await;
    }
    let span = tracing::info_span!(
        parent: None,
        "workflow",
        otel.name = name,
        otel.status_code = Empty,
    );
    super::adopt(&span, parent);
    span.set_attribute(names::DBOS_TYPE, "workflow");
    span.set_attribute(names::DBOS_NAME, name);
    if let Some(id) = dbos::workflow_id() {
        span.set_attribute(names::DBOS_WORKFLOW_ID, id);
    }
    let outcome = body.instrument(span.clone()).await;
    if outcome.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    outcome
}
