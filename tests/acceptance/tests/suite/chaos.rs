//! A minute of chaos on each stack: `make chaos` for longer, and with another seed each time.

use std::time::Duration;

use acceptance::Stack;
use acceptance::chaos::Campaign;
use anyhow::Result;

acceptance::both_stacks!(whatever_is_done_to_the_fleet_no_promise_is_broken);

/// Faults begin for this long. Their plan is the same in every run.
const TIME: Duration = Duration::from_secs(60);
const SEED: u64 = 20;

async fn whatever_is_done_to_the_fleet_no_promise_is_broken(stack: Stack) -> Result<()> {
    let campaign = Campaign {
        stack,
        seed: SEED,
        time: TIME,
        without: None,
    };
    campaign.run(|line| eprintln!("{line}")).await.map(drop)
}
