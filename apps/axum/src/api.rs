//! The JSON routes.

use crate::entity::order;
use crate::failure::Failure;
use crate::orders::{Desk, Details, NewOrder, Placed};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Json, Router};
use poolwright_worker::Tenant;
use serde::Serialize;
use uuid::Uuid;

/// The tenant of a request, by its header; `None` without one.
struct OfTenant(Option<Tenant>);

#[derive(Serialize)]
struct Listed {
    orders: Vec<order::Model>,
}

/// `/api/orders` and below, and an answer for whatever there is no route to.
pub(crate) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/api/orders", get(list).post(place))
        .route("/api/orders/{id}", get(details))
        .fallback(|| async { Failure::NotFound("no such page".into()) })
        .with_state(desk)
}

async fn list(
    State(desk): State<Desk>,
    OfTenant(tenant): OfTenant,
) -> Result<Json<Listed>, Failure> {
    let orders = desk.list(tenant).await?;
    Ok(Json(Listed { orders }))
}

async fn place(
    State(desk): State<Desk>,
    OfTenant(tenant): OfTenant,
    body: Result<Json<NewOrder>, JsonRejection>,
) -> Result<(StatusCode, Json<Placed>), Failure> {
    let missing = || Failure::BadRequest("x-tenant-id: not set, expected a UUID".into());
    let tenant = tenant.ok_or_else(missing)?;
    let Json(new) = body.map_err(|rejection| Failure::BadRequest(rejection.body_text()))?;
    let placed = desk.place(tenant, new).await?;
    Ok((StatusCode::ACCEPTED, Json(placed)))
}

async fn details(
    State(desk): State<Desk>,
    OfTenant(tenant): OfTenant,
    Path(id): Path<String>,
) -> Result<Json<Details>, Failure> {
    // What is no UUID is no order's id; there is nothing to repair but the address.
    let id = Uuid::parse_str(&id).map_err(|_| Failure::NotFound(format!("no order {id}")))?;
    desk.details(tenant, id).await.map(Json)
}

impl<S: Sync> FromRequestParts<S> for OfTenant {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let Some(value) = parts.headers.get("x-tenant-id") else {
            return Ok(Self(None));
        };
        let tenant = value
            .to_str()
            .ok()
            .and_then(|text| Uuid::parse_str(text).ok());
        match tenant {
            Some(id) => Ok(Self(Some(Tenant(id)))),
            None => Err(Failure::BadRequest(format!(
                "x-tenant-id: found {value:?}, expected a UUID"
            ))),
        }
    }
}
