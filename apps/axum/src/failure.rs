//! What a request is answered when it cannot be done.

use crate::fulfil::StepFailed;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sea_orm::DbErr;
use serde_json::json;

/// No connection in time, or none any more: the next worker, or the next second, may do.
const UNAVAILABLE: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "unavailable");

/// Why a request cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The client's mistake, in words for the client.
    #[error("{0}")]
    BadRequest(String),
    /// There is no such thing, or none that this tenant may see.
    #[error("{0}")]
    NotFound(String),
    /// The database did not do it.
    #[error("the database did not answer as expected")]
    Database(#[from] DbErr),
    /// The workflow engine did not do it.
    #[error("the workflow engine did not answer as expected")]
    Workflow(#[from] dbos::Error),
    /// The workflow was not started.
    #[error("the workflow could not be started")]
    Start(#[from] dbos::Error<StepFailed>),
}

impl Failure {
    /// The status and the code that fit.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Database(DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) => UNAVAILABLE,
            Self::Workflow(error) if passing(error) => UNAVAILABLE,
            Self::Start(error) if passing(error) => UNAVAILABLE,
            Self::Database(_) | Self::Workflow(_) | Self::Start(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        }
    }

    /// The status that fits.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// Logs what only the operator may know.
    pub(crate) fn log(&self) {
        if self.status().is_server_error() {
            let error = poolwright_worker::telemetry::chain(self);
            tracing::error!(error, "a request failed");
        }
    }
}

/// Whether the engine may do it when asked again: its database or its life is the trouble.
fn passing<E>(error: &dbos::Error<E>) -> bool {
    use dbos::Error::{Interrupted, NotLaunched, SystemDatabase};
    matches!(
        error,
        SystemDatabase(_) | NotLaunched { .. } | Interrupted { .. }
    )
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.log();
        let (status, code) = self.kind();
        let body = json!({"error": {"code": code, "message": self.to_string()}});
        (status, Json(body)).into_response()
    }
}
