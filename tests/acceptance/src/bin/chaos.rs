//! `make chaos`: a random campaign on the real fleet, both stacks, by a seed. Leaves what was counted in `artifacts`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acceptance::Stack;
use acceptance::chaos::Campaign;
use anyhow::{Context, Result, ensure};
use poolwright_testkit::built;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let minutes: f64 = given("MINUTES")?.unwrap_or(10.0);
    ensure!(
        (0.0..=240.0).contains(&minutes),
        "MINUTES: found {minutes}, expected 0 to 240"
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = given("SEED")?.unwrap_or(now.as_secs());
    let only: Option<String> = given("STACK")?;
    let stacks = [Stack::Axum, Stack::Sveltekit];
    ensure!(
        only.iter()
            .all(|only| stacks.iter().any(|stack| stack.name() == only)),
        "STACK: found {only:?}, expected axum or sveltekit"
    );
    let stacks = stacks.into_iter().filter(|stack| match &only {
        Some(only) => stack.name() == only,
        None => true,
    });
    for stack in stacks {
        say(&format!("{} for {minutes} min, seed {seed}", stack.name()));
        let campaign = Campaign {
            stack,
            seed,
            first: Vec::new(),
            time: Duration::from_secs_f64(minutes * 60.0),
            without: None,
        };
        let counted = campaign.run(say).await?;
        let folder = built::repository().join("artifacts");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(format!("chaos-{}-{seed}.json", stack.name()));
        std::fs::write(file, format!("{counted:#}\n"))?;
    }
    Ok(())
}

fn given<T>(variable: &str) -> Result<Option<T>>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let Ok(text) = std::env::var(variable) else {
        return Ok(None);
    };
    let value = text.parse();
    Ok(Some(
        value.with_context(|| format!("{variable}: found {text:?}"))?,
    ))
}

#[expect(clippy::print_stdout, reason = "what is done is said while it is done")]
fn say(text: &str) {
    println!("{text}");
}
