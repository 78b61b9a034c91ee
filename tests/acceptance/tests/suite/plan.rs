//! The sum against the server (B1).

use acceptance::{Setup, Stack};
use anyhow::{Result, ensure};
use poolwright_embedded::Options;
use poolwright_testkit::{TestServer, sampler};

acceptance::both_stacks!(
    a_server_with_room_gets_a_plan_that_fits_line_by_line,
    a_server_with_twenty_connections_is_refused_with_the_reason_and_what_would_fit,
);

async fn a_server_with_room_gets_a_plan_that_fits_line_by_line(stack: Stack) -> Result<()> {
    let setup = Setup::new(stack).await?;
    let plan = setup.poolwright()?.json(&["plan"]).await?;
    ensure!(
        plan["bound"] == 18 && plan["overhead"] == 1 && plan["fits"] == true,
        "{plan:#}"
    );
    let lines = plan["lines"].as_array().cloned().unwrap_or_default();
    ensure!(lines.len() == 2, "{plan:#}");
    for line in lines {
        ensure!(
            line["workers"] == 3 && line["max"] == 3 && line["connections"] == 9,
            "{line}"
        );
    }
    setup.server.stop().await
}

/// The server is asked, not told: `up` refuses as well, and starts nothing.
async fn a_server_with_twenty_connections_is_refused_with_the_reason_and_what_would_fit(
    stack: Stack,
) -> Result<()> {
    let server = TestServer::embedded(Options::test().max_connections(20)).await?;
    let setup = Setup::on(stack, server)?;
    let poolwright = setup.poolwright()?;
    let plan = poolwright
        .run(&["plan", "--json"])
        .await?
        .expect(3)?
        .json()?;
    // 3 of the 20 are reserved for the superuser.
    ensure!(
        plan["fits"] == false && plan["usable"] == 17 && plan["bound"] == 18,
        "{plan:#}"
    );

    let printed = poolwright.run(&["plan"]).await?.expect(3)?.stdout;
    for said in ["does not fit", "19", "17", "what would fit"] {
        ensure!(printed.contains(said), "no {said:?} in:\n{printed}");
    }
    let given = poolwright
        .run(&["plan", "--max-connections", "20"])
        .await?
        .expect(3)?
        .stdout;
    ensure!(given.contains("does not fit"), "{given}");

    poolwright.run(&["up"]).await?.expect(3)?;
    let left = sampler::backends(&setup.server.admin_url()?).await?;
    ensure!(left.is_empty(), "{left:#?}");

    // One of the cures: what the plan calls fitting has to run.
    let smaller = setup.env("PM2_INSTANCES", "2");
    let plan = smaller.poolwright()?.json(&["plan"]).await?;
    ensure!(plan["fits"] == true && plan["bound"] == 12, "{plan:#}");
    smaller.server.stop().await
}
