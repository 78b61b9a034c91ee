//! SeaORM as it comes: a pool by its own settings, which tests a connection before it lends it, and a transaction for each read.

use anyhow::Result;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, EntityTrait,
    QueryOrder, QuerySelect, Statement, TransactionTrait,
};

use crate::order::{self, Listed, Model};
use crate::{Failed, PAGE, tenant};

pub(crate) async fn routes(url: &str, max: u32) -> Result<Router> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(max);
    let orm = Database::connect(options).await?;
    Ok(Router::new()
        .route("/api/orders", get(list))
        .with_state(orm))
}

async fn list(
    State(orm): State<DatabaseConnection>,
    headers: HeaderMap,
) -> Result<Json<Listed>, Failed> {
    let orders = read(&orm, &tenant(&headers)?).await?;
    Ok(Json(Listed { orders }))
}

async fn read(orm: &DatabaseConnection, tenant: &str) -> Result<Vec<Model>> {
    let transaction = orm.begin().await?;
    let set = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "SELECT set_config('app.tenant_id', $1, true)",
        [tenant.into()],
    );
    transaction.execute_raw(set).await?;
    let orders = order::Entity::find()
        .order_by_desc(order::Column::CreatedAt)
        .order_by_asc(order::Column::Id)
        .limit(PAGE)
        .all(&transaction)
        .await?;
    transaction.commit().await?;
    Ok(orders)
}
