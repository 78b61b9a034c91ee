//! One `.env` decides, for both managers (S1).

use std::collections::BTreeMap;

use acceptance::{Cell, Fleet, Setup};
use anyhow::{Result, ensure};
use poolwright_testkit::sampler;

use acceptance::bound;

acceptance::matrix!(two_workers_of_two_and_four_connections_follow_from_dotenv);

async fn two_workers_of_two_and_four_connections_follow_from_dotenv(cell: Cell) -> Result<()> {
    let setup = Setup::new(cell.stack)
        .await?
        .dotenv("PM2_INSTANCES=2\nPRISMA_POOL_MAX=2\nDBOS_POOL_MAX=4\n")?;
    let plan = setup.poolwright()?.json(&["plan"]).await?;
    ensure!(plan["bound"] == 12, "2 × (2 + 4) is not {plan}");
    let mut expected: BTreeMap<String, usize> = bound::declared(2, 2, 4);
    expected.extend(bound::overhead(cell, &setup).await?);

    let fleet = Fleet::from(cell, setup, 2).await?;
    let lines = fleet.start_up_lines().await?;
    ensure!(lines.len() == 2, "{lines:#?}");
    for line in &lines {
        ensure!(
            line["prisma_pool_max"] == 2 && line["dbos_pool_max"] == 4,
            "{line}"
        );
    }
    let steady = sampler::count(&fleet.backends().await?);
    ensure!(
        steady == expected,
        "steady state {steady:#?}, declared {expected:#?}"
    );
    let verdict = fleet.setup.poolwright()?.json(&["verify"]).await?;
    ensure!(
        verdict["holds"] == true && verdict["peak"] == 12,
        "{verdict:#}"
    );
    fleet.stop().await
}
