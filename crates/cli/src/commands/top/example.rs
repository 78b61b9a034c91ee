//! A fleet to look at: three workers of two pools.

use super::state::{Event, State};
use poolwright_supervisor::control::{Progress, Step};
use poolwright_topology::channel::Gauge;
use poolwright_topology::finding::{Finding, Kind, Severity};
use poolwright_topology::handover::SlotState;
use poolwright_topology::picture::{
    AppPicture, Budget, Picture, Reach, Session, Shown, SlotPicture, Usage,
};
use poolwright_topology::status::{SlotStatus, StepTaken};
use poolwright_topology::tag::{Name, SlotId};
use poolwright_topology::units::Connections;

/// 2026-01-31, 12:03:24 UTC.
pub(super) const NOW: u64 = 1_769_861_004_000;

fn slot(index: u32, busy: u32) -> SlotPicture {
    let gauge = |busy| Gauge {
        max: 3,
        open: 3,
        busy,
        idle: 3 - busy,
        waiting: 0,
    };
    let shown = |busy: u32| {
        let states = [("active", busy), ("idle", 3 - busy)];
        let states = states.into_iter().filter(|(_, count)| *count > 0);
        Shown {
            open: 3,
            states: states
                .map(|(state, count)| (state.to_owned(), count))
                .collect(),
            oldest_transaction_ms: (busy > 0).then_some(12),
        }
    };
    SlotPicture {
        status: SlotStatus {
            slot: format!("web-{index}").parse().unwrap(),
            state: SlotState::Serving,
            since_unix_ms: NOW - 11_520_000 + u64::from(index) * 1_000,
            last_step: None,
            earlier_steps: Vec::new(),
            pid: Some(20_969 + index),
            successor_pid: None,
            generation: Some(1),
            restarts: 0,
            failures: 0,
            last_failure: None,
            executor_id: Some(format!("web-{index}")),
            says: None,
            pools: [("dbos".to_owned(), 3), ("prisma".to_owned(), 3)].into(),
            gauges: [
                ("dbos".to_owned(), gauge(1)),
                ("prisma".to_owned(), gauge(busy)),
            ]
            .into(),
        },
        usage: Some(Usage {
            memory_bytes: 61_000_000 + 2_000_000 * u64::from(index),
            cores: 0.184 + 0.021 * f64::from(index),
        }),
        shown: [
            ("dbos".to_owned(), shown(1)),
            ("prisma".to_owned(), shown(busy)),
        ]
        .into(),
        unnamed: None,
    }
}

/// All serve, nothing was found.
pub(super) fn quiet() -> Picture {
    Picture {
        at_unix_ms: NOW,
        pid: 20_951,
        since_unix_ms: NOW - 11_530_000,
        usage: Some(Usage {
            memory_bytes: 9_600_000,
            cores: 0.004,
        }),
        budget: Budget {
            bound: Connections(18),
            overhead: Connections(1),
            usable: Connections(97),
            seen: Connections(18),
        },
        postgres: Reach::Answers,
        apps: vec![AppPicture {
            app: Name::new("web").unwrap(),
            listen: "0.0.0.0:3000".parse().ok(),
            instances: 3,
            executor: true,
            slots: vec![slot(0, 2), slot(1, 3), slot(2, 1)],
        }],
        findings: Vec::new(),
    }
}

pub(super) fn id(index: u32) -> SlotId {
    format!("web-{index}").parse().unwrap()
}

fn taken(step: Step, ago_ms: u64) -> StepTaken {
    let at_unix_ms = NOW - ago_ms;
    StepTaken { step, at_unix_ms }
}

/// In the middle of a reload: the first worker is new, the second one drains, and the third one waits.
pub(super) fn reloading() -> Picture {
    let mut picture = quiet();
    let [first, second, third] = &mut picture.apps[0].slots[..] else {
        panic!("three slots");
    };
    first.status.pid = Some(21_340);
    first.status.generation = Some(2);
    first.status.since_unix_ms = NOW - 3_900;
    first.status.earlier_steps = vec![taken(Step::Boots, 6_500), taken(Step::Drains, 6_200)];
    first.status.last_step = Some(taken(Step::Serves, 3_900));
    second.status.state = SlotState::Draining;
    second.status.since_unix_ms = NOW - 1_200;
    second.status.earlier_steps = vec![taken(Step::Boots, 1_400)];
    second.status.last_step = Some(taken(Step::Drains, 1_200));
    second.status.successor_pid = Some(21_352);
    let prisma = second.shown.get_mut("prisma").unwrap();
    prisma.open = 2;
    prisma.states = [("active".to_owned(), 2)].into();
    let gauge = second.status.gauges.get_mut("prisma").unwrap();
    *gauge = Gauge {
        max: 3,
        open: 2,
        busy: 2,
        idle: 0,
        waiting: 0,
    };
    third.status.gauges.get_mut("prisma").unwrap().waiting = 4;
    picture.budget.seen = Connections(17);
    picture
}

/// A worker's pool is starved, another one's counts differ, and a third one was given up.
pub(super) fn sick() -> Picture {
    let mut picture = quiet();
    let finding = |kind, severity, index, pool: Option<&str>, message: &str, cure: &str| Finding {
        kind,
        severity,
        slot: Some(id(index)),
        pool: pool.map(str::to_owned),
        message: message.to_owned(),
        cure: cure.to_owned(),
    };
    picture.findings = vec![
        finding(
            Kind::PoolStarved,
            Severity::Error,
            1,
            Some("dbos"),
            "web-1:dbos is starved: all its 3 connections are lent out, 6 callers wait, and none has moved for 7 s; 2 idle in transaction after `SELECT one`",
            "give the pool more connections, or have no borrower ask for a second one",
        ),
        finding(
            Kind::SlotParked,
            Severity::Error,
            2,
            None,
            "web-2 is parked: web-2 exited with code 3",
            "mend what it fails of, then `poolwright restart` it",
        ),
        finding(
            Kind::TwoCounts,
            Severity::Warning,
            0,
            Some("prisma"),
            "web-0:prisma counts 3 open connections, Postgres shows 2",
            "look for connections that broke without the pool's notice: it will find out when it uses them",
        ),
    ];
    let [first, second, third] = &mut picture.apps[0].slots[..] else {
        panic!("three slots");
    };
    first.shown.get_mut("prisma").unwrap().open = 2;
    second.status.gauges.get_mut("dbos").unwrap().waiting = 6;
    third.status.state = SlotState::Parked;
    third.status.pid = None;
    third.status.restarts = 9;
    third.status.failures = 10;
    third.status.last_failure = Some("web-2 exited with code 3".into());
    third.status.gauges.clear();
    third.shown.clear();
    third.usage = None;
    picture.budget.seen = Connections(11);
    picture
}

/// What the sessions of a slot do.
pub(super) fn sessions() -> Vec<Session> {
    let session =
        |pool: &str, pid, state: &str, state_ms, transaction_ms, waits_for: &str, query: &str| {
            Session {
                pool: Some(pool.into()),
                pid,
                state: state.into(),
                state_ms: Some(state_ms),
                transaction_ms,
                waits_for: (!waits_for.is_empty()).then(|| waits_for.to_owned()),
                query: Some(query.into()),
            }
        };
    let idle = "Client: ClientRead";
    vec![
        session(
            "dbos",
            24_310,
            "active",
            12,
            Some(12),
            "",
            "UPDATE dbos.workflow_status SET status = $1, output = $2, updated_at = $3 WHERE workflow_uuid = $4 AND executor_id = $5",
        ),
        session(
            "dbos",
            24_307,
            "idle",
            60_000,
            None,
            idle,
            "LISTEN dbos_notifications_channel",
        ),
        session(
            "dbos",
            24_309,
            "idle",
            900,
            None,
            idle,
            "SELECT name, queue_name FROM dbos.workflow_queue",
        ),
        session(
            "prisma",
            24_311,
            "active",
            3_450,
            Some(3_460),
            "Lock: transactionid",
            "UPDATE stock\n   SET reserved = reserved + $1\n WHERE item = $2",
        ),
        session(
            "prisma",
            24_312,
            "idle in transaction",
            40,
            Some(95),
            idle,
            "SELECT set_config('…', $1, true)",
        ),
        session("prisma", 24_313, "idle", 2_000, None, idle, "COMMIT"),
    ]
}

/// Somebody has ordered a reload, and watched it to where [`reloading`] is.
pub(super) fn watched() -> State {
    let mut state = State::of("/srv/shop/poolwright.toml".to_owned());
    let mut before = quiet();
    before.at_unix_ms = NOW - 8_000;
    state.react(Event::Picture(Box::new(before)));
    let order = super::order::Order::Reload;
    let super::state::Act::Order { id: order, .. } = state.give(order) else {
        panic!("an order");
    };
    let progress = Progress {
        slot: id(1),
        step: Step::Drains,
        done: 1,
        of: 3,
    };
    state.react(Event::Progress {
        id: order,
        progress,
    });
    state.react(Event::Picture(Box::new(reloading())));
    state
}
