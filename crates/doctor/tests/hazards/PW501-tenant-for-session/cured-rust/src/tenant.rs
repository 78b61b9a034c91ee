/// Not `SET app.tenant_id = '…'`: that stays on the connection.
pub async fn as_tenant(pool: &sqlx::PgPool, tenant: &str) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT set_config('app.tenant_id', $1, true)")
        .bind(tenant)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
