//! An order desk to test a worker on: databases and roles as `poolwright prepare` makes them, a port,
//! and the supervisor's end of a channel.

use anyhow::{Context, Result, ensure};
use command_fds::{CommandFdExt, FdMapping};
use poolwright_testkit::process::{command, run, shown};
use poolwright_testkit::wait::{Seen, wait_until};
use poolwright_testkit::{Process, TestServer, built, ports, sampler};
use poolwright_topology::channel::{FromWorker, ToWorker, to_line};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;

/// How long anything may take; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Whose orders are placed.
pub(crate) const TENANT: &str = "22222222-2222-4222-8222-222222222222";

/// The password of both roles, which no output may show.
pub(crate) const PASSWORD: &str = "s3cret";

/// The descriptor the tests hand the channel down as. Not 3, which a listening socket would have.
const CHANNEL: i32 = 7;

/// A server with the order desk's databases, and the environment of the worker in slot 1.
pub(crate) struct Desk {
    server: TestServer,
    port: u16,
    environment: BTreeMap<String, String>,
}

/// The supervisor's end of a worker's channel.
pub(crate) struct Supervisor(BufReader<UnixStream>);

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) worker: String,
    pub(crate) body: String,
}

impl Desk {
    /// With everything a worker needs.
    pub(crate) async fn prepared() -> Result<Self> {
        let desk = Self::unmigrated().await?;
        let mut migrate = desk.command([]);
        migrate.arg("migrate");
        let output = run(migrate, PATIENCE).await?;
        ensure!(output.status.success(), "{}", shown(&output));
        Ok(desk)
    }

    /// Without DBOS's schema.
    pub(crate) async fn unmigrated() -> Result<Self> {
        let server = TestServer::start().await?;
        server.create_database("desk").await?;
        server.create_database("dbos").await?;
        let schema = built::repository().join("apps/schema/migrations/0001_order_desk.sql");
        let schema = std::fs::read_to_string(schema)?;
        let mut desk = server.connect("desk").await?;
        sqlx::raw_sql(AssertSqlSafe(schema))
            .execute(&mut desk)
            .await?;
        let (app, dbos) = (server.name("app"), server.name("dbos"));
        let roles = format!(
            "CREATE ROLE \"{app}\" LOGIN PASSWORD '{PASSWORD}' IN ROLE order_desk;
             CREATE ROLE \"{dbos}\" LOGIN PASSWORD '{PASSWORD}';
             ALTER DATABASE \"{dbos}\" OWNER TO \"{dbos}\""
        );
        sqlx::raw_sql(AssertSqlSafe(roles))
            .execute(&mut desk)
            .await?;

        let port = ports::free_port()?;
        let environment = [
            ("DATABASE_URL", server.url_as("app", PASSWORD, "desk")?),
            (
                "DBOS_SYSTEM_DATABASE_URL",
                server.url_as("dbos", PASSWORD, "dbos")?,
            ),
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("PM2_INSTANCE_ID", "1".to_owned()),
            ("FULFIL_SLEEP_MS", "100".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        Ok(Self {
            server,
            port,
            environment: environment.into(),
        })
    }

    /// The worker's command, with variables of its own.
    pub(crate) fn command<const N: usize>(&self, own: [(&str, &str); N]) -> Command {
        let program = Path::new(super::PROGRAM);
        let mut command = command(program, Path::new("."), &self.environment);
        command.envs(own);
        command
    }

    /// A worker on a channel, as under Poolwright.
    pub(crate) fn supervised<const N: usize>(
        &self,
        own: [(&str, &str); N],
    ) -> Result<(Process, Supervisor)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let mut command = self.command(own);
        command
            .env("POOLWRIGHT_CHANNEL", "1")
            .env("NODE_CHANNEL_FD", CHANNEL.to_string())
            .fd_mappings(vec![FdMapping {
                parent_fd: theirs.into(),
                child_fd: CHANNEL,
            }])?;
        let worker = Process::spawn(command)?;
        ours.set_nonblocking(true)?;
        Ok((
            worker,
            Supervisor(BufReader::new(UnixStream::from_std(ours)?)),
        ))
    }

    /// A worker on a listening socket that we hold too, as under a supervisor.
    pub(crate) fn handed_down(&self) -> Result<(Process, TcpListener)> {
        let held = TcpListener::bind(("127.0.0.1", self.port))?;
        // `LISTEN_PID` is the worker's own pid, which only the worker's process can say: the shell
        // says it and becomes the worker.
        let mut command = command(Path::new("/bin/sh"), Path::new("."), &self.environment);
        command
            .args(["-c", "LISTEN_PID=$$ exec \"$0\"", super::PROGRAM])
            // A worker that bound a port itself would not be found on ours.
            .envs([("LISTEN_FDS", "1"), ("PORT", "1")])
            .fd_mappings(vec![FdMapping {
                parent_fd: held.try_clone()?.into(),
                child_fd: 3,
            }])?;
        Ok((Process::spawn(command)?, held))
    }

    /// How many sessions of the worker there are, by name.
    pub(crate) async fn sessions(&self) -> Result<BTreeMap<String, usize>> {
        let backends = sampler::backends(&self.server.admin_url()?).await?;
        let mut counts = sampler::count(&backends);
        counts.retain(|name, _| name.starts_with("web-1:"));
        Ok(counts)
    }

    /// Waits until Postgres shows none of the worker's sessions.
    pub(crate) async fn no_sessions_left(&self) -> Result<()> {
        wait_until("no session is left", PATIENCE, async || {
            match self.sessions().await {
                Ok(sessions) if sessions.is_empty() => Seen::Yes(()),
                other => Seen::NotYet(other.map_err(|error| error.to_string())),
            }
        })
        .await
    }

    /// Waits until the worker is ready.
    pub(crate) async fn ready(&self) -> Result<()> {
        wait_until("the worker is ready", PATIENCE, async || {
            match self.get("/readyz", None).await {
                Ok(answer) if answer.status == 200 => Seen::Yes(()),
                Ok(answer) => Seen::NotYet(answer.body),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        })
        .await
    }

    /// `GET path` of a tenant.
    pub(crate) async fn get(&self, path: &str, tenant: Option<&str>) -> Result<Answer> {
        let mut request = reqwest::Client::new().get(self.url(path));
        if let Some(tenant) = tenant {
            request = request.header("x-tenant-id", tenant);
        }
        let response = request.send().await?;
        let worker = response.headers().get("x-worker").context("no x-worker")?;
        Ok(Answer {
            status: response.status().as_u16(),
            worker: worker.to_str()?.to_owned(),
            body: response.text().await?,
        })
    }

    /// Places an order; answers with its ids.
    pub(crate) async fn place(&self, tenant: &str) -> Result<Value> {
        let response = reqwest::Client::new()
            .post(self.url("/api/orders"))
            .header("x-tenant-id", tenant)
            .json(&json!({"item": "Espresso beans", "quantity": 2}))
            .send()
            .await?;
        ensure!(response.status().as_u16() == 202, "{}", response.status());
        Ok(response.json().await?)
    }

    /// Waits until an order has come to `status`.
    pub(crate) async fn until_status(&self, order: &str, status: &str) -> Result<()> {
        let path = format!("/api/orders/{order}");
        wait_until("the order has come so far", PATIENCE, async || {
            match self.get(&path, Some(TENANT)).await {
                Ok(answer) if answer.json()["order"]["status"] == status => Seen::Yes(()),
                Ok(answer) => Seen::NotYet(answer.body),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        })
        .await
    }

    /// The steps that ran for an order, in order, as the database has them.
    pub(crate) async fn steps_of(&self, order: &str) -> Result<Vec<String>> {
        let steps = "SELECT step FROM effects WHERE order_id = $1::uuid ORDER BY id";
        let mut connection = self.server.connect("desk").await?;
        Ok(sqlx::query_scalar(steps)
            .bind(order)
            .fetch_all(&mut connection)
            .await?)
    }

    /// Takes everything down.
    pub(crate) async fn stop(self) -> Result<()> {
        self.server.stop().await
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Supervisor {
    /// The next message of the worker.
    pub(crate) async fn hear(&mut self) -> Result<FromWorker> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await;
        read.context("the worker says nothing")??;
        Ok(FromWorker::from_line(&line)?)
    }

    /// Says something to the worker.
    pub(crate) async fn say(&mut self, message: &ToWorker) -> Result<()> {
        Ok(self.0.write_all(to_line(message).as_bytes()).await?)
    }
}

impl Answer {
    /// The body, or `null` where it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}
