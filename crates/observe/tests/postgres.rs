//! Limits, census and preparation against a real server.

use anyhow::{Context, Result};
use poolwright_embedded::{Options, Server};
use poolwright_observe::clients::Clients;
use poolwright_observe::connect::{Error, connect};
use poolwright_observe::prepare::{Preparation, Step};
use poolwright_observe::{census, limits};
use poolwright_testkit::TestServer;
use poolwright_topology::budget::{Cap, CapOn};
use poolwright_topology::declare::{DatabaseUrl, Topology, declare};
use poolwright_topology::units::Connections;
use sqlx::{AssertSqlSafe, Row, query};
use std::path::Path;
use tokio::sync::oneshot;

fn url(text: &str) -> Result<DatabaseUrl> {
    Ok(DatabaseUrl::parse(text)?)
}

/// The order desk's two pools on `server`, with the schema that both apps share.
fn topology(server: &TestServer) -> Result<Topology> {
    let manifest = format!(
        r#"
        [apps.web]
        command = ["x"]
        instances = 3
        [apps.web.pools.prisma]
        max = 3
        url = "{}"
        migrations = "apps/schema/migrations"
        member_of = ["order_desk"]
        [apps.web.pools.dbos]
        max = 3
        url = "{}"
        executor = true
        "#,
        server.url_as(&server.name("desk_app"), "app-s3cret", &server.name("desk"))?,
        server.url_as(
            &server.name("desk_dbos"),
            "dbos-s3cret",
            &server.name("desk_dbos")
        )?,
    );
    declare(&manifest, &|_| None).map_err(|mistakes| {
        anyhow::anyhow!(
            "{}",
            mistakes.iter().map(ToString::to_string).collect::<String>()
        )
    })
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

async fn prepare(server: &TestServer) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut preparation =
        Preparation::begin(&url(&server.admin_url()?)?, &mut |step| steps.push(step)).await?;
    preparation
        .apply(&topology(server)?, repository(), &mut |step| {
            steps.push(step)
        })
        .await?;
    preparation.release().await?;
    Ok(steps)
}

#[tokio::test]
async fn a_second_preparation_finds_everything_done() -> Result<()> {
    let server = TestServer::start().await?;
    let first = prepare(&server).await?;
    assert_eq!(
        first.len(),
        6,
        "two roles, two databases, migrations, a membership: {first:?}"
    );
    assert_eq!(prepare(&server).await?, []);
    server.stop().await
}

#[tokio::test]
async fn of_hosts_that_prepare_together_one_works_and_the_others_find_it_done() -> Result<()> {
    let server = TestServer::start().await?;
    let all = tokio::try_join!(
        prepare(&server),
        prepare(&server),
        prepare(&server),
        prepare(&server)
    )?;
    let worked: Vec<Vec<Step>> = [all.0, all.1, all.2, all.3]
        .into_iter()
        .map(|steps| {
            steps
                .into_iter()
                .filter(|step| *step != Step::Waiting)
                .collect()
        })
        .collect();
    assert_eq!(
        worked.iter().filter(|steps| !steps.is_empty()).count(),
        1,
        "{worked:?}"
    );
    server.stop().await
}

#[tokio::test]
async fn the_orms_role_owns_nothing_and_cannot_bypass_row_level_security() -> Result<()> {
    let server = TestServer::start().await?;
    prepare(&server).await?;
    let mut connection = server.connect(&server.name("desk")).await?;
    let role = server.name("desk_app");
    let row = query(
        "SELECT rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole AS mighty,
                EXISTS (SELECT FROM pg_class WHERE relowner = r.oid)
                OR EXISTS (SELECT FROM pg_database WHERE datdba = r.oid) AS owner
         FROM pg_roles r WHERE rolname = $1",
    )
    .bind(&role)
    .fetch_one(&mut connection)
    .await?;
    assert!(!row.get::<bool, _>("mighty"));
    assert!(!row.get::<bool, _>("owner"));
    server.stop().await
}

#[tokio::test]
async fn a_role_gets_the_password_of_its_url_which_no_server_log_has() -> Result<()> {
    let options = Options::test().setting("log_statement", "all");
    let server = Server::start(options).await?;
    let log = server.log_file();
    let role = format!("postgres://app:app-s3cret@127.0.0.1:{}/desk", server.port());
    let manifest = format!(
        "[apps.web]\ncommand = [\"x\"]\n[apps.web.pools.prisma]\nmax = 1\nurl = \"{role}\""
    );
    let topology = declare(&manifest, &|_| None).map_err(|m| anyhow::anyhow!("{m:?}"))?;
    let mut preparation = Preparation::begin(&url(&server.url("postgres"))?, &mut |_| {}).await?;
    preparation
        .apply(&topology, repository(), &mut |_| {})
        .await?;
    preparation.release().await?;

    connect(&url(&role)?, "test")
        .await
        .context("the role logs in with its password")?;
    let log = std::fs::read_to_string(log)?;
    assert!(
        log.contains("CREATE ROLE") && log.contains("SCRAM-SHA-256$"),
        "{log}"
    );
    assert!(!log.contains("s3cret"), "{log}");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn limits_are_those_that_the_server_was_given() -> Result<()> {
    let server = TestServer::start().await?;
    let mut admin = server.admin().await?;
    let role = server.name("capped");
    let create = format!("CREATE ROLE \"{role}\" LOGIN CONNECTION LIMIT 7");
    query(AssertSqlSafe(create)).execute(&mut admin).await?;
    let shown: String = query("SHOW max_connections")
        .fetch_one(&mut admin)
        .await?
        .get(0);
    let limits = limits::limits(&mut admin).await?;
    assert_eq!(limits.max_connections, Connections(shown.parse()?));
    assert_eq!(limits.superuser_reserved, Connections(3));
    assert!(limits.caps.contains(&Cap {
        on: CapOn::Role,
        name: role,
        limit: Connections(7),
        ours: false,
    }));
    server.stop().await
}

#[tokio::test]
async fn a_session_is_seen_with_its_name_its_role_and_its_process() -> Result<()> {
    let server = TestServer::start().await?;
    prepare(&server).await?;
    let app = url(&server.url_as(&server.name("desk_app"), "app-s3cret", &server.name("desk"))?)?;
    let _session = connect(&app, "web-1:prisma").await?;
    let mut admin = server.admin().await?;
    let mut rows = census::sample(&mut admin).await?;
    Clients::of(server.port()?).identify(&mut rows);
    let row = rows
        .iter()
        .find(|row| row.application_name == "web-1:prisma")
        .context("the session is seen")?;
    assert_eq!(row.role.as_deref(), Some(server.name("desk_app").as_str()));
    assert_eq!(row.backend_type.as_deref(), Some("client backend"));
    assert_eq!(row.client_pid, Some(std::process::id()));

    // The same local address in a connection to another port is another client's.
    Clients::of(1).identify(&mut rows);
    assert!(rows.iter().all(|row| row.client_pid.is_none()));
    server.stop().await
}

#[tokio::test]
async fn a_reader_without_rights_sees_every_session_though_not_its_state() -> Result<()> {
    let server = TestServer::start().await?;
    prepare(&server).await?;
    let app = url(&server.url_as(&server.name("desk_app"), "app-s3cret", &server.name("desk"))?)?;
    let other = url(&server.url_as(
        &server.name("desk_dbos"),
        "dbos-s3cret",
        &server.name("desk_dbos"),
    )?)?;
    let _session = connect(&other, "web-2:dbos").await?;
    let mut reader = connect(&app, "test").await?;
    let rows = census::sample(&mut reader).await?;
    let row = rows
        .iter()
        .find(|row| row.application_name == "web-2:dbos")
        .context("the session is counted")?;
    assert_eq!((&row.state, &row.backend_type), (&None, &None));
    assert_eq!(row.role.as_deref(), Some(server.name("desk_dbos").as_str()));
    server.stop().await
}

#[tokio::test]
async fn the_lock_of_a_host_that_dies_is_free_again() -> Result<()> {
    let server = TestServer::start().await?;
    let admin = url(&server.admin_url()?)?;
    let dying = Preparation::begin(&admin, &mut |_| {}).await?;
    let (waits, waiting) = oneshot::channel();
    let next = tokio::spawn(async move {
        let mut waits = Some(waits);
        Preparation::begin(&admin, &mut |_| {
            waits.take().map(|waits| waits.send(()));
        })
        .await
    });
    waiting
        .await
        .context("the second host says that it waits")?;
    drop(dying);
    next.await??.release().await?;
    server.stop().await
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_the_password() -> Result<()> {
    let port = poolwright_testkit::ports::free_port()?;
    let gone = url(&format!("postgres://app:s3cret@127.0.0.1:{port}/desk"))?;
    let error = connect(&gone, "test")
        .await
        .err()
        .context("nobody answers")?;
    let said = error.to_string();
    assert!(matches!(error, Error::Connect { .. }));
    assert!(
        said.contains(&port.to_string()) && said.contains("is the server running"),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
    Ok(())
}
