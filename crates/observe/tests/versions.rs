//! The same on PostgreSQL 16, 17 and 18, which Debian 12 does not have: npm does (`tests/postgres`).
//!
//! Every other test runs on the version that is installed.

use anyhow::{Result, ensure};
use poolwright_embedded::{Options, Server};
use poolwright_observe::connect::connect;
use poolwright_observe::prepare::Preparation;
use poolwright_observe::{census, limits};
use poolwright_topology::census::{Census, Owner};
use poolwright_topology::declare::{DatabaseUrl, declare};
use poolwright_topology::units::Connections;
use std::path::Path;

#[path = "versions/installation.rs"]
mod installation;

use installation::installation;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[tokio::test]
async fn postgresql_16_is_prepared_and_counted_like_15() -> Result<()> {
    prepared_and_counted(16).await
}

#[tokio::test]
async fn postgresql_17_is_prepared_and_counted_like_15() -> Result<()> {
    prepared_and_counted(17).await
}

#[tokio::test]
async fn postgresql_18_is_prepared_and_counted_like_15() -> Result<()> {
    prepared_and_counted(18).await
}

async fn prepared_and_counted(version: u32) -> Result<()> {
    let installation = installation(version)?;
    // A setting that PostgreSQL 15 does not have.
    let options = Options::test()
        .bin_dir(installation.path().join("bin"))
        .setting("reserved_connections", "2");
    let server = Server::start(options).await?;
    let admin = DatabaseUrl::parse(&server.url("postgres"))?;
    let url = |role: &str, database: &str| {
        format!(
            "postgres://{role}:pw@127.0.0.1:{}/{database}",
            server.port()
        )
    };
    let manifest = format!(
        r#"
        [apps.web]
        command = ["x"]
        [apps.web.pools.prisma]
        max = 1
        url = "{}"
        migrations = "apps/schema/migrations"
        member_of = ["order_desk"]
        [apps.web.pools.dbos]
        max = 2
        url = "{}"
        executor = true
        "#,
        url("desk_app", "desk"),
        url("desk_dbos", "desk_dbos"),
    );
    let topology = declare(&manifest, &|_| None).map_err(|m| anyhow::anyhow!("{m:?}"))?;

    let mut steps = 0;
    for _ in 0..2 {
        let mut preparation = Preparation::begin(&admin, &mut |_| {}).await?;
        preparation
            .apply(&topology, Path::new(REPOSITORY), &mut |_| steps += 1)
            .await?;
        preparation.release().await?;
    }
    ensure!(steps == 6, "six steps once, none the second time: {steps}");

    let mut control = connect(&admin, "web:poolwright").await?;
    let limits = limits::limits(&mut control).await?;
    ensure!(limits.reserved == Connections(2), "{limits:?}");
    let plan = poolwright_topology::budget::plan(&topology, &|_| Some(limits.clone()))?;

    let orm = connect(
        &DatabaseUrl::parse(&url("desk_app", "desk"))?,
        "web-0:prisma",
    )
    .await?;
    let dbos = DatabaseUrl::parse(&url("desk_dbos", "desk_dbos"))?;
    let executor = (
        connect(&dbos, "web-0:dbos").await?,
        connect(&dbos, "web-0:dbos").await?,
    );
    let mut observed = Census::new(&topology, &plan);
    for _ in 0..2 {
        let rows = census::sample(&mut control).await?;
        let unattributed = rows
            .iter()
            .find(|row| observed.attribute(row) == Owner::Unattributed);
        ensure!(unattributed.is_none(), "{unattributed:?}");
        observed.sample(&rows);
    }
    let verdict = observed.verdict();
    ensure!(verdict.holds && verdict.findings.is_empty(), "{verdict:?}");
    ensure!(
        verdict.peak == Connections(3) && verdict.overhead == Connections(1),
        "{verdict:?}"
    );
    drop((orm, executor, control));
    server.stop().await?;
    Ok(())
}
