//! The least that a tenant's read can be: the tenant is a setting of the connection's role, so that the prepared query is all that is sent,
//! and nobody tests the connection before or after. No application can have it so that serves more than one tenant.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::Failed;
use crate::order::{Listed, Model};

const QUERY: &str = "SELECT id, tenant_id, item, quantity, status, workflow_id, created_at
                     FROM orders ORDER BY created_at DESC, id LIMIT 50";

type Row = (Uuid, Uuid, String, i32, String, String, OffsetDateTime);

/// Connections that are lent and taken back without a word to the server.
struct Connections {
    free: Mutex<Vec<PgConnection>>,
    permits: Semaphore,
}

pub(crate) async fn routes(url: &str, max: u32) -> Result<Router> {
    let mut free = Vec::new();
    for _ in 0..max {
        free.push(PgConnection::connect(url).await?);
    }
    let permits = Semaphore::new(free.len());
    let free = Mutex::new(free);
    Ok(Router::new()
        .route("/api/orders", get(list))
        .with_state(Arc::new(Connections { free, permits })))
}

async fn list(State(connections): State<Arc<Connections>>) -> Result<Json<Listed>, Failed> {
    let orders = connections.read().await?;
    Ok(Json(Listed { orders }))
}

impl Connections {
    async fn read(&self) -> Result<Vec<Model>> {
        let _permit = self.permits.acquire().await?;
        let lent = self.free().pop();
        let mut connection = lent.context("more permits than connections")?;
        let rows: Vec<Row> = sqlx::query_as(QUERY).fetch_all(&mut connection).await?;
        self.free().push(connection);
        Ok(rows.into_iter().map(model).collect())
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn model((id, tenant_id, item, quantity, status, workflow_id, created_at): Row) -> Model {
    Model {
        id,
        tenant_id,
        item,
        quantity,
        status,
        workflow_id,
        created_at,
    }
}
