//! The fleet as it is right now, from both sides, once a second, and from the supervisor's as soon as a slot takes a step
//! and somebody watches.
//!
//! One question to the supervisor, one query on the control connection that is there anyway, two small files for each process:
//! whoever wants to look (`top`, the page, Prometheus) looks at what comes of that, and costs the fleet nothing more. A step
//! costs the question alone: Postgres is asked once a second, whatever happens.

use crate::backends::FromPostgres;
use crate::starvation::Starvation;
use poolwright_supervisor::Event;
use poolwright_supervisor::control::{Inquirer, Showing, Views};
use poolwright_supervisor::usage::Meter;
use poolwright_topology::budget::Plan;
use poolwright_topology::declare::Topology;
use poolwright_topology::picture::Join;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// How often it is looked. Workers report their gauges as often.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// How long Postgres may take to answer. A census takes milliseconds; a connection that is black-holed takes for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon after a worker has moved the next one that does is shown. A fleet of hundreds starts with thousands of moves; the steps of
/// a reload are few, and none of them waits.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the views of a fleet come from.
pub(crate) struct Live {
    inquirer: Inquirer,
    happened: Arc<Happened>,
    backends: Arc<FromPostgres>,
    join: Join,
    showing: Showing,
}

/// What has happened and was not shown yet.
#[derive(Debug, Default)]
struct Happened {
    step: Notify,
    change: Notify,
}

/// Has it looked when something happens.
#[derive(Debug, Clone)]
pub(crate) struct Prompt(Arc<Happened>);

impl Prompt {
    /// Hears every event of the fleet.
    pub(crate) fn hear(&self, event: &Event) {
        match event {
            Event::Roll(_) | Event::Crashed { .. } => self.0.step.notify_one(),
            Event::Spawned { .. } | Event::Moved { .. } | Event::Removed { .. } => {
                self.0.change.notify_one();
            }
            _ => {}
        }
    }
}

impl Live {
    /// Of a fleet that was planned so. The views begin with [`Live::look_on`].
    pub(crate) fn new(
        inquirer: Inquirer,
        backends: Arc<FromPostgres>,
        topology: Topology,
        plan: Plan,
    ) -> (Self, Views) {
        let showing = Showing::default();
        let views = showing.views();
        let join = Join::new(topology, plan);
        let live = Self {
            inquirer,
            happened: Arc::default(),
            backends,
            join,
            showing,
        };
        (live, views)
    }

    /// For whoever hears what happens.
    pub(crate) fn prompt(&self) -> Prompt {
        Prompt(Arc::clone(&self.happened))
    }

    /// Looks once a second, and after every step while somebody watches, until the fleet has ended, and has `starvation` see what was found. Cancel
    /// safe.
    pub(crate) async fn look_on(mut self, mut starvation: Starvation<'_>) {
        let mut meter = Meter::default();
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let backends = Arc::clone(&self.backends);
        loop {
            let rows = self.showing_steps(async {
                looks.tick().await;
                timeout(PATIENCE, backends.seen()).await
            });
            let rows = match rows.await {
                None => return,
                Some(Ok(rows)) => rows,
                Some(Err(_)) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            // Asked after that: what was shown meanwhile is not taken back.
            let Some(status) = self.inquirer.status().await else {
                return;
            };
            let slots = status.apps.iter().flat_map(|app| &app.slots);
            let pids = slots.filter_map(|slot| slot.pid).chain([status.pid]);
            let usage = meter.read(pids);
            let rows = rows.as_ref().map(Vec::as_slice).map_err(Clone::clone);
            let view = self.join.view(status, rows, &usage, unix_ms());
            starvation.look(&view.picture.findings);
            self.showing.show(view);
        }
    }

    /// What comes of this; what happens meanwhile is shown at once to those who watch. `None` when the fleet has ended.
    async fn showing_steps<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let mut pause = Instant::now();
        loop {
            let moved = async {
                sleep_until(pause).await;
                self.happened.change.notified().await;
            };
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = self.happened.step.notified() => {}
                () = moved => pause = Instant::now() + PAUSE,
            }
            // Before the first sample there is nothing that it could stand beside.
            if self.showing.is_watched() && self.showing.has_shown() {
                let status = self.inquirer.status().await?;
                self.showing.show(self.join.told(status, unix_ms()));
            }
        }
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
