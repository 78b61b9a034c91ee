//! Watching `pg_stat_activity` while something happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// The sampler's own `application_name`; it never counts itself.
pub const NAME: &str = "testkit:sampler";

/// How often acceptance tests look.
pub const PERIOD: Duration = Duration::from_millis(10);

/// One client backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// The server's process.
    pub pid: i32,
    /// When it was forked, in microseconds: a pid alone may come again.
    pub started: i64,
    /// Its `application_name`.
    pub name: String,
    /// `idle`, `active`, `idle in transaction`, …
    pub state: String,
    /// The role it is logged in as.
    pub role: String,
    /// The database it is connected to.
    pub database: String,
}

/// The most backends at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peak {
    /// In any one sample, a closing backend beside its successor included (H12).
    pub seen: usize,
    /// In two samples in a row, counting only backends that are in both.
    pub confirmed: usize,
}

/// More backends than allowed, in two samples in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Whose, or `(fleet)` for the sum.
    pub name: String,
    /// How many are allowed.
    pub limit: usize,
    /// Those that were there both times.
    pub backends: Vec<Backend>,
}

/// What is allowed.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// By `application_name`.
    pub names: BTreeMap<String, usize>,
    /// All of them together.
    pub fleet: Option<usize>,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many samples were taken.
    pub samples: usize,
    /// By `application_name`.
    pub peaks: BTreeMap<String, Peak>,
    /// All together.
    pub fleet: Peak,
    /// The last sample.
    pub last: Vec<Backend>,
    /// Every excess that persisted, once each per name.
    pub violations: Vec<Violation>,
}

impl Report {
    /// How many backends of each name the last sample had.
    #[must_use]
    pub fn last_by_name(&self) -> BTreeMap<String, usize> {
        count(&self.last)
    }
}

/// A task that reads `pg_stat_activity` on one connection of its own until it is stopped.
#[derive(Debug)]
pub struct Sampler {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Report>>,
}

impl Sampler {
    /// Starts to watch the server of `url` (a superuser's, or of a member of `pg_read_all_stats`).
    /// Counted are client backends, without those whose name begins with `testkit`.
    ///
    /// Cancel safety: when dropped, no task is left.
    pub async fn start(url: &str, period: Duration, limits: Limits) -> Result<Self> {
        let connection = connect(url).await?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(watch(connection, period, limits, stopped));
        Ok(Self { stop, task })
    }

    /// Takes one last sample and reports. Cancel safety: when dropped, the task ends on its own.
    pub async fn finish(self) -> Result<Report> {
        // The task may have failed already; then it has an error to tell.
        let _ = self.stop.send(());
        self.task.await.context("the sampler panicked")?
    }
}

/// One look at the server.
pub async fn backends(url: &str) -> Result<Vec<Backend>> {
    let mut connection = connect(url).await?;
    let backends = read(&mut connection).await?;
    connection.close().await?;
    Ok(backends)
}

/// How many backends there are of each name.
#[must_use]
pub fn count(backends: &[Backend]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for backend in backends {
        *counts.entry(backend.name.clone()).or_default() += 1;
    }
    counts
}

async fn connect(url: &str) -> Result<PgConnection> {
    let options = url
        .parse::<sqlx::postgres::PgConnectOptions>()?
        .application_name(NAME);
    Ok(PgConnection::connect_with(&options).await?)
}

async fn watch(
    mut connection: PgConnection,
    period: Duration,
    limits: Limits,
    mut stopped: oneshot::Receiver<()>,
) -> Result<Report> {
    let mut tally = Tally::new(limits);
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut stopped => true,
        };
        tally.add(read(&mut connection).await?);
        if last {
            return Ok(tally.report);
        }
    }
}

async fn read(connection: &mut PgConnection) -> Result<Vec<Backend>> {
    type Row = (i32, i64, String, String, String, String);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint,
                coalesce(application_name, ''), coalesce(state, ''),
                coalesce(usename, '')::text, coalesce(datname, '')::text
         FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND application_name NOT LIKE 'testkit%'
         ORDER BY application_name, pid",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(pid, started, name, state, role, database)| Backend {
            pid,
            started,
            name,
            state,
            role,
            database,
        })
        .collect())
}

/// The arithmetic, apart from the connection.
struct Tally {
    limits: Limits,
    before: BTreeSet<(i32, i64)>,
    report: Report,
}

impl Tally {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            before: BTreeSet::new(),
            report: Report::default(),
        }
    }

    fn add(&mut self, sample: Vec<Backend>) {
        let again: Vec<Backend> = sample
            .iter()
            .filter(|backend| self.before.contains(&(backend.pid, backend.started)))
            .cloned()
            .collect();
        let report = &mut self.report;
        report.samples += 1;
        for (name, seen) in count(&sample) {
            let peak = report.peaks.entry(name).or_default();
            peak.seen = peak.seen.max(seen);
        }
        report.fleet.seen = report.fleet.seen.max(sample.len());
        report.fleet.confirmed = report.fleet.confirmed.max(again.len());
        for (name, confirmed) in count(&again) {
            let peak = report.peaks.entry(name.clone()).or_default();
            peak.confirmed = peak.confirmed.max(confirmed);
            if let Some(limit) = self.limits.names.get(&name)
                && confirmed > *limit
            {
                let of_name = |backend: &Backend| backend.name == name;
                let backends = again.iter().filter(|one| of_name(one)).cloned().collect();
                report.violate(Violation {
                    name,
                    limit: *limit,
                    backends,
                });
            }
        }
        if let Some(limit) = self.limits.fleet
            && again.len() > limit
        {
            report.violate(Violation {
                name: "(fleet)".to_owned(),
                limit,
                backends: again,
            });
        }
        self.before = sample
            .iter()
            .map(|backend| (backend.pid, backend.started))
            .collect();
        report.last = sample;
    }
}

impl Report {
    fn violate(&mut self, violation: Violation) {
        if self
            .violations
            .iter()
            .all(|known| known.name != violation.name)
        {
            self.violations.push(violation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(pid: i32) -> Backend {
        Backend {
            pid,
            started: 0,
            name: "web-0:prisma".to_owned(),
            state: "idle".to_owned(),
            role: "app".to_owned(),
            database: "order_desk".to_owned(),
        }
    }

    fn tally(samples: &[&[i32]]) -> Report {
        let names = [("web-0:prisma".to_owned(), 1)].into();
        let mut tally = Tally::new(Limits {
            names,
            fleet: Some(1),
        });
        for sample in samples {
            tally.add(sample.iter().copied().map(backend).collect());
        }
        tally.report
    }

    #[test]
    fn a_closing_backend_beside_its_successor_is_no_violation() {
        let report = tally(&[&[1], &[1, 2], &[2]]);
        assert_eq!(report.violations, []);
        assert_eq!(
            report.fleet,
            Peak {
                seen: 2,
                confirmed: 1
            }
        );
    }

    #[test]
    fn an_excess_that_is_seen_again_is_a_violation_of_its_name_and_of_the_fleet() {
        let report = tally(&[&[1], &[1, 2], &[1, 2], &[1, 2]]);
        let names: Vec<_> = report
            .violations
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["web-0:prisma", "(fleet)"]);
        assert_eq!(report.violations[0].backends, [backend(1), backend(2)]);
    }

    #[test]
    fn a_stranger_with_the_pid_of_another_is_not_seen_again() {
        let mut tally = Tally::new(Limits {
            fleet: Some(0),
            ..Limits::default()
        });
        tally.add(vec![backend(1)]);
        tally.add(vec![Backend {
            started: 1,
            ..backend(1)
        }]);
        assert_eq!(tally.report.violations, []);
    }
}
