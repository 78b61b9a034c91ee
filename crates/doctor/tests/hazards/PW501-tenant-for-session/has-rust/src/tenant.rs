pub async fn as_tenant(pool: &sqlx::PgPool, tenant: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT set_config('app.tenant_id', $1, false)") // ← here
        .bind(tenant)
        .execute(pool)
        .await?;
    sqlx::query!("SET ROLE tenant").execute(pool).await?; // ← here
    sqlx::raw_sql(&format!("SET app.tenant_id = '{tenant}'")).execute(pool).await?; // ← here
    Ok(())
}
