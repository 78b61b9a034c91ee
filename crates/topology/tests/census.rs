//! What `verify` has to name, from rows made by hand.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use poolwright_topology::budget::{Plan, ServerLimits, plan};
use poolwright_topology::census::{Backend, Census, Owner, Verdict};
use poolwright_topology::declare::{Topology, declare};
use poolwright_topology::finding::{Finding, Kind, Severity};
use poolwright_topology::units::Connections;

fn fleet() -> (Topology, Plan) {
    let topology = declare(
        r#"
        [apps.web]
        command = ["x"]
        instances = 2
        [apps.web.pools.prisma]
        max = 2
        url = "postgres://app@h/desk"
        [apps.web.pools.dbos]
        max = 2
        url = "postgres://dbos@h/sys"
        executor = true
        "#,
        &|_| None,
    )
    .unwrap();
    let plan = plan(&topology, &|_| {
        Some(ServerLimits::assumed(Connections(100)))
    })
    .unwrap();
    (topology, plan)
}

fn row(pid: i32, name: &str) -> Backend {
    let (role, database) = if name.ends_with("dbos") {
        ("dbos", "sys")
    } else {
        ("app", "desk")
    };
    Backend {
        pid,
        started: Some(i64::from(pid)),
        application_name: name.into(),
        role: Some(role.into()),
        database: Some(database.into()),
        state: Some("idle".into()),
        backend_type: Some("client backend".into()),
        client_pid: Some(if name.starts_with("web-0") { 100 } else { 101 }),
        ..Backend::default()
    }
}

fn steady() -> Vec<Backend> {
    ["web-0:prisma", "web-0:dbos", "web-1:prisma", "web-1:dbos"]
        .iter()
        .zip(0..)
        .flat_map(|(name, i)| [row(10 + 2 * i, name), row(11 + 2 * i, name)])
        .chain([row(50, "web:poolwright")])
        .collect()
}

fn judge(samples: &[Vec<Backend>]) -> Verdict {
    judge_of(fleet(), samples)
}

fn judge_of((topology, plan): (Topology, Plan), samples: &[Vec<Backend>]) -> Verdict {
    let mut census = Census::new(&topology, &plan);
    for sample in samples {
        census.sample(sample);
    }
    census.verdict()
}

fn kinds(verdict: &Verdict) -> Vec<Kind> {
    verdict
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect()
}

fn twice(rows: Vec<Backend>) -> Verdict {
    judge(&[rows.clone(), rows])
}

#[test]
fn a_steady_fleet_holds_with_nothing_to_say() {
    let verdict = twice(steady());
    assert!(verdict.holds);
    assert_eq!(
        (verdict.bound.0, verdict.peak.0, verdict.overhead.0),
        (8, 8, 1)
    );
    assert_eq!(verdict.findings, []);
    assert_eq!(verdict.slots[1].pids, [101]);
}

#[test]
fn a_stray_session_that_borrows_a_name_is_named() {
    let mut rows = steady();
    rows.push(Backend {
        client: Some("10.0.0.9:5555".into()),
        client_pid: None,
        ..row(99, "web-1:dbos")
    });
    let verdict = twice(rows);
    assert!(!verdict.holds);
    assert_eq!(kinds(&verdict), [Kind::OverBound, Kind::PoolOverDeclared]);
    let said = &verdict.findings[1].message;
    assert!(
        said.contains("web-1:dbos") && said.contains("10.0.0.9:5555"),
        "{said}"
    );
}

#[test]
fn a_borrowed_name_under_another_role_is_named_even_within_the_bound() {
    let mut rows = steady();
    rows.retain(|row| row.pid != 16);
    rows.push(Backend {
        role: Some("postgres".into()),
        ..row(99, "web-1:dbos")
    });
    let verdict = twice(rows);
    assert_eq!(kinds(&verdict), [Kind::ForeignRole]);
}

#[test]
fn a_further_executor_is_an_unknown_slot() {
    let mut rows = steady();
    rows.push(row(99, "web-3:dbos"));
    let verdict = twice(rows);
    assert!(kinds(&verdict).contains(&Kind::UnknownSlot));
    assert_eq!(verdict.slots.last().unwrap().slot.to_string(), "web-3");
}

#[test]
fn two_processes_behind_one_executor_id_are_named_when_both_last() {
    let mut rows = steady();
    rows[3].client_pid = Some(777);
    let verdict = twice(rows.clone());
    assert_eq!(kinds(&verdict), [Kind::SharedExecutorId]);
    assert!(verdict.findings[0].message.contains("100, 777"));
    let passing = judge(&[steady(), rows, steady()]);
    assert!(
        passing.holds,
        "one process going, one coming: {:?}",
        passing.findings
    );
}

#[test]
fn a_missing_worker_is_named() {
    let rows: Vec<_> = steady()
        .into_iter()
        .filter(|r| !r.application_name.starts_with("web-1"))
        .collect();
    let verdict = twice(rows);
    assert_eq!(kinds(&verdict), [Kind::MissingWorker]);
    assert_eq!(
        verdict.findings[0].slot.as_ref().unwrap().to_string(),
        "web-1"
    );
}

#[test]
fn a_pool_that_holds_less_than_declared_is_a_warning() {
    let rows: Vec<_> = steady().into_iter().filter(|row| row.pid != 10).collect();
    let verdict = twice(rows);
    assert!(verdict.holds);
    assert_eq!(kinds(&verdict), [Kind::PoolUnderDeclared]);
}

#[test]
fn a_closing_backend_beside_its_successor_is_no_excess() {
    let mut during = steady();
    during.push(row(99, "web-0:prisma"));
    let mut after = during.clone();
    after.retain(|row| row.pid != 10);
    let verdict = judge(&[steady(), during, after.clone(), after]);
    assert!(verdict.holds);
    assert_eq!(verdict.peak.0, 8);
    assert_eq!(kinds(&verdict), [Kind::ClosingBackend]);
    assert_eq!(verdict.findings[0].severity, Severity::Info);
}

#[test]
fn a_reused_pid_is_another_session() {
    let mut first = steady();
    first.push(Backend {
        started: Some(1),
        ..row(99, "web-0:prisma")
    });
    let mut second = steady();
    second.push(Backend {
        started: Some(2),
        ..row(99, "web-0:prisma")
    });
    assert!(judge(&[first, second]).holds);
}

#[test]
fn a_session_without_a_name_is_reported_when_it_is_the_fleets_role() {
    let mut rows = steady();
    rows.push(row(99, "psql"));
    assert_eq!(kinds(&twice(rows.clone())), [Kind::Unattributed]);
    rows.last_mut().unwrap().role = Some("admin".into());
    assert!(
        twice(rows).findings.is_empty(),
        "others may use the database"
    );
}

#[test]
fn a_parallel_worker_under_its_leaders_name_is_not_counted() {
    let mut rows = steady();
    rows.push(Backend {
        backend_type: Some("parallel worker".into()),
        leader: Some(10),
        ..row(99, "web-0:prisma")
    });
    assert!(twice(rows).findings.is_empty());
}

#[test]
fn a_reader_without_rights_still_counts_and_says_what_it_cannot_see() {
    let rows: Vec<_> = steady()
        .into_iter()
        .map(|row| Backend {
            state: None,
            backend_type: None,
            started: None,
            ..row
        })
        .collect();
    let verdict = twice(rows);
    assert!(verdict.holds);
    assert_eq!(verdict.peak.0, 8);
    assert_eq!(kinds(&verdict), [Kind::LimitedView]);
}

#[test]
fn a_session_that_postgres_18_shows_before_it_has_authenticated_is_nobodys_yet() {
    let (topology, plan) = fleet();
    let starting = Backend {
        role: None,
        database: None,
        state: Some("starting".into()),
        ..row(99, "")
    };
    assert_eq!(
        Census::new(&topology, &plan).attribute(&starting),
        Owner::Starting
    );
}

/// The same sessions as they are of a program that knows only `PGAPPNAME`.
fn unnamed(rows: Vec<Backend>) -> Vec<Backend> {
    let rename = |mut row: Backend| {
        if let Some((slot, pool)) = row.application_name.split_once(':')
            && pool != "poolwright"
        {
            row.application_name = slot.to_owned();
        }
        row
    };
    rows.into_iter().map(rename).collect()
}

#[test]
fn sessions_that_name_their_slot_alone_are_the_pools_that_connect_so() {
    let verdict = twice(unnamed(steady()));
    assert_eq!(verdict, twice(steady()));
    let mut more = unnamed(steady());
    more.push(row(99, "web-1:dbos"));
    let verdict = twice(unnamed(more));
    assert_eq!(kinds(&verdict), [Kind::OverBound, Kind::PoolOverDeclared]);
    assert_eq!(verdict.findings[1].pool.as_deref(), Some("dbos"));
}

#[test]
fn a_name_that_an_sdk_makes_of_the_executor_id_says_the_slot() {
    let mut rows = steady();
    for row in &mut rows {
        if row.application_name == "web-0:dbos" {
            row.application_name = "dbos_transact_web-0_5f2a".into();
        }
    }
    assert_eq!(twice(rows), twice(steady()));
}

/// Two pools that connect as one role to one database, and one that does not.
fn alike() -> (Topology, Plan) {
    let topology = declare(
        r#"
        [apps.web]
        command = ["x"]
        [apps.web.pools.orm]
        max = 2
        url = "postgres://app@h/desk"
        [apps.web.pools.audit]
        max = 1
        url = "postgres://app@h/desk"
        [apps.web.pools.dbos]
        max = 2
        url = "postgres://dbos@h/sys"
        "#,
        &|_| None,
    );
    let topology = topology.unwrap();
    let limits = ServerLimits::assumed(Connections(100));
    let plan = plan(&topology, &|_| Some(limits.clone())).unwrap();
    (topology, plan)
}

#[test]
fn where_several_pools_connect_so_the_sessions_stay_the_slots_and_count_against_all_of_them() {
    // How many sessions of each name there are, and what is found.
    type Case = (&'static [(&'static str, i32)], &'static [Kind]);
    let table: [Case; 7] = [
        (&[("web-0", 3)], &[]),
        (&[("web-0", 2), ("web-0:audit", 1)], &[]),
        (&[("web-0", 1), ("web-0:orm", 1)], &[]),
        (&[("web-0", 4)], &[Kind::SlotOverDeclared]),
        (&[("web-0", 2), ("web-0:orm", 2)], &[Kind::SlotOverDeclared]),
        // The other pool's room is not theirs.
        (
            &[("web-0", 4), ("web-0:dbos", 1)],
            &[Kind::SlotOverDeclared, Kind::PoolUnderDeclared],
        ),
        (
            &[("web-0", 4), ("web-0:dbos", 2)],
            &[Kind::OverBound, Kind::SlotOverDeclared],
        ),
    ];
    for (sessions, expected) in table {
        let mut rows = Vec::new();
        for (name, count) in sessions {
            for _ in 0..*count {
                let pid = i32::try_from(rows.len()).unwrap() + 1;
                rows.push(row(pid, name));
            }
        }
        let verdict = judge_of(alike(), &[rows.clone(), rows]);
        assert_eq!(kinds(&verdict), expected, "{sessions:?}");
        assert_eq!(verdict.holds, expected.is_empty(), "{sessions:?}");
        let unnamed = &verdict.slots[0].unnamed[0];
        let among: Vec<_> = unnamed.among.iter().map(|name| name.as_str()).collect();
        assert_eq!(
            (among.as_slice(), unnamed.declared.0),
            (["orm", "audit"].as_slice(), 3)
        );
        let (_, count) = sessions[0];
        assert_eq!(i32::try_from(unnamed.now.0).unwrap(), count);
    }
}

#[test]
fn a_session_that_no_pool_accounts_for_counts_against_the_whole_slot() {
    let beside = |pid| Backend {
        database: Some("postgres".into()),
        ..row(pid, "web-0")
    };
    let within = [row(1, "web-0:dbos"), beside(2), beside(3)];
    let verdict = judge_of(alike(), &[within.to_vec(), within.to_vec()]);
    assert!(verdict.holds, "{:?}", verdict.findings);
    assert_eq!(verdict.slots[0].unnamed[0].among, []);
    let over: Vec<_> = (1..7).map(beside).collect();
    let verdict = judge_of(alike(), &[over.clone(), over]);
    assert_eq!(kinds(&verdict), [Kind::OverBound, Kind::SlotOverDeclared]);
    let said = &verdict.findings[1].message;
    assert!(
        said.starts_with(
            "web-0 holds 6 connections in all, declared are 5 together; the youngest is backend 6"
        ),
        "{said}"
    );
}

#[test]
fn a_slots_name_under_a_role_that_none_of_its_pools_has_is_borrowed() {
    let mut rows = unnamed(steady());
    rows.retain(|row| row.pid != 16);
    rows.push(Backend {
        role: Some("postgres".into()),
        ..row(99, "web-1")
    });
    let verdict = twice(rows);
    assert_eq!(
        kinds(&verdict),
        [Kind::ForeignRole, Kind::PoolUnderDeclared]
    );
    let said = &verdict.findings[0].message;
    assert!(
        said.contains("the name web-1, whose pools connect as \"app\" or \"dbos\""),
        "{said}"
    );
}

#[test]
fn a_further_slot_without_a_pools_name_is_unknown_too() {
    let mut rows = steady();
    rows.push(row(99, "web-3"));
    assert!(kinds(&twice(rows)).contains(&Kind::UnknownSlot));
}

#[test]
fn a_worker_that_serves_and_opens_its_pools_on_demand_may_hold_none() {
    let rows: Vec<_> = steady()
        .into_iter()
        .filter(|row| !row.application_name.starts_with("web-1") && row.pid != 10)
        .collect();
    let found = |slots: &[&str]| -> Vec<Finding> {
        let (topology, plan) = fleet();
        let slots = slots.iter().map(|slot| slot.parse().unwrap());
        let mut census = Census::new(&topology, &plan).with_pools_on_demand(slots);
        census.sample(&rows);
        census.sample(&rows);
        census.verdict().findings
    };
    let kinds = |findings: Vec<Finding>| -> Vec<_> {
        findings.iter().map(|f| (f.kind, f.severity)).collect()
    };
    assert_eq!(
        kinds(found(&["web-0", "web-1"])),
        [(Kind::IdleWorker, Severity::Info)]
    );
    assert_eq!(
        kinds(found(&[])),
        [
            (Kind::MissingWorker, Severity::Error),
            (Kind::PoolUnderDeclared, Severity::Warning)
        ]
    );
}
