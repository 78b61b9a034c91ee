use dbos::{DBOS, StepOptions};

pub fn register(dbos: &DBOS) {
    dbos.register_workflow("charge", charge).unwrap();
    dbos.register_workflow("ship", move |order: i64| async move {
        dbos::step("ship", || async { ship(order).await }).await
    });
}

async fn charge(order: i64) -> dbos::Result<()> {
    let pool = sqlx::PgPool::connect("postgres://localhost/shop").await; // ← here
    Ok(())
}

async fn ship(order: i64) -> dbos::Result<()> {
    let pool = sqlx::PgPool::connect("postgres://localhost/shop").await; // ← here
    Ok(())
}
