//! The life of a worker process, as types that only the phase before can make.
//!
//! [`run`] is `main`: it reads the environment, takes the inherited descriptors, and turns the end
//! into an exit code. What comes in between is the service's, in this order and no other:
//! [`Booting::booted`], [`Cleared::open`], [`Opened::launch`], [`Running::serve`].

use crate::channel::{Channel, Inherited};
use crate::descriptor::DescriptorError;
use crate::executor::{Executor, ExecutorSettings, LaunchError, ensure_dbos_launched};
use crate::gauges::Gauges;
use crate::health::Health;
use crate::identity::{DBOS_POOL, ORM_POOL};
use crate::lock::IdentityError;
use crate::otel::Export;
use crate::pools::{OrmPool, PoolError};
use crate::settings::{Mistakes, Reader, Settings, Surroundings};
use crate::telemetry::{announce, chain};
use crate::tenant::Tenants;
use crate::{descriptor, drain, executor, health, listener, lock, otel, telemetry, upkeep};
use axum::Router;
use axum::http::HeaderValue;
use dbos::DBOS;
use poolwright_topology::channel::FromWorker;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Level;

/// The worker could not launch, or failed.
const EXIT_FAILED: u8 = 1;

/// The environment is wrong.
const EXIT_ENVIRONMENT: u8 = 2;

/// How long the DBOS pool may take to be full. It is no reason not to serve: the pool opens what is
/// missing when it is needed.
const FULL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the pools may take to close once everything else has ended; what is left then ends
/// with the process.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long requests may take to end in a worker that has lost its executor. Those that need it never do.
const LOST_DRAIN: Duration = Duration::from_secs(3);

/// How long the last traces and metrics may take to reach the collector, within the drain; and at least, when a drain took all its time.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const FLUSH_AT_LEAST: Duration = Duration::from_millis(200);

/// What a service is called, and which version of it this is.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// The application's name in DBOS.
    pub name: &'static str,
    /// The version of its code, as far as the recovery of workflows is concerned.
    pub version: &'static str,
}

/// Why a worker ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The environment is wrong.
    #[error(transparent)]
    Environment(#[from] Mistakes),
    /// The channel's descriptor is wrong.
    #[error("NODE_CHANNEL_FD is not usable")]
    Descriptor(#[from] DescriptorError),
    /// The executor id is not this process's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The ORM pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The executor.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A workflow could not be registered.
    #[error("a workflow could not be registered")]
    Register(#[from] dbos::Error),
    /// A socket, a signal or the runtime.
    #[error("{what}")]
    Io {
        /// What failed.
        what: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A connection of the DBOS pool is lost, and only the end of this process ends it.
    #[error(
        "a connection of the DBOS pool is lost: Postgres answers others, or knows nothing of it; only the end of this process ends it"
    )]
    Lost,
    /// It was told to stop before it served; no failure.
    #[error("told to stop before it served")]
    Stopped,
}

/// Descriptors that were inherited, taken before anything else was opened.
struct Descriptors {
    channel: Inherited,
    socket: Option<TcpListener>,
}

/// The environment is valid; nothing is opened.
#[derive(Debug)]
pub struct Booting(Phase);

/// The supervisor has said `launch`, or there is none; and the executor id is held by this process, to its
/// end.
#[derive(Debug)]
pub struct Cleared(Phase);

/// The ORM pool is open in full; workflows may be registered.
#[derive(Debug)]
pub struct Opened {
    phase: Phase,
    orm: OrmPool,
    gauges: Gauges,
    executor: &'static Executor,
}

/// The executor is launched and both pools are open in full.
#[derive(Debug)]
pub struct Running {
    opened: Opened,
    launched: &'static Executor,
}

/// What every phase carries on.
#[derive(Debug)]
struct Phase {
    service: Service,
    settings: Settings,
    channel: Channel,
    socket: Option<TcpListener>,
    stop: CancellationToken,
    export: Option<Export>,
}

/// Runs a worker process: the body of `main`.
///
/// `read` reads the service's own variables, so that their mistakes are told together with the
/// worker's; `life` leads the worker through its phases.
pub fn run<S>(
    service: Service,
    read: impl FnOnce(&mut Reader<'_>) -> Option<S>,
    life: impl AsyncFnOnce(Booting, S) -> Result<(), WorkerError>,
) -> ExitCode {
    match live(service, read, life) {
        Ok(()) | Err(WorkerError::Stopped) => ExitCode::SUCCESS,
        Err(WorkerError::Environment(mistakes)) => {
            // Plain, for a person: nothing runs yet whose output is collected.
            writeln!(std::io::stderr(), "{mistakes}").ok();
            ExitCode::from(EXIT_ENVIRONMENT)
        }
        Err(error) => {
            let fields = Map::from_iter([("error".to_owned(), Value::from(chain(&error)))]);
            announce(Level::ERROR, "worker failed", fields);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn live<S>(
    service: Service,
    read: impl FnOnce(&mut Reader<'_>) -> Option<S>,
    life: impl AsyncFnOnce(Booting, S) -> Result<(), WorkerError>,
) -> Result<(), WorkerError> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut reader = Reader::new(&environment);
    let worker = Settings::read(&mut reader, std::process::id());
    let own = read(&mut reader);
    let (settings, own) = reader.finish(worker.zip(own))?;
    // Before the runtime: it opens descriptors of its own.
    let descriptors = Descriptors::take(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| failed("the runtime cannot start", source))?;
    let export = Export::start(service, &settings, runtime.handle().clone());
    telemetry::init(export.as_ref().ok().and_then(Option::as_ref));
    if let Err(error) = &export {
        otel::refused(error);
    }
    let export = export.ok().flatten();
    runtime.block_on(async {
        let booting = Booting::start(service, settings, descriptors, export.clone())?;
        let lived = life(booting, own).await;
        // One that served has done it already, while its pools were open.
        if let Some(export) = export {
            export.finish(FLUSH_AT_LEAST).await;
        }
        lived
    })
}

impl Descriptors {
    fn take(settings: &Settings) -> Result<Self, WorkerError> {
        let channel = match settings.surroundings {
            Surroundings::Bare | Surroundings::Pm2(None) => Inherited::None,
            Surroundings::Pm2(Some(number)) => Inherited::Pm2(descriptor::take(number)?),
            Surroundings::Poolwright(number) => Inherited::Poolwright(descriptor::take(number)?),
        };
        let socket = listener::inherited()
            .map_err(|source| failed("LISTEN_FDS announces no listening socket", source))?;
        Ok(Self { channel, socket })
    }
}

impl Booting {
    fn start(
        service: Service,
        settings: Settings,
        descriptors: Descriptors,
        export: Option<Export>,
    ) -> Result<Self, WorkerError> {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
        let told = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            told.cancel();
        });
        let channel = Channel::start(descriptors.channel)
            .map_err(|source| failed("the channel cannot be used", source))?;
        Ok(Self(Phase {
            service,
            settings,
            channel,
            socket: descriptors.socket,
            stop,
            export,
        }))
    }

    /// Says `booted`, waits until the supervisor says `launch`, not at all without one, and takes the executor
    /// id: only from then on may anything be opened.
    ///
    /// # Errors
    /// [`WorkerError::Stopped`] when a signal came first, or the supervisor went away;
    /// [`WorkerError::Identity`] when another living process holds the executor id.
    pub async fn booted(self) -> Result<Cleared, WorkerError> {
        let Self(phase) = self;
        phase.channel.send(&FromWorker::Booted).await;
        match phase.stop.run_until_cancelled(phase.channel.launch()).await {
            Some(true) => {}
            Some(false) | None => return Err(WorkerError::Stopped),
        }
        let holding = lock::hold(&phase.settings);
        phase.until_stopped(holding).await??;
        Ok(Cleared(phase))
    }
}

impl Cleared {
    /// Opens the ORM pool in full, and declares the executor so that workflows can be registered.
    ///
    /// # Errors
    /// [`WorkerError::Pool`] when Postgres does not let every connection in.
    pub async fn open(self) -> Result<Opened, WorkerError> {
        let Self(phase) = self;
        let settings = &phase.settings;
        let opening = OrmPool::open(
            &settings.orm_url,
            settings.identity.orm_name(),
            settings.orm_max,
        );
        let orm = phase.until_stopped(opening).await??;
        let executor = executor::declare(ExecutorSettings {
            app_name: phase.service.name.to_owned(),
            app_version: settings
                .app_version
                .clone()
                .unwrap_or_else(|| phase.service.version.to_owned()),
            identity: settings.identity.clone(),
            url: settings.dbos_url.clone(),
            max: settings.dbos_max,
        })?;
        let gauges = Gauges::new(
            orm.clone(),
            settings.identity.dbos_name(),
            settings.dbos_max,
            settings.orm_url.same_server(&settings.dbos_url),
        );
        if let Some(export) = &phase.export {
            export.pools(&gauges, &gauges.lending());
        }
        Ok(Opened {
            phase,
            orm,
            gauges,
            executor,
        })
    }
}

impl Opened {
    /// Opens transactions under row-level security.
    #[must_use]
    pub fn tenants(&self) -> Tenants {
        Tenants::new(self.orm.clone(), self.gauges.lending())
    }

    /// The SDK's handle, to register workflows on.
    #[must_use]
    pub const fn dbos(&self) -> &'static DBOS {
        self.executor.dbos()
    }

    /// What the environment says.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.phase.settings
    }

    /// Launches the executor, fills its pool, and says so: the start-up line.
    ///
    /// # Errors
    /// [`WorkerError::Launch`] when DBOS or its database refuses.
    pub async fn launch(self) -> Result<Running, WorkerError> {
        let launched = self.phase.until_stopped(ensure_dbos_launched()).await??;
        let full = self.gauges.until_full(FULL_TIMEOUT);
        if !self.phase.until_stopped(full).await? {
            tracing::warn!("Postgres does not show all connections of the DBOS pool yet");
        }
        let settings = &self.phase.settings;
        let identity = &settings.identity;
        let line = json!({
            "instance_id": identity.slot().index().to_string(),
            "pid": identity.pid(),
            "executor_id": identity.executor_id(),
            "prisma_pool_max": settings.orm_max,
            "dbos_pool_max": settings.dbos_max,
        });
        announce(Level::INFO, "worker started", object(line));
        let started = FromWorker::Started {
            pid: identity.pid(),
            executor_id: identity.executor_id(),
            pools: [
                (DBOS_POOL.to_owned(), settings.dbos_max),
                (ORM_POOL.to_owned(), settings.orm_max),
            ]
            .into(),
        };
        self.phase.channel.send(&started).await;
        Ok(Running {
            opened: self,
            launched,
        })
    }
}

impl Running {
    /// Serves `router`, and beside it the worker's own routes, until told to stop; then drains:
    /// requests, workflows, executor, pools.
    ///
    /// # Errors
    /// When the listening socket cannot be had.
    pub async fn serve(self, router: Router) -> Result<(), WorkerError> {
        let Self {
            opened: Opened {
                phase, orm, gauges, ..
            },
            launched,
        } = self;
        let settings = phase.settings;
        let listening = listener::listen(phase.socket, settings.address, settings.surroundings)
            .map_err(|source| failed(format!("cannot listen on {}", settings.address), source))?;
        let routes = health::routes(Health {
            executor: launched,
            gauges: gauges.clone(),
            draining: phase.stop.clone(),
        });
        let slot = HeaderValue::from_str(&settings.identity.executor_id())
            .unwrap_or_else(|_| HeaderValue::from_static("worker"));
        // Not the worker's own routes: a probe every second is no request that anybody looks for.
        let router = match &phase.export {
            Some(export) => export.observed(router),
            None => router,
        };
        let serving = drain::serve(
            listening,
            router.merge(routes),
            slot,
            phase.stop.clone(),
            settings.drain_timeout,
        );
        let channel = &phase.channel;
        let stop = &phase.stop;
        let told = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = channel.closed() => stop.cancel(),
            }
            channel.send(&FromWorker::Draining).await;
        };
        let upkeep = async {
            channel.send(&FromWorker::Ready).await;
            tokio::join!(
                upkeep::report(channel, &gauges),
                upkeep::keep_full(&orm),
                upkeep::print(&gauges, settings.print_metrics),
            )
        };
        let lost = upkeep::until_executor_is_lost(launched, &gauges);
        let lasting = async { tokio::join!(serving, told) };
        tokio::pin!(lasting);
        let (deadline, ()) = tokio::select! {
            ended = &mut lasting => ended,
            (never, _, _) = upkeep => match never {},
            () = lost => {
                stop.cancel();
                tokio::time::timeout(LOST_DRAIN, lasting).await.ok();
                return Err(WorkerError::Lost);
            }
        };
        let deadline = deadline.map_err(|source| failed("cannot serve", source))?;

        if !launched.settle(deadline).await {
            tracing::warn!(
                "workflows still run; they stay pending and are recovered by the next launch of this executor id"
            );
        }
        if let Some(export) = &phase.export {
            let left = deadline.saturating_duration_since(Instant::now());
            export
                .finish(left.clamp(FLUSH_AT_LEAST, FLUSH_TIMEOUT))
                .await;
        }
        let closing = async {
            launched.shutdown().await;
            orm.close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::warn!("the pools did not close in time");
        }
        tracing::info!("worker stopped");
        Ok(())
    }
}

impl Phase {
    async fn until_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, WorkerError> {
        let work = self.stop.run_until_cancelled(work);
        work.await.ok_or(WorkerError::Stopped)
    }
}

/// The fields of a line in the log.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

fn cannot_listen(source: std::io::Error) -> WorkerError {
    failed("signals cannot be received", source)
}

fn failed(what: impl Into<String>, source: std::io::Error) -> WorkerError {
    WorkerError::Io {
        what: what.into(),
        source,
    }
}
