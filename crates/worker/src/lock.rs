//! This process's hold on its executor id: taken after `launch`, before anything is opened, kept to the end.
//!
//! A successor under Poolwright is told to launch when its predecessor is gone, and under PM2's fork mode it
//! is started only then: whoever holds the id is either about to end or somebody else's. So the wait is
//! short and the same everywhere. (PM2's *cluster* mode overlaps; that is the Node stack's to handle.)

use crate::settings::{Settings, Surroundings};
use poolwright_guard::Guard;
use poolwright_lock::{Held, Holder, Lock, LockError, LockName, Under};
use std::thread;
use tokio::sync::oneshot;

/// Why the executor id is not this process's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is another living process's.
    #[error(
        "{held}; the id follows from PM2_INSTANCE_ID, which means {index} here: where that leaks in from the surrounding environment, every worker gets the same id"
    )]
    Held {
        /// By whom.
        held: Held,
        /// The number that made the id.
        index: u32,
    },
    /// The system refuses.
    #[error("executor id {executor_id} cannot be held")]
    System {
        /// The id.
        executor_id: String,
        /// What the system says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Makes this process the one that holds its executor id; waits at most
/// [`lock_timeout`](Settings::lock_timeout) for another to end, and says for whom.
///
/// Cancel safe, but for the id: it may be taken afterwards, for what is left of the process.
///
/// # Errors
/// [`IdentityError`].
pub async fn hold(settings: &Settings) -> Result<(), IdentityError> {
    if Guard::Lock.is_left_out() {
        return Ok(());
    }
    let executor_id = settings.identity.executor_id();
    let name = LockName::here(&executor_id, &settings.dbos_url.store());
    let holder = Holder::this_process(match settings.surroundings {
        Surroundings::Bare => Under::Nobody,
        Surroundings::Pm2(_) => Under::Pm2,
        Surroundings::Poolwright(_) => Under::Poolwright,
    });
    let patience = settings.lock_timeout;
    let (report, outcome) = oneshot::channel();
    let system = |source: Box<dyn std::error::Error + Send + Sync>| IdentityError::System {
        executor_id: executor_id.clone(),
        source,
    };
    let id = executor_id.clone();
    // Not one of the runtime's threads: a runtime that shuts down would wait for it.
    thread::Builder::new()
        .name("executor-lock".to_owned())
        .spawn(move || {
            let waiting = |held: &Held| {
                let Held { executor_id, .. } = held;
                tracing::warn!(%executor_id, held_by = held.by(), "waiting for the executor id");
            };
            let lock = Lock::take(&id, &name, patience, waiting);
            let held = lock.map(|lock| lock.hold(&holder));
            // Nobody is there to hear it when the worker was told to stop meanwhile.
            report.send(held).ok();
        })
        .map_err(|source| system(source.into()))?;
    match outcome.await {
        Ok(Ok(held)) => held.map_err(|source| system(source.into())),
        Ok(Err(LockError::Held(held))) => Err(IdentityError::Held {
            held,
            index: settings.identity.slot().index(),
        }),
        Ok(Err(error)) => Err(system(error.into())),
        Err(gone) => Err(system(gone.into())),
    }
}
