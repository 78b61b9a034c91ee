//! Walks at random that the supervisor and its model take together.
//!
//! The reference is `topology::handover::Fleet`, in a world where nothing takes time but what the protocol itself waits for
//! ([`reference`], [`run`]). The system under test is the supervisor with `up`'s own specification, shim and census of `pg_stat_activity`
//! ([`fleet`]): its workers are processes that open real sessions in a real Postgres and misbehave as they are told, and are killed
//! by real signals. After each [`step::Step`] the fleet has to arrive where the reference is: the state of every slot, its
//! failures, the processes that were started, the answers to whoever asked for something, refusals word for word. Meanwhile each
//! slot's backends are counted every ten milliseconds, and may never be more than declared.
//!
//! Both have the time from the walk: it stands still but for [`step::Step::Wait`], in which every pause and every timeout of the
//! protocol's falls due at once. So nothing depends on how fast the machine is, a second reload comes for certain during the first,
//! and a worker that never becomes ready costs no time.
//!
//! A few walks are the same in every run; `PROPTEST_CASES` says how many others, new ones each time, are taken instead. One that
//! fails is made shorter, and kept by its seed in `proptest-regressions/machine.txt`, which is taken first from then on. There is none
//! yet: in what was found so far the test was wrong. A seed means another walk as soon as the steps change, so what a walk finds
//! belongs into a test of its own, in `crates/topology/src/handover/tests.rs` or beside this one, as well.
//!
//! That it fails is seen without the guard that it is about:
//! `POOLWRIGHT_TEST_WITHOUT=confirmation cargo nextest run -p poolwright -E 'test(the_supervisor_arrives)'`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fleet that is not as it has to be fails its test"
)]

mod fleet;
mod place;
mod reference;
mod run;
mod step;

use fleet::Running;
use place::Place;
use poolwright_testkit::proxy::Proxy;
use poolwright_testkit::sampler::Sampler;
use poolwright_testkit::{TestServer, built};
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use reference::Reference;
use sqlx::PgConnection;
use std::sync::{Arc, Mutex};
use step::{Release, Step};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// How many walks are taken every time.
const CASES: u32 = 12;

/// The first of them.
const SEED: u64 = 18;

/// How many steps a walk has.
const STEPS: std::ops::RangeInclusive<usize> = 8..=12;

/// Making a walk shorter ends before the test's own time does.
const SHRINK_MS: u32 = 120_000;

const KEPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/proptest-regressions/machine.txt"
);

/// A fleet, or none, with what is around it.
struct Machine {
    running: Option<Running>,
    /// What workers run that are started from now on.
    release: Arc<Mutex<Release>>,
    sampler: Sampler,
    proxy: Proxy,
    folder: TempDir,
    _left_behind: Vec<PgConnection>,
    /// Dropped last.
    runtime: Runtime,
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let place = Place::get();
        let folder = TempDir::new().unwrap();
        let (proxy, sampler, left_behind) = runtime.block_on(async {
            place.clean().await;
            let proxy = Proxy::start(place.address()).await.unwrap();
            let sampler = place.watch().await;
            let mut left_behind = Vec::new();
            for slot in reference.orphans().keys() {
                left_behind.push(place.leave_behind(&format!("{slot}:prisma")).await);
            }
            (proxy, sampler, left_behind)
        });
        let worker = built::program("fake-worker").unwrap();
        let manifest = include_str!("poolwright.toml")
            .replace("FAKE_WORKER", worker.to_str().unwrap())
            .replace("INSTANCES", &reference.declared.to_string())
            .replace("URL", place.url_through(proxy.port()).as_str());
        std::fs::write(folder.path().join("poolwright.toml"), manifest).unwrap();
        Self {
            running: None,
            release: Arc::new(Mutex::new(reference.release())),
            sampler,
            proxy,
            folder,
            _left_behind: left_behind,
            runtime,
        }
    }

    fn apply(mut machine: Self, reference: &Reference, step: Step) -> Self {
        match step {
            Step::Release(release) => *machine.release.lock().unwrap() = release,
            Step::Away => machine.proxy.refuse(),
            Step::Back => machine.proxy.carry(),
            _ => {}
        }
        let manifest = machine.folder.path().join("poolwright.toml");
        let state_dir = machine.folder.path().join(".poolwright");
        let running = &mut machine.running;
        machine.runtime.block_on(async {
            if step == Step::Start {
                *running = Some(Running::start(&manifest, Arc::clone(&machine.release)).await);
            }
            let Some(fleet) = running else { return };
            fleet.take(&step, &state_dir).await;
            let ended = fleet.arrives(reference).await;
            if ended {
                *running = None;
            }
        });
        machine
    }

    fn teardown(machine: Self, _: Reference) {
        let Self {
            running,
            sampler,
            runtime,
            ..
        } = machine;
        drop(running);
        let report = runtime.block_on(sampler.finish()).unwrap();
        assert_eq!(report.violations, []);
    }
}

#[test]
fn the_supervisor_arrives_wherever_its_model_does_whatever_is_done_to_the_fleet() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(TestServer::start()).unwrap();
    runtime.block_on(Place::make(&server));

    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let chosen = std::env::var_os("PROPTEST_RNG_SEED").is_some() || given;
    let default = Config::default();
    let config = Config {
        cases: if given { default.cases } else { CASES },
        rng_seed: if chosen {
            default.rng_seed
        } else {
            RngSeed::Fixed(SEED)
        },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(KEPT))),
        max_shrink_time: SHRINK_MS,
        ..default
    };
    let walks = Reference::sequential_strategy(STEPS);
    let walked = TestRunner::new(config.clone()).run(&walks, |(reference, steps, taken)| {
        Machine::test_sequential(config.clone(), reference, steps, taken);
        Ok(())
    });
    runtime.block_on(server.stop()).unwrap();
    if let Err(failure) = walked {
        panic!("{failure}");
    }
}
