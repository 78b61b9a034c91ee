//! What breaks a topology is found before it runs, and in what runs (B8).

use acceptance::{Cell, Fleet, Manager, Poolwright, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_embedded::Options;
use poolwright_testkit::TestServer;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

acceptance::both_stacks!(
    the_order_desk_has_no_hazards_while_it_runs_and_those_it_is_given_are_found,
    what_does_not_answer_is_said_and_the_files_are_examined_all_the_same,
);

async fn the_order_desk_has_no_hazards_while_it_runs_and_those_it_is_given_are_found(
    stack: Stack,
) -> Result<()> {
    // What `prepare --enforce` would set for the roles.
    let options = Options::test().setting("client_connection_check_interval", "1s");
    let setup = Setup::on(stack, TestServer::embedded(options).await?)?;
    let cell = Cell {
        stack,
        manager: Manager::Poolwright,
    };
    let fleet = Fleet::from(cell, setup, 3).await?;
    let doctor = with_node(&fleet.setup)?;
    healthy(&doctor).await?;

    let other = fleet
        .setup
        .server
        .admin_url()?
        .parse::<PgConnectOptions>()?;
    let stray = other.application_name("web-1:prisma").connect().await?;
    found(&doctor, "PW702").await?;
    stray.close().await?;
    healthy(&doctor).await?;

    let mut desk = fleet.setup.server.connect("order_desk").await?;
    for (code, make, cure) in [
        (
            "PW504",
            "ALTER TABLE effects DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE effects ENABLE ROW LEVEL SECURITY",
        ),
        (
            "PW604",
            "ALTER ROLE order_desk_app CONNECTION LIMIT 8",
            "ALTER ROLE order_desk_app CONNECTION LIMIT -1",
        ),
    ] {
        sqlx::query(make).execute(&mut desk).await?;
        found(&doctor, code).await?;
        sqlx::query(cure).execute(&mut desk).await?;
        healthy(&doctor).await?;
    }
    fleet.stop().await
}

async fn what_does_not_answer_is_said_and_the_files_are_examined_all_the_same(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack).await?;
    let nobody = "postgres://order_desk_app:orm-secret@127.0.0.1:1/order_desk";
    let setup = setup.env("DATABASE_URL", nobody);
    let doctor = with_node(&setup)?;
    let answer = doctor.run(&["doctor"]).await?.expect(1)?;
    ensure!(
        answer.stderr.contains("Postgres could not be asked") && answer.stderr.contains("--static"),
        "{answer:?}"
    );
    doctor.run(&["doctor", "--static"]).await?.expect(0)?;
    let setup = setup.without("DATABASE_URL");
    let answer = with_node(&setup)?.run(&["doctor"]).await?.expect(0)?;
    let said = "Postgres was not asked: no DATABASE_URL";
    ensure!(answer.stderr.contains(said), "{answer:?}");
    setup.server.stop().await
}

/// The command, with Node on its `PATH`: the application's ecosystem file is evaluated.
fn with_node(setup: &Setup) -> Result<Poolwright> {
    let by_the_file = setup.poolwright_by_the_ecosystem_file()?;
    Ok(by_the_file.reading("poolwright.toml"))
}

async fn healthy(doctor: &Poolwright) -> Result<()> {
    let report = doctor.run(&["doctor", "--json"]).await?.expect(0)?.json()?;
    let none = |part: &str| report[part].as_array().is_some_and(Vec::is_empty);
    ensure!(none("findings") && none("notes"), "{report:#}");
    Ok(())
}

/// One hazard, in the manifest at its pool's declaration.
async fn found(doctor: &Poolwright, code: &str) -> Result<()> {
    let report = doctor.run(&["doctor", "--json"]).await?.expect(5)?.json()?;
    let findings = report["findings"].as_array().context("findings")?;
    let codes: Vec<&Value> = findings.iter().map(|found| &found["code"]).collect();
    ensure!(codes == [code], "{report:#}");
    let place = &findings[0]["place"];
    ensure!(
        place["file"] == "poolwright.toml" && place["line"] == 11,
        "{report:#}"
    );
    Ok(())
}
