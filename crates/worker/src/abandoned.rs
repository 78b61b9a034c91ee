//! Workflows whose run has ended here without an end in the database.
//!
//! The SDK repeats what it asks of its database while that is away, but not whatever else may go wrong: a connection that is cut while
//! it asks for TLS, as by a proxy whose server restarts, is a breach of the protocol to sqlx and final to the SDK (dbos 0.5.0, `classify`).
//! The run ends then, the row stays `PENDING`, and would be taken up by the next launch of this executor id, perhaps in a
//! month. So the runs are remembered that have ended here, and what is still pending a while later is resumed.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// From the end of a run until its end has to be in the database. The SDK writes it right after.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

static RUNS: Mutex<Option<Runs>> = Mutex::new(None);

#[derive(Debug, Default)]
struct Runs {
    under_way: HashSet<String>,
    ended: Vec<(String, Instant)>,
}

/// Of this process: an executor is one process, and of its runs there is one for a workflow.
fn with<T>(work: impl FnOnce(&mut Runs) -> T) -> T {
    let mut runs: MutexGuard<'_, Option<Runs>> =
        RUNS.lock().unwrap_or_else(PoisonError::into_inner);
    work(runs.get_or_insert_default())
}

/// A run that is under way, until it is dropped.
#[derive(Debug)]
struct UnderWay(String);

impl Drop for UnderWay {
    fn drop(&mut self) {
        with(|runs| runs.under_way.remove(&self.0));
    }
}

/// Remembers the run of the calling workflow. Cancel safe as far as `body` is; a run that is cut off has not ended.
pub(crate) async fn remembered<T>(body: impl Future<Output = T>) -> T {
    let Some(id) = dbos::workflow_id() else {
        return body.await;
    };
    with(|runs| runs.under_way.insert(id.clone()));
    let under_way = UnderWay(id.clone());
    let outcome = body.await;
    drop(under_way);
    with(|runs| runs.ended.push((id, Instant::now())));
    outcome
}

/// Those that ended long enough ago and do not run again.
pub(crate) fn due() -> Vec<String> {
    with(|runs| {
        let due = runs.ended.iter().filter(|(id, ended)| {
            ended.elapsed() >= RECORDED_WITHIN && !runs.under_way.contains(id)
        });
        due.map(|(id, _)| id.clone()).collect()
    })
}

/// Their end is in the database, or somebody sees to it.
pub(crate) fn settled(ids: &[String]) {
    let settled: HashSet<&String> = ids.iter().collect();
    with(|runs| {
        runs.ended
            .retain(|(id, ended)| !settled.contains(id) || ended.elapsed() < RECORDED_WITHIN);
    });
}
