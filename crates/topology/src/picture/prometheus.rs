//! A picture as Prometheus text, for the whole fleet: what workers say and what Postgres shows, under different names.
//!
//! One table ([`METRICS`]) has every name, what it means and where its number comes from; the documentation, the alert rules
//! and the dashboard are held to it. What a worker says of its pools has Prisma's names and, beside them, those of
//! OpenTelemetry's conventions for database clients, so that a dashboard made for either reads it; what only Poolwright knows
//! is `poolwright_…`.
//!
//! A number that is not known (a worker without gauges, a process that is gone) has no line: zero would be a claim.

use super::{AppPicture, Picture, Reach, SlotPicture};
use crate::channel::Gauge;
use crate::handover::SlotState;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::time::Duration;

/// One metric of the fleet.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Whether it may go down.
    pub kind: MetricKind,
    /// What it is, in one sentence.
    pub help: &'static str,
    of: Of,
}

/// Whether a metric may go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It may.
    Gauge,
    /// It only grows, until the supervisor is started again.
    Counter,
}

/// Whose it is, and so its labels; and where the number is.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// No label.
    Fleet(fn(&Picture) -> Option<Number>),
    /// `kind`, `severity` and, where there are, `app`, `slot` and `pool`.
    Findings,
    /// `app`.
    App(fn(&AppPicture) -> Option<Number>),
    /// `app`, `slot`.
    Slot(fn(&AppPicture, &SlotPicture) -> Option<Number>),
    /// `app`, `slot` and one more.
    SlotBy(&'static str, fn(&SlotPicture) -> Vec<(String, Number)>),
    /// `app`, `slot`, `pool`.
    Pool(fn(&Pool<'_>) -> Option<Number>),
    /// `app`, `slot`, `pool` and one more.
    PoolBy(&'static str, fn(&Pool<'_>) -> Vec<(String, Number)>),
}

/// One pool of one slot.
#[derive(Debug)]
struct Pool<'a> {
    name: &'a str,
    declared: u32,
    slot: &'a SlotPicture,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(u64),
    Real(f64),
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// Every metric that [`Picture::prometheus`] writes, in its order.
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
const STATES: [SlotState; 9] = [
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

impl Picture {
    /// The fleet in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        for metric in METRICS {
            metric.write(self, &mut text);
        }
        text
    }
}

impl Metric {
    /// Its labels, in their order.
    #[must_use]
    pub fn labels(&self) -> Vec<&'static str> {
        match self.of {
            Of::Fleet(_) => vec![],
            Of::Findings => vec!["kind", "severity", "app", "slot", "pool"],
            Of::App(_) => vec!["app"],
            Of::Slot(_) => vec!["app", "slot"],
            Of::SlotBy(by, _) => vec!["app", "slot", by],
            Of::Pool(_) => vec!["app", "slot", "pool"],
            Of::PoolBy(by, _) => vec!["app", "slot", "pool", by],
        }
    }

    fn write(&self, fleet: &Picture, text: &mut String) {
        let Self {
            name, kind, help, ..
        } = self;
        line(text, format_args!("# HELP {name} {help}"));
        line(text, format_args!("# TYPE {name} {kind}"));
        match self.of {
            Of::Fleet(read) => self.sample(text, &[], read(fleet)),
            Of::Findings => self.findings(fleet, text),
            Of::App(read) => {
                for app in &fleet.apps {
                    self.sample(text, &[("app", app.app.as_str())], read(app));
                }
            }
            Of::Slot(read) => of_slots(fleet, |app, slot, labels| {
                self.sample(text, labels, read(app, slot));
            }),
            Of::SlotBy(by, read) => of_slots(fleet, |_, slot, labels| {
                self.samples(text, labels, by, read(slot));
            }),
            Of::Pool(read) => {
                of_pools(fleet, |pool, labels| {
                    self.sample(text, labels, read(pool));
                });
            }
            Of::PoolBy(by, read) => {
                of_pools(fleet, |pool, labels| {
                    self.samples(text, labels, by, read(pool));
                });
            }
        }
    }

    /// Findings of one kind about one place are one line: a series may be there once.
    fn findings(&self, fleet: &Picture, text: &mut String) {
        let mut counts: BTreeMap<[String; 5], u64> = BTreeMap::new();
        for finding in &fleet.findings {
            let slot = finding.slot.as_ref();
            let key = [
                word(&finding.kind),
                word(&finding.severity),
                slot.map(|slot| slot.app().to_string()).unwrap_or_default(),
                slot.map(ToString::to_string).unwrap_or_default(),
                finding.pool.clone().unwrap_or_default(),
            ];
            *counts.entry(key).or_default() += 1;
        }
        for (values, count) in &counts {
            let labels = self.labels().into_iter().zip(values);
            let labels = labels.filter(|(_, value)| !value.is_empty());
            let labels: Labels<'_> = labels.map(|(name, value)| (name, value.as_str())).collect();
            self.sample(text, &labels, Some(Number::Whole(*count)));
        }
    }

    fn samples(
        &self,
        text: &mut String,
        labels: &[(&str, &str)],
        by: &str,
        samples: Vec<(String, Number)>,
    ) {
        for (value, number) in &samples {
            let mut labels: Labels<'_> = labels.to_vec();
            labels.push((by, value));
            self.sample(text, &labels, Some(*number));
        }
    }

    fn sample(&self, text: &mut String, labels: &[(&str, &str)], number: Option<Number>) {
        let (name, Some(number)) = (self.name, number) else {
            return;
        };
        if labels.is_empty() {
            return line(text, format_args!("{name} {number}"));
        }
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        line(
            text,
            format_args!("{name}{{{}}} {number}", labels.join(",")),
        );
    }
}

fn of_slots(fleet: &Picture, mut each: impl FnMut(&AppPicture, &SlotPicture, &[(&str, &str)])) {
    for app in &fleet.apps {
        for slot in &app.slots {
            let name = slot.status.slot.to_string();
            each(app, slot, &[("app", app.app.as_str()), ("slot", &name)]);
        }
    }
}

fn of_pools(fleet: &Picture, mut each: impl FnMut(&Pool<'_>, &[(&str, &str)])) {
    of_slots(fleet, |_, slot, labels| {
        for (name, declared) in &slot.status.pools {
            let pool = Pool {
                name,
                declared: *declared,
                slot,
            };
            let mut labels: Labels<'_> = labels.to_vec();
            labels.push(("pool", name));
            each(&pool, &labels);
        }
    });
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

/// The word that stands for it in JSON.
fn word(of: &impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A label's value: a backslash, a quote and a line feed would end it.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', "\\\"");
    value.replace('\n', r"\n")
}

fn line(text: &mut String, arguments: fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    writeln!(text, "{arguments}").ok();
}

impl Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        })
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Number {
    fn from(holds: bool) -> Self {
        Self::Whole(holds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Gauge;
    use crate::finding::{Finding, Kind, Severity};
    use crate::picture::tests::{fleet_picture, slot};
    use crate::picture::{Shown, Usage};
    use crate::status::{Step, StepTaken};
    use std::collections::BTreeSet;

    /// Two slots: one at work, one that is parked and says nothing.
    fn picture() -> Picture {
        let mut at_work = slot(0, SlotState::Serving, 2);
        at_work.gauges = [(
            "db".to_owned(),
            Gauge {
                max: 2,
                open: 2,
                busy: 1,
                idle: 1,
                waiting: 4,
            },
        )]
        .into();
        at_work.executor_id = Some("web-0".into());
        at_work.last_step = Some(StepTaken {
            step: Step::Serves,
            at_unix_ms: 1_700_000_000_250,
        });
        let mut parked = slot(1, SlotState::Parked, 0);
        parked.gauges.clear();
        parked.restarts = 3;
        let mut picture = fleet_picture(vec![at_work, parked]);
        picture.at_unix_ms = 1_700_000_001_000;
        picture.apps[0].executor = true;
        let web = &mut picture.apps[0].slots[0];
        web.usage = Some(Usage {
            memory_bytes: 52_428_800,
            cores: 0.125,
        });
        let states = [("idle", 1), ("idle in transaction (aborted)", 1)];
        web.shown = [(
            "db".to_owned(),
            Shown {
                open: 2,
                states: states.map(|(state, n)| (state.to_owned(), n)).into(),
                oldest_transaction_ms: Some(1_500),
            },
        )]
        .into();
        picture.findings = [Some("web-1"), Some("web-1"), None]
            .map(|slot| Finding {
                kind: Kind::SlotParked,
                severity: Severity::Error,
                slot: slot.map(|slot| slot.parse().unwrap()),
                pool: None,
                message: String::new(),
                cure: String::new(),
            })
            .into();
        picture
    }

    #[test]
    fn both_sides_of_the_fleet_stand_in_the_text_under_different_names() {
        insta::assert_snapshot!(picture().prometheus());
    }

    #[test]
    fn every_line_is_of_a_metric_that_was_introduced_right_before_and_no_series_is_there_twice() {
        let text = picture().prometheus();
        let mut seen = BTreeSet::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(introduced) = line.strip_prefix("# TYPE ") {
                family = introduced.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                let (series, number) = line.rsplit_once(' ').unwrap();
                assert_eq!(series.split('{').next(), Some(family), "{line}");
                assert!(number.parse::<f64>().is_ok(), "{line}");
                assert!(seen.insert(series), "twice: {series}");
            }
        }
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len(), "a name that is there twice");
    }

    #[test]
    fn a_worker_that_says_nothing_has_no_line_of_what_it_would_say() {
        let text = picture().prometheus();
        let of = |slot: &str, name: &str| {
            let label = format!("slot=\"{slot}\"");
            let line = |line: &&str| line.starts_with(name) && line.contains(&label);
            text.lines().filter(line).count()
        };
        assert_eq!(of("web-0", "prisma_pool_connections_"), 3);
        assert_eq!(of("web-1", "prisma_pool_connections_"), 0);
        assert_eq!(of("web-1", "poolwright_pool_waiting"), 0);
        assert_eq!(of("web-1", "poolwright_pool_shown{"), 1);
    }

    #[test]
    fn what_would_end_a_labels_value_is_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
    }

    #[test]
    fn every_state_of_a_slot_has_its_line() {
        let text = picture().prometheus();
        for state in STATES {
            let label = format!("slot=\"web-0\",state=\"{}\"", word(&state));
            assert!(text.contains(&label), "{label}");
        }
    }
}
