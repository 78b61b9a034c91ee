//! The table of all metrics.

use super::{Metric, MetricKind, Number, Of, Pool, word};
use crate::channel::Gauge;
use crate::handover::SlotState;
use crate::picture::{Reach, SlotPicture};
use std::collections::BTreeMap;
use std::time::Duration;

/// Every metric that [`Picture::prometheus`](crate::picture::Picture::prometheus) writes, in its order.
pub const METRICS: &[Metric] = &[
    gauge(
        "poolwright_connections_bound",
        "Connections that the pools of the present workers may open together.",
        Of::Fleet(|fleet| Some(fleet.budget.bound.0.into())),
    ),
    gauge(
        "poolwright_connections_seen",
        "Connections of the fleet's pools that Postgres shows.",
        Of::Fleet(|fleet| Some(fleet.budget.seen.0.into())),
    ),
    gauge(
        "poolwright_connections_overhead",
        "Connections of the supervisor's own.",
        Of::Fleet(|fleet| Some(fleet.budget.overhead.0.into())),
    ),
    gauge(
        "poolwright_connections_usable",
        "Connections that the servers have for ordinary roles.",
        Of::Fleet(|fleet| Some(fleet.budget.usable.0.into())),
    ),
    gauge(
        "poolwright_postgres_up",
        "Whether Postgres answered last: 1, or 0, and then everything that it shows is from before.",
        Of::Fleet(|fleet| Some((fleet.postgres == Reach::Answers).into())),
    ),
    gauge(
        "poolwright_last_look_timestamp_seconds",
        "When the fleet was looked at last, in seconds since 1970.",
        Of::Fleet(|fleet| Some(seconds(fleet.at_unix_ms))),
    ),
    gauge(
        "poolwright_supervisor_start_time_seconds",
        "Since when the supervisor runs, in seconds since 1970.",
        Of::Fleet(|fleet| Some(seconds(fleet.since_unix_ms))),
    ),
    gauge(
        "poolwright_supervisor_memory_bytes",
        "Resident memory of the supervisor.",
        Of::Fleet(|fleet| Some(fleet.usage?.memory_bytes.into())),
    ),
    gauge(
        "poolwright_supervisor_cpu_cores",
        "Processor time of the supervisor since the last look, in cores.",
        Of::Fleet(|fleet| Some(fleet.usage?.cores.into())),
    ),
    gauge(
        "poolwright_finding",
        "How many findings of this kind there are now.",
        Of::Findings,
    ),
    gauge(
        "poolwright_workers_declared",
        "How many workers the app is to have.",
        Of::App(|app| Some(app.instances.into())),
    ),
    gauge(
        "poolwright_workers_serving",
        "How many workers of the app serve.",
        Of::App(|app| {
            let serving = app.slots.iter().filter(|slot| serves(slot));
            Some(Number::Whole(u64::try_from(serving.count()).ok()?))
        }),
    ),
    gauge(
        "poolwright_slot_state",
        "1 for the state that the slot is in, 0 for the others.",
        Of::SlotBy("state", |slot| {
            let states = STATES.iter();
            let one = |state: &SlotState| (word(state), (*state == slot.status.state).into());
            states.map(one).collect()
        }),
    ),
    gauge(
        "poolwright_slot_state_start_time_seconds",
        "Since when the slot is in its state, in seconds since 1970.",
        Of::Slot(|_, slot| Some(seconds(slot.status.since_unix_ms))),
    ),
    gauge(
        "poolwright_slot_last_step_timestamp_seconds",
        "When the slot took its last step of a reload or restart, in seconds since 1970.",
        Of::SlotBy("step", |slot| {
            let taken = slot.status.last_step.iter();
            let step = taken.map(|taken| (word(&taken.step), seconds(taken.at_unix_ms)));
            step.collect()
        }),
    ),
    counter(
        "poolwright_slot_restarts_total",
        "How often the slot's process was started again after a failure.",
        Of::Slot(|_, slot| Some(slot.status.restarts.into())),
    ),
    gauge(
        "poolwright_slot_failures",
        "Failures that the slot has not made up for by serving since.",
        Of::Slot(|_, slot| Some(slot.status.failures.into())),
    ),
    gauge(
        "poolwright_slot_executor",
        "Whether the slot's worker has launched its DBOS executor: 1 or 0; only of apps that have one.",
        Of::Slot(|app, slot| {
            app.executor
                .then(|| slot.status.executor_id.is_some().into())
        }),
    ),
    gauge(
        "poolwright_slot_memory_bytes",
        "Resident memory of the slot's process.",
        Of::Slot(|_, slot| Some(slot.usage?.memory_bytes.into())),
    ),
    gauge(
        "poolwright_slot_cpu_cores",
        "Processor time of the slot's process since the last look, in cores.",
        Of::Slot(|_, slot| Some(slot.usage?.cores.into())),
    ),
    gauge(
        "poolwright_slot_unnamed",
        "Sessions that Postgres shows under the slot's name alone, where no single pool accounts for them.",
        Of::Slot(|_, slot| Some(slot.unnamed.as_ref().map_or(0, |shown| shown.open).into())),
    ),
    gauge(
        "poolwright_pool_declared",
        "Connections that the pool may open in the slot.",
        Of::Pool(|pool| Some(pool.declared.into())),
    ),
    gauge(
        "poolwright_pool_shown",
        "Sessions of the pool that Postgres shows.",
        Of::Pool(|pool| Some(pool.shown_in_all().into())),
    ),
    gauge(
        "poolwright_pool_shown_by_state",
        "The same by the session's state.",
        Of::PoolBy("state", |pool| pool.shown_by_state()),
    ),
    gauge(
        "poolwright_pool_oldest_transaction_seconds",
        "For how long the pool's oldest transaction has been open; 0 when there is none.",
        Of::Pool(|pool| {
            let shown = pool.slot.shown.get(pool.name);
            let oldest = shown.and_then(|shown| shown.oldest_transaction_ms);
            Some(seconds(oldest.unwrap_or(0)))
        }),
    ),
    gauge(
        "poolwright_pool_waiting",
        "Callers that wait for a connection of the pool, as the worker says.",
        Of::Pool(|pool| Some(pool.said()?.waiting.into())),
    ),
    gauge(
        "prisma_pool_connections_open",
        "Number of currently open Pool Connections",
        Of::Pool(|pool| Some(pool.said()?.open.into())),
    ),
    gauge(
        "prisma_pool_connections_busy",
        "Number of currently busy Pool Connections (executing a datasource query)",
        Of::Pool(|pool| Some(pool.said()?.busy.into())),
    ),
    gauge(
        "prisma_pool_connections_idle",
        "Number of currently unused Pool Connections (waiting for the next datasource query to run)",
        Of::Pool(|pool| Some(pool.said()?.idle.into())),
    ),
    gauge(
        "db_client_connection_count",
        "The number of connections that are currently in state described by the state attribute.",
        Of::PoolBy("state", |pool| match pool.said() {
            Some(said) => [("idle", said.idle), ("used", said.busy)]
                .map(|(state, count)| (state.to_owned(), count.into()))
                .into(),
            None => Vec::new(),
        }),
    ),
    gauge(
        "db_client_connection_max",
        "The maximum number of open connections allowed.",
        Of::Pool(|pool| Some(pool.said()?.max.into())),
    ),
    gauge(
        "db_client_connection_pending_requests",
        "The number of current pending requests for an open connection.",
        Of::Pool(|pool| Some(pool.said()?.waiting.into())),
    ),
];

/// Every state of a slot, in the order of its life.
pub(super) const STATES: [SlotState; 9] = [
    SlotState::Vacant,
    SlotState::Booting,
    SlotState::Booted,
    SlotState::Launching,
    SlotState::Serving,
    SlotState::Draining,
    SlotState::Vanishing,
    SlotState::Resting,
    SlotState::Parked,
];

/// The states of a session that always have a line, so that a sum over them does not vanish with the last one.
const ALWAYS: [&str; 3] = ["active", "idle", "idle in transaction"];

const fn gauge(name: &'static str, help: &'static str, of: Of) -> Metric {
    let kind = MetricKind::Gauge;
    Metric {
        name,
        kind,
        help,
        of,
    }
}

const fn counter(name: &'static str, help: &'static str, of: Of) -> Metric {
    let kind = MetricKind::Counter;
    Metric {
        name,
        kind,
        help,
        of,
    }
}

impl Pool<'_> {
    fn said(&self) -> Option<&Gauge> {
        self.slot.status.gauges.get(self.name)
    }

    fn shown_in_all(&self) -> u32 {
        let shown = self.slot.shown.get(self.name);
        shown.map_or(0, |shown| shown.open)
    }

    fn shown_by_state(&self) -> Vec<(String, Number)> {
        let mut states: BTreeMap<&str, u32> = ALWAYS.map(|state| (state, 0)).into();
        let shown = self.slot.shown.get(self.name);
        for (state, count) in shown.into_iter().flat_map(|shown| &shown.states) {
            states.insert(state, *count);
        }
        let states = states.into_iter();
        states
            .map(|(state, count)| (state.to_owned(), count.into()))
            .collect()
    }
}

fn serves(slot: &SlotPicture) -> bool {
    slot.status.state == SlotState::Serving
}

fn seconds(milliseconds: u64) -> Number {
    Number::Real(Duration::from_millis(milliseconds).as_secs_f64())
}
