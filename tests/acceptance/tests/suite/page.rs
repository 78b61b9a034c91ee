//! The page in a real browser.

use std::time::Duration;

use acceptance::{Cell, Fleet, Setup};
use anyhow::{Result, ensure};
use poolwright_testkit::built;
use poolwright_testkit::process::{self, shown};

acceptance::matrix!(an_order_placed_on_the_page_is_watched_until_it_is_shipped);

const LIMIT: Duration = Duration::from_secs(90);

/// The screenshot stays, under `artifacts`.
async fn an_order_placed_on_the_page_is_watched_until_it_is_shipped(cell: Cell) -> Result<()> {
    let setup = Setup::new(cell.stack).await?.env("FULFIL_SLEEP_MS", "1000");
    let fleet = Fleet::from(cell, setup, 3).await?;
    let artifacts = built::repository().join("artifacts");
    std::fs::create_dir_all(&artifacts)?;
    let name = cell.name().replace(' ', "-");
    let picture = artifacts.join(format!("order-desk-{name}.png"));
    // An old picture would hide that none was taken.
    if picture.exists() {
        std::fs::remove_file(&picture)?;
    }

    let mut command = process::command(
        &built::node()?,
        &built::sveltekit()?,
        std::iter::empty::<(&str, &str)>(),
    );
    command
        .arg("scripts/page.mjs")
        .arg(fleet.desk.url("/"))
        .arg(&picture);
    let output = process::run(command, LIMIT).await?;
    ensure!(output.status.success(), "{}", shown(&output));
    ensure!(
        picture.metadata()?.len() > 1000,
        "no picture in {}",
        picture.display()
    );
    fleet.stop().await
}
