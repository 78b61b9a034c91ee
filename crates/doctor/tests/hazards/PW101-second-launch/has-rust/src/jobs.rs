use dbos::DBOS as Engine;

/// `dbos.launch()` in a comment is none.
pub async fn start(handle: &Engine) -> dbos::Result<()> {
    Engine::launch(handle).await // ← here
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn launches() {
        let dbos = dbos::DBOS::new(config());
        dbos.launch().await.unwrap();
    }
}
