//! Programs that say by `sd_notify` that they serve.

use crate::run::{Running, actor, run};
use poolwright_supervisor::control::Client;
use poolwright_supervisor::{Event, Outcome, Readiness, SlotState};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// One worker of a script in which `notify WORDS` is what `systemd-notify` is.
fn notifying(script: &str) -> Running {
    let script = format!("notify() {{ '{}' notify \"$1\"; }}\n{script}", actor());
    run(1, &script, |spec| {
        spec.apps[0].ready = Readiness::Notify;
        mkfifoat(CWD, spec.state_dir.join("go"), Mode::RUSR | Mode::WUSR).unwrap();
    })
}

/// Lets the script go on that waits at `read -r go <go`.
async fn go(fleet: &Running) {
    tokio::fs::write(fleet.state_dir.path().join("go"), "go\n")
        .await
        .unwrap();
}

fn serves(event: &Event) -> bool {
    let to = SlotState::Serving;
    matches!(event, Event::Moved { to: found, .. } if *found == to)
}

#[tokio::test]
async fn a_program_serves_when_it_says_so_and_its_status_is_shown() {
    let script = r#"
        echo "socket=$(readlink /proc/$$/fd/3),$LISTEN_FDS,$NOTIFY_SOCKET"
        notify "READY=1
STATUS=warm and ready"
        exec sleep 1000"#;
    let mut fleet = notifying(script);
    fleet.all_serving().await;
    let (_, line) = fleet.lines().remove(0);
    let run = fleet.state_dir.path().join("run").canonicalize().unwrap();
    assert!(line.starts_with("socket=socket:["), "{line}");
    let own = format!(",1,{}/web-0-a.notify", run.display());
    assert!(line.ends_with(&own), "{line}");

    let mut client = Client::connect(fleet.state_dir.path()).await.unwrap();
    let status = client.status().await.unwrap();
    let says = status.apps[0].slots[0].says.as_deref();
    assert_eq!(says, Some("warm and ready"));
    client.stop(false).await.unwrap();
    assert_eq!(fleet.outcome().await, Outcome::Stopped);
    assert!(!run.join("web-0-a.notify").exists());
}

#[tokio::test]
async fn what_a_process_says_that_is_not_the_workers_does_not_count() {
    let mut fleet = notifying("read -r go <go\nnotify READY=1\nexec sleep 1000");
    fleet
        .until(|event| matches!(event, Event::Spawned { .. }))
        .await;
    let socket = fleet.state_dir.path().join("run/web-0-a.notify");
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.send_to(b"READY=1", &socket).unwrap();
    let told = fleet
        .until(|event| matches!(event, Event::Stranger { .. }))
        .await;
    let pid = i32::try_from(std::process::id()).unwrap();
    assert!(matches!(told, Event::Stranger { pid: found, .. } if found == pid));
    assert!(!fleet.heard.iter().any(serves), "{:#?}", fleet.heard);
    go(&fleet).await;
    fleet.all_serving().await;
}

#[tokio::test]
async fn a_program_that_says_it_stops_is_draining() {
    let script = "notify READY=1\nread -r go <go\nnotify STOPPING=1\nread -r go <go";
    let mut fleet = notifying(script);
    fleet.all_serving().await;
    go(&fleet).await;
    let draining = SlotState::Draining;
    fleet
        .until(|event| matches!(event, Event::Moved { to, .. } if *to == draining))
        .await;
}

#[tokio::test]
async fn a_program_that_says_nothing_or_something_else_is_given_up() {
    let script = "notify 'READY=0\nSTATUS=READY=1'\nexec sleep 1000";
    let mut fleet = run(
        1,
        &format!("notify() {{ '{}' notify \"$1\"; }}\n{script}", actor()),
        |spec| {
            spec.apps[0].ready = Readiness::Notify;
            spec.apps[0].ready_timeout = Duration::from_millis(300);
        },
    );
    assert!(matches!(fleet.outcome().await, Outcome::Failed { .. }));
    assert!(!fleet.heard.iter().any(serves), "{:#?}", fleet.heard);
}
