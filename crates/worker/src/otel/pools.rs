//! The pools' metrics, from the pools' own counters.
//!
//! The ORM pool is read in the process. The DBOS pool is hidden in the SDK, so Postgres is asked ([`crate::gauges`]): its `used`
//! are the sessions within a transaction and the one that LISTEN pins, and its callers' waits and uses are not known.

use super::names;
use crate::gauges::{Gauges, Reading};
use crate::identity::{DBOS_POOL, ORM_POOL};
use crate::lending::{Lending, Measure};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, BoundHistogram, Counter, Meter};
use poolwright_topology::channel::Gauge;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Within this time one reading serves all metrics: those of one export show one moment, and Postgres is asked once.
const ONE_MOMENT: Duration = Duration::from_millis(100);

/// Takes a number, with a state where it has one.
type Observe<'a> = dyn FnMut(u32, Option<&'static str>) + 'a;

/// Reads both pools for a thread that is none of the runtime's.
struct Moment {
    gauges: Gauges,
    runtime: Handle,
    last: Mutex<Option<(Instant, Reading)>>,
}

/// The times of the ORM pool's callers.
#[derive(Debug)]
struct Times {
    waited: BoundHistogram<f64>,
    used: BoundHistogram<f64>,
    timeouts: Counter<u64>,
    pool: [KeyValue; 1],
}

/// Exports what `gauges` reads and what `lending` measures, for as long as the meter's provider lives.
///
/// Has to be called in a runtime, which has to live as long as that.
pub(super) fn export(meter: &Meter, gauges: &Gauges, lending: &Lending) {
    let moment = Arc::new(Moment {
        gauges: gauges.clone(),
        runtime: Handle::current(),
        last: Mutex::new(None),
    });
    by_pool(
        meter,
        &moment,
        (names::CONNECTION_COUNT, "{connection}"),
        "Connections that are open, by what they do",
        |gauge, observe| {
            observe(gauge.idle, Some("idle"));
            observe(gauge.busy, Some("used"));
        },
    );
    by_pool(
        meter,
        &moment,
        (names::CONNECTION_MAX, "{connection}"),
        "Connections that the pool may hold: the declared maximum",
        |gauge, observe| observe(gauge.max, None),
    );
    by_pool(
        meter,
        &moment,
        (names::CONNECTION_IDLE_MAX, "{connection}"),
        "Connections that the pool keeps when they are idle: all of them",
        |gauge, observe| observe(gauge.max, None),
    );
    let moment_of_orm = Arc::clone(&moment);
    meter
        .i64_observable_up_down_counter(names::CONNECTION_PENDING)
        .with_unit("{request}")
        .with_description("Callers that wait for a connection")
        .with_callback(move |observer| {
            let waiting = moment_of_orm.read().orm.waiting;
            observer.observe(waiting.into(), &[pool(ORM_POOL)]);
        })
        .build();
    lending.measure(Times::new(meter));
}

/// One metric of both pools: what `read` makes of each one's gauge, with a state where it has one.
fn by_pool(
    meter: &Meter,
    moment: &Arc<Moment>,
    (name, unit): (&'static str, &'static str),
    description: &'static str,
    read: fn(Gauge, &mut Observe<'_>),
) {
    let moment = Arc::clone(moment);
    let callback = move |observer: &dyn AsyncInstrument<i64>| {
        let reading = moment.read();
        for (name, gauge) in [(ORM_POOL, reading.orm), (DBOS_POOL, reading.dbos)] {
            read(gauge, &mut |value, state| {
                let state = state.map(|state| KeyValue::new(names::CONNECTION_STATE, state));
                let attributes: Vec<_> = [pool(name)].into_iter().chain(state).collect();
                observer.observe(value.into(), &attributes);
            });
        }
    };
    meter
        .i64_observable_up_down_counter(name)
        .with_unit(unit)
        .with_description(description)
        .with_callback(callback)
        .build();
}

fn pool(name: &'static str) -> KeyValue {
    KeyValue::new(names::POOL_NAME, name)
}

impl Moment {
    fn read(&self) -> Reading {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, reading)) if at.elapsed() < ONE_MOMENT => reading,
            _ => {
                let reading = self.runtime.block_on(self.gauges.read());
                *last = Some((Instant::now(), reading));
                reading
            }
        }
    }
}

impl Times {
    fn new(meter: &Meter) -> Self {
        let histogram = |name, description| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(names::SHORT_SECONDS.to_vec())
                .build()
                .bind(&[pool(ORM_POOL)])
        };
        let timeouts = meter
            .u64_counter(names::CONNECTION_TIMEOUTS)
            .with_unit("{timeout}")
            .with_description("Callers that were lent no connection in time")
            .build();
        let pool = [pool(ORM_POOL)];
        // Seen from the start, and not only once it is too late.
        timeouts.add(0, &pool);
        Self {
            waited: histogram(
                names::CONNECTION_WAIT_TIME,
                "How long callers waited for a connection",
            ),
            used: histogram(
                names::CONNECTION_USE_TIME,
                "How long callers kept a connection",
            ),
            timeouts,
            pool,
        }
    }
}

impl Measure for Times {
    fn waited(&self, time: Duration) {
        self.waited.record(time.as_secs_f64());
    }

    fn used(&self, time: Duration) {
        self.used.record(time.as_secs_f64());
    }

    fn timed_out(&self) {
        self.timeouts.add(1, &self.pool);
    }
}
