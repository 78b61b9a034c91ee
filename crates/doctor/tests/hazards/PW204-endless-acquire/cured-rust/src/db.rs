use sqlx::postgres::PgPoolOptions;
use std::time::Duration;

pub fn options() -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(3)
        .acquire_timeout(Duration::from_secs(5))
}
