//! `make chaos`: a random campaign on the real fleet, both stacks, by a seed. Leaves what was counted in `artifacts`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acceptance::Stack;
use acceptance::chaos::Campaign;
use anyhow::{Context, Result};
use poolwright_testkit::built;

const STACKS: [Stack; 2] = [Stack::Axum, Stack::Sveltekit];

fn main() -> ExitCode {
    let mut mistakes = Vec::new();
    let minutes = given("MINUTES", "a number from 0 to 240", &mut mistakes, |text| {
        text.parse()
            .ok()
            .filter(|minutes| (0.0..=240.0).contains(minutes))
    });
    let seed = given("SEED", "a whole number", &mut mistakes, |text| {
        text.parse().ok()
    });
    let only = given("STACK", "axum or sveltekit", &mut mistakes, |text| {
        STACKS.into_iter().find(|stack| stack.name() == text)
    });
    if !mistakes.is_empty() {
        tell(&mistakes.join("\n"));
        return ExitCode::from(2);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = seed.unwrap_or_else(|| now.unwrap_or_default().as_secs());
    let stacks = only.map_or(STACKS.to_vec(), |only| vec![only]);
    let played = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(play(&stacks, minutes.unwrap_or(10.0), seed)));
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With every cause, and without where in this program it was noticed.
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn play(stacks: &[Stack], minutes: f64, seed: u64) -> Result<()> {
    for &stack in stacks {
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

/// A variable's value, where it is set and one; a mistake where it is none.
fn given<T>(
    variable: &str,
    expected: &str,
    mistakes: &mut Vec<String>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    let value = read(&text);
    if value.is_none() {
        mistakes.push(format!("{variable}: found {text:?}, expected {expected}"));
    }
    value
}

#[expect(clippy::print_stdout, reason = "what is done is said while it is done")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "why it ended goes where errors go")]
fn tell(text: &str) {
    eprintln!("{text}");
}
