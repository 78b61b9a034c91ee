use super::*;
use crate::budget::{self, ServerLimits};
use crate::channel::Gauge;
use crate::declare::{Topology, declare};
use crate::finding::Kind;
use crate::handover::SlotState;
use crate::status::{AppStatus, FleetStatus};

const MANIFEST: &str = r#"
[apps.web]
command = ["true"]
instances = 2
[apps.web.pools.db]
max = 2
url = "postgres://app:secret@localhost/shop"
"#;

fn join() -> Join {
    let topology: Topology = declare(MANIFEST, &|_| None).unwrap();
    let limits = ServerLimits::assumed(Connections(100));
    let plan = budget::plan(&topology, &|_| Some(limits.clone())).unwrap();
    Join::new(topology, plan)
}

pub(super) fn slot(index: u32, state: SlotState, open: u32) -> SlotStatus {
    let gauge = Gauge {
        max: 2,
        open,
        ..Gauge::default()
    };
    SlotStatus {
        slot: format!("web-{index}").parse().unwrap(),
        state,
        since_unix_ms: 0,
        last_step: None,
        earlier_steps: Vec::new(),
        pid: Some(100 + index),
        successor_pid: None,
        generation: Some(1),
        restarts: 0,
        failures: 0,
        last_failure: None,
        says: None,
        executor_id: None,
        pools: [("db".to_owned(), 2)].into(),
        gauges: [("db".to_owned(), gauge)].into(),
    }
}

fn fleet(slots: Vec<SlotStatus>) -> FleetStatus {
    FleetStatus {
        pid: 1,
        since_unix_ms: 0,
        apps: vec![AppStatus {
            app: Name::new("web").unwrap(),
            listen: None,
            instances: 2,
            slots,
        }],
    }
}

/// These slots in a picture, of a Postgres that shows nothing.
pub(super) fn fleet_picture(slots: Vec<SlotStatus>) -> Picture {
    look(&mut join(), fleet(slots), &[])
}

fn serving() -> FleetStatus {
    fleet(vec![
        slot(0, SlotState::Serving, 2),
        slot(1, SlotState::Serving, 2),
    ])
}

fn session(pid: i32, name: &str, state: &str) -> Backend {
    Backend {
        pid,
        started: Some(1),
        application_name: name.into(),
        role: Some("app".into()),
        database: Some("shop".into()),
        state: Some(state.into()),
        backend_type: Some("client backend".into()),
        ..Backend::default()
    }
}

fn four() -> Vec<Backend> {
    let busy = Backend {
        transaction_ms: Some(7),
        query: Some("SELECT 1".into()),
        ..session(2, "web-0:db", "idle in transaction")
    };
    vec![
        session(1, "web-0:db", "idle"),
        busy,
        session(3, "web-1:db", "idle"),
        session(4, "web-1:db", "idle"),
    ]
}

fn look(join: &mut Join, status: FleetStatus, rows: &[Backend]) -> Picture {
    join.view(status, Ok(rows), &BTreeMap::new(), 0).picture
}

fn kinds(picture: &Picture) -> Vec<Kind> {
    picture
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect()
}

#[test]
fn both_sides_stand_beside_each_other_in_one_picture() {
    let mut join = join();
    let usage = Usage {
        memory_bytes: 5,
        cores: 0.5,
    };
    let View { picture, sessions } = join.view(serving(), Ok(&four()), &[(100, usage)].into(), 9);
    let web = &picture.apps[0].slots[0];
    let shown = &web.shown["db"];
    assert_eq!((picture.at_unix_ms, web.usage), (9, Some(usage)));
    assert_eq!((shown.open, web.status.gauges["db"].open), (2, 2));
    assert_eq!(shown.states["idle in transaction"], 1);
    assert_eq!(shown.oldest_transaction_ms, Some(7));
    assert_eq!(kinds(&picture), []);
    let budget = picture.budget;
    assert_eq!(
        (
            budget.bound.0,
            budget.seen.0,
            budget.overhead.0,
            budget.usable.0
        ),
        (4, 4, 1, 97)
    );
    let sessions = &sessions[&"web-0".parse().unwrap()];
    assert_eq!(
        sessions[0].query.as_deref(),
        Some("SELECT 1"),
        "the oldest transaction first"
    );
}

#[test]
fn sessions_that_name_their_slot_alone_are_in_the_picture_too() {
    let bare = |pid| session(pid, "web-0", "idle");
    let beside = Backend {
        database: Some("postgres".into()),
        ..bare(2)
    };
    let mut join = join();
    let rows = [bare(1), beside];
    let View { picture, sessions } = join.view(serving(), Ok(&rows), &BTreeMap::new(), 0);
    let web = &picture.apps[0].slots[0];
    let unnamed = web.unnamed.as_ref().map(|shown| shown.open);
    assert_eq!((web.shown["db"].open, unnamed), (1, Some(1)));
    assert_eq!(picture.budget.seen, Connections(2));
    let pools: Vec<_> = sessions[&"web-0".parse().unwrap()]
        .iter()
        .map(|session| session.pool.as_deref())
        .collect();
    assert_eq!(pools, [None, Some("db")]);
}

#[test]
fn a_picture_reads_back_as_it_was_written() {
    let picture = look(&mut join(), serving(), &four());
    let text = serde_json::to_string(&picture).unwrap();
    assert_eq!(serde_json::from_str::<Picture>(&text).unwrap(), picture);
    assert!(!text.contains("secret"));
}

#[test]
fn two_counts_that_differ_are_a_finding_when_it_lasts_and_not_for_a_moment() {
    let mut join = join();
    let three = &four()[..3];
    assert_eq!(kinds(&look(&mut join, serving(), three)), []);
    assert_eq!(kinds(&look(&mut join, serving(), three)), []);
    let lasting = look(&mut join, serving(), three);
    assert_eq!(kinds(&lasting), [Kind::TwoCounts]);
    assert!(
        lasting.findings[0]
            .message
            .contains("web-1:db counts 2 open connections, Postgres shows 1"),
        "{:?}",
        lasting.findings
    );
    assert_eq!(kinds(&look(&mut join, serving(), &four())), []);
    assert_eq!(
        kinds(&look(&mut join, serving(), three)),
        [],
        "counted anew"
    );
}

#[test]
fn a_worker_that_comes_or_goes_is_not_compared() {
    let mut join = join();
    let status = || {
        fleet(vec![
            slot(0, SlotState::Draining, 2),
            slot(1, SlotState::Serving, 2),
        ])
    };
    let rows = &four()[2..];
    for _ in 0..5 {
        assert_eq!(kinds(&look(&mut join, status(), rows)), []);
    }
}

#[test]
fn a_silent_postgres_is_said_and_leaves_what_was_seen_last() {
    let mut join = join();
    look(&mut join, serving(), &four());
    let silent = || Err("connection refused".to_owned());
    let picture = join.view(serving(), silent(), &BTreeMap::new(), 0).picture;
    assert!(matches!(&picture.postgres, Reach::Silent { reason } if reason.contains("refused")));
    assert_eq!(picture.budget.seen, Connections(4));
    assert_eq!(kinds(&picture), []);
}

#[test]
fn more_than_the_bound_counts_when_it_lasts_and_the_bound_grows_with_the_slots() {
    let mut join = join();
    let mut five = four();
    five.push(session(5, "web-0:db", "idle"));
    let expected = |picture: &Picture| kinds(picture).contains(&Kind::OverBound);
    assert!(
        !expected(&look(&mut join, serving(), &five)),
        "it may be closing"
    );
    assert!(expected(&look(&mut join, serving(), &five)));
    let mut larger = serving();
    larger.apps[0].slots.push(slot(2, SlotState::Serving, 0));
    assert!(!expected(&look(&mut join, larger, &five)));
}

#[test]
fn a_parked_slot_is_a_finding_with_its_reason() {
    let mut parked = slot(1, SlotState::Parked, 0);
    parked.last_failure = Some("web-1 exited with code 3".into());
    let status = fleet(vec![slot(0, SlotState::Serving, 2), parked]);
    let picture = look(&mut join(), status, &four()[..2]);
    assert_eq!(kinds(&picture), [Kind::SlotParked]);
    assert!(picture.findings[0].message.contains("exited with code 3"));
}

#[test]
fn between_two_samples_the_supervisors_word_counts_and_postgres_side_stays_as_it_was() {
    let mut join = join();
    let three = &four()[..3];
    for _ in 0..3 {
        look(&mut join, serving(), three);
    }
    let mut moved = serving();
    moved.apps[0].slots[0].state = SlotState::Draining;
    moved.apps[0].slots.push(SlotStatus {
        last_failure: Some("web-2 exited with code 3".into()),
        ..slot(2, SlotState::Parked, 0)
    });
    let View { picture, sessions } = join.told(moved, 5);
    let slots = &picture.apps[0].slots;
    assert_eq!(slots[0].status.state, SlotState::Draining);
    assert_eq!((picture.at_unix_ms, slots[0].shown["db"].open), (5, 2));
    assert_eq!(kinds(&picture), [Kind::SlotParked, Kind::TwoCounts]);
    assert_eq!(sessions.len(), 2);
    // A slot that has left took its share of the bound along, and its sessions, which nobody has counted since.
    let mut smaller = serving();
    smaller.apps[0].instances = 1;
    smaller.apps[0].slots.pop();
    let budget = join.told(smaller.clone(), 6).picture.budget;
    assert_eq!((budget.bound.0, budget.seen.0), (4, 3));
    let sampled = look(&mut join, smaller, &four()[..2]);
    assert_eq!((sampled.budget.bound.0, sampled.budget.seen.0), (2, 2));
    let sampled = look(&mut join, serving(), &four());
    assert_eq!(kinds(&sampled), [], "it was no sample");
}
