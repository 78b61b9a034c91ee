//! A worker that speaks the channel and behaves as it is told, for tests of the supervisor.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `FAKE_WORKER` | the [`Behaviour`]; without it, a worker without faults |
//! | `FAKE_WORKER_SLOT` | misbehave only as this slot (`PM2_INSTANCE_ID`) |
//! | `FAKE_WORKER_MS` | how long the slow ones take (default 2000) |
//! | `FAKE_WORKER_GAUGES_MS` | report the gauges again and again, with this pause; without it, once |
//! | `FAKE_WORKER_DATABASE_URL` | open real sessions there, as many as the maxima; without it, none |
//! | `FAKE_WORKER_SIGNS` | say after `booted`, as gauges of a pool that is called by its pid, that it was said: whoever hears those knows that the supervisor has heard `booted` |
//! | `PRISMA_POOL_MAX`, `DBOS_POOL_MAX` | the maxima to report (default 3) |
//!
//! Every stage is a line on standard output: `slot 0: booted`, `slot 0: draining`, …

mod sessions;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use poolwright_topology::channel::{FromWorker, Gauge, ToWorker, to_line};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};

/// Set when the channel has been moved to standard input.
const MOVED: &str = "FAKE_WORKER_CHANNEL_IS_STDIN";

/// How to (mis)behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Without faults.
    Serve,
    /// `exit-before-booted`: ends with code 3 and says nothing.
    ExitBeforeBooted,
    /// `exit-on-launch`: boots, and ends with code 1 when told to launch.
    ExitOnLaunch,
    /// `exit-after-ready`: ends with code 4 when it has served for a while.
    ExitAfterReady,
    /// `never-ready`: starts, and stays there.
    NeverReady,
    /// `silent`: runs and never speaks.
    Silent,
    /// `wrong-maxima`: reports pools one larger than declared.
    WrongMaxima,
    /// `slow-drain`: takes a while to drain.
    SlowDrain,
    /// `ignore-sigterm`: does not hear SIGTERM and SIGINT.
    IgnoreSigterm,
}

impl Behaviour {
    fn from_environment() -> Result<Self> {
        let slot = variable("PM2_INSTANCE_ID");
        if variable("FAKE_WORKER_SLOT").is_some_and(|only| Some(only) != slot) {
            return Ok(Self::Serve);
        }
        Ok(match variable("FAKE_WORKER").as_deref() {
            None | Some("serve") => Self::Serve,
            Some("exit-before-booted") => Self::ExitBeforeBooted,
            Some("exit-on-launch") => Self::ExitOnLaunch,
            Some("exit-after-ready") => Self::ExitAfterReady,
            Some("never-ready") => Self::NeverReady,
            Some("silent") => Self::Silent,
            Some("wrong-maxima") => Self::WrongMaxima,
            Some("slow-drain") => Self::SlowDrain,
            Some("ignore-sigterm") => Self::IgnoreSigterm,
            Some(other) => bail!("FAKE_WORKER: {other:?} is none of the behaviours"),
        })
    }
}

fn main() -> Result<ExitCode> {
    if std::env::var_os("NODE_CHANNEL_FD").is_some() && std::env::var_os(MOVED).is_none() {
        return move_channel_to_stdin();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(live(Behaviour::from_environment()?))?;
    Ok(ExitCode::from(code))
}

/// Becomes itself again, by way of a shell that puts the inherited descriptor on standard input:
/// the one descriptor besides output that safe code can take over. The pid stays.
fn move_channel_to_stdin() -> Result<ExitCode> {
    let failed = Command::new("/bin/sh")
        .args([
            OsStr::new("-c"),
            OsStr::new("exec \"$0\" <&\"$NODE_CHANNEL_FD\""),
        ])
        .arg(std::env::current_exe()?)
        .env(MOVED, "1")
        .exec();
    Err(failed).context("cannot run /bin/sh")
}

async fn live(behaviour: Behaviour) -> Result<u8> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let worker = Worker::new(behaviour)?;
    tokio::pin!(worker);
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if behaviour == Behaviour::IgnoreSigterm {
            say("ignoring a signal");
            std::future::pending::<()>().await;
        }
    };
    let launched = tokio::select! {
        launched = worker.launch() => Some(launched?),
        () = stopped => None,
    };
    match launched {
        Some(code) => Ok(code),
        None => worker.drain().await,
    }
}

struct Worker {
    behaviour: Behaviour,
    commands: BufReader<OwnedReadHalf>,
    reports: OwnedWriteHalf,
}

impl Worker {
    fn new(behaviour: Behaviour) -> Result<Self> {
        let socket = StdUnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        socket
            .set_nonblocking(true)
            .context("standard input is no channel")?;
        let (read, reports) = UnixStream::from_std(socket)?.into_split();
        Ok(Self {
            behaviour,
            commands: BufReader::new(read),
            reports,
        })
    }

    /// Boots, launches and serves; ends only when it misbehaves or the supervisor is gone.
    async fn launch(&mut self) -> Result<u8> {
        match self.behaviour {
            Behaviour::ExitBeforeBooted => return Ok(3),
            Behaviour::Silent => std::future::pending().await,
            _ => self.report("booted", &FromWorker::Booted).await?,
        }
        if variable("FAKE_WORKER_SIGNS").is_some() {
            let pools = [(std::process::id().to_string(), Gauge::default())].into();
            self.report("signed", &FromWorker::Gauges { pools }).await?;
        }
        if !self.told_to_launch().await? {
            say("the channel closed before launch");
            return Ok(0);
        }
        if self.behaviour == Behaviour::ExitOnLaunch {
            return Ok(1);
        }
        if let Some(url) = variable("FAKE_WORKER_DATABASE_URL") {
            sessions::open(&url, &slot(), maxima()?).await?;
        }
        self.report("started", &self.started()?).await?;
        if self.behaviour == Behaviour::NeverReady {
            std::future::pending::<()>().await;
        }
        self.report("ready", &FromWorker::Ready).await?;
        self.report("gauges", &self.gauges()?).await?;
        if self.behaviour == Behaviour::ExitAfterReady {
            tokio::time::sleep(patience()).await;
            return Ok(4);
        }
        self.until_the_channel_closes().await?;
        say("the channel closed");
        self.drain().await
    }

    async fn until_the_channel_closes(&mut self) -> Result<()> {
        let pause = variable("FAKE_WORKER_GAUGES_MS").and_then(|text| text.parse().ok());
        let gauges = to_line(&self.gauges()?);
        let mut byte = [0];
        loop {
            let pause = async {
                match pause {
                    Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                    None => std::future::pending().await,
                }
            };
            // What the supervisor says beyond `launch` is not for this worker.
            tokio::select! {
                read = self.commands.read(&mut byte) => if read? == 0 { return Ok(()) },
                () = pause => self.reports.write_all(gauges.as_bytes()).await?,
            }
        }
    }

    async fn drain(&mut self) -> Result<u8> {
        // A supervisor that is gone hears nothing, and the worker ends all the same.
        drop(self.report("draining", &FromWorker::Draining).await);
        if self.behaviour == Behaviour::SlowDrain {
            tokio::time::sleep(patience()).await;
        }
        say("drained");
        Ok(0)
    }

    async fn told_to_launch(&mut self) -> Result<bool> {
        let mut line = String::new();
        if self.commands.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let ToWorker::Launch = ToWorker::from_line(&line)?;
        Ok(true)
    }

    async fn report(&mut self, stage: &str, message: &FromWorker) -> Result<()> {
        say(stage);
        Ok(self.reports.write_all(to_line(message).as_bytes()).await?)
    }

    fn started(&self) -> Result<FromWorker> {
        let mut pools = maxima()?;
        if self.behaviour == Behaviour::WrongMaxima {
            pools.values_mut().for_each(|max| *max += 1);
        }
        let executor_id = format!("web-{}", slot());
        Ok(FromWorker::Started {
            pid: std::process::id(),
            executor_id,
            pools,
        })
    }

    fn gauges(&self) -> Result<FromWorker> {
        let gauge = |max| Gauge {
            max,
            open: max,
            idle: max,
            ..Gauge::default()
        };
        let pools = maxima()?
            .into_iter()
            .map(|(name, max)| (name, gauge(max)))
            .collect();
        Ok(FromWorker::Gauges { pools })
    }
}

fn maxima() -> Result<BTreeMap<String, u32>> {
    let mut maxima = BTreeMap::new();
    for (pool, name) in [("prisma", "PRISMA_POOL_MAX"), ("dbos", "DBOS_POOL_MAX")] {
        let max = variable(name)
            .as_deref()
            .unwrap_or("3")
            .parse()
            .context(name)?;
        maxima.insert(pool.to_owned(), max);
    }
    Ok(maxima)
}

fn patience() -> Duration {
    let given = variable("FAKE_WORKER_MS").and_then(|text| text.parse().ok());
    Duration::from_millis(given.unwrap_or(2000))
}

fn slot() -> String {
    variable("PM2_INSTANCE_ID").unwrap_or_else(|| "0".to_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(
    clippy::print_stdout,
    reason = "what it does is to be seen in its output"
)]
fn say(stage: &str) {
    println!("slot {}: {stage}", slot());
}
