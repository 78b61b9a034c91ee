//! How each fault is done.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Process, wait_until};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use sqlx::Connection;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::plan::{Episode, FEWEST_WORKERS, Fault};
use super::witness::{Witness, within_bound};
use super::{Stage, WORKERS};
use crate::Fleet;
use crate::disk::FullDisk;

/// A reload of four workers, each of which waits for a drain and for Postgres.
const ORDER_ENDS: Duration = Duration::from_secs(150);

/// From the order to scale to the drain of the highest worker.
const DRAINS: Duration = Duration::from_secs(20);

/// Until a worker has work of the kind that is to be cut off. Then it is cut off as it is: where something else is going on, there
/// may be none.
const BUSY: Duration = Duration::from_secs(10);

/// Postgres works at a query that has begun a moment ago, and takes seconds.
const IN_QUERY: &str =
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE $1 || ':%'
     AND wait_event = 'PgSleep' AND query_start > now() - interval '500 ms')";
/// More than one workflow: not all of them are about to end.
const IN_WORKFLOWS: &str =
    "SELECT count(*) > 1 FROM dbos.workflow_status WHERE executor_id = $1 AND status = 'PENDING'";

/// A worker that is refused ends at once.
const IMPOSTOR_ENDS: Duration = Duration::from_secs(15);

/// How long the clients of a flood stay.
const FLOOD_STAYS: Duration = Duration::from_millis(500);

/// What an episode leaves to be ended: orders, and what is held for a time.
#[derive(Default)]
struct Pending {
    orders: Vec<(Fault, Process)>,
    held: JoinSet<Result<()>>,
    witness: Option<Witness>,
}

impl Stage {
    /// Does what the episode says, and waits for its end.
    pub(super) async fn enact(&mut self, episode: &Episode) -> Result<()> {
        let mut pending = Pending::default();
        for (after, fault) in &episode.faults {
            sleep(*after).await;
            let begun = self.begin(*fault, &mut pending).await;
            begun.with_context(|| format!("cannot do: {fault}"))?;
        }
        while let Some(released) = pending.held.join_next().await {
            released.context("what releases panicked")??;
        }
        for (fault, mut order) in pending.orders {
            let status = order.exited(ORDER_ENDS).await?;
            ensure!(
                status.success() || episode.may_fail_orders(),
                "the {fault} ended with {status}: {}",
                order.tail()
            );
            ensure!(
                status.success() || !order.lines().is_empty(),
                "the {fault} ended with {status} and no reason"
            );
        }
        if let Some(witness) = pending.witness {
            within_bound(&witness.finish().await?)?;
        }
        Ok(())
    }

    async fn begin(&mut self, fault: Fault, pending: &mut Pending) -> Result<()> {
        let poolwright = self.fleet.setup.poolwright()?;
        match fault {
            Fault::Reload => pending.orders.push((fault, poolwright.start(&["reload"])?)),
            Fault::Restart(slot) => {
                let slot = self.slot(slot).await?;
                let order = poolwright.start(&["restart", &slot])?;
                pending.orders.push((fault, order));
            }
            Fault::Scale(workers) => {
                let order = poolwright.start(&["scale", &format!("web={workers}")])?;
                pending.orders.push((fault, order));
            }
            Fault::Flood(clients) => {
                let socket = self.fleet.setup.control_socket();
                pending.held.spawn(async move {
                    let connected = flood(&socket, clients);
                    sleep(FLOOD_STAYS).await;
                    drop(connected);
                    Ok(())
                });
            }
            Fault::HoldSupervisor(time) => {
                let pid = raw(self.fleet.manager_pid()?)?;
                hold(pid, time, &mut pending.held)?;
            }
            Fault::FullTable(time) => {
                let pid = raw(self.fleet.manager_pid()?)?;
                fill_table(pid, time, &mut pending.held)?;
            }
            Fault::FullDisk(bytes, time) => {
                let pid = raw(self.fleet.manager_pid()?)?;
                let disk = FullDisk::of(pid, &self.fleet.setup.logs(), bytes)?;
                pending.held.spawn(async move {
                    sleep(time).await;
                    disk.room()
                });
            }
            Fault::SetClock(seconds) => self.fleet.setup.clock()?.step(seconds)?,
            Fault::KillWorker(slot) => {
                if let Some(pid) = self.worker(slot).await? {
                    kill(pid, Signal::KILL)?;
                }
            }
            Fault::KillInQuery(slot) => {
                if let Ok(name) = self.slot(slot).await {
                    self.busy(&name, IN_QUERY).await;
                }
                if let Some(pid) = self.worker(slot).await? {
                    kill(pid, Signal::KILL)?;
                }
            }
            Fault::HoldWorker(slot, time) => {
                if let Some(pid) = self.worker(slot).await? {
                    hold(pid, time, &mut pending.held)?;
                }
            }
            Fault::GiveUp => {
                let last = self.fleet.slots().await?.len().saturating_sub(1);
                if last >= FEWEST_WORKERS {
                    let name = format!("web-{last}");
                    self.busy(&name, IN_WORKFLOWS).await;
                    let pid = self.worker(last).await?;
                    let wanted = format!("web={last}");
                    let order = poolwright.start(&["scale", &wanted])?;
                    let drains = wait_until("it drains", DRAINS, async || {
                        match self.fleet.slots().await {
                            Ok(slots) if slots.get(&name).is_none_or(leaves) => Seen::Yes(()),
                            other => Seen::NotYet(other),
                        }
                    });
                    // It may be refused, where something else is going on.
                    if let (Ok(()), Some(pid)) = (drains.await, pid) {
                        kill(pid, Signal::KILL)?;
                    }
                    pending.orders.push((fault, order));
                }
            }
            Fault::Impostor(slot) => {
                let slot = self.slot(slot).await?;
                let number = slot.rsplit('-').next().unwrap_or_default();
                let mut impostor = self.fleet.setup.bare_worker(&[
                    ("PM2_INSTANCE_ID", Some(number)),
                    ("POOLWRIGHT_LOCK_TIMEOUT_MS", Some("500")),
                ])?;
                let status = impostor.exited(IMPOSTOR_ENDS).await?;
                ensure!(!status.success(), "it ended with {status}");
            }
            Fault::KillSupervisor => {
                self.fleet.killed_and_started_again(WORKERS).await?;
            }
            Fault::Terminate { sessions, from } => {
                self.cuts += 1;
                terminate(&self.fleet, sessions, from).await?;
            }
            Fault::RestartPostgres => {
                self.cuts += 1;
                self.fleet.setup.server.down().await?;
                self.fleet.setup.server.up().await?;
                pending.witness = Some(Witness::start(&self.fleet.setup).await?);
            }
            Fault::Swallow(time) => {
                self.cuts += 1;
                let network = Arc::clone(&self.network);
                network.swallow();
                pending.held.spawn(async move {
                    sleep(time).await;
                    network.carry();
                    Ok(())
                });
            }
        }
        Ok(())
    }

    /// The name of the slot that a number chooses.
    async fn slot(&self, number: usize) -> Result<String> {
        let slots = self.fleet.slots().await?;
        let names: Vec<&String> = slots.keys().collect();
        let name = names.get(number % names.len().max(1));
        Ok((*name.context("no slots")?).clone())
    }

    /// Waits until Postgres says yes of that slot, but not for long.
    async fn busy(&self, slot: &str, question: &'static str) {
        let busy = wait_until(question, BUSY, async || {
            match asked(&self.fleet, slot, question).await {
                Ok(true) => Seen::Yes(()),
                other => Seen::NotYet(other),
            }
        });
        busy.await.ok();
    }

    /// The worker in that slot, if there is one. None where the supervisor does not answer: then it is held, or gone.
    async fn worker(&self, number: usize) -> Result<Option<Pid>> {
        let answer = tokio::time::timeout(Duration::from_secs(1), self.fleet.slots()).await;
        let Ok(Ok(slots)) = answer else {
            return Ok(None);
        };
        let slots: Vec<_> = slots.into_values().collect();
        let slot = slots.get(number % slots.len().max(1));
        let pid = slot.and_then(|slot| slot["pid"].as_u64());
        pid.map(|pid| raw(u32::try_from(pid)?)).transpose()
    }
}

async fn asked(fleet: &Fleet, slot: &str, question: &'static str) -> Result<bool> {
    let mut dbos = fleet.setup.server.connect("order_desk_dbos").await?;
    let answer = sqlx::query_scalar(question).bind(slot);
    let answer = answer.fetch_one(&mut dbos).await?;
    dbos.close().await?;
    Ok(answer)
}

fn leaves(slot: &Value) -> bool {
    slot["state"] == "draining"
}

fn raw(pid: u32) -> Result<Pid> {
    Pid::from_raw(i32::try_from(pid)?).context("no process")
}

/// Gone already is as good.
fn kill(pid: Pid, signal: Signal) -> Result<()> {
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn hold(pid: Pid, time: Duration, held: &mut JoinSet<Result<()>>) -> Result<()> {
    kill(pid, Signal::STOP)?;
    held.spawn(async move {
        sleep(time).await;
        kill(pid, Signal::CONT)
    });
    Ok(())
}

/// Takes every number below the lowest that is free away, for a time.
fn fill_table(pid: Pid, time: Duration, held: &mut JoinSet<Result<()>>) -> Result<()> {
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))?.count();
    let before = getrlimit(Resource::Nofile);
    let full = Rlimit {
        current: Some(u64::try_from(open)?),
        maximum: before.maximum,
    };
    let before = prlimit(Some(pid), Resource::Nofile, full)?;
    held.spawn(async move {
        sleep(time).await;
        match prlimit(Some(pid), Resource::Nofile, before) {
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    });
    Ok(())
}

/// Clients that have connected, every second of which has said what is no request.
fn flood(socket: &Path, clients: usize) -> Vec<UnixStream> {
    // One that is refused is an answer, too.
    let connected = (0..clients).filter_map(|_| UnixStream::connect(socket).ok());
    let mut connected: Vec<UnixStream> = connected.collect();
    for client in connected.iter_mut().step_by(2) {
        client.write_all(b"\x00\xff}{ nonsense\n").ok();
    }
    connected
}

async fn terminate(fleet: &Fleet, sessions: i64, from: i64) -> Result<()> {
    let mut admin = fleet.setup.server.admin().await?;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM (
             SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'web%'
             ORDER BY application_name, pid OFFSET $1 LIMIT $2) AS chosen",
    )
    .bind(from)
    .bind(sessions)
    .execute(&mut admin)
    .await?;
    Ok(admin.close().await?)
}
