use crate::executor::ensure_dbos_launched;

/// `dbos.launch()` in a comment is none, and `channel.launch()` is somebody else's.
pub async fn start(url: &str) -> dbos::Result<()> {
    channel.launch().await;
    ensure_dbos_launched(url).await.map(drop)
}
