use axum::extract::Path;
use axum::{Router, routing::get};
use sqlx::postgres::PgPoolOptions;

mod db;

fn routes() -> Router {
    Router::new()
        .route("/orders", get(list).post(|| async { db::open().await }))
        .route("/health", get(|| async { "ok" }))
}

async fn list() -> String {
    let options = PgPoolOptions::new().max_connections(3);
    let pool = options.connect("postgres://localhost/shop").await.unwrap(); // ← here
    query(&pool).await
}

async fn one(Path(id): Path<i64>) -> String {
    let connection = sqlx::PgConnection::connect("postgres://localhost/shop").await; // ← here
    id.to_string()
}
