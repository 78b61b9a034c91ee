//! `poolwright tune`: every size that fits is tried on a real fleet, and nothing of it is left.

use acceptance::{Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_embedded::Options;
use poolwright_testkit::TestServer;
use serde_json::Value;

use crate::reload::lines;

acceptance::both_stacks!(every_size_that_fits_is_tried_and_the_knee_is_told_with_its_lines);

const TENANT: &str = "x-tenant-id: 11111111-1111-4111-8111-111111111111";

async fn every_size_that_fits_is_tried_and_the_knee_is_told_with_its_lines(
    stack: Stack,
) -> Result<()> {
    // 21 for ordinary roles: 3 × (3 + 3) + 1 fit, 3 × (4 + 3) + 1 do not.
    let server = TestServer::embedded(Options::test().max_connections(24)).await?;
    let setup = Setup::on(stack, server)?.prepared().await?;
    let poolwright = setup.poolwright()?;
    let url = format!("http://127.0.0.1:{}/api/orders", setup.port);
    let asked = [
        "tune",
        "web:prisma",
        "--url",
        &url,
        "--header",
        TENANT,
        "--time",
        "1s",
        "--clients",
        "8",
    ];

    let told = [&asked[..], &["--sizes", "2..16", "--json"]].concat();
    let told = poolwright.run(&told).await?.expect(0)?;
    ensure!(
        told.stderr
            .contains("not beyond 3 connections: 4 would need 22 of 21"),
        "{told:#?}"
    );
    let told = lines(&told.stdout)?;
    let tuned = told.last().context("nothing was said")?;
    let sizes = tuned["sizes"].as_array().context("no sizes")?;
    let tried: Vec<_> = sizes
        .iter()
        .map(|one| (&one["size"], &one["bound"]))
        .collect();
    ensure!(
        tried
            == [
                (&Value::from(2), &Value::from(15)),
                (&Value::from(3), &Value::from(18))
            ],
        "{tuned:#}"
    );
    ensure!(
        sizes.iter().all(|one| {
            one["failed"] == 0 && one["per_second"].as_f64().is_some_and(|rate| rate > 10.0)
        }),
        "{tuned:#}"
    );
    let knee = tuned["knee"].as_u64().context("no knee")?;
    let manifest =
        format!("[apps.web.pools.prisma]\nmax = {{ env = \"PRISMA_POOL_MAX\", default = {knee} }}");
    ensure!(tuned["manifest"] == manifest, "{tuned:#}");

    let none = [&asked[..], &["--sizes", "9..9"]].concat();
    let none = poolwright.run(&none).await?.expect(3)?;
    ensure!(
        none.stderr.contains("not even the smallest size fits"),
        "{none:#?}"
    );
    setup.server.stop().await
}
