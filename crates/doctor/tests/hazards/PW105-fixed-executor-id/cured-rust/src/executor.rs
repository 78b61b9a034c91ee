//! The executor of this process.

use dbos::{Config, DBOS};
use tokio::sync::OnceCell;

static EXECUTOR: OnceCell<DBOS> = OnceCell::const_new();

pub async fn ensure_dbos_launched(url: &str) -> dbos::Result<&'static DBOS> {
    EXECUTOR
        .get_or_try_init(|| async {
            let dbos = DBOS::new(Config {
                migrate: false,
                executor_id: std::env::var("PM2_INSTANCE_ID").ok().map(|id| format!("web-{id}")),
                ..Config::new("shop", url)
            });
            dbos.launch().await?;
            Ok(dbos)
        })
        .await
}
