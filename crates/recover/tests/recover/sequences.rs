//! Ten thousand random sequences of start, crash, scale, park and recover: no living executor's work is ever re-enqueued, and
//! no dead one's is ever left.
//!
//! A model says what every recovery has to come to, row by row. The executors are as real as recovery can tell: one of this
//! host holds the lock of its id, one of another host has a session under its name, each begins and takes up rows of its own, and a
//! launch is DBOS' own statement.
//!
//! To be over within a minute, sequences go side by side in one database, as fleets of several applications do: each has an app
//! of its own, and every recovery is about all of them.

use crate::system::{VERSION, held, migrated, open, session};
use anyhow::{Context, Result, ensure};
use dbos::sysdb::postgres::{PostgresSystemDatabase, Settings};
use dbos::sysdb::{INTERNAL_QUEUE, SystemDatabase};
use poolwright_embedded::Options;
use poolwright_lock::Lock;
use poolwright_recover::{Intent, Standing, Store};
use poolwright_testkit::TestServer;
use poolwright_topology::declare::DatabaseUrl;
use poolwright_topology::tag::SlotId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, query};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use uuid::Uuid;

const THREADS: usize = 4;
/// Of each thread. With [`SIDE_BY_SIDE`] they make ten thousand.
const CASES: u32 = 50;
const SIDE_BY_SIDE: usize = 50;

/// Ids of each fleet there are: more than any size it gets here.
const IDS: u32 = 5;

/// How many executors of a thread can run on another host at the same time.
const FAR: usize = 24;

#[derive(Debug, Clone, Copy)]
enum Op {
    /// A process under this id, here or on another host, if none lives.
    Start { id: u32, here: bool },
    /// Whatever lives under it ends at once.
    Crash { id: u32 },
    /// It begins workflows, if it lives.
    Begin { id: u32, workflows: u32 },
    /// It takes what waits, if it lives.
    Poll { id: u32 },
    /// It has kept failing: it ends, and is not started again by itself.
    Park { id: u32 },
    /// The fleet has this many from now on. Those of another host may not have heard of it yet.
    Scale { to: u32, everywhere: bool },
}

/// What happens to one fleet between two recoveries.
type Round = Vec<Op>;

/// How the recovery after a round is done.
#[derive(Debug, Clone, Copy)]
enum Recovery {
    Once,
    /// Two at once, as on two hosts.
    Twice,
}

/// Rounds, in each of which something happens to every fleet, and then there is a recovery.
type Case = Vec<(Vec<Round>, Recovery)>;

fn op() -> impl Strategy<Value = Op> {
    let id = 0..IDS;
    prop_oneof![
        4 => (id.clone(), any::<bool>()).prop_map(|(id, here)| Op::Start { id, here }),
        4 => (id.clone(), 1..4_u32).prop_map(|(id, workflows)| Op::Begin { id, workflows }),
        1 => id.clone().prop_map(|id| Op::Poll { id }),
        3 => id.clone().prop_map(|id| Op::Crash { id }),
        2 => id.prop_map(|id| Op::Park { id }),
        3 => (1..=IDS, any::<bool>()).prop_map(|(to, everywhere)| Op::Scale { to, everywhere }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let rounds = prop::collection::vec(prop::collection::vec(op(), 1..7), SIDE_BY_SIDE);
    let recovery = prop_oneof![3 => Just(Recovery::Once), 1 => Just(Recovery::Twice)];
    prop::collection::vec((rounds, recovery), 2..5)
}

#[test]
fn ten_thousand_sequences_never_touch_the_living_and_never_leave_the_dead() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let options = Options::test().max_connections(200);
    let server = runtime.block_on(TestServer::start_with(options))?;
    let databases = (0..THREADS).map(|number| {
        let name = format!("sequences_{number}");
        runtime.block_on(migrated(&server, &name))
    });
    let databases = databases.collect::<Result<Vec<_>>>()?;
    let counts = thread::scope(|scope| {
        let threads: Vec<_> = databases
            .iter()
            .map(|url| scope.spawn(move || cases(url)))
            .collect();
        let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
        outcomes.collect::<Result<Vec<_>>>()
    })?;
    // As much has to have happened as makes the claim worth something.
    let sum = |of: fn(&Count) -> u64| counts.iter().map(of).sum::<u64>();
    let (kept, moved) = (sum(|count| count.kept), sum(|count| count.moved));
    println!(
        "{kept} times work of the living was kept, {moved} times work of the dead re-enqueued"
    );
    ensure!(
        kept > 10_000 && moved > 10_000,
        "{kept} kept, {moved} moved"
    );
    runtime.block_on(server.stop())
}

/// What the recoveries of one thread came to.
#[derive(Debug, Default)]
struct Count {
    /// Workflows of living executors that were pending while there was a recovery.
    kept: u64,
    /// Workflows of dead ones that were re-enqueued.
    moved: u64,
}

fn cases(url: &DatabaseUrl) -> Result<Count> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let world = RefCell::new(runtime.block_on(World::new(url.clone()))?);
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    runner.run(&case(), |case| {
        let mut world = world.borrow_mut();
        let outcome = runtime.block_on(world.play(&case));
        outcome.map_err(|error| TestCaseError::fail(format!("{error:#}")))
    })?;
    Ok(world.into_inner().count)
}

/// A system database, and what lives on it.
struct World {
    url: DatabaseUrl,
    stores: [Store; 2],
    /// For launches: DBOS' layer as an executor has it.
    system: PostgresSystemDatabase,
    db: PgConnection,
    /// The sessions that executors of another host have, when they live.
    far: Vec<PgConnection>,
    model: Model,
    count: Count,
}

/// What there has to be.
#[derive(Default)]
struct Model {
    fleets: Vec<Fleet>,
    living: BTreeMap<SlotId, Place>,
    /// Whose each workflow is.
    workflows: BTreeMap<Uuid, Work>,
    /// Workflows that the database has not got yet.
    unwritten: Vec<Uuid>,
    /// Those sessions that nobody uses.
    free: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    /// Pending under this id.
    Of(SlotId),
    /// Waiting for an executor of this fleet.
    Waits(usize),
}

/// One fleet.
#[derive(Clone, Default)]
struct Fleet {
    declared: u32,
    parked: BTreeSet<u32>,
}

enum Place {
    Here(#[expect(dead_code, reason = "held for its end")] Lock),
    There(usize),
}

fn slot(fleet: usize, id: u32) -> SlotId {
    format!("f{fleet}-{id}").parse().unwrap()
}

fn fleet_of(slot: &SlotId) -> usize {
    slot.app().as_str()[1..].parse().unwrap()
}

impl Fleet {
    fn standing(&self, id: u32) -> Standing {
        match id < self.declared && !self.parked.contains(&id) {
            true => Standing::Expected,
            false => Standing::GivenUp,
        }
    }
}

impl Model {
    fn new() -> Self {
        let fleet = Fleet {
            declared: 3,
            ..Fleet::default()
        };
        Self {
            fleets: vec![fleet; SIDE_BY_SIDE],
            free: (0..FAR).collect(),
            ..Self::default()
        }
    }

    /// Nobody lives under it and nobody comes back to it.
    fn is_abandoned(&self, slot: &SlotId) -> bool {
        let standing = self.fleets[fleet_of(slot)].standing(slot.index());
        !self.living.contains_key(slot) && standing == Standing::GivenUp
    }

    /// What a recovery has to come to: how many are re-enqueued.
    fn recovered(&mut self) -> u64 {
        let abandoned = |(workflow, work): (&Uuid, &Work)| match work {
            Work::Of(slot) if self.is_abandoned(slot) => Some((*workflow, fleet_of(slot))),
            _ => None,
        };
        let moved: Vec<_> = self.workflows.iter().filter_map(abandoned).collect();
        for (workflow, fleet) in &moved {
            self.workflows.insert(*workflow, Work::Waits(*fleet));
        }
        moved.len().try_into().unwrap()
    }

    /// Those that this executor takes when it polls.
    fn taken(&mut self, slot: &SlotId) -> Vec<String> {
        let mut taken = Vec::new();
        for (workflow, work) in &mut self.workflows {
            if *work == Work::Waits(fleet_of(slot)) {
                *work = Work::Of(slot.clone());
                taken.push(workflow.to_string());
            }
        }
        taken
    }
}

impl World {
    async fn new(url: DatabaseUrl) -> Result<Self> {
        let mut far = Vec::new();
        for _ in 0..FAR {
            far.push(session(&url, "poolwright").await?);
        }
        let pool = PgPoolOptions::new().max_connections(1);
        let pool = pool.connect(url.named("poolwright").as_str()).await?;
        Ok(Self {
            stores: [open(&url).await?, open(&url).await?],
            system: PostgresSystemDatabase::from_pool(pool, &Settings::default()),
            db: session(&url, "poolwright").await?,
            far,
            model: Model::default(),
            count: Count::default(),
            url,
        })
    }

    /// Every fleet begins with three workers, at work.
    async fn play(&mut self, case: &Case) -> Result<()> {
        self.clear().await?;
        for fleet in 0..SIDE_BY_SIDE {
            for id in 0..3 {
                self.step(fleet, Op::Start { id, here: id > 0 }).await?;
                self.step(fleet, Op::Begin { id, workflows: 1 }).await?;
            }
        }
        for (number, (rounds, recovery)) in case.iter().enumerate() {
            for (fleet, round) in rounds.iter().enumerate() {
                for op in round {
                    self.step(fleet, *op)
                        .await
                        .with_context(|| format!("round {number}, fleet {fleet}: {op:?}"))?;
                }
            }
            self.recover(*recovery)
                .await
                .with_context(|| format!("the recovery after round {number}"))?;
        }
        Ok(())
    }

    /// Whatever the last case left, also one that failed.
    async fn clear(&mut self) -> Result<()> {
        let living: Vec<SlotId> = self.model.living.keys().cloned().collect();
        for slot in living {
            self.end(&slot).await?;
        }
        query("DELETE FROM dbos.workflow_status")
            .execute(&mut self.db)
            .await?;
        self.model = Model::new();
        Ok(())
    }

    async fn step(&mut self, fleet: usize, op: Op) -> Result<()> {
        match op {
            Op::Start { id, here } => self.start(&slot(fleet, id), here).await,
            Op::Crash { id } => self.end(&slot(fleet, id)).await,
            Op::Begin { id, workflows } => {
                let slot = slot(fleet, id);
                if self.model.living.contains_key(&slot) {
                    for _ in 0..workflows {
                        let workflow = Uuid::new_v4();
                        let work = Work::Of(slot.clone());
                        self.model.workflows.insert(workflow, work);
                        self.model.unwritten.push(workflow);
                    }
                }
                Ok(())
            }
            Op::Poll { id } => {
                let slot = slot(fleet, id);
                match self.model.living.contains_key(&slot) {
                    true => self.poll(&slot).await,
                    false => Ok(()),
                }
            }
            Op::Park { id } => {
                self.model.fleets[fleet].parked.insert(id);
                self.end(&slot(fleet, id)).await
            }
            Op::Scale { to, everywhere } => {
                self.model.fleets[fleet].declared = to;
                for id in to..IDS {
                    let slot = slot(fleet, id);
                    let place = self.model.living.get(&slot);
                    if everywhere || matches!(place, Some(Place::Here(_))) {
                        self.end(&slot).await?;
                    }
                }
                Ok(())
            }
        }
    }

    /// A process starts: it holds its id or connects, re-enqueues what its predecessor left, and takes what waits.
    async fn start(&mut self, slot: &SlotId, here: bool) -> Result<()> {
        if self.model.living.contains_key(slot) {
            return Ok(());
        }
        let session = match here {
            true => None,
            false => self.model.free.pop(),
        };
        let place = match session {
            Some(session) => {
                self.rename(session, &format!("{slot}:dbos")).await?;
                Place::There(session)
            }
            None => Place::Here(held(&self.url, &slot.to_string())?),
        };
        self.model.living.insert(slot.clone(), place);
        self.model.fleets[fleet_of(slot)]
            .parked
            .remove(&slot.index());
        let own = Work::Of(slot.clone());
        if self.model.workflows.values().any(|work| *work == own) {
            self.write().await?;
            let id = slot.to_string();
            self.system
                .reenqueue_for_recovery(&[id.as_str()], VERSION, INTERNAL_QUEUE)
                .await?;
            for work in self.model.workflows.values_mut() {
                if *work == own {
                    *work = Work::Waits(fleet_of(slot));
                }
            }
        }
        self.poll(slot).await
    }

    async fn poll(&mut self, slot: &SlotId) -> Result<()> {
        let waiting = self.model.taken(slot);
        if waiting.is_empty() {
            return Ok(());
        }
        let count: u64 = waiting.len().try_into()?;
        let taken = query(
            "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = $1
             WHERE status = 'ENQUEUED' AND workflow_uuid = ANY($2)",
        )
        .bind(slot.to_string())
        .bind(waiting)
        .execute(&mut self.db)
        .await?;
        ensure!(
            taken.rows_affected() == count,
            "{slot} took {taken:?} of {count}"
        );
        Ok(())
    }

    async fn end(&mut self, slot: &SlotId) -> Result<()> {
        if let Some(Place::There(session)) = self.model.living.remove(slot) {
            self.model.free.push(session);
            self.rename(session, "poolwright").await?;
        }
        Ok(())
    }

    async fn rename(&mut self, session: usize, to: &str) -> Result<()> {
        // The names are this test's own.
        let statement = AssertSqlSafe(format!("SET application_name = '{to}'"));
        let session = self.far.get_mut(session).context("no session")?;
        sqlx::raw_sql(statement).execute(session).await?;
        Ok(())
    }

    /// Writes down what was begun, as it was begun: whoever has died meanwhile has left it.
    async fn write(&mut self) -> Result<()> {
        let begun = std::mem::take(&mut self.model.unwritten);
        if begun.is_empty() {
            return Ok(());
        }
        let work = |workflow| (workflow, self.model.workflows.get(&workflow));
        let mut ids = Vec::new();
        let mut owners = Vec::new();
        for (workflow, work) in begun.into_iter().map(work) {
            let Some(Work::Of(slot)) = work else {
                continue;
            };
            ids.push(workflow.to_string());
            owners.push(slot.to_string());
        }
        query(
            "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, executor_id, application_version)
             SELECT id, 'PENDING', 'fulfil', owner, $3 FROM unnest($1::text[], $2::text[]) AS begun (id, owner)",
        )
        .bind(ids)
        .bind(owners)
        .bind(VERSION)
        .execute(&mut self.db)
        .await?;
        Ok(())
    }

    async fn recover(&mut self, recovery: Recovery) -> Result<()> {
        self.write().await?;
        let of_living =
            |work: &&Work| matches!(work, Work::Of(slot) if self.model.living.contains_key(slot));
        let kept = self.model.workflows.values().filter(of_living).count();
        let fleets = self.model.fleets.clone();
        let standing = move |executor_id: &str| match executor_id.parse::<SlotId>() {
            Ok(slot) => fleets[fleet_of(&slot)].standing(slot.index()),
            Err(_) => Standing::Foreign,
        };
        let expected = self.model.recovered();
        let [one, other] = &mut self.stores;
        let one = one.recover(Intent::Recover, &standing);
        let moved = match recovery {
            Recovery::Once => one.await?.reenqueued(),
            Recovery::Twice => {
                let other = other.recover(Intent::Recover, &standing);
                let (one, other) = tokio::try_join!(one, other)?;
                let (one, other) = (one.reenqueued(), other.reenqueued());
                ensure!(one == 0 || other == 0, "both changed: {one}, {other}");
                one + other
            }
        };
        ensure!(moved == expected, "moved {moved}, expected {expected}");
        self.count.kept += u64::try_from(kept)?;
        self.count.moved += moved;
        self.is_as_expected().await
    }

    /// Every row of the database is what the model says.
    async fn is_as_expected(&mut self) -> Result<()> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT workflow_uuid, executor_id, status FROM dbos.workflow_status")
                .fetch_all(&mut self.db)
                .await?;
        ensure!(rows.len() == self.model.workflows.len(), "{rows:?}");
        for (workflow, executor_id, status) in rows {
            let work = self.model.workflows.get(&workflow.parse()?);
            let work = work.context("no such workflow")?;
            let right = match work {
                Work::Of(slot) => status == "PENDING" && executor_id == slot.to_string(),
                Work::Waits(_) => status == "ENQUEUED",
            };
            ensure!(
                right,
                "{workflow} is {status} under {executor_id}, expected {work:?}"
            );
        }
        Ok(())
    }
}
