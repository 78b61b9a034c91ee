//! The life of a server: open a home, initialise, start, serve, stop.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::account::Account;
use crate::home::Home;
use crate::initialise::{SUPERUSER, initialise};
use crate::installation::{self, Installation};
use crate::options::Location;
use crate::postmaster::{self, Phase};
use crate::process::Process;
use crate::{Error, Options, Purpose};

/// A start includes crash recovery after a killed server; that takes seconds, not minutes.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A fast shutdown writes one checkpoint.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// After SIGQUIT or SIGKILL there is nothing left to write.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// `postmaster.pid` can only be looked at again and again; a start takes about 100 ms.
const POLL: Duration = Duration::from_millis(10);
/// Somebody else may take a port between our choice and the server's bind.
const PORT_ATTEMPTS: u32 = 10;

/// A running Postgres server on 127.0.0.1.
///
/// Dropping it stops a server that it started, and blocks for that moment; [`Server::stop`] is the
/// better way. A temporary data directory goes with it. An adopted server goes on running.
pub struct Server {
    // Dropped before `home`, which removes the data that the process uses.
    process: Option<Process>,
    home: Home,
    /// Held for as long as a temporary home is used. A persistent one is free again once the
    /// server runs, so that others can adopt it.
    lock: Option<File>,
    port: u16,
    password: String,
    purpose: Purpose,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Server")
            .field("port", &self.port)
            .field("home", &self.home.path())
            .field("adopted", &self.adopted())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server, or adopts the one that runs in the same persistent directory.
    ///
    /// # Errors
    ///
    /// Says what is missing and what to install or remove; a server that would not start is
    /// reported with the tail of its log.
    ///
    /// # Cancel safety
    ///
    /// When dropped, a server that was being started is stopped, and a half-made data directory is
    /// never taken for a whole one.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let opened = blocking("make the data directory", {
            let options = options.clone();
            move || Opened::open(&options)
        })
        .await?;
        let (process, port) = match adopt(&opened).await {
            Some(port) => {
                tracing::info!(port, "adopted the Postgres server that runs here");
                (None, port)
            }
            None => {
                let (process, port) = launch(&opened, &options).await?;
                (Some(process), port)
            }
        };
        let Opened {
            home,
            password,
            lock,
            ..
        } = opened;
        let mut server = Self {
            process,
            home,
            lock: Some(lock),
            port,
            password,
            purpose: options.purpose,
        };
        server.check().await?;
        if matches!(options.location, Location::Persistent(_)) {
            server.home.remember_port(port);
            drop(server.lock.take());
        }
        Ok(server)
    }

    /// The superuser's URL of a database, password included: not for logs.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let Self { password, port, .. } = self;
        format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/{database}")
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The file, of mode 0600, that holds the superuser's password.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.home.password_file()
    }

    /// The directory that holds data, password and log. It differs from the one that was asked for
    /// when the account that runs the server cannot reach that.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// The server's log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.home.log()
    }

    /// Whether somebody else started this server; then it is theirs to stop.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.process.is_none()
    }

    /// The server's process, when we started it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let process = self.process.as_ref()?;
        u32::try_from(process.pid().as_raw_nonzero().get()).ok()
    }

    /// Stops the server: a fast shutdown, which ends sessions and keeps data; a harder one when
    /// that takes too long. Does nothing to an adopted server.
    ///
    /// # Errors
    ///
    /// When the process does not end, not even when killed.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the server stops all the same.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.halt().await
    }

    /// Like [`Server::stop`], and keeps the handle with its URLs. [`Server::start`] with the same persistent directory
    /// starts the server again, on the same port if nobody took it.
    ///
    /// # Errors
    ///
    /// When the process does not end, not even when killed.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the server may be stopping.
    pub async fn halt(&mut self) -> Result<(), Error> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        for (signal, limit) in [
            (Signal::INT, STOP_LIMIT),
            (Signal::QUIT, KILL_LIMIT),
            (Signal::KILL, KILL_LIMIT),
        ] {
            process.signal(signal);
            if timeout(limit, process.exited()).await.is_ok() {
                return Ok(());
            }
        }
        let pid = process.pid().as_raw_nonzero().get();
        Err(Error::NotStopped {
            pid,
            log: self.home.log_tail(),
        })
    }

    async fn check(&self) -> Result<(), Error> {
        ping(&self.url("postgres"))
            .await
            .map_err(|source| Error::Refused {
                port: self.port,
                source,
            })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(process) = &self.process else { return };
        if process.exit_status().is_some() {
            return;
        }
        // Nobody misses a test's data, and nobody should wait for its checkpoint.
        let (signal, limit) = match self.purpose {
            Purpose::Development => (Signal::INT, STOP_LIMIT),
            Purpose::Test => (Signal::QUIT, KILL_LIMIT),
        };
        process.signal(signal);
        if !process.wait_blocking(limit) {
            process.signal(Signal::KILL);
            process.wait_blocking(KILL_LIMIT);
        }
    }
}

/// A home with data in it, and the right to start a server there.
struct Opened {
    home: Home,
    installation: Installation,
    account: Account,
    password: String,
    /// Held until the server runs: of two that start at once, the second adopts.
    lock: File,
}

impl Opened {
    fn open(options: &Options) -> Result<Self, Error> {
        let account = Account::choose()?;
        let home = Home::open(&options.location, &account)?;
        let path = home.lock_file();
        let lock = File::create(&path).map_err(Error::io("make", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        let installation = installation::find(
            options.bin_dir.as_deref(),
            &home.data(),
            home.data_major().as_deref(),
        )?;
        initialise(&home, &installation, &account, options.purpose)?;
        let password = home.password()?;
        Ok(Self {
            home,
            installation,
            account,
            password,
            lock,
        })
    }
}

/// The port of the server that lives in this home, once it answers; `None` when there is none, or
/// when it is on its way out.
async fn adopt(opened: &Opened) -> Option<u16> {
    let data = opened.home.data();
    let deadline = Instant::now() + START_LIMIT;
    while let Some(postmaster) = postmaster::living(&data) {
        if postmaster.phase == Phase::Ready {
            let (port, password) = (postmaster.port, &opened.password);
            let url = format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/postgres");
            if ping(&url).await.is_ok() {
                return Some(port);
            }
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(POLL).await;
    }
    None
}

/// Starts `postgres` on the port of last time or a free one; another when somebody was faster.
async fn launch(opened: &Opened, options: &Options) -> Result<(Process, u16), Error> {
    let mut preferred = opened.home.last_port();
    for _ in 0..PORT_ATTEMPTS {
        let Some(port) = free_port(preferred.take())? else {
            continue;
        };
        let process = Process::spawn(command(opened, options, port)?)
            .await
            .map_err(Error::io(
                "run",
                &opened.installation.bin_dir.join("postgres"),
            ))?;
        let starting = Starting {
            process: Some(process),
        };
        match starting.ready(opened).await {
            Err(Error::EndedEarly { log, .. }) if log.contains("Address already in use") => {
                tracing::debug!(port, "somebody else took the port");
            }
            result => return result.map(|process| (process, port)),
        }
    }
    Err(Error::NoPort {
        attempts: PORT_ATTEMPTS,
    })
}

/// A process that is interrupted unless it gets ready.
struct Starting {
    process: Option<Process>,
}

impl Starting {
    async fn ready(mut self, opened: &Opened) -> Result<Process, Error> {
        let deadline = Instant::now() + START_LIMIT;
        let data = opened.home.data();
        while let Some(process) = &self.process {
            if let Some(status) = process.exit_status() {
                self.process = None;
                let (status, log) = (status.to_string(), opened.home.log_tail());
                return Err(Error::EndedEarly { status, log });
            }
            let ready = postmaster::read(&data).is_some_and(|postmaster| {
                postmaster.pid == process.pid() && postmaster.phase == Phase::Ready
            });
            if ready {
                break;
            }
            if Instant::now() >= deadline {
                let seconds = START_LIMIT.as_secs();
                return Err(Error::NotReady {
                    seconds,
                    log: opened.home.log_tail(),
                });
            }
            sleep(POLL).await;
        }
        self.process.take().ok_or(Error::TaskEnded {
            action: "start postgres",
        })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.signal(Signal::QUIT);
            process.wait_blocking(KILL_LIMIT);
        }
    }
}

fn command(opened: &Opened, options: &Options, port: u16) -> Result<std::process::Command, Error> {
    let path = opened.home.log();
    let log = File::create(&path).map_err(Error::io("make", &path))?;
    let errors = log.try_clone().map_err(Error::io("share", &path))?;
    let program = opened.installation.bin_dir.join("postgres");
    let mut command = opened.account.command(program.as_os_str());
    command
        .arg("-D")
        .arg(opened.home.data())
        .current_dir(opened.home.path());
    for (name, value) in settings(options, port) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command
        .stdin(std::process::Stdio::null())
        .stdout(log)
        .stderr(errors);
    Ok(command)
}

/// Later settings win.
fn settings(options: &Options, port: u16) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("logging_collector", "off"),
        // A CREATE ROLE that fails would otherwise stand in the log, password and all.
        ("log_min_error_statement", "panic"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    settings.push(("port".to_owned(), port.to_string()));
    settings.push((
        "max_connections".to_owned(),
        options.max_connections.to_string(),
    ));
    if options.purpose == Purpose::Test {
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            settings.push((name.to_owned(), "off".to_owned()));
        }
    }
    settings.extend(options.settings.iter().cloned());
    settings
}

/// The preferred port if it is free, else one that the kernel chose. `None`: the preferred one is
/// taken.
fn free_port(preferred: Option<u16>) -> Result<Option<u16>, Error> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, preferred.unwrap_or(0))) {
        Ok(listener) => {
            let address = listener.local_addr();
            let address = address.map_err(Error::io("ask the port of", Path::new("127.0.0.1")))?;
            Ok(Some(address.port()))
        }
        Err(_) if preferred.is_some() => Ok(None),
        Err(error) => Err(Error::io("bind a port on", Path::new("127.0.0.1"))(error)),
    }
}

async fn ping(url: &str) -> Result<(), sqlx::Error> {
    PgConnection::connect(url).await?.close().await
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Error::TaskEnded { action }),
    }
}
