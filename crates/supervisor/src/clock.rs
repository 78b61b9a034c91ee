//! The time that the handover goes by.

use poolwright_topology::handover::Moment;
use std::future::pending;
use tokio::sync::watch;
use tokio::time::Instant;

/// Where the supervisor has the time from.
#[derive(Debug)]
pub(crate) enum Clock {
    /// From the machine's monotonic clock: steps of the wall clock change nothing.
    Machine {
        /// When it began.
        epoch: Instant,
    },
    /// From somebody who lets it pass.
    Given(watch::Receiver<Moment>),
}

impl Clock {
    pub(crate) fn machine() -> Self {
        Self::Machine {
            epoch: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        match self {
            Self::Machine { epoch } => epoch.elapsed(),
            Self::Given(time) => *time.borrow(),
        }
    }

    /// Until this moment; without one, for ever. Cancel safe.
    pub(crate) async fn reaches(&self, due: Option<Moment>) {
        let Some(due) = due else {
            return pending().await;
        };
        match self {
            Self::Machine { epoch } => match epoch.checked_add(due) {
                Some(due) => tokio::time::sleep_until(due).await,
                None => pending().await,
            },
            Self::Given(time) => {
                let mut time = time.clone();
                let stands_still = time.wait_for(|now| *now >= due).await.is_err();
                if stands_still {
                    pending().await
                }
            }
        }
    }
}
