//! How fleets end.

use crate::run::{POLITE, run, stubborn};
use poolwright_supervisor::control::Client;
use poolwright_supervisor::{Cause, Event, Exit, Failure, Outcome};
use std::time::Duration;

/// `bad` in the slot 1, polite otherwise.
fn with_a_bad_second(bad: &str) -> String {
    format!("if [ \"$PM2_INSTANCE_ID\" = 1 ]; then\n{bad}\nfi\n{POLITE}")
}

fn failure(outcome: &Outcome) -> (&Failure, &[String]) {
    match outcome {
        Outcome::Failed {
            failure,
            last_words,
        } => (failure, last_words),
        Outcome::Stopped => panic!("stopped, expected a failure"),
    }
}

#[tokio::test]
async fn a_worker_that_fails_to_launch_ends_the_fleet_with_its_last_words() {
    let script = with_a_bad_second(
        r#"echo '{"type":"booted"}' >&4; read -r launch <&4
        for n in $(seq 50); do echo "reason $n" >&2; done; exit 3"#,
    );
    let mut fleet = run(3, &script, |_| {});
    let outcome = fleet.outcome().await;
    let (failure, last_words) = failure(&outcome);
    assert_eq!(
        failure.to_string(),
        "web-1 exited with code 3 while launching, without being asked to stop"
    );
    let expected: Vec<_> = (11..=50).map(|n| format!("reason {n}")).collect();
    assert_eq!(last_words, expected);
    // Every worker that was started is gone.
    let count = |wanted: fn(&Event) -> bool| fleet.heard.iter().filter(|e| wanted(e)).count();
    assert_eq!(count(|event| matches!(event, Event::Spawned { .. })), 3);
    assert_eq!(count(|event| matches!(event, Event::Exited { .. })), 3);
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    let mut fleet = run(1, "", |spec| {
        spec.apps[0].command = vec!["./no-such-program".into()];
    });
    let outcome = fleet.outcome().await;
    let (failure, last_words) = failure(&outcome);
    assert!(failure.to_string().contains("was not found"), "{failure}");
    assert!(last_words[0].contains("cannot run ./no-such-program in"));
}

#[tokio::test]
async fn a_worker_with_other_maxima_than_the_plans_is_refused() {
    let mut fleet = run(1, POLITE, |spec| {
        spec.apps[0].pools = [("db".to_owned(), 5)].into();
    });
    let outcome = fleet.outcome().await;
    assert_eq!(
        failure(&outcome).0.to_string(),
        "web-0 was refused: it reports the pools db = 2, the plan says db = 5"
    );
}

#[tokio::test]
async fn a_worker_that_never_boots_is_given_up_after_its_ready_timeout() {
    let mut fleet = run(1, "exec sleep 1000", |spec| {
        spec.apps[0].ready_timeout = Duration::from_millis(100);
    });
    let outcome = fleet.outcome().await;
    assert!(matches!(
        failure(&outcome).0.cause,
        Cause::BootTimeout { .. }
    ));
}

#[tokio::test]
async fn a_worker_that_does_not_drain_in_time_is_killed() {
    let mut fleet = run(1, &stubborn(), |spec| {
        spec.apps[0].drain_timeout = Duration::ZERO;
    });
    fleet.all_serving().await;
    let client = Client::connect(fleet.state_dir.path()).await.unwrap();
    let end = client.stop(false).await.unwrap();
    assert_eq!(end.failure, None);
    assert_eq!(fleet.outcome().await, Outcome::Stopped);
    assert!(
        fleet
            .heard
            .iter()
            .any(|e| matches!(e, Event::Killing { .. }))
    );
    assert!(fleet.heard.iter().any(|e| matches!(
        e,
        Event::Exited {
            exit: Exit::Signal(9),
            ..
        }
    )));
}

/// A memory control group of 32 MiB, removed when dropped.
struct Small(std::path::PathBuf);

impl Small {
    /// Making one takes root.
    fn group() -> Self {
        let first = std::path::Path::new("/sys/fs/cgroup/memory");
        let (tree, limit) = match first.is_dir() {
            true => (first, "memory.limit_in_bytes"),
            false => (std::path::Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let group = tree.join(format!("poolwright-test-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        std::fs::write(group.join(limit), "33554432").unwrap();
        Self(group)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).unwrap();
    }
}

#[tokio::test]
async fn a_worker_that_the_kernel_kills_for_want_of_memory_is_told_from_one_that_somebody_killed() {
    // An ordinary user has no group to fill; the other half of the claim is everybody's.
    let group = rustix::process::geteuid().is_root().then(Small::group);
    let greedy = group.as_ref().map(|Small(group)| {
        let procs = group.join("cgroup.procs");
        (
            format!("echo $$ > {}; exec tail /dev/zero", procs.display()),
            Exit::OutOfMemory,
        )
    });
    let killed = ("kill -9 $$".to_owned(), Exit::Signal(9));
    for (end, expected) in greedy.into_iter().chain([killed]) {
        let mut fleet = run(1, &end, |_| {});
        let outcome = fleet.outcome().await;
        let Cause::Exited { exit, .. } = failure(&outcome).0.cause else {
            panic!("{outcome:?}");
        };
        assert_eq!(exit, expected, "{end}");
    }
}
