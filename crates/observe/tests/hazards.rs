//! For every hazard that Postgres shows: made on a real server, found, cured, silent.

use anyhow::{Context, Result, ensure};
use poolwright_embedded::Options;
use poolwright_observe::facts::facts;
use poolwright_observe::limits::limits;
use poolwright_observe::prepare::Preparation;
use poolwright_testkit::TestServer;
use poolwright_topology::budget::plan;
use poolwright_topology::declare::{DatabaseUrl, Topology, declare};
use poolwright_topology::hazard::{Code, Shown, live};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeSet;
use std::path::Path;

const SCHEMA: &str = "apps/schema/migrations";

/// The order desk's two pools: 3 × (3 + 3), and the control connection.
fn topology(server: &TestServer) -> Result<Topology> {
    let manifest = format!(
        r#"
        [apps.web]
        command = ["x"]
        instances = 3
        [apps.web.pools.prisma]
        max = 3
        url = "{}"
        migrations = "{SCHEMA}"
        member_of = ["order_desk"]
        [apps.web.pools.dbos]
        max = 3
        url = "{}"
        executor = true
        "#,
        server.url_as("desk_app", "app-s3cret", "desk")?,
        server.url_as("desk_dbos", "dbos-s3cret", "desk_dbos")?,
    );
    declare(&manifest, &|_| None).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))
}

async fn prepared(server: &TestServer) -> Result<Topology> {
    let topology = topology(server)?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut preparation = Preparation::begin(&admin(server)?, &mut |_| {}).await?;
    preparation
        .apply(&topology, &repository, &mut |_| {})
        .await?;
    preparation.release().await?;
    Ok(topology)
}

fn admin(server: &TestServer) -> Result<DatabaseUrl> {
    Ok(DatabaseUrl::parse(&server.admin_url()?)?)
}

async fn execute(connection: &mut PgConnection, statements: &str) -> Result<()> {
    let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(connection)
        .await;
    done.with_context(|| statements.to_owned()).map(drop)
}

/// What is found on a server now.
async fn found(server: &TestServer, topology: &Topology) -> Result<Vec<Code>> {
    let mut connection = server.admin().await?;
    let limits = limits(&mut connection).await?;
    let plan = plan(topology, &|_| Some(limits.clone()))?;
    let facts = facts(&mut connection, &admin(server)?, topology).await?;
    let found = live::of_servers(topology, &plan, &facts);
    Ok(found.into_iter().map(|live| live.code).collect())
}

/// A hazard, how it is made and how it is cured. `{app}` and `{dbos}` are the roles, `{desk_dbos}` the executor's database.
type Case = (Code, &'static str, &'static str);

const CASES: [Case; 12] = [
    (
        Code::RoleBypassesRls,
        "ALTER ROLE {app} BYPASSRLS",
        "ALTER ROLE {app} NOBYPASSRLS",
    ),
    (
        Code::RoleBypassesRls,
        "ALTER ROLE {app} SUPERUSER",
        "ALTER ROLE {app} NOSUPERUSER",
    ),
    (
        Code::RoleOwnsTables,
        "ALTER TABLE orders OWNER TO {app}",
        "ALTER TABLE orders OWNER TO CURRENT_USER",
    ),
    (
        Code::TenantTableOpen,
        "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
    ),
    (
        Code::TenantTableOpen,
        "DROP POLICY effects_of_tenant ON effects",
        "CREATE POLICY effects_of_tenant ON effects USING (tenant_id = current_tenant())",
    ),
    (
        Code::TenantTableOpen,
        "CREATE TABLE notes (id int, tenant_id uuid); GRANT SELECT (id) ON notes TO {app}",
        "REVOKE SELECT (id) ON notes FROM {app}",
    ),
    (
        Code::LimitBelowPlan,
        "ALTER ROLE {app} CONNECTION LIMIT 8",
        "ALTER ROLE {app} CONNECTION LIMIT 9",
    ),
    (
        Code::LimitBelowPlan,
        "ALTER DATABASE {desk_dbos} CONNECTION LIMIT 8",
        "ALTER DATABASE {desk_dbos} CONNECTION LIMIT -1",
    ),
    (
        Code::ListenCut,
        "ALTER ROLE {dbos} SET idle_session_timeout = '5min'",
        "ALTER ROLE {dbos} RESET idle_session_timeout",
    ),
    (
        Code::ListenCut,
        "ALTER DATABASE {desk_dbos} SET idle_session_timeout = '1h'",
        "ALTER ROLE {dbos} IN DATABASE {desk_dbos} SET idle_session_timeout = 0",
    ),
    (
        Code::OrphansUnnoticed,
        "ALTER ROLE {app} SET client_connection_check_interval = 0",
        "ALTER ROLE {app} SET client_connection_check_interval = '500ms'",
    ),
    (
        Code::OrphansUnnoticed,
        "ALTER ROLE {dbos} RESET client_connection_check_interval",
        "ALTER ROLE {dbos} IN DATABASE {desk_dbos} SET client_connection_check_interval = '1s'",
    ),
];

#[tokio::test]
async fn what_is_made_hazardous_is_found_and_what_is_cured_is_silent() -> Result<()> {
    let server = TestServer::start().await?;
    let topology = prepared(&server).await?;
    let statement = |text: &str| {
        let names = [
            ("{app}", "desk_app"),
            ("{dbos}", "desk_dbos"),
            ("{desk_dbos}", "desk_dbos"),
        ];
        names
            .into_iter()
            .fold(text.to_owned(), |text, (mark, name)| {
                text.replace(mark, &format!("\"{}\"", server.name(name)))
            })
    };
    let mut connection = server.connect("desk").await?;
    for role in ["{app}", "{dbos}"] {
        let cure = format!("ALTER ROLE {role} SET client_connection_check_interval = '1s'");
        execute(&mut connection, &statement(&cure)).await?;
    }
    assert_eq!(found(&server, &topology).await?, [], "as it was prepared");
    for (code, make, cure) in CASES {
        execute(&mut connection, &statement(make)).await?;
        assert_eq!(found(&server, &topology).await?, [code], "{make}");
        execute(&mut connection, &statement(cure)).await?;
        assert_eq!(found(&server, &topology).await?, [], "{cure}");
    }
    server.stop().await
}

/// A hazard of the server as a whole, as it is started with it.
const SERVERS: [(Code, u16, &str); 3] = [
    (Code::OverServer, 15, "3"),
    (Code::NeedsReserved, 21, "3"),
    (Code::NothingReserved, 100, "0"),
];

#[tokio::test]
async fn a_server_without_room_and_one_without_a_slot_for_its_administrator_are_told() -> Result<()>
{
    for (code, max_connections, reserved) in SERVERS {
        let options = Options::test()
            .max_connections(max_connections)
            .setting("superuser_reserved_connections", reserved)
            .setting("client_connection_check_interval", "1s");
        let server = TestServer::embedded(options).await?;
        let topology = prepared(&server).await?;
        assert_eq!(
            found(&server, &topology).await?,
            [code],
            "{max_connections}"
        );
        server.stop().await?;
    }
    Ok(())
}

#[test]
fn every_hazard_that_postgres_shows_is_made_in_one_of_these_tests() -> Result<()> {
    let made = CASES.iter().map(|(code, ..)| *code);
    let made: BTreeSet<Code> = made.chain(SERVERS.map(|(code, ..)| code)).collect();
    let all = Code::ALL.iter().copied();
    let all: BTreeSet<Code> = all.filter(|code| code.shown() == Shown::Server).collect();
    ensure!(made == all, "{:?}", all.difference(&made));
    Ok(())
}

#[tokio::test]
async fn before_anything_is_prepared_there_is_nothing_to_be_said_of_it() -> Result<()> {
    let options = Options::test().setting("client_connection_check_interval", "1s");
    let server = TestServer::embedded(options).await?;
    assert_eq!(found(&server, &topology(&server)?).await?, []);
    server.stop().await
}

#[tokio::test]
async fn the_columns_that_say_whose_a_row_is_may_be_named() -> Result<()> {
    let options = Options::test().setting("client_connection_check_interval", "1s");
    let server = TestServer::embedded(options).await?;
    let mut topology = prepared(&server).await?;
    let mut connection = server.connect("desk").await?;
    let table = "CREATE TABLE notes (id int, shop int); GRANT SELECT ON notes TO order_desk";
    execute(&mut connection, table).await?;
    assert_eq!(found(&server, &topology).await?, []);
    topology.doctor.tenant_columns = vec!["shop".into()];
    assert_eq!(found(&server, &topology).await?, [Code::TenantTableOpen]);
    server.stop().await
}
