//! What Postgres says of a slot's backends, as the caller finds it out: this crate knows no SQL.

use async_trait::async_trait;
use poolwright_topology::handover::Seen;
use poolwright_topology::tag::{Name, SlotId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// No answer takes longer; a census of thousands of backends takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks Postgres for the supervisor. Nothing is launched in a slot before it says so.
#[async_trait]
pub trait Backends: Debug + Send + Sync {
    /// How many backends each of `slots` has, of all its pools; a slot that is missing in the answer has
    /// none.
    ///
    /// It has to be read after the call, on every server of the fleet, by a role that sees all sessions:
    /// an answer that leaves a backend out breaks the bound. When one server does not answer, nothing is
    /// known. It is dropped when it takes longer than five seconds, so it must be cancel safe.
    ///
    /// # Errors
    /// [`Unreachable`] when a server does not answer. It is asked again.
    async fn remaining(
        &self,
        slots: &BTreeSet<SlotId>,
    ) -> Result<BTreeMap<SlotId, u32>, Unreachable>;

    /// Terminates the backends of a slot whose process is gone. Whether it helped is seen by the next
    /// [`Backends::remaining`]. Cancel safe like that.
    ///
    /// # Errors
    /// [`Unreachable`] when Postgres does not answer or does not let this role do it.
    async fn terminate(&self, slot: &SlotId) -> Result<(), Unreachable>;

    /// Whether the budget allows this many workers of each app at the same time. An app that is missing
    /// has as many as it was declared with.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    async fn admit(&self, workers: &BTreeMap<Name, u32>) -> Result<(), NotAdmitted>;

    /// The fleet has come down to this many workers of each app, and the backends of those that left are gone: what
    /// [`Backends::admit`] has made room for beyond that is not needed any more. Never called while `admit` is, and not after a
    /// later scaling was asked for. It is dropped when the fleet ends, so it must be cancel safe.
    ///
    /// # Errors
    /// [`Unreachable`] when it could not be given back. The fleet goes on; it is tried again when it comes down the next
    /// time.
    async fn relinquish(&self, workers: &BTreeMap<Name, u32>) -> Result<(), Unreachable>;
}

/// Why Postgres could not be asked, in words and without a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Why a fleet may not grow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The servers do not have the connections for it.
    #[error("{0}")]
    DoesNotFit(String),
    /// What they have could not be found out.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// For fleets without pools: there is nothing to be confirmed.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBackends;

#[async_trait]
impl Backends for NoBackends {
    async fn remaining(
        &self,
        _slots: &BTreeSet<SlotId>,
    ) -> Result<BTreeMap<SlotId, u32>, Unreachable> {
        Ok(BTreeMap::new())
    }

    async fn terminate(&self, _slot: &SlotId) -> Result<(), Unreachable> {
        Ok(())
    }

    async fn admit(&self, _workers: &BTreeMap<Name, u32>) -> Result<(), NotAdmitted> {
        Ok(())
    }

    async fn relinquish(&self, _workers: &BTreeMap<Name, u32>) -> Result<(), Unreachable> {
        Ok(())
    }
}

/// The questions under way: one census at a time, for all slots that wait for one. A slot that is asked
/// for while a census runs has to wait for the next one, which is read after it was asked for.
#[derive(Debug)]
pub(crate) struct Inquiries {
    backends: Arc<dyn Backends>,
    waiting: BTreeSet<SlotId>,
    /// Those that the present census is about.
    asked: BTreeSet<SlotId>,
    under_way: JoinSet<Answered>,
}

/// What came of a question.
#[derive(Debug)]
pub(crate) enum Answered {
    /// Of a census: what is there in each slot that was asked for.
    Census(BTreeMap<SlotId, Seen>, Option<Unreachable>),
    /// Of a termination.
    Terminated(SlotId, Option<Unreachable>),
}

impl Inquiries {
    pub(crate) fn new(backends: Arc<dyn Backends>) -> Self {
        Self {
            backends,
            waiting: BTreeSet::new(),
            asked: BTreeSet::new(),
            under_way: JoinSet::new(),
        }
    }

    /// Asks for a slot's backends.
    pub(crate) fn confirm(&mut self, slot: SlotId) {
        self.waiting.insert(slot);
        self.ask();
    }

    /// Has a slot's backends terminated.
    pub(crate) fn terminate(&mut self, slot: SlotId) {
        let backends = Arc::clone(&self.backends);
        self.under_way.spawn(async move {
            let done = timely(backends.terminate(&slot)).await;
            Answered::Terminated(slot, done.err())
        });
    }

    /// The next answer, if anything is asked. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Answered> {
        let answered = self.under_way.join_next().await?;
        match answered {
            Ok(Answered::Census(seen, error)) => {
                self.asked.clear();
                self.ask();
                Some(Answered::Census(seen, error))
            }
            Ok(terminated) => Some(terminated),
            // Whoever asks Postgres has a fault of his own: as if it had not answered.
            Err(fault) => {
                let seen = std::mem::take(&mut self.asked);
                self.ask();
                let seen = seen.into_iter().map(|slot| (slot, Seen::Unreachable));
                let error = Unreachable(fault.to_string());
                Some(Answered::Census(seen.collect(), Some(error)))
            }
        }
    }

    fn ask(&mut self) {
        if !self.asked.is_empty() || self.waiting.is_empty() {
            return;
        }
        let slots = std::mem::take(&mut self.waiting);
        self.asked.clone_from(&slots);
        let backends = Arc::clone(&self.backends);
        self.under_way.spawn(async move {
            match timely(backends.remaining(&slots)).await {
                Ok(found) => {
                    let seen = slots.into_iter().map(|slot| {
                        let count = found.get(&slot).copied().unwrap_or(0);
                        let seen = match count {
                            0 => Seen::Gone,
                            count => Seen::Remaining(count),
                        };
                        (slot, seen)
                    });
                    Answered::Census(seen.collect(), None)
                }
                Err(error) => {
                    let seen = slots.into_iter().map(|slot| (slot, Seen::Unreachable));
                    Answered::Census(seen.collect(), Some(error))
                }
            }
        });
    }
}

async fn timely<T>(answer: impl Future<Output = Result<T, Unreachable>>) -> Result<T, Unreachable> {
    let no_answer = |_| Unreachable(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
    tokio::time::timeout(ANSWER_TIMEOUT, answer)
        .await
        .map_err(no_answer)?
}
