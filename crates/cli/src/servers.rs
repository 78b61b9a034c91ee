//! The servers behind a topology: those that URLs name, or an embedded one for pools without a URL.

use crate::environment::EMBEDDED_FILE;
use crate::failure::Failure;
use crate::manifest::Declared;
use crate::passwords::PasswordFile;
use poolwright_embedded::{Options, Server};
use poolwright_observe::clients::Clients;
use poolwright_observe::{census, connect, facts, limits};
use poolwright_topology::budget::{self, Plan, ServerLimits, server_of};
use poolwright_topology::census::{Backend, Census, Owner};
use poolwright_topology::declare::{DatabaseUrl, Topology};
use poolwright_topology::hazard::live::PoolFacts;
use poolwright_topology::units::Connections;
use sqlx::postgres::PgConnection;
use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// Starts an embedded server when no pool has a URL, and fills in the URLs. `None` when all have one.
///
/// Some with and some without is refused: half a fleet on a throw-away server is nobody's intention.
pub(crate) async fn embed_if_needed(declared: &mut Declared) -> Result<Option<Server>, Failure> {
    let missing: Vec<String> = declared
        .topology
        .pools()
        .filter(|(_, pool)| pool.url.is_none())
        .map(|(app, pool)| match &pool.url_variable {
            Some(variable) => variable.clone(),
            None => format!("url of [apps.{}.pools.{}]", app.name, pool.name),
        })
        .collect();
    if missing.is_empty() {
        return Ok(None);
    }
    if missing.len() < declared.topology.pools().count() {
        return Err(Failure::declaration(format!(
            "{}: not set, while other pools have a URL; expected a URL for every pool, or for none to get an embedded server",
            missing.join(", ")
        )));
    }
    let folder = declared.located.state_dir.join("postgres");
    let server = Server::start(options(folder))
        .await
        .map_err(Failure::source("starting the embedded Postgres server"))?;
    fill_in(&mut declared.topology, &server)?;
    Ok(Some(server))
}

/// A worker that is killed leaves no session behind that works on for nobody; only Linux lets Postgres see that.
fn options(folder: PathBuf) -> Options {
    let options = Options::development(folder);
    match cfg!(target_os = "linux") {
        true => options.setting("client_connection_check_interval", "1s"),
        false => options,
    }
}

/// Every role gets the server's own password: the server is private to this user, and listens on the loopback only.
fn fill_in(topology: &mut Topology, server: &Server) -> Result<(), Failure> {
    let parse = |url: &str| {
        DatabaseUrl::parse(url).map_err(Failure::source("naming a database of the embedded server"))
    };
    for app in &mut topology.apps {
        for pool in &mut app.pools {
            let url = format!(
                "postgres://{}:{}@127.0.0.1:{}/{}",
                pool.role,
                server.password(),
                server.port(),
                pool.database
            );
            pool.url = Some(parse(&url)?);
        }
    }
    topology.prepare.url = Some(parse(&server.url("postgres"))?);
    Ok(())
}

/// Leaves the URLs of an embedded server where `plan` and `verify` find them; removed when dropped.
#[derive(Debug)]
pub(crate) struct EmbeddedFile(PathBuf);

impl EmbeddedFile {
    pub(crate) fn write(state_dir: &Path, topology: &Topology) -> Result<Self, Failure> {
        use std::io::Write;
        let path = state_dir.join(EMBEDDED_FILE);
        let failed = || Failure::source(format!("writing {}", path.display()));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(failed())?;
        // Made anew: an existing file would keep its mode.
        let _absent = std::fs::remove_file(&path);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed())?;
        for (name, url) in url_variables(topology) {
            writeln!(file, "{name}={url}").map_err(failed())?;
        }
        Ok(Self(path))
    }
}

impl Drop for EmbeddedFile {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// The URLs by the variables that the manifest names for them.
pub(crate) fn url_variables(topology: &Topology) -> BTreeMap<String, String> {
    let pools = topology
        .pools()
        .map(|(_, pool)| (&pool.url_variable, &pool.url));
    let prepare = (&topology.prepare.url_variable, &topology.prepare.url);
    pools
        .chain([prepare])
        .filter_map(|(variable, url)| Some((variable.clone()?, url.as_ref()?.expose().to_owned())))
        .collect()
}

/// For whoever asks servers that he does not start.
pub(crate) fn refuse_without_urls(topology: &Topology) -> Result<(), Failure> {
    match topology.pools().find(|(_, pool)| pool.url.is_none()) {
        None => Ok(()),
        Some((_, pool)) => Err(Failure::declaration(format!(
            "no server to ask: {} is not set and no embedded server runs",
            pool.url_variable.as_deref().unwrap_or("a pool's url")
        ))),
    }
}

/// One URL per server: the administrator's where it reaches it, else the first pool's.
pub(crate) fn administrators(topology: &Topology) -> BTreeMap<String, DatabaseUrl> {
    let mut urls = BTreeMap::new();
    for (_, pool) in topology.pools() {
        let Some(url) = &pool.url else { continue };
        let admin = topology
            .prepare
            .url
            .as_ref()
            .filter(|admin| admin.same_server(url));
        urls.entry(server_of(pool))
            .or_insert_with(|| admin.unwrap_or(url).clone());
    }
    urls
}

/// How the monitor connects to a server, without its password unless the manifest's URL has it: by the URL that is given for
/// it, else like the first pool there. `None` where nothing is enforced.
pub(crate) fn monitor(topology: &Topology, server: &str) -> Option<DatabaseUrl> {
    let monitor = &topology.enforce.as_ref()?.monitor;
    let given = monitor.url.as_ref().filter(|url| url.server() == server);
    given.cloned().or_else(|| {
        let mut urls = topology.pools().filter_map(|(_, pool)| pool.url.as_ref());
        let first = urls.find(|url| url.server() == server)?;
        Some(first.with_user(&monitor.role, None))
    })
}

/// How the control connection is made: as the monitor, where its password is known here; else as the administrator.
fn control_url(topology: &Topology, server: &str) -> Result<Option<DatabaseUrl>, Failure> {
    let Some(url) = monitor(topology, server) else {
        return Ok(None);
    };
    if url.password().is_some() {
        return Ok(Some(url));
    }
    let password = PasswordFile::of(topology)?.and_then(|file| file.password(&url));
    Ok(password.map(|password| url.with_user(&url.user(), Some(&password))))
}

/// Whether a refusal says that the monitor is not there yet: no such role, password, database or right to it.
fn not_prepared(error: &connect::Error) -> bool {
    let code = error.code();
    matches!(code.as_deref(), Some("28P01" | "28000" | "3D000" | "42501"))
}

/// The budget against the servers' live limits.
pub(crate) async fn live_plan(topology: &Topology) -> Result<Plan, Failure> {
    let mut connections =
        Control::connect(topology, |_| Ok(poolwright_topology::tag::COMMAND.into())).await?;
    connections.plan(topology).await
}

/// No answer takes longer; a census of thousands of backends takes milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// What a server answers. One that says nothing is not waited for: whoever asks holds the connection, and keeps others from asking.
async fn answered<T, E: std::error::Error + Send + Sync + 'static>(
    server: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match timeout(ANSWERED_WITHIN, answer).await {
        Ok(answer) => answer.map_err(Failure::source(format!("asking {server}"))),
        Err(_) => {
            let limit = ANSWERED_WITHIN.as_secs();
            Err(Failure::said(format!(
                "asking {server}: no answer within {limit} s"
            )))
        }
    }
}

/// One connection to each server. A question whose answer did not come leaves one that may answer the next question with its rows:
/// such a control is given up.
pub(crate) struct Control {
    by_server: BTreeMap<String, Link>,
}

struct Link {
    connection: PgConnection,
    clients: Clients,
}

impl Control {
    /// Connects to every server, under the name that `name` gives for it.
    pub(crate) async fn connect(
        topology: &Topology,
        name: impl Fn(&str) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        let mut by_server = BTreeMap::new();
        for (server, url) in administrators(topology) {
            if let Some(monitor) = control_url(topology, &server)? {
                match connect::connect(&monitor, &name(&server)?).await {
                    Ok(connection) => {
                        let clients = Clients::of(monitor.port());
                        let link = Link {
                            connection,
                            clients,
                        };
                        by_server.insert(server, link);
                        continue;
                    }
                    Err(error) if not_prepared(&error) => {}
                    Err(error) => return Err(Failure::source("reaching the server")(error)),
                }
            }
            let connection = match connect::connect(&url, &name(&server)?).await {
                Ok(connection) => connection,
                // The administrator's own database is the one that always exists before `prepare`.
                Err(error) if error.code().as_deref() == Some("3D000") => {
                    connect::connect(&url.with_database("postgres"), &name(&server)?)
                        .await
                        .map_err(|_| Failure::source("reaching the server")(error))?
                }
                Err(error) => return Err(Failure::source("reaching the server")(error)),
            };
            let clients = Clients::of(url.port());
            by_server.insert(
                server,
                Link {
                    connection,
                    clients,
                },
            );
        }
        Ok(Self { by_server })
    }

    /// The budget against what the servers say now.
    pub(crate) async fn plan(&mut self, topology: &Topology) -> Result<Plan, Failure> {
        let mut found: BTreeMap<String, ServerLimits> = BTreeMap::new();
        for (server, Link { connection, .. }) in &mut self.by_server {
            let limits = answered(server, limits::limits(connection)).await?;
            found.insert(server.clone(), limits);
        }
        let plan = budget::plan(topology, &|server| found.get(server).cloned())
            .map_err(Failure::source("summing up the plan"))?;
        let ours = Census::new(topology, &plan);
        for (server, Link { connection, .. }) in &mut self.by_server {
            let rows = answered(server, census::sample(connection)).await?;
            let others = rows
                .iter()
                .filter(|row| matches!(ours.attribute(row), Owner::Foreign | Owner::Starting))
                .count();
            if let Some(limits) = found.get_mut(server) {
                limits.others = Connections(u32::try_from(others).unwrap_or(u32::MAX));
            }
        }
        budget::plan(topology, &|server| found.get(server).cloned())
            .map_err(Failure::source("summing up the plan"))
    }

    /// What the servers show of the pools, as far as it can be hazardous.
    pub(crate) async fn facts(&mut self, topology: &Topology) -> Result<Vec<PoolFacts>, Failure> {
        let mut all = Vec::new();
        let urls = administrators(topology);
        for (server, Link { connection, .. }) in &mut self.by_server {
            let Some(url) = urls.get(server) else {
                continue;
            };
            all.extend(answered(server, facts::facts(connection, url, topology)).await?);
        }
        Ok(all)
    }

    /// One sample of every server, as one list, with the clients' processes where they run on this host.
    pub(crate) async fn sample(&mut self) -> Result<Vec<Backend>, Failure> {
        let mut all = Vec::new();
        for (server, link) in &mut self.by_server {
            let mut rows = answered(server, census::sample(&mut link.connection)).await?;
            link.clients.identify(&mut rows);
            all.extend(rows);
        }
        Ok(all)
    }

    /// Terminates every session that is `doomed`, on the server it is on.
    pub(crate) async fn terminate(
        &mut self,
        doomed: impl Fn(&Backend) -> bool,
    ) -> Result<(), Failure> {
        for (server, Link { connection, .. }) in &mut self.by_server {
            let rows = answered(server, census::sample(connection)).await?;
            for row in rows.iter().filter(|row| doomed(row)) {
                let end = sqlx::query("SELECT pg_terminate_backend($1)").bind(row.pid);
                answered(server, end.execute(&mut *connection)).await?;
            }
        }
        Ok(())
    }
}
