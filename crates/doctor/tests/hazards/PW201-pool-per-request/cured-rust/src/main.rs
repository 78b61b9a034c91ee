use axum::extract::{Path, State};
use axum::{Router, routing::get};
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::sync::LazyLock;

static POOL: LazyLock<PgPool> = LazyLock::new(|| {
    PgPoolOptions::new().connect_lazy("postgres://localhost/shop").unwrap()
});

async fn routes() -> Router {
    let pool = PgPoolOptions::new().connect("postgres://localhost/shop").await.unwrap();
    Router::new().route("/orders", get(list)).with_state(pool)
}

async fn list(State(pool): State<PgPool>) -> String {
    cache.get("/orders", list);
    query(&pool).await
}

async fn one(Path(id): Path<i64>) -> String {
    query(&POOL).await
}
