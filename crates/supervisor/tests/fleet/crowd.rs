//! Many workers: what is done for one does not depend on how many others there are. In counts, because times
//! would be the machine's.

use crate::postgres::Shown;
use crate::run::{POLITE, run, run_over};
use poolwright_supervisor::control::{Client, socket_path};
use poolwright_supervisor::{Event, Outcome, RollEnd, RollNews, SlotState};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Room for everything that is told of the larger fleet: nobody takes it while the test waits for answers.
const ROOM: usize = 1 << 14;

/// So many shells boot at once that a busy machine takes its time for them.
const BOOT: Duration = Duration::from_secs(120);

/// What the life of a fleet came to: a start, a look, a reload, a stop.
#[derive(Debug, PartialEq, Eq)]
struct Life {
    /// How often Postgres was asked on the start.
    at_start: usize,
    /// How often during the reload.
    at_reload: usize,
    /// What was told of the workers.
    told: usize,
}

async fn life_of(workers: u32) -> Life {
    let count = usize::try_from(workers).unwrap();
    let postgres = Shown::new();
    let mut fleet = run_over(
        Arc::<Shown>::clone(&postgres),
        ROOM,
        workers,
        POLITE,
        |spec| {
            spec.policy.settle = Duration::from_millis(1);
            spec.apps[0].ready_timeout = BOOT;
        },
    );
    fleet.all_serving().await;
    let at_start = postgres.censuses();

    let mut client = Client::connect(fleet.state_dir.path()).await.unwrap();
    let before = serving(&mut client).await;
    assert_eq!(before.len(), count);
    assert_eq!(client.reload(|_| {}).await.unwrap(), None);
    let at_reload = postgres.censuses() - at_start;
    let after = serving(&mut client).await;
    assert_eq!(after.len(), count);
    assert!(before.is_disjoint(&after), "not all were replaced");

    let socket = socket_path(fleet.state_dir.path());
    client.stop(false).await.unwrap();
    assert_eq!(fleet.outcome().await, Outcome::Stopped);
    let living = |pid: &&u32| Path::new("/proc").join(pid.to_string()).exists();
    let left: Vec<_> = before.union(&after).filter(living).collect();
    assert_eq!(left, Vec::<&u32>::new());
    assert!(!socket.exists());

    let of_a_worker = |event: &&Event| {
        !matches!(
            event,
            Event::Holding { .. }
                | Event::AllServing
                | Event::Roll(RollNews::Ended(RollEnd::Done))
                | Event::Stopping(_)
        )
    };
    Life {
        at_start,
        at_reload,
        told: fleet.heard.iter().filter(of_a_worker).count(),
    }
}

/// The processes of the slots, all of which serve.
async fn serving(client: &mut Client) -> BTreeSet<u32> {
    let status = client.status().await.unwrap();
    let slots = &status.apps[0].slots;
    let others = slots.iter().filter(|s| s.state != SlotState::Serving);
    assert_eq!(others.count(), 0);
    slots.iter().filter_map(|slot| slot.pid).collect()
}

#[tokio::test]
async fn two_hundred_workers_are_started_replaced_and_stopped_for_the_price_of_ten_times_twenty() {
    let (few, many) = (life_of(20).await, life_of(200).await);
    assert_eq!(many.at_start, few.at_start);
    assert_eq!((few.at_reload, many.at_reload), (20, 200));
    assert_eq!(many.told, few.told * 10);
}

#[tokio::test]
async fn more_workers_run_than_the_soft_limit_on_descriptors_has_room_for_and_get_that_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = Some(64);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let script = format!("ulimit -Sn\n{POLITE}");
    let mut fleet = run(30, &script, |_| {});
    fleet.all_serving().await;
    let lines = fleet.lines();
    let limits = lines.iter().filter(|(_, line)| line == "64");
    assert_eq!(limits.count(), 30);
}
