//! What Postgres itself holds the fleet to (B6): the roles' limits, in steady state, under load, while it scales, and against a
//! client that nobody declared.

use std::time::Duration;

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::{self, Connections, Load};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

acceptance::both_stacks!(
    an_enforced_fleet_at_its_bound_is_never_refused_and_a_rogue_client_is_named
);

const LOAD: Duration = Duration::from_secs(6);
/// A worker looks every other second whether its pools are whole.
const NAMED: Duration = Duration::from_secs(40);
const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// The roles' limits, as Postgres has them.
async fn limits(admin: &mut PgConnection) -> Result<Vec<(String, i32)>> {
    let limits = sqlx::query_as(
        "SELECT rolname, rolconnlimit FROM pg_roles WHERE rolname LIKE 'order\\_desk\\_%' ORDER BY 1",
    );
    Ok(limits.fetch_all(admin).await?)
}

fn both(limit: i32) -> Vec<(String, i32)> {
    ["order_desk_app", "order_desk_dbos"]
        .map(|role| (role.to_owned(), limit))
        .into()
}

async fn an_enforced_fleet_at_its_bound_is_never_refused_and_a_rogue_client_is_named(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack).await?.adding("\n[enforce]\n")?;
    let orm: PgConnectOptions = setup.environment()["DATABASE_URL"].parse()?;
    let cell = Cell {
        stack,
        manager: Manager::Poolwright,
    };
    let fleet = Fleet::from(cell, setup, 3).await?;
    let mut admin = fleet.setup.server.admin().await?;
    ensure!(limits(&mut admin).await? == both(9));

    // At its bound, with every place taken: nobody is refused, least of all the fleet.
    let outcome = ask(&fleet).await?;
    ensure!(
        outcome.failed() == 0 && outcome.succeeded() > 100,
        "{outcome:?}"
    );
    ensure!(!fleet.said().contains("53300"), "{}", fleet.said());
    let rogue = orm
        .clone()
        .application_name("rogue")
        .disable_statement_logging();
    let refused = PgConnection::connect_with(&rogue).await;
    let code = refused.err().and_then(|error| {
        let refused = error.as_database_error()?;
        Some(refused.code()?.into_owned())
    });
    ensure!(
        code.as_deref() == Some("53300"),
        "the tenth is let in: {code:?}"
    );

    // The limits follow the fleet: before the new workers start, and when the old ones have left.
    fleet.scale(4).await?;
    ensure!(limits(&mut admin).await? == both(12));
    fleet.scale(3).await?;
    wait_until("the limits come down", NAMED, async || {
        match limits(&mut admin).await {
            Ok(lowered) if lowered == both(9) => Seen::Yes(()),
            other => Seen::NotYet(other.map_err(|error| error.to_string())),
        }
    })
    .await?;

    // Somebody takes the place of a connection that was lost.
    let rogue = usurped(&fleet, &mut admin, &rogue).await?;
    let named = |line: &str| {
        line.contains("53300")
            && line.contains("of at most 9 connections")
            && line.contains("rogue 1")
    };
    fleet
        .line("who holds the connections", NAMED, named)
        .await?;
    let verify = fleet.setup.poolwright()?;
    let violated = verify.run(&["verify", "--json"]).await?.expect(4)?.json()?;
    let findings = violated["findings"].as_array().context("no findings")?;
    let stranger = findings
        .iter()
        .find(|found| found["kind"] == "unattributed");
    let named = stranger.and_then(|found| found["message"].as_str());
    ensure!(
        named.is_some_and(|message| message.contains("\"rogue\"")),
        "{violated}"
    );
    rogue.close().await?;
    wait_until("the pool is whole again", NAMED, async || {
        match verify.json(&["verify"]).await {
            Ok(verdict) if verdict["holds"] == true && verdict["peak"] == 18 => Seen::Yes(()),
            other => Seen::NotYet(other.map_err(|error| error.to_string())),
        }
    })
    .await?;
    fleet.stop().await
}

/// Ends a session of a worker that stands still meanwhile, and takes its place.
async fn usurped(
    fleet: &Fleet,
    admin: &mut PgConnection,
    rogue: &PgConnectOptions,
) -> Result<PgConnection> {
    let slots = fleet.slots().await?;
    let pid = slots["web-0"]["pid"].as_i64().context("no pid of web-0")?;
    let pid = Pid::from_raw(pid.try_into()?).context("no pid of web-0")?;
    kill_process(pid, Signal::STOP)?;
    let ended = sqlx::query(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
         WHERE application_name = 'web-0:prisma' LIMIT 1",
    )
    .execute(&mut *admin)
    .await;
    let usurped = PgConnection::connect_with(rogue).await;
    kill_process(pid, Signal::CONT)?;
    ended?;
    usurped.context("taking the place of a lost connection")
}

async fn ask(fleet: &Fleet) -> Result<load::Outcome> {
    let load = Load {
        clients: 30,
        connections: Connections::KeepAlive,
        time: LOAD,
        requests: usize::MAX,
    };
    let url = fleet.desk.url("/api/orders");
    load::run(load, move |client, _| {
        client.get(&url).header("x-tenant-id", TENANT)
    })
    .await
}
