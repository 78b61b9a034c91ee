//! A fleet under load to which things are done at random, by a plan that a seed gives, and a witness outside of it.
//!
//! An episode is one or two faults that meet each other. Then the fleet has to become whole by itself. All the while the witness
//! counts the sessions in Postgres, and users count what was answered. At the end every order that was accepted has been shipped
//! once.

mod faults;
mod numbers;
mod plan;
mod users;
mod witness;

pub use plan::{Episode, Fault, Plan};

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use poolwright_testkit::proxy::Proxy;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{TestServer, wait_until};
use serde_json::{Value, json};

use self::numbers::Numbers;
use self::users::{Asked, Users};
use self::witness::{Cost, Witness};
use crate::{Cell, Fleet, Ledger, Manager, Setup, Stack};

/// Workers at the start.
const WORKERS: usize = 3;

/// How long an order of the slow item holds its session: a worker that is killed meanwhile leaves it behind.
const SLOW_SECONDS: u32 = 3;

/// From the end of an episode's last fault until every slot serves: the longest pause of a worker that failed, and its launch.
const WHOLE: Duration = Duration::from_secs(90);

/// When nobody asks any more, until the last accepted order is shipped.
const SHIPPED: Duration = Duration::from_secs(60);
/// The same where it is expected that one never is.
const STRANDED: Duration = Duration::from_secs(15);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// To which application.
    pub stack: Stack,
    /// Which plan.
    pub seed: u64,
    /// Episodes to play before those of the plan, all of them.
    pub first: Vec<Episode>,
    /// For how long episodes begin.
    pub time: Duration,
    /// A guard that the programs leave out, by their own name for it: then the campaign has to fail.
    pub without: Option<String>,
}

impl Campaign {
    /// Runs it. Answers with what was counted.
    ///
    /// # Errors
    /// The first promise that was broken, in which episode, and the seed that plays the same plan again.
    pub async fn run(&self, told: impl Fn(&str)) -> Result<Value> {
        self.played(told)
            .await
            .with_context(|| format!("{} with seed {}", self.stack.name(), self.seed))
    }

    async fn played(&self, told: impl Fn(&str)) -> Result<Value> {
        let mut stage = Stage::open(self).await?;
        let begin = Instant::now();
        let mut episodes = 0;
        let plan = Plan::new(self.seed);
        for (number, episode) in self.first.iter().cloned().chain(plan).enumerate() {
            if number >= self.first.len() && begin.elapsed() >= self.time {
                break;
            }
            let at = begin.elapsed().as_secs_f64();
            told(&format!("{at:6.1} s  {number:3}  {episode}"));
            let played = stage.play(&episode).await;
            played
                .with_context(|| format!("episode {number}, {episode}; {}", stage.fleet.said()))?;
            episodes += 1;
        }
        let counted = stage.close(self, episodes).await?;
        told(&counted.to_string());
        Ok(counted)
    }
}

/// A fleet, what stands around it, and what was seen.
struct Stage {
    fleet: Fleet,
    network: Arc<Proxy>,
    users: Users,
    numbers: Numbers,
    cost: Cost,
    failed: usize,
    samples: usize,
    peak: usize,
    cuts: i64,
    parked: usize,
}

impl Stage {
    async fn open(campaign: &Campaign) -> Result<Self> {
        let cell = Cell {
            stack: campaign.stack,
            manager: Manager::Poolwright,
        };
        let server = TestServer::lasting().await?;
        let network = Proxy::start(([127, 0, 0, 1], server.port()?).into()).await?;
        let mut setup = Setup::on(cell.stack, server)?
            .through(network.port())?
            .clocked()?
            // Whoever is killed leaves workflows behind.
            .env("FULFIL_SLEEP_MS", "1000");
        if let Some(guard) = &campaign.without {
            setup = setup.env("POOLWRIGHT_TEST_WITHOUT", guard);
        }
        let setup = setup.prepared().await?;
        let mut ledger = Ledger::open(&setup).await?;
        ledger.slow_item(users::SLOW, SLOW_SECONDS).await?;
        let numbers = Numbers::watched()?;
        let fleet = Fleet::from(cell, setup, WORKERS).await?;
        let mut stage = Self {
            numbers,
            users: Users::begin(&fleet.desk.url("/api/orders"))?,
            cost: Cost::default(),
            network: Arc::new(network),
            fleet,
            failed: 0,
            samples: 0,
            peak: 0,
            cuts: 0,
            parked: 0,
        };
        stage.whole().await?;
        Ok(stage)
    }

    async fn play(&mut self, episode: &Episode) -> Result<()> {
        let (began, answered) = (Instant::now(), self.users.answered());
        let witness = Witness::start(&self.fleet.setup).await?;
        let done = self.enact(episode).await;
        let whole = match done {
            Ok(()) => self.whole().await.context("the fleet is not whole again"),
            Err(error) => Err(error),
        };
        // Its own connection ends with the server that it looks at; the one after that is looked at from `enact` on.
        let seen = match witness.finish().await {
            Err(_) if episode.restarts_postgres() => None,
            seen => Some(seen?),
        };
        if let Some(seen) = seen {
            self.samples += seen.samples;
            self.peak = self.peak.max(seen.fleet.confirmed);
            witness::within_bound(&seen)?;
        }
        let failures = self.users.failures();
        self.failed += failures.len();
        // A request that began in the episode before this one belongs to that: it was taken account of there.
        let lost: Vec<&str> = failures
            .iter()
            .filter(|failed| !episode.is_rough() && failed.began >= began)
            .map(|failed| failed.cause.as_str())
            .collect();
        ensure!(
            lost.is_empty(),
            "{} requests lost that no fault excuses: {lost:?}",
            lost.len()
        );
        whole?;
        ensure!(self.users.answered() > answered, "nobody was answered");
        let pid = self.fleet.manager_pid()?;
        self.cost.look(pid, self.fleet.slots().await?.len())
    }

    /// Waits until every slot serves and answers, and everything accepted is on its way.
    async fn whole(&mut self) -> Result<()> {
        let poolwright = self.fleet.setup.poolwright()?;
        let mut parked = Vec::new();
        let serving = wait_until("every slot serves", WHOLE, async || {
            let status = match poolwright.json(&["status"]).await {
                Ok(status) => status,
                Err(error) => return Seen::NotYet(format!("{error:#}")),
            };
            let app = &status["apps"][0];
            let slots = app["slots"].as_array().cloned().unwrap_or_default();
            if let Some(slot) = slots.iter().find(|slot| slot["state"] == "parked") {
                // Somebody who kills one worker again and again gets it parked, and has to ask for it.
                let name = slot["slot"].as_str().unwrap_or_default().to_owned();
                if let Err(error) = poolwright.run(&["restart", &name]).await {
                    return Seen::NotYet(format!("{error:#}"));
                }
                parked.push(name);
            }
            let serve = slots.iter().all(|slot| slot["state"] == "serving");
            match usize::try_from(app["instances"].as_u64().unwrap_or_default()) {
                Ok(wanted) if wanted == slots.len() && serve => Seen::Yes(wanted),
                _ => Seen::NotYet(app.to_string()),
            }
        });
        let workers = serving.await?;
        self.parked += parked.len();
        let answers = self.fleet.desk.ready_workers(workers, WHOLE).await?;
        ensure!(answers.len() == workers, "strange workers: {answers:?}");
        Ok(())
    }

    async fn close(self, campaign: &Campaign, episodes: usize) -> Result<Value> {
        let Self {
            fleet,
            users,
            numbers,
            failed,
            samples,
            peak,
            cuts,
            parked,
            cost,
            ..
        } = self;
        let Asked {
            answered, accepted, ..
        } = users.leave().await?;
        ensure!(answered > 100, "hardly any answers: {answered}");
        let shipped = match campaign.without {
            Some(_) => STRANDED,
            None => SHIPPED,
        };
        let mut ledger = Ledger::open(&fleet.setup).await?;
        let (orders, repeats) = ledger
            .accepted_once(&accepted, cuts, shipped)
            .await
            .with_context(|| format!("work is stranded or was done again; {}", fleet.said()))?;
        ledger
            .no_executor_was_doubled_but(|pid, from, to| numbers.reused(pid, from, to))
            .await?;
        let verdict = fleet.setup.poolwright()?.json(&["verify"]).await?;
        if verdict["holds"] != true {
            bail!("{verdict:#}");
        }
        fleet.stop().await?;
        Ok(json!({
            "stack": campaign.stack.name(),
            "seed": campaign.seed,
            "episodes": episodes,
            "answered": answered,
            "failed_under_rough_faults": failed,
            "samples": samples,
            "peak_backends": peak,
            "orders_accepted": orders,
            "steps_repeated": repeats,
            "slots_parked": parked,
            "supervisor": cost.json(),
            "violations": 0,
        }))
    }
}
