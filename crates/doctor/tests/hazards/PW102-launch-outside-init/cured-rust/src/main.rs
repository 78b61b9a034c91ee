mod executor;

use axum::extract::State;
use axum::{Router, routing::get};
use dbos::DBOS;

async fn routes(url: &str) -> dbos::Result<Router> {
    let dbos = executor::ensure_dbos_launched(url).await?;
    Ok(Router::new().route("/orders", get(list)).with_state(dbos.clone()))
}

async fn list(State(dbos): State<DBOS>) -> String {
    drop(dbos);
    String::new()
}
