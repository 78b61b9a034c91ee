//! The gauges written down: in the JSON shape of Prisma 6's `$metrics.json()`, and as Prometheus
//! text. Both stacks answer the same, so that one dashboard reads both.

use crate::gauges::Reading;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Prisma 6's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// What only grows.
    pub counters: Vec<Metric>,
    /// What goes up and down.
    pub gauges: Vec<Metric>,
    /// Distributions; nothing here measures one.
    pub histograms: Vec<Metric>,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Its name.
    pub key: &'static str,
    /// Its labels; Prisma's own have none.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: u64,
    /// What it counts, in Prisma's words.
    pub description: &'static str,
}

impl Metrics {
    /// The ORM pool in Prisma's shape; `opened` connections were opened since the start.
    #[must_use]
    pub fn of(reading: &Reading, opened: u64) -> Self {
        let orm = reading.orm;
        let metric = |key, value: u64, description| Metric {
            key,
            labels: BTreeMap::new(),
            value,
            description,
        };
        Self {
            counters: vec![
                metric(
                    "prisma_pool_connections_closed_total",
                    opened.saturating_sub(orm.open.into()),
                    "Total number of Pool Connections closed",
                ),
                metric(
                    "prisma_pool_connections_opened_total",
                    opened,
                    "Total number of Pool Connections opened",
                ),
            ],
            gauges: vec![
                metric(
                    "prisma_client_queries_wait",
                    orm.waiting.into(),
                    "Number of Prisma Client queries currently waiting for a connection",
                ),
                metric(
                    "prisma_pool_connections_busy",
                    orm.busy.into(),
                    "Number of currently busy Pool Connections (executing a datasource query)",
                ),
                metric(
                    "prisma_pool_connections_idle",
                    orm.idle.into(),
                    "Number of currently unused Pool Connections (waiting for the next datasource query to run)",
                ),
                metric(
                    "prisma_pool_connections_open",
                    orm.open.into(),
                    "Number of currently open Pool Connections",
                ),
            ],
            histograms: Vec::new(),
        }
    }
}

/// Both pools of the worker `slot` as Prometheus text.
#[must_use]
pub fn prometheus(slot: &str, reading: &Reading, opened: u64) -> String {
    let mut text = String::new();
    let metrics = Metrics::of(reading, opened);
    let kinds = [("counter", metrics.counters), ("gauge", metrics.gauges)];
    for (kind, metrics) in kinds {
        for Metric {
            key,
            value,
            description,
            ..
        } in metrics
        {
            head(&mut text, key, kind, description);
            line(
                &mut text,
                format_args!("{key}{{slot=\"{slot}\",pool=\"prisma\"}} {value}"),
            );
        }
    }
    head(
        &mut text,
        "poolwright_pool_connections",
        "gauge",
        "Connections of a pool, by state",
    );
    let pools = reading.by_name();
    for (pool, gauge) in &pools {
        for (state, value) in [("busy", gauge.busy), ("idle", gauge.idle)] {
            line(
                &mut text,
                format_args!(
                    "poolwright_pool_connections{{slot=\"{slot}\",pool=\"{pool}\",state=\"{state}\"}} {value}"
                ),
            );
        }
    }
    head(
        &mut text,
        "poolwright_pool_max",
        "gauge",
        "Connections a pool may hold",
    );
    for (pool, gauge) in &pools {
        let max = gauge.max;
        line(
            &mut text,
            format_args!("poolwright_pool_max{{slot=\"{slot}\",pool=\"{pool}\"}} {max}"),
        );
    }
    head(
        &mut text,
        "poolwright_pool_waiting",
        "gauge",
        "Callers that wait for a connection",
    );
    for (pool, gauge) in &pools {
        let waiting = gauge.waiting;
        line(
            &mut text,
            format_args!("poolwright_pool_waiting{{slot=\"{slot}\",pool=\"{pool}\"}} {waiting}"),
        );
    }
    text
}

fn head(text: &mut String, key: &str, kind: &str, description: &str) {
    line(
        text,
        format_args!("# HELP {key} {description}\n# TYPE {key} {kind}"),
    );
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    writeln!(text, "{arguments}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolwright_topology::channel::Gauge;

    const READING: Reading = Reading {
        orm: Gauge {
            max: 3,
            open: 3,
            busy: 1,
            idle: 2,
            waiting: 4,
        },
        dbos: Gauge {
            max: 3,
            open: 3,
            busy: 2,
            idle: 1,
            waiting: 0,
        },
        answered: true,
    };

    #[test]
    fn the_json_has_prismas_shape_and_names() {
        let json = serde_json::to_value(Metrics::of(&READING, 5)).unwrap();
        let gauge = |key: &str| {
            let gauges = json["gauges"].as_array().unwrap();
            gauges
                .iter()
                .find(|metric| metric["key"] == key)
                .unwrap()
                .clone()
        };
        assert_eq!(gauge("prisma_pool_connections_open")["value"], 3);
        assert_eq!(gauge("prisma_pool_connections_busy")["value"], 1);
        assert_eq!(gauge("prisma_pool_connections_idle")["value"], 2);
        assert!(gauge("prisma_pool_connections_idle")["labels"].is_object());
        assert!(gauge("prisma_pool_connections_idle")["description"].is_string());
        assert!(json["histograms"].as_array().unwrap().is_empty());
    }

    #[test]
    fn the_text_names_worker_and_pool_on_every_line() {
        let text = prometheus("web-1", &READING, 5);
        for expected in [
            "prisma_pool_connections_open{slot=\"web-1\",pool=\"prisma\"} 3",
            "poolwright_pool_connections{slot=\"web-1\",pool=\"dbos\",state=\"busy\"} 2",
            "poolwright_pool_waiting{slot=\"web-1\",pool=\"prisma\"} 4",
            "# TYPE poolwright_pool_max gauge",
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected} in\n{text}"
            );
        }
    }
}
