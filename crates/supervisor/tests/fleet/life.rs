//! From start to serving.

use crate::run::{POLITE, Running, actor, run, run_with_room};
use poolwright_supervisor::control::Client;
use poolwright_supervisor::{Event, Outcome, Readiness, SlotState};
use rustix::fs::{CWD, Mode, mkfifoat};
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use tokio::net::TcpStream;

#[tokio::test]
async fn workers_boot_together_and_launch_one_at_a_time() {
    let mut fleet = run(3, POLITE, |_| {});
    fleet.all_serving().await;
    let mut launching = 0;
    for event in &fleet.heard {
        if let Event::Moved { from, to, .. } = event {
            launching += i32::from(*to == SlotState::Launching);
            launching -= i32::from(*from == SlotState::Launching);
            assert!((0..=1).contains(&launching), "{:#?}", fleet.heard);
        }
    }
    let told: BTreeSet<_> = fleet.lines().into_iter().collect();
    let launch = |slot: &str| (slot.to_owned(), r#"told {"type":"launch"}"#.to_owned());
    assert_eq!(told, ["web-0", "web-1", "web-2"].map(launch).into());
}

#[tokio::test]
async fn a_worker_gets_its_identity_and_the_held_socket() {
    let script = format!(
        r#"
        echo "id=$PM2_INSTANCE_ID,$NODE_APP_INSTANCE,$DBOS__VMID,$PGAPPNAME,$POOLWRIGHT_APP,$OWN"
        echo "listen=$LISTEN_FDS,$([ "$LISTEN_PID" = $$ ] && echo mine),$DRAIN_TIMEOUT_MS"
        echo "socket=$(readlink /proc/$$/fd/3)"
        {POLITE}"#
    );
    let mut fleet = run(2, &script, |spec| {
        spec.apps[0].env = vec![
            ("OWN".into(), "yes".into()),
            ("PM2_INSTANCE_ID".into(), "7".into()),
        ];
    });
    fleet.all_serving().await;
    let mut said = BTreeMap::new();
    for (slot, line) in fleet.lines() {
        if let Some((name, value)) = line.split_once('=') {
            said.insert((slot, name.to_owned()), value.to_owned());
        }
    }
    let of = |slot: &str, name: &str| said[&(slot.to_owned(), name.to_owned())].clone();
    assert_eq!(of("web-0", "id"), "0,0,web-0,web-0,web,yes");
    assert_eq!(of("web-1", "id"), "1,1,web-1,web-1,web,yes");
    assert_eq!(of("web-1", "listen"), "1,mine,10000");
    assert!(of("web-0", "socket").starts_with("socket:"));
    assert_eq!(of("web-0", "socket"), of("web-1", "socket"));
}

#[tokio::test]
async fn a_program_written_for_pm2_serves_without_being_told_to_launch() {
    let script = r#"echo '"ready"' >&4; exec sleep 1000"#;
    let mut fleet = run(2, script, |_| {});
    fleet.all_serving().await;
    let launched = |event: &Event| {
        matches!(
            event,
            Event::Moved {
                to: SlotState::Launching,
                ..
            }
        )
    };
    assert!(!fleet.heard.iter().any(launched));
    let told = |event: &&Event| matches!(event, Event::OnlyReady { .. });
    assert_eq!(fleet.heard.iter().filter(told).count(), 1);
}

#[tokio::test]
async fn a_program_that_is_declared_as_written_for_pm2_is_started_when_the_one_before_it_serves() {
    let script = r#"read -r go <go; echo '"ready"' >&4; exec sleep 1000"#;
    let mut fleet = run(2, script, |spec| {
        spec.apps[0].ready = Readiness::Pm2;
        mkfifoat(CWD, spec.state_dir.join("go"), Mode::RUSR | Mode::WUSR).unwrap();
    });
    go_one_by_one(&mut fleet).await;
    let told = |event: &Event| matches!(event, Event::OnlyReady { .. });
    assert!(!fleet.heard.iter().any(told));
    let mut client = Client::connect(fleet.state_dir.path()).await.unwrap();
    let status = client.status().await.unwrap();
    let ids = status.apps[0].slots.iter().map(|slot| &slot.executor_id);
    let ids: Vec<_> = ids.flatten().collect();
    assert_eq!(ids, ["web-0", "web-1"], "those that it was given");
}

#[tokio::test]
async fn a_program_that_binds_its_own_port_serves_when_it_is_seen_listening() {
    // Reserved beside the workers' sockets and never listened on, so that nobody else gets the port.
    let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    reserved.set_reuse_port(true).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    reserved.bind(&any.into()).unwrap();
    let address = reserved.local_addr().unwrap().as_socket();
    let mut fleet = run(2, "", |spec| {
        let app = &mut spec.apps[0];
        app.command = vec![actor().into(), "listen".into()];
        app.ready = Readiness::Listening;
        app.listen = address;
    });
    fleet.all_serving().await;
    TcpStream::connect(address.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_program_that_takes_the_held_socket_serves_when_it_is_seen_accepting_on_it() {
    let script = format!("read -r go <go; exec '{}' accept <&3", actor());
    let mut fleet = run(2, &script, |spec| {
        spec.apps[0].ready = Readiness::Accepting;
        mkfifoat(CWD, spec.state_dir.join("go"), Mode::RUSR | Mode::WUSR).unwrap();
    });
    go_one_by_one(&mut fleet).await;
}

/// Lets two workers go on that wait at `read -r go <go`, and sees that the second is started when the first one serves: a socket that
/// is held listens all the while.
async fn go_one_by_one(fleet: &mut Running) {
    let spawned = |slot: &str| {
        let slot = slot.parse().unwrap();
        move |event: &Event| matches!(event, Event::Spawned { slot: of, .. } if *of == slot)
    };
    let go = fleet.state_dir.path().join("go");
    for slot in ["web-0", "web-1"] {
        fleet.until(spawned(slot)).await;
        let serving = fleet.heard.iter().filter(|event| serves(event)).count();
        assert_eq!(format!("web-{serving}"), slot);
        tokio::fs::write(&go, "go\n").await.unwrap();
    }
    fleet.all_serving().await;
}

fn serves(event: &Event) -> bool {
    let to = SlotState::Serving;
    matches!(event, Event::Moved { to: found, .. } if *found == to)
}

#[tokio::test]
async fn a_line_that_is_no_message_is_told_and_passed_over() {
    let script = format!(
        r#"
        echo 'hello' >&4
        head -c 200000 /dev/zero | tr '\0' x >&4; echo >&4
        {POLITE}"#
    );
    let mut fleet = run(1, &script, |_| {});
    fleet.all_serving().await;
    let bad = fleet.heard.iter().filter_map(|event| match event {
        Event::BadLine { error, .. } => Some(error.as_str()),
        _ => None,
    });
    let bad: Vec<_> = bad.collect();
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad[0].contains("hello"), "{bad:?}");
    assert!(bad[1].contains("200000 bytes"), "{bad:?}");
}

#[tokio::test]
async fn a_caller_that_takes_nothing_holds_no_worker_up() {
    let script = format!("seq 20000\n{POLITE}");
    let mut fleet = run_with_room(1, 1, &script, |_| {});
    // Nobody reads the events while this waits for the fleet to serve.
    let mut client = Client::connect(fleet.state_dir.path()).await.unwrap();
    while client.status().await.unwrap().apps[0].slots[0].state != SlotState::Serving {}
    client.stop(false).await.unwrap();
    assert_eq!(fleet.outcome().await, Outcome::Stopped);
    let heard = u64::try_from(fleet.lines().len()).unwrap();
    let dropped = fleet.heard.iter().map(|event| match event {
        Event::OutputDropped { lines, .. } => *lines,
        _ => 0,
    });
    // The worker's own line on being launched is the one after the 20000.
    assert_eq!(heard + dropped.sum::<u64>(), 20_001);
    assert!(heard < 20_001);
    assert!(fleet.heard.contains(&Event::AllServing));
}
