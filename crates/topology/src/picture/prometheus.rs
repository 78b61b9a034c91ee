//! A picture as Prometheus text, for the whole fleet: what workers say and what Postgres shows, under different names.
//!
//! One table ([`METRICS`]) has every name, what it means and where its number comes from; the documentation, the alert rules
//! and the dashboard are held to it. What a worker says of its pools has Prisma's names and, beside them, those of
//! OpenTelemetry's conventions for database clients, so that a dashboard made for either reads it; what only Poolwright knows
//! is `poolwright_…`.
//!
//! A number that is not known (a worker without gauges, a process that is gone) has no line: zero would be a claim.

mod table;
#[cfg(test)]
mod tests;

use super::{AppPicture, Picture, SlotPicture};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

pub use table::METRICS;

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
