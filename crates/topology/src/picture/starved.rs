//! Pools that are stuck: every connection is lent out, somebody waits for one, and nothing moves (H3).
//!
//! Neither side can tell alone. A worker counts callers that wait, which a busy hour has too; Postgres shows sessions that do
//! nothing, which idle ones do too. Both together, and for some seconds, are a pool whose borrowers wait for each other:
//! each holds a connection and wants another.
//!
//! Where a worker does not say who waits (a program without gauges, a pool whose SDK does not count), Postgres' word is left: all of
//! the pool's sessions in transactions that do nothing. That may also be slow work of the program's own, so it is a warning and
//! never cause for a restart.
//!
//! A session that runs a statement moves, however long that takes, unless it waits for a lock.

use super::Session;
use super::join::Place;
use crate::channel::Gauge;
use crate::declare::{Pool, Topology};
use crate::finding::{Finding, Kind, Severity};
use crate::handover::SlotState;
use crate::status::SlotStatus;
use crate::tag::SlotId;
use std::collections::{BTreeMap, BTreeSet};

/// For how long nothing may have moved, in milliseconds. No pool that works stands still for as long, and a person who is told within
/// ten seconds has lost nothing.
const STILL_MS: u64 = 5_000;

/// How many samples in a row have to show it: workers report once a second, at their own moment.
const LASTING: u32 = 2;

/// How many statements are named.
const NAMED: usize = 4;

/// Which pools have looked starved, and for how many samples in a row.
#[derive(Debug, Default)]
pub(super) struct Starved(BTreeMap<Place, u32>);

impl Starved {
    /// The next sample.
    pub(super) fn look<'a>(
        &mut self,
        topology: &Topology,
        slots: impl Iterator<Item = &'a SlotStatus>,
        sessions: &BTreeMap<SlotId, Vec<Session>>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut now = BTreeSet::new();
        for status in slots.filter(|status| status.state == SlotState::Serving) {
            let slot = &status.slot;
            let app = topology.app(slot.app().as_str());
            for pool in app.into_iter().flat_map(|app| &app.pools) {
                let alone = app.is_some_and(|app| app.pools.len() == 1);
                let of_pool = |session: &&Session| match &session.pool {
                    Some(name) => name == pool.name.as_str(),
                    None => alone,
                };
                let all = sessions.get(slot).into_iter().flatten();
                let sessions: Vec<&Session> = all.filter(of_pool).collect();
                let gauge = status.gauges.get(pool.name.as_str());
                let Some(seen_by) = starved(pool, gauge, &sessions) else {
                    continue;
                };
                let place = (slot.clone(), pool.name.to_string());
                now.insert(place.clone());
                let lasts = self.0.entry(place.clone()).or_default();
                *lasts = lasts.saturating_add(1);
                if *lasts >= LASTING {
                    findings.push(finding(place, pool, seen_by, &sessions));
                }
            }
        }
        self.0.retain(|place, _| now.contains(place));
        findings
    }
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeenBy {
    /// The worker, with so many callers that wait, and Postgres.
    Both { waiting: u32 },
    /// Postgres alone.
    Postgres,
}

fn starved(pool: &Pool, gauge: Option<&Gauge>, sessions: &[&Session]) -> Option<SeenBy> {
    let max = usize::try_from(pool.max.value.0).unwrap_or(usize::MAX);
    if sessions.len() < max {
        return None;
    }
    match gauge {
        Some(gauge) if gauge.idle == 0 && gauge.waiting > 0 => {
            let waiting = gauge.waiting;
            stands(pool, sessions, is_still).then_some(SeenBy::Both { waiting })
        }
        _ => stands(pool, sessions, is_held_still).then_some(SeenBy::Postgres),
    }
}

/// Whether every session is still, but for the one that LISTEN pins in an executor's pool. An SDK may ask on that one whether the
/// server is there: then it cannot be told by its last statement, and moves now and then.
fn stands(pool: &Pool, sessions: &[&Session], still: fn(&Session) -> bool) -> bool {
    let pinned = pool.executor && sessions.iter().any(|session| is_pinned(session));
    let mut moving = sessions
        .iter()
        .filter(|session| !(still(session) || pool.executor && is_pinned(session)));
    match moving.next() {
        None => true,
        Some(one) => pool.executor && !pinned && one.state == "idle" && moving.next().is_none(),
    }
}

/// Whether a session that is lent out does nothing: between two statements or waiting for another's lock.
fn is_still(session: &Session) -> bool {
    let long = session.state_ms.is_some_and(|ms| ms >= STILL_MS);
    long && (session.state == "idle" || is_held_still(session))
}

/// Whether a session is lent out for certain and does nothing.
fn is_held_still(session: &Session) -> bool {
    let long = session.state_ms.is_some_and(|ms| ms >= STILL_MS);
    let waits_for_lock = || {
        let waits_for = session.waits_for.as_deref();
        waits_for.is_some_and(|waits_for| waits_for.starts_with("Lock: "))
    };
    long && match session.state.as_str() {
        "idle in transaction" | "idle in transaction (aborted)" => true,
        "active" => waits_for_lock(),
        _ => false,
    }
}

fn finding((slot, name): Place, pool: &Pool, seen_by: SeenBy, sessions: &[&Session]) -> Finding {
    let max = pool.max.value;
    let still = sessions
        .iter()
        .filter(|session| is_still(session) && !is_pinned(session));
    let seconds = still.filter_map(|session| session.state_ms).min();
    let seconds = seconds.unwrap_or(STILL_MS) / 1000;
    let (severity, said) = match seen_by {
        SeenBy::Both { waiting } => {
            let callers = match waiting {
                1 => "1 caller waits".to_owned(),
                n => format!("{n} callers wait"),
            };
            let said = format!(
                "is starved: all its {max} connections are lent out, {callers}, and none has moved for {seconds} s"
            );
            (Severity::Error, said)
        }
        SeenBy::Postgres => {
            let said = format!(
                "may be starved: none of its {max} connections has moved for {seconds} s, and the worker does not say whether somebody waits"
            );
            (Severity::Warning, said)
        }
    };
    let statements = statements(sessions);
    Finding {
        kind: Kind::PoolStarved,
        severity,
        message: format!("{slot}:{name} {said}{statements}"),
        slot: Some(slot),
        pool: Some(name),
        cure: "hold one connection at a time, or raise max above the number of borrowers that take a second one while they hold one; `poolwright restart` frees the worker".to_owned(),
    }
}

/// What the sessions that hold connections did last, those of a kind together.
fn statements(sessions: &[&Session]) -> String {
    let mut kinds: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    // One that is pinned by LISTEN waits for nobody, and nobody for it.
    for session in sessions.iter().filter(|session| !is_pinned(session)) {
        let waits_for = match session.state.as_str() {
            "active" => session.waits_for.as_deref().unwrap_or_default(),
            _ => "",
        };
        let query = session
            .query
            .as_deref()
            .unwrap_or("a statement that may not be seen");
        *kinds.entry((&session.state, waits_for, query)).or_default() += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told = kinds
        .iter()
        .take(NAMED)
        .map(|((state, waits_for, query), count)| {
            let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
            let waits_for = match waits_for {
                &"" => String::new(),
                waits_for => format!(", waiting for {waits_for}"),
            };
            format!("; {count} {state}{waits_for} after `{query}`")
        });
    told.collect()
}

fn is_pinned(session: &Session) -> bool {
    let query = session.query.as_deref().unwrap_or_default();
    session.state == "idle"
        && query
            .trim_start()
            .to_ascii_uppercase()
            .starts_with("LISTEN")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declare::declare;

    fn topology(on: &str) -> Topology {
        of_app_and_pool(on, "")
    }

    fn of_app_and_pool(on: &str, of_pool: &str) -> Topology {
        let manifest = format!(
            r#"
            [apps.web]
            command = ["true"]
            {on}
            [apps.web.pools.dbos]
            max = 3
            url = "postgres://app:secret@localhost/shop"
            executor = true
            {of_pool}
            "#
        );
        declare(&manifest, &|_| None).unwrap()
    }

    fn status(waiting: u32, idle: u32) -> SlotStatus {
        let gauge = Gauge {
            max: 3,
            open: 3,
            busy: 3 - idle,
            idle,
            waiting,
        };
        SlotStatus {
            slot: "web-0".parse().unwrap(),
            state: SlotState::Serving,
            gauges: [("dbos".to_owned(), gauge)].into(),
            ..crate::picture::tests::slot(0, SlotState::Serving, 3)
        }
    }

    fn session(state: &str, state_ms: u64, query: &str) -> Session {
        Session {
            pool: Some("dbos".into()),
            pid: 1,
            state: state.into(),
            state_ms: Some(state_ms),
            transaction_ms: None,
            waits_for: (state == "active").then(|| "Lock: transactionid".to_owned()),
            query: Some(query.into()),
        }
    }

    /// The pinned connection and two that hold each other up.
    fn stuck() -> Vec<Session> {
        vec![
            session("idle", 60_000, "LISTEN dbos_notifications_channel"),
            session("idle in transaction", 6_000, "SELECT one"),
            session("idle in transaction", 7_000, "SELECT one"),
        ]
    }

    fn look(starved: &mut Starved, status: &SlotStatus, sessions: &[Session]) -> Vec<Finding> {
        let sessions = [(status.slot.clone(), sessions.to_vec())].into();
        starved.look(&topology(""), std::iter::once(status), &sessions)
    }

    /// What two samples in a row come to.
    fn lasting(status: &SlotStatus, sessions: &[Session]) -> Vec<Finding> {
        let mut starved = Starved::default();
        assert_eq!(look(&mut starved, status, sessions), [], "a moment");
        look(&mut starved, status, sessions)
    }

    #[test]
    fn a_pool_whose_borrowers_wait_for_each_other_is_found_with_what_they_hold() {
        let found = lasting(&status(6, 0), &stuck());
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].kind, found[0].severity),
            (Kind::PoolStarved, Severity::Error)
        );
        assert_eq!(
            found[0].message,
            "web-0:dbos is starved: all its 3 connections are lent out, 6 callers wait, and none has moved for 6 s; 2 idle in transaction after `SELECT one`"
        );
    }

    #[test]
    fn nobody_who_waits_a_connection_to_spare_and_a_statement_that_runs_are_each_no_starvation() {
        let mut works = stuck();
        works[1] = Session {
            waits_for: Some("Timeout: PgSleep".into()),
            ..session("active", 90_000, "SELECT pg_sleep(100)")
        };
        let mut moves = stuck();
        moves[2] = session("idle in transaction", 40, "SELECT one");
        let lent = [0, 1, 2].map(|_| session("idle", 60_000, "SELECT one"));
        for (case, status, sessions) in [
            (
                "nobody waits, nothing in a transaction",
                status(0, 0),
                lent.to_vec(),
            ),
            ("one to spare", status(1, 1), lent.to_vec()),
            ("a statement runs", status(6, 0), works),
            ("one moves", status(6, 0), moves),
            (
                "it does not serve",
                SlotStatus {
                    state: SlotState::Draining,
                    ..status(6, 0)
                },
                stuck(),
            ),
        ] {
            assert_eq!(lasting(&status, &sessions), [], "{case}");
        }
    }

    #[test]
    fn a_lock_that_is_waited_for_moves_nothing_and_is_named() {
        let mut sessions = stuck();
        sessions[2] = session("active", 6_500, "UPDATE  orders\n SET …");
        let found = lasting(&status(2, 0), &sessions);
        let message = &found[0].message;
        assert!(
            message.ends_with(
                "; 1 active, waiting for Lock: transactionid after `UPDATE orders SET …`; 1 idle in transaction after `SELECT one`"
            ),
            "{message}"
        );
    }

    #[test]
    fn without_the_workers_word_it_is_a_warning() {
        let silent = SlotStatus {
            gauges: BTreeMap::new(),
            ..status(0, 0)
        };
        for status in [silent, status(0, 0)] {
            let found = lasting(&status, &stuck());
            assert_eq!(found[0].severity, Severity::Warning, "{found:?}");
        }
    }

    #[test]
    fn a_pool_is_cured_as_its_app_says_unless_it_says_otherwise() {
        use crate::declare::OnStarved::{Report, Restart};
        let (report, restart) = ("on_starved = \"report\"", "on_starved = \"restart\"");
        for (of_app, of_pool, expected) in [
            ("", "", Report),
            (restart, "", Restart),
            (restart, report, Report),
            ("", restart, Restart),
        ] {
            let said = of_app_and_pool(of_app, of_pool).apps[0].pools[0].on_starved;
            assert_eq!(said, expected, "{of_app} {of_pool}");
        }
    }
}
