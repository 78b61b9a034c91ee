use axum::extract::State;
use axum::{Router, routing::get};
use dbos::DBOS;

fn routes(dbos: DBOS) -> Router {
    Router::new().route("/orders", get(list)).with_state(dbos)
}

async fn list(State(dbos): State<DBOS>) -> String {
    start(&dbos).await;
    String::new()
}

async fn start(dbos: &DBOS) {
    dbos.launch().await.ok(); // ← here
}
