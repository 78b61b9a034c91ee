use dbos::DBOS;
use std::sync::atomic::{AtomicBool, Ordering};

static LAUNCHED: AtomicBool = AtomicBool::new(false);

pub async fn ensure(dbos: &DBOS) -> dbos::Result<()> {
    if LAUNCHED.swap(true, Ordering::SeqCst) { // ← here
        return Ok(());
    }
    dbos.launch().await
}
