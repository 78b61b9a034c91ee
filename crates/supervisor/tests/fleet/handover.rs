//! Reload, restart, scaling and crashes of real processes.

use crate::postgres::Shown;
use crate::run::{POLITE, Running, run, run_over};
use poolwright_supervisor::control::{Client, ClientError, Step};
use poolwright_supervisor::{Consequence, Event, Outcome, RollEnd, RollNews, SlotState};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

async fn client(fleet: &Running) -> Client {
    Client::connect(fleet.state_dir.path()).await.unwrap()
}

/// The release that workers run that are started from now on; see [`released`].
fn release(fleet: &Running, script: &str) {
    std::fs::write(fleet.state_dir.path().join("release"), script).unwrap();
}

/// What is in the file `release` when the worker starts, or a polite worker.
fn released() -> String {
    format!("if [ -e release ]; then . ./release; fi\n{POLITE}")
}

fn moved_to(state: SlotState, index: u32) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Moved { slot, to, .. } if slot.index() == index && *to == state)
}

/// The latest process of a slot.
fn pid(fleet: &Running, index: u32) -> u32 {
    let pids = fleet.heard.iter().rev().find_map(|event| match event {
        Event::Spawned { slot, pid } if slot.index() == index => Some(*pid),
        _ => None,
    });
    pids.unwrap()
}

/// The process that occupies a slot, whatever boots beside it.
async fn occupant(client: &mut Client, index: usize) -> Option<u32> {
    client.status().await.unwrap().apps[0].slots[index].pid
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// The most processes that ran at one time.
fn most_processes(events: &[Event]) -> usize {
    let mut running = BTreeSet::new();
    let mut most = 0;
    for event in events {
        match event {
            Event::Spawned { pid, .. } => _ = running.insert(*pid),
            Event::Exited { pid, .. } => _ = running.remove(pid),
            _ => {}
        }
        most = most.max(running.len());
    }
    most
}

/// At every instant at most one slot does not serve, and no slot has two launched processes.
fn one_at_a_time(events: &[Event]) {
    let mut down = BTreeSet::new();
    for event in events {
        if let Event::Moved { slot, to, .. } = event {
            match to {
                SlotState::Serving => down.remove(slot),
                _ => down.insert(slot.clone()),
            };
            assert!(down.len() <= 1, "{down:?} at once in {events:#?}");
        }
    }
}

#[tokio::test]
async fn a_reload_replaces_every_worker_one_by_one_each_booted_before_its_predecessor_leaves() {
    let mut fleet = run(3, POLITE, |_| {});
    fleet.all_serving().await;
    let (before, heard) = ([0, 1, 2].map(|slot| pid(&fleet, slot)), fleet.heard.len());
    let mut steps = Vec::new();
    let mut client = client(&fleet).await;
    let failure = client
        .reload(|progress| steps.push(progress))
        .await
        .unwrap();
    assert_eq!(failure, None);
    let told: Vec<_> = steps
        .iter()
        .map(|p| (p.slot.index(), p.step, p.done))
        .collect();
    // The next one's successor boots while this one's launches.
    let expected = [
        (0, Step::Boots, 0),
        (0, Step::Drains, 0),
        (1, Step::Boots, 0),
        (0, Step::Serves, 1),
        (1, Step::Drains, 1),
        (2, Step::Boots, 1),
        (1, Step::Serves, 2),
        (2, Step::Drains, 2),
        (2, Step::Serves, 3),
    ];
    assert_eq!(told, expected);
    fleet
        .until(|event| matches!(event, Event::Roll(RollNews::Ended(RollEnd::Done))))
        .await;
    one_at_a_time(&fleet.heard[heard..]);
    assert_eq!(most_processes(&fleet.heard[..heard]), 3);
    assert_eq!(most_processes(&fleet.heard), 4);
    for (slot, before) in (0..3).zip(before) {
        assert_ne!(pid(&fleet, slot), before);
    }
    let status = client.status().await.unwrap();
    let generations = status.apps[0].slots.iter().map(|slot| slot.generation);
    assert_eq!(generations.collect::<Vec<_>>(), [Some(2); 3]);
}

#[tokio::test]
async fn a_release_that_does_not_boot_is_refused_while_everything_serves_on() {
    let mut fleet = run(2, &released(), |_| {});
    fleet.all_serving().await;
    let (before, heard) = ([0, 1].map(|slot| pid(&fleet, slot)), fleet.heard.len());
    release(&fleet, "echo broken >&2; exit 3");
    let mut client = client(&fleet).await;
    let failure = client.reload(|_| {}).await.unwrap().unwrap();
    assert_eq!(
        failure.reason,
        "web-0 exited with code 3 while booting, without being asked to stop"
    );
    assert_eq!(failure.last_words, ["broken"]);
    let status = client.status().await.unwrap();
    let pids: Vec<_> = status.apps[0]
        .slots
        .iter()
        .filter_map(|slot| slot.pid)
        .collect();
    assert_eq!(pids, before);
    client.stop(false).await.unwrap();
    fleet.outcome().await;
    let left = |event: &&Event| matches!(event, Event::Moved { .. });
    let first = fleet.heard[heard..].iter().find(left);
    assert!(
        matches!(
            first,
            Some(Event::Moved {
                to: SlotState::Draining,
                ..
            })
        ),
        "nobody moved before the stop"
    );
}

#[tokio::test]
async fn a_release_that_never_becomes_ready_stops_the_reload_at_its_first_slot() {
    let mut fleet = run(2, &released(), |spec| {
        spec.apps[0].ready_timeout = Duration::from_millis(300);
    });
    fleet.all_serving().await;
    let other = pid(&fleet, 1);
    release(
        &fleet,
        r#"echo '{"type":"booted"}' >&4; read -r l <&4; read -r l <&4; exit 0"#,
    );
    let mut client = client(&fleet).await;
    let failure = client.reload(|_| {}).await.unwrap().unwrap();
    assert!(
        failure
            .reason
            .contains("web-0 was launched and did not become ready"),
        "{}",
        failure.reason
    );
    // The slot is tried again, and serves as soon as there is a release that can.
    release(&fleet, "true");
    fleet.until(moved_to(SlotState::Resting, 0)).await;
    fleet.until(moved_to(SlotState::Serving, 0)).await;
    assert_eq!(occupant(&mut client, 1).await, Some(other));
}

#[tokio::test]
async fn a_release_that_becomes_ready_and_dies_stops_the_reload() {
    let mut fleet = run(2, &released(), |_| {});
    fleet.all_serving().await;
    let other = pid(&fleet, 1);
    release(&fleet, &POLITE.replace("read -r more <&4", "exit 9"));
    let mut client = client(&fleet).await;
    let failure = client.reload(|_| {}).await.unwrap().unwrap();
    assert!(
        failure
            .reason
            .starts_with("web-0 exited with code 9 while serving"),
        "{}",
        failure.reason
    );
    release(&fleet, "true");
    fleet.until(moved_to(SlotState::Resting, 0)).await;
    fleet.until(moved_to(SlotState::Serving, 0)).await;
    assert_eq!(occupant(&mut client, 1).await, Some(other));
}

#[tokio::test]
async fn a_program_without_a_channel_is_stopped_then_started() {
    let script = r#"echo '"ready"' >&4; exec sleep 1000"#;
    let mut fleet = run(2, script, |_| {});
    fleet.all_serving().await;
    let mut steps = Vec::new();
    let mut client = client(&fleet).await;
    assert_eq!(client.reload(|p| steps.push(p.step)).await.unwrap(), None);
    assert_eq!(
        steps,
        [Step::Drains, Step::Serves, Step::Drains, Step::Serves]
    );
}

#[tokio::test]
async fn a_killed_worker_is_restarted_only_when_postgres_shows_its_backends_gone() {
    let postgres = Shown::new();
    let mut fleet = run_over(postgres.clone(), 1024, 2, POLITE, |spec| {
        spec.policy.terminate_after = Duration::from_secs(3600);
    });
    fleet.all_serving().await;
    postgres.remain("web-1", 2);
    kill(pid(&fleet, 1));
    fleet.until(moved_to(SlotState::Vanishing, 1)).await;
    postgres.asked(5).await;
    let status = client(&fleet).await.status().await.unwrap();
    assert_eq!(status.apps[0].slots[1].state, SlotState::Vanishing);
    assert_eq!(status.apps[0].slots[0].state, SlotState::Serving);
    postgres.remain("web-1", 0);
    fleet.until(moved_to(SlotState::Serving, 1)).await;
    let status = client(&fleet).await.status().await.unwrap();
    let slot = &status.apps[0].slots[1];
    assert_eq!((slot.restarts, slot.failures), (1, 1));
    assert_eq!(
        slot.last_failure.as_deref(),
        Some("web-1 was killed by SIGKILL while serving, without being asked to stop")
    );
}

#[tokio::test]
async fn backends_that_outlive_their_process_are_terminated() {
    let postgres = Shown::new();
    let mut fleet = run_over(postgres.clone(), 1024, 1, POLITE, |_| {});
    fleet.all_serving().await;
    postgres.remain("web-0", 3);
    kill(pid(&fleet, 0));
    fleet
        .until(|event| matches!(event, Event::TerminatingBackends { count: 3, .. }))
        .await;
    fleet.until(moved_to(SlotState::Serving, 0)).await;
}

#[tokio::test]
async fn while_postgres_is_silent_nothing_is_launched_and_afterwards_everything_is() {
    let postgres = Shown::new();
    let mut fleet = run_over(postgres.clone(), 1024, 2, POLITE, |_| {});
    fleet.all_serving().await;
    postgres.silence(true);
    kill(pid(&fleet, 0));
    kill(pid(&fleet, 1));
    fleet
        .until(|event| matches!(event, Event::Unreachable { .. }))
        .await;
    postgres.asked(5).await;
    let spawned = fleet
        .heard
        .iter()
        .filter(|e| matches!(e, Event::Spawned { .. }));
    assert_eq!(spawned.count(), 2);
    postgres.silence(false);
    fleet.until(|event| *event == Event::Reachable).await;
    let mut serving = BTreeSet::new();
    while serving.len() < 2 {
        let event = fleet
            .until(|e| {
                matches!(
                    e,
                    Event::Moved {
                        to: SlotState::Serving,
                        ..
                    }
                )
            })
            .await;
        if let Event::Moved { slot, .. } = event {
            serving.insert(slot);
        }
    }
}

#[tokio::test]
async fn a_slot_that_keeps_failing_is_parked_and_the_others_serve_on() {
    let mut fleet = run(2, &released(), |_| {});
    fleet.all_serving().await;
    release(&fleet, "exit 4");
    kill(pid(&fleet, 1));
    let parked = fleet
        .until(|event| {
            let then = Consequence::Park { failures: 3 };
            matches!(event, Event::Crashed { then: found, .. } if *found == then)
        })
        .await;
    assert!(matches!(parked, Event::Crashed { failure, .. } if failure.slot.index() == 1));
    fleet.until(moved_to(SlotState::Parked, 1)).await;
    let mut client = client(&fleet).await;
    let slots = client.status().await.unwrap().apps.remove(0).slots;
    assert_eq!(slots[0].state, SlotState::Serving);
    assert!(
        slots[1]
            .last_failure
            .as_deref()
            .unwrap()
            .contains("exited with code 4")
    );
    release(&fleet, "true");
    let failure = client
        .restart(Some(slots[1].slot.clone()), |_| {})
        .await
        .unwrap();
    assert_eq!(failure, None);
}

#[tokio::test]
async fn scaling_adds_slots_above_and_takes_the_highest_away() {
    let postgres = Shown::new();
    postgres.allow(4);
    let mut fleet = run_over(postgres.clone(), 1024, 2, POLITE, |_| {});
    fleet.all_serving().await;
    let mut client = client(&fleet).await;
    let app: poolwright_topology::tag::Name = "web".parse().unwrap();
    let names = |status: poolwright_supervisor::control::FleetStatus| {
        let slots = status.apps[0]
            .slots
            .iter()
            .map(|s| (s.slot.index(), s.state));
        slots.collect::<Vec<_>>()
    };
    let serving = |count| {
        (0..count)
            .map(|i| (i, SlotState::Serving))
            .collect::<Vec<_>>()
    };
    assert_eq!(client.scale(app.clone(), 4).await.unwrap(), None);
    assert_eq!(names(client.status().await.unwrap()), serving(4));
    assert_eq!(client.scale(app.clone(), 1).await.unwrap(), None);
    assert_eq!(names(client.status().await.unwrap()), serving(1));
    // Only when all three had left, though one left after the other.
    let given_back = postgres.given_back().await;
    assert!(given_back.iter().all(|left| *left == 1), "{given_back:?}");
    let refused = client.scale(app, 5).await.unwrap_err();
    assert!(matches!(refused, ClientError::DoesNotFit { reason } if reason == "5 do not fit"));
    let mut removed = BTreeSet::new();
    while removed.len() < 3 {
        if let Event::Removed { slot } = fleet.until(|e| matches!(e, Event::Removed { .. })).await {
            removed.insert(slot.index());
        }
    }
    assert_eq!(removed, [1, 2, 3].into());
}

#[tokio::test]
async fn a_second_reload_is_refused_and_a_stop_ends_the_first() {
    let mut fleet = run(2, &released(), |_| {});
    fleet.all_serving().await;
    // It boots for as long as it is let.
    release(&fleet, "read -r never <&4; exit 0");
    let mut first = client(&fleet).await;
    let reload = tokio::spawn(async move { first.reload(|_| {}).await });
    fleet
        .until(|event| matches!(event, Event::Roll(RollNews::Boots(_))))
        .await;
    let mut second = client(&fleet).await;
    let refused = second.reload(|_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("another reload"), "{refused}");
    second.stop(false).await.unwrap();
    assert!(matches!(
        reload.await.unwrap(),
        Err(ClientError::Refused { .. })
    ));
    assert_eq!(fleet.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn no_connection_is_refused_during_a_reload() {
    let mut fleet = run(2, POLITE, |_| {});
    fleet.all_serving().await;
    let mut client = client(&fleet).await;
    let address: SocketAddr = client.status().await.unwrap().apps[0].listen.unwrap();
    let reload = async {
        for _ in 0..3 {
            assert_eq!(client.reload(|_| {}).await.unwrap(), None);
        }
    };
    let knock = async {
        loop {
            TcpStream::connect(address).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = reload => {}
        () = knock => {}
    }
}
