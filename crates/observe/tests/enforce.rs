//! Enforcement on real servers: what is planned is made, made once, and holds.

use anyhow::{Context, Result, ensure};
use poolwright_embedded::{Options, Server};
use poolwright_observe::connect::connect;
use poolwright_observe::prepare::{Limits, Passwords, Preparation, Step};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{TestServer, wait_until};
use poolwright_topology::declare::{DatabaseUrl, Topology, declare};
use poolwright_topology::prepare::{Change, LeftKind, Preparation as Planned};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor, Row, query};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "versions/installation.rs"]
mod installation;

use installation::installation;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// On two busy cores, everything waited for here takes a second or two.
const SOON: Duration = Duration::from_secs(20);

/// Somebody's server, and whom a fleet's roles are made by.
struct Place {
    admin: String,
    port: u16,
    suffix: String,
}

impl Place {
    fn on(server: &TestServer) -> Result<Self> {
        Ok(Self {
            admin: server.admin_url()?,
            port: server.port()?,
            suffix: server.name("").trim_start_matches('_').to_owned(),
        })
    }

    fn name(&self, wanted: &str) -> String {
        match self.suffix.as_str() {
            "" => wanted.to_owned(),
            suffix => format!("{wanted}_{suffix}"),
        }
    }

    fn url(&self, role: &str, database: &str) -> Result<DatabaseUrl> {
        let role = self.name(role);
        let database = self.name(database);
        let text = format!(
            "postgres://{role}:{role}-s3cret@127.0.0.1:{}/{database}",
            self.port
        );
        Ok(DatabaseUrl::parse(&text)?)
    }

    /// Two pools of three in this many workers, and a monitor, all enforced.
    fn topology(&self, workers: u32) -> Result<Topology> {
        let manifest = format!(
            r#"
            [apps.web]
            command = ["x"]
            instances = {workers}
            [apps.web.pools.prisma]
            max = 3
            url = "{}"
            migrations = "apps/schema/migrations"
            member_of = ["order_desk"]
            [apps.web.pools.dbos]
            max = 3
            url = "{}"
            executor = true
            [prepare]
            url = "{}"
            [enforce]
            monitor = {{ url = "{}" }}
            "#,
            self.url("desk_app", "desk")?.expose(),
            self.url("desk_dbos", "desk_dbos")?.expose(),
            self.admin,
            self.url("watcher", "desk")?.expose(),
        );
        declare(&manifest, &|_| None).map_err(|m| anyhow::anyhow!("{m:?}"))
    }

    async fn begin(&self) -> Result<Preparation> {
        let admin = DatabaseUrl::parse(&self.admin)?;
        Ok(Preparation::begin(&admin, &mut |_| {}).await?)
    }

    async fn plan(&self, topology: &Topology) -> Result<Planned> {
        let mut preparation = self.begin().await?;
        let planned = preparation.plan(topology, Path::new(REPOSITORY)).await?;
        preparation.release().await?;
        Ok(planned)
    }

    /// Makes what the topology wants, and says what was made.
    async fn enforce(&self, topology: &Topology) -> Result<Vec<Change>> {
        let mut made = Vec::new();
        let mut preparation = self.begin().await?;
        let mut note = |step| {
            if let Step::Made(change) = step {
                made.push(change);
            }
        };
        preparation
            .apply(topology, Path::new(REPOSITORY), &mut note)
            .await?;
        preparation.release().await?;
        Ok(made)
    }

    async fn admin(&self) -> Result<PgConnection> {
        Ok(connect(&DatabaseUrl::parse(&self.admin)?, "test").await?)
    }

    async fn limit(&self, role: &str) -> Result<i32> {
        let row = query("SELECT rolconnlimit FROM pg_roles WHERE rolname = $1")
            .bind(self.name(role))
            .fetch_one(&mut self.admin().await?)
            .await?;
        Ok(row.get(0))
    }
}

/// Runs a statement that is a test's own.
async fn execute(connection: &mut PgConnection, statement: impl Into<String>) -> Result<()> {
    connection.execute(AssertSqlSafe(statement.into())).await?;
    Ok(())
}

/// SQLSTATE of the refusal of a statement, or an error when it was not refused.
async fn refused(connection: &mut PgConnection, statement: &str) -> Result<String> {
    let outcome = connection
        .execute(AssertSqlSafe(statement.to_owned()))
        .await;
    let error = outcome
        .err()
        .with_context(|| format!("let through: {statement}"))?;
    let code = error.as_database_error().and_then(|error| error.code());
    Ok(code
        .with_context(|| format!("{statement}: {error}"))?
        .into_owned())
}

const DENIED: &str = "42501";

#[tokio::test]
async fn what_is_planned_is_what_is_made_and_a_second_run_finds_nothing_to_change() -> Result<()> {
    let server = TestServer::start().await?;
    let place = Place::on(&server)?;
    let topology = place.topology(3)?;
    let planned = place.plan(&topology).await?;
    ensure!(planned.left_alone.is_empty(), "{planned:#?}");
    ensure!(!planned.changes.is_empty());
    assert_eq!(place.enforce(&topology).await?, planned.changes);
    assert_eq!(place.plan(&topology).await?, Planned::default());
    assert_eq!(place.enforce(&topology).await?, []);
    assert_eq!(place.limit("desk_app").await?, 9);
    assert_eq!(place.limit("desk_dbos").await?, 9);
    server.stop().await
}

#[tokio::test]
async fn a_role_may_do_what_its_pool_needs_and_nothing_else() -> Result<()> {
    let server = TestServer::start().await?;
    let place = Place::on(&server)?;
    place.enforce(&place.topology(3)?).await?;
    has_least_privileges(&place).await?;
    server.stop().await
}

async fn has_least_privileges(place: &Place) -> Result<()> {
    let (app, dbos) = (
        place.url("desk_app", "desk")?,
        place.url("desk_dbos", "desk_dbos")?,
    );
    let mut orm = connect(&app, "web-0:prisma").await?;
    let shown: i64 = query("SELECT count(*) FROM orders")
        .fetch_one(&mut orm)
        .await?
        .get(0);
    ensure!(shown == 0, "without a tenant no row is shown");
    for statement in [
        "CREATE TABLE mine (id int)",
        "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
        "DELETE FROM orders",
        "CREATE ROLE other",
        "CREATE DATABASE other",
        "SET ROLE pg_read_all_data",
    ] {
        ensure!(refused(&mut orm, statement).await? == DENIED, "{statement}");
    }
    // The executor's role owns its database: DBOS keeps its schema there.
    let mut executor = connect(&dbos, "web-0:dbos").await?;
    execute(&mut executor, "CREATE SCHEMA kept; DROP SCHEMA kept").await?;

    // Neither role gets into the other's database, nor anybody else into either.
    for (url, database) in [(&app, "desk_dbos"), (&dbos, "desk")] {
        let error = connect(&url.with_database(&place.name(database)), "test").await;
        let code = error.err().context("let in")?.code();
        ensure!(code.as_deref() == Some(DENIED), "{database}: {code:?}");
    }

    // The monitor sees the state of others' sessions and ends them, and reads no row.
    let mut watcher = connect(&place.url("watcher", "desk")?, "web:poolwright").await?;
    let pid: i32 = query("SELECT pid FROM pg_stat_activity WHERE usename = $1 AND state = 'idle'")
        .bind(place.name("desk_dbos"))
        .fetch_one(&mut watcher)
        .await?
        .get(0);
    ensure!(refused(&mut watcher, "SELECT * FROM orders").await? == DENIED);
    ensure!(refused(&mut watcher, "CREATE TABLE mine (id int)").await? == DENIED);
    let alter = format!(
        "ALTER ROLE \"{}\" CONNECTION LIMIT 99",
        place.name("desk_app")
    );
    ensure!(refused(&mut watcher, &alter).await? == DENIED);
    query("SELECT pg_terminate_backend($1)")
        .bind(pid)
        .execute(&mut watcher)
        .await?;
    wait_until(
        "the executor's session is gone",
        SOON,
        async || match sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1",
        )
        .bind(pid)
        .fetch_one(&mut watcher)
        .await
        {
            Ok(0) => Seen::Yes(()),
            other => Seen::NotYet(other),
        },
    )
    .await
}

#[tokio::test]
async fn what_somebody_else_made_is_named_and_left_as_it_is() -> Result<()> {
    let server = TestServer::start().await?;
    let place = Place::on(&server)?;
    let (app, dbos) = (place.name("desk_app"), place.name("desk_dbos"));
    let mut admin = place.admin().await?;
    execute(
        &mut admin,
        format!(
            "CREATE ROLE \"{app}\" LOGIN PASSWORD '{app}-s3cret' BYPASSRLS CREATEDB CONNECTION LIMIT 20;
             ALTER ROLE \"{app}\" SET client_connection_check_interval = '7s';
             COMMENT ON ROLE \"{app}\" IS 'The shop''s.';
             CREATE ROLE \"{dbos}\" SUPERUSER LOGIN PASSWORD '{dbos}-s3cret'"
        ),
    )
    .await?;
    execute(
        &mut admin,
        format!("CREATE DATABASE \"{}\" OWNER \"{app}\"", place.name("desk")),
    )
    .await?;
    let before = as_it_is(&mut admin, &app).await?;

    let topology = place.topology(3)?;
    let planned = place.plan(&topology).await?;
    let left: Vec<_> = planned
        .left_alone
        .iter()
        .map(|left| (left.kind, left.role.as_str()))
        .collect();
    assert_eq!(
        left,
        [
            (LeftKind::Attributes, app.as_str()),
            (LeftKind::Owner, app.as_str()),
            (LeftKind::Limit, app.as_str()),
            (LeftKind::ConnectionCheck, app.as_str()),
            (LeftKind::Superuser, dbos.as_str()),
        ]
    );
    place.enforce(&topology).await?;
    assert_eq!(as_it_is(&mut admin, &app).await?, before);
    // Somebody else's database is open to whom it was open.
    let other = place.url("watcher", "desk")?;
    connect(&other, "test")
        .await
        .context("the database stays open")?;
    server.stop().await
}

/// Everything of a role that enforcement could change.
async fn as_it_is(admin: &mut PgConnection, role: &str) -> Result<String> {
    Ok(query(
        "SELECT concat_ws(' ', rolsuper, rolcreatedb, rolbypassrls, rolconnlimit, rolconfig,
                          shobj_description(oid, 'pg_authid'))
         FROM pg_roles WHERE rolname = $1",
    )
    .bind(role)
    .fetch_one(admin)
    .await?
    .get(0))
}

#[tokio::test]
async fn a_role_of_somebody_else_without_a_limit_gets_one_which_then_follows_the_plan() -> Result<()>
{
    let server = TestServer::start().await?;
    let place = Place::on(&server)?;
    let app = place.name("desk_app");
    let mut admin = place.admin().await?;
    execute(
        &mut admin,
        format!(
            "CREATE ROLE \"{app}\" LOGIN PASSWORD '{app}-s3cret';
             COMMENT ON ROLE \"{app}\" IS 'The shop''s.'"
        ),
    )
    .await?;
    for (workers, limit) in [(3, 9), (4, 12), (2, 6)] {
        let topology = place.topology(workers)?;
        place.enforce(&topology).await?;
        assert_eq!(place.limit("desk_app").await?, limit);
        assert_eq!(place.plan(&topology).await?, Planned::default());
    }
    let comment: String =
        query("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1")
            .bind(&app)
            .fetch_one(&mut admin)
            .await?
            .get(0);
    assert_eq!(comment, "The shop's. [poolwright: limit, check]");
    server.stop().await
}

#[tokio::test]
async fn a_limit_is_not_lowered_below_the_sessions_there_are() -> Result<()> {
    let server = TestServer::start().await?;
    let place = Place::on(&server)?;
    place.enforce(&place.topology(3)?).await?;
    let url = place.url("desk_app", "desk")?;
    let mut open = Vec::new();
    for _ in 0..7 {
        open.push(connect(&url, "web-2:prisma").await?);
    }
    let smaller = place.topology(2)?;
    let planned = place.plan(&smaller).await?;
    ensure!(planned.left_alone.len() == 1, "{planned:#?}");
    ensure!(
        planned.left_alone[0].kind == LeftKind::Sessions,
        "{planned:#?}"
    );
    place.enforce(&smaller).await?;
    assert_eq!(
        (
            place.limit("desk_app").await?,
            place.limit("desk_dbos").await?
        ),
        (9, 6)
    );
    server.stop().await
}

/// H11, and more of it: every burst is admitted to the last place and never beyond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_bursts_of_eighty_connections_none_admits_a_tenth() -> Result<()> {
    // Eight thousand handshakes of SCRAM would measure the hash; the limit is checked after any of them.
    let rules = tempfile::Builder::new().tempdir_in("/var/tmp")?;
    std::fs::set_permissions(rules.path(), std::fs::Permissions::from_mode(0o755))?;
    let hba = rules.path().join("hba");
    std::fs::write(
        &hba,
        "host all all 127.0.0.1/32 trust\nlocal all all trust\n",
    )?;
    std::fs::set_permissions(&hba, std::fs::Permissions::from_mode(0o644))?;
    let options = Options::test()
        .max_connections(120)
        .setting("hba_file", hba.display().to_string());
    let server = Server::start(options).await?;
    let place = Place {
        admin: server.url("postgres"),
        port: server.port(),
        suffix: String::new(),
    };
    place.enforce(&place.topology(3)?).await?;

    let mut most = 0;
    for burst in 0..100 {
        let port = place.port;
        let attempts: Vec<_> = (0..80)
            .map(|_| tokio::spawn(async move { admitted(port).await }))
            .collect();
        let mut held = Vec::new();
        for attempt in attempts {
            held.extend(attempt.await??);
        }
        ensure!(held.len() <= 9, "burst {burst} admitted {}", held.len());
        most = most.max(held.len());
    }
    ensure!(most == 9, "no burst was admitted to the last place: {most}");
    server.stop().await?;
    Ok(())
}

/// An open session of the ORM's role, or nothing when the server refused it with 53300.
async fn admitted(port: u16) -> Result<Option<TcpStream>> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut startup = 196_608_i32.to_be_bytes().to_vec();
    startup.extend(b"user\0desk_app\0database\0desk\0application_name\0burst\0\0");
    let length = i32::try_from(startup.len() + 4)?.to_be_bytes();
    socket
        .write_all(&[length.as_slice(), &startup].concat())
        .await?;
    loop {
        let kind = socket.read_u8().await?;
        let length = usize::try_from(socket.read_i32().await?)?;
        let mut body = vec![0; length.saturating_sub(4)];
        socket.read_exact(&mut body).await?;
        match kind {
            b'Z' => return Ok(Some(socket)),
            b'E' => {
                let text = String::from_utf8_lossy(&body).into_owned();
                ensure!(text.contains("C53300"), "{text}");
                return Ok(None);
            }
            _ => {}
        }
    }
}

/// H10: without a hand of ours, and only because the role has the setting.
#[tokio::test]
async fn the_query_of_a_killed_client_ends_with_it_where_the_role_checks_its_connections()
-> Result<()> {
    let server = TestServer::start().await?;
    let place = Place::on(&server)?;
    place.enforce(&place.topology(3)?).await?;
    let mut admin = place.admin().await?;
    let reset = format!(
        "ALTER ROLE \"{}\" RESET client_connection_check_interval",
        place.name("desk_dbos")
    );
    execute(&mut admin, reset).await?;
    let mut clients = Vec::new();
    for (role, database) in [("desk_app", "desk"), ("desk_dbos", "desk_dbos")] {
        clients.push(
            Command::new("psql")
                .arg("--dbname")
                .arg(place.url(role, database)?.expose())
                .args(["--command", "SELECT pg_sleep(300)"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("psql")?,
        );
    }
    let roles = [place.name("desk_app"), place.name("desk_dbos")];
    let mut sleeping = async |wanted: &[String]| {
        let sleepers: Result<Vec<String>, _> = sqlx::query_scalar(
            "SELECT usename::text FROM pg_stat_activity
             WHERE wait_event = 'PgSleep' AND usename = ANY($1) ORDER BY usename",
        )
        .bind(&roles[..])
        .fetch_all(&mut admin)
        .await;
        match sleepers {
            Ok(sleepers) if sleepers == wanted => Seen::Yes(()),
            other => Seen::NotYet(other),
        }
    };
    let both = roles.clone();
    wait_until("both sleep", SOON, async || sleeping(&both).await).await?;
    for client in &mut clients {
        client.kill()?;
        client.wait()?;
    }
    wait_until("only the unchecked one sleeps", SOON, async || {
        sleeping(&both[1..]).await
    })
    .await?;
    server.stop().await
}

#[tokio::test]
async fn postgresql_15_is_enforced_by_an_administrator_who_is_no_superuser() -> Result<()> {
    enforced_by_no_superuser(Server::start(Options::test()).await?).await
}

#[tokio::test]
async fn postgresql_16_is_enforced_like_15_where_creating_roles_is_no_right_to_all_of_them()
-> Result<()> {
    enforced_by_no_superuser_of(16).await
}

#[tokio::test]
async fn postgresql_17_is_enforced_like_15() -> Result<()> {
    enforced_by_no_superuser_of(17).await
}

#[tokio::test]
async fn postgresql_18_is_enforced_like_15() -> Result<()> {
    enforced_by_no_superuser_of(18).await
}

async fn enforced_by_no_superuser_of(version: u32) -> Result<()> {
    let installation = installation(version)?;
    let options = Options::test().bin_dir(installation.path().join("bin"));
    enforced_by_no_superuser(Server::start(options).await?).await
}

/// The administrator of a managed Postgres: may create roles and databases, and hand on the two groups.
async fn enforced_by_no_superuser(server: Server) -> Result<()> {
    let superuser = DatabaseUrl::parse(&server.url("postgres"))?;
    execute(
        &mut connect(&superuser, "test").await?,
        "CREATE ROLE keeper LOGIN CREATEROLE CREATEDB PASSWORD 'keeper-s3cret';
         GRANT pg_read_all_stats, pg_signal_backend TO keeper WITH ADMIN OPTION",
    )
    .await?;
    let place = Place {
        admin: format!(
            "postgres://keeper:keeper-s3cret@127.0.0.1:{}/postgres",
            server.port()
        ),
        port: server.port(),
        suffix: String::new(),
    };
    for (workers, limit) in [(3, 9), (4, 12), (2, 6)] {
        let topology = place.topology(workers)?;
        place.enforce(&topology).await?;
        assert_eq!(place.plan(&topology).await?, Planned::default());
        assert_eq!(place.limit("desk_app").await?, limit);
    }
    has_least_privileges(&place).await?;
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_role_without_a_password_anywhere_is_refused_by_name() -> Result<()> {
    let server = TestServer::start().await?;
    let place = Place::on(&server)?;
    let topology = place.topology(1)?;
    let planned = place.plan(&topology).await?;
    let mut preparation = place.begin().await?;
    let none = Passwords::default();
    let outcome = preparation
        .enact(&planned.changes, &none, Path::new(REPOSITORY), &mut |_| {})
        .await;
    let said = outcome.err().context("it was made")?.to_string();
    ensure!(said.contains(&place.name("desk_app")), "{said}");
    drop(preparation);
    server.stop().await
}

#[tokio::test]
async fn limits_follow_the_fleet_each_in_its_turn_and_nothing_else_changes() -> Result<()> {
    let server = TestServer::start().await?;
    let place = Place::on(&server)?;
    place.enforce(&place.topology(3)?).await?;
    for (workers, limits, limit) in [
        (5, Limits::Raised, 15),
        (2, Limits::Raised, 15),
        (6, Limits::Lowered, 15),
        (2, Limits::Lowered, 6),
    ] {
        let mut preparation = place.begin().await?;
        let topology = place.topology(workers)?;
        preparation.set_limits(&topology, limits).await?;
        preparation.release().await?;
        assert_eq!(place.limit("desk_app").await?, limit);
        assert_eq!(place.limit("desk_dbos").await?, limit);
    }
    server.stop().await
}
