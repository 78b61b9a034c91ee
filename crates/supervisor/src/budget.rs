//! What the fleet asks of its servers' budget: whether it may grow, and what it gives back when it has come down.
//!
//! Questions take turns, so that no two scalings are promised the same connections, and what is given back is what nobody has
//! asked for since.

use crate::backends::{Backends, NotAdmitted, Unreachable};
use poolwright_topology::tag::Name;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// How many workers of each app.
pub(crate) type Workers = BTreeMap<Name, u32>;

/// The questions under way. They are dropped with this.
#[derive(Debug)]
pub(crate) struct Budget<T> {
    backends: Arc<dyn Backends>,
    under_way: JoinSet<Said<T>>,
    /// Whether a scaling is being decided.
    deciding: bool,
    turn: Arc<Mutex<()>>,
    /// How many questions there were.
    asked: Arc<AtomicU64>,
}

/// What came of a question.
#[derive(Debug)]
pub(crate) enum Said<T> {
    /// To a scaling, with what it was asked for.
    Verdict(T, Result<(), NotAdmitted>),
    /// Something was given back, or could not be.
    Relinquished(Option<Unreachable>),
}

impl<T: Send + 'static> Budget<T> {
    pub(crate) fn new(backends: Arc<dyn Backends>) -> Self {
        Self {
            backends,
            under_way: JoinSet::new(),
            deciding: false,
            turn: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// Whether a scaling waits for its verdict.
    pub(crate) const fn is_deciding(&self) -> bool {
        self.deciding
    }

    /// Asks whether there is room; without `grows` there is, also where the servers have become too small for what there is.
    pub(crate) fn decide(&mut self, scaling: T, workers: Workers, grows: bool) {
        self.deciding = true;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (backends, turn) = (Arc::clone(&self.backends), Arc::clone(&self.turn));
        self.under_way.spawn(async move {
            let _turn = turn.lock().await;
            let verdict = match grows {
                true => backends.admit(&workers).await,
                false => Ok(()),
            };
            Said::Verdict(scaling, verdict)
        });
    }

    /// Gives back what is beyond this, unless something is asked for before it is its turn.
    pub(crate) fn relinquish(&mut self, workers: Workers) {
        let (backends, turn) = (Arc::clone(&self.backends), Arc::clone(&self.turn));
        let asked = Arc::clone(&self.asked);
        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
        self.under_way.spawn(async move {
            let _turn = turn.lock().await;
            let latest = asked.load(Ordering::Relaxed) == number;
            Said::Relinquished(match latest {
                true => backends.relinquish(&workers).await.err(),
                false => None,
            })
        });
    }

    /// The next answer; `None` when nothing is asked. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Said<T>> {
        // A question that panicked has no answer, and the next one is waited for.
        let said = loop {
            match self.under_way.join_next().await? {
                Ok(said) => break said,
                Err(_) => self.deciding = false,
            }
        };
        if matches!(said, Said::Verdict(..)) {
            self.deciding = false;
        }
        Some(said)
    }
}
