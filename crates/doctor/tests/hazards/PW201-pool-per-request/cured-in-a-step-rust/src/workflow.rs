use dbos::DBOS;
use sqlx::PgPool;

pub async fn register(dbos: &DBOS) {
    let pool = PgPool::connect("postgres://localhost/shop").await.unwrap();
    dbos.register_workflow("charge", move |order: i64| charge(pool.clone(), order));
}

async fn charge(pool: PgPool, order: i64) -> dbos::Result<()> {
    dbos::step("charge", || async { record(&pool, order).await }).await
}
