//! The fleet as it is right now, from both sides, once a second.
//!
//! One question to the supervisor, one query on the control connection that is there anyway, two small files for each process:
//! whoever wants to look (`top`, the page, Prometheus) looks at what comes of that, and costs the fleet nothing more.

use crate::backends::FromPostgres;
use crate::starvation::Starvation;
use poolwright_supervisor::control::{Inquirer, Views};
use poolwright_supervisor::usage::Meter;
use poolwright_topology::budget::Plan;
use poolwright_topology::declare::Topology;
use poolwright_topology::picture::{Join, View};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often it is looked. Workers report their gauges as often.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// How long Postgres may take to answer. A census takes milliseconds; a connection that is black-holed takes for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the views of a fleet come from.
pub(crate) struct Live {
    inquirer: Inquirer,
    backends: Arc<FromPostgres>,
    join: Join,
    views: watch::Sender<Option<Arc<View>>>,
}

impl Live {
    /// Of a fleet that was planned so. The views begin with [`Live::look_on`].
    pub(crate) fn new(
        inquirer: Inquirer,
        backends: Arc<FromPostgres>,
        topology: Topology,
        plan: Plan,
    ) -> (Self, Views) {
        let (views, seen) = watch::channel(None);
        let join = Join::new(topology, plan);
        let live = Self {
            inquirer,
            backends,
            join,
            views,
        };
        (live, seen)
    }

    /// Looks once a second, until the fleet has ended, and has `starvation` see what was found. Cancel safe.
    pub(crate) async fn look_on(mut self, mut starvation: Starvation<'_>) {
        let mut meter = Meter::default();
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let Some(status) = self.inquirer.status().await else {
                return;
            };
            let rows = match timeout(PATIENCE, self.backends.seen()).await {
                Ok(rows) => rows,
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            let slots = status.apps.iter().flat_map(|app| &app.slots);
            let pids = slots.filter_map(|slot| slot.pid).chain([status.pid]);
            let usage = meter.read(pids);
            let rows = rows.as_ref().map(Vec::as_slice).map_err(Clone::clone);
            let view = self.join.view(status, rows, &usage, unix_ms());
            starvation.look(&view.picture.findings);
            self.views.send_replace(Some(Arc::new(view)));
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
