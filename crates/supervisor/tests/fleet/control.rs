//! The control socket and the claim on a fleet.

use crate::run::{POLITE, run, spec};
use poolwright_supervisor::control::{Client, ClientError, socket_path};
use poolwright_supervisor::{Error, Event, Outcome, SlotState, Supervisor};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use tempfile::TempDir;

#[tokio::test]
async fn status_shows_every_slot_and_stop_waits_for_the_end() {
    let script = POLITE.replace(
        "read -r more",
        r#"echo '{"type":"gauges","pools":{"db":{"max":2,"open":2,"busy":1,"idle":1,"waiting":0}}}' >&4
        read -r more"#,
    );
    let mut fleet = run(2, &script, |_| {});
    fleet.all_serving().await;
    for index in 0..2 {
        let reported = |e: &Event| matches!(e, Event::Gauges { slot, .. } if slot.index() == index);
        if !fleet.heard.iter().any(reported) {
            fleet.until(reported).await;
        }
    }
    let mut client = Client::connect(fleet.state_dir.path()).await.unwrap();
    let status = client.status().await.unwrap();
    assert_eq!(status.pid, std::process::id());
    let web = &status.apps[0];
    assert!(web.listen.unwrap().port() > 0);
    for (slot, name) in web.slots.iter().zip(["web-0", "web-1"]) {
        assert_eq!(slot.slot.to_string(), name);
        assert_eq!(slot.state, SlotState::Serving);
        assert_eq!(slot.executor_id.as_deref(), Some(name));
        assert_eq!(slot.pools["db"], 2);
        assert_eq!(slot.gauges["db"].busy, 1);
        assert!(slot.pid.is_some());
    }
    let end = client.stop(false).await.unwrap();
    assert_eq!(end.failure, None);
    assert_eq!(fleet.outcome().await, Outcome::Stopped);
    let gone = Client::connect(fleet.state_dir.path()).await;
    assert!(matches!(gone.err(), Some(ClientError::NotRunning { .. })));
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone() {
    let fleet = run(1, POLITE, |_| {});
    let path = socket_path(fleet.state_dir.path());
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_second_supervisor_is_refused_with_the_pid_of_the_first() {
    let fleet = run(1, POLITE, |_| {});
    let second = Supervisor::bind(spec(fleet.state_dir.path(), 1, POLITE));
    match second.unwrap_err() {
        Error::AlreadyRunning { pid, .. } => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_socket_of_a_dead_supervisor_is_replaced() {
    let state_dir = TempDir::new().unwrap();
    let path = socket_path(state_dir.path());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    Supervisor::bind(spec(state_dir.path(), 1, POLITE)).unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named_before_any_worker_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let state_dir = TempDir::new().unwrap();
    let mut spec = spec(state_dir.path(), 1, POLITE);
    spec.apps[0].listen = Some(address);
    let error = Supervisor::bind(spec).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_state_directory_too_long_for_a_socket_is_served_from_a_short_path() {
    let root = TempDir::new().unwrap();
    let state_dir = root.path().join("deep/".repeat(30));
    let supervisor = Supervisor::bind(spec(&state_dir, 1, POLITE)).unwrap();
    let path = socket_path(&state_dir);
    assert!(path.exists() && !path.starts_with(root.path()));
    Client::connect(&state_dir).await.unwrap();
    drop(supervisor);
    assert!(!path.exists());
    std::fs::remove_file(path.with_extension("lock")).unwrap();
}
