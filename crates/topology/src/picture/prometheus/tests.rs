use super::table::STATES;
use super::*;
use crate::channel::Gauge;
use crate::finding::{Finding, Kind, Severity};
use crate::handover::SlotState;
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
