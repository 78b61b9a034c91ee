//! What reads other people's files, for the fuzzer and for the test that replays what it found.
//!
//! A panic and a hang the fuzzer sees by itself. What else is promised of any file, each of these functions checks: no message has
//! a password in it, every mistake has its place in the file, and a manifest that is accepted has a plan and names that Postgres
//! does not cut off.
//!
//! A seed may have the credentials `u:PW` in its URLs; they become [`SECRET`], which no message may say.

use crate::ecosystem::masked;
use crate::environment::Environment;
use crate::failure::{of_ecosystem, of_manifest};
use poolwright_topology::budget::{ServerLimits, plan};
use poolwright_topology::declare::{Surroundings, Topology, declare, ecosystem};
use poolwright_topology::tag::{MAX_BYTES, SlotId, Tag};
use poolwright_topology::units::Connections;
use std::path::Path;

const PLACEHOLDER: &str = "://u:PW@";
const SECRET: &str = "hunter2-is-not-said";

/// Between a file and the `.env` beside it.
const BESIDE: &str = "\n%%\n";

/// A manifest that asks for every kind of variable.
const ASKING: &str = include_str!("fuzzed/asking.toml");

/// A manifest and, below a line of `%%`, its `.env`.
///
/// # Errors
/// Which promise is broken.
pub fn manifest(bytes: &[u8]) -> Result<(), String> {
    let Some((text, beside)) = input(bytes) else {
        return Ok(());
    };
    with_manifest(&text, &beside)
}

/// What an ecosystem file exports, as JSON, and, below a line of `%%`, its `.env`.
///
/// # Errors
/// Which promise is broken.
pub fn ecosystem_file(bytes: &[u8]) -> Result<(), String> {
    let Some((text, beside)) = input(bytes) else {
        return Ok(());
    };
    // What Node says of a file that it cannot evaluate is shown like this.
    unsaid(&masked(&text))?;
    let Ok(exported) = serde_json::from_str(&text) else {
        return Ok(());
    };
    let Some(environment) = environment_of(&beside)? else {
        return Ok(());
    };
    for profile in [None, Some("production")] {
        let around = Surroundings {
            cpus: 2,
            profile,
            env: &|name| environment.get(name),
            exists: &|path| path.len() % 2 == 0,
        };
        match ecosystem(&exported, &around) {
            Ok(read) => {
                unsaid(&read.notes.join("\n"))?;
                accepted(&read.topology)?;
            }
            Err(mistakes) if mistakes.is_empty() => return Err("refused without a mistake".into()),
            Err(mistakes) => unsaid(&of_ecosystem(Path::new("ecosystem.config.cjs"), &mistakes))?,
        }
    }
    Ok(())
}

/// A `.env` beside a manifest that asks for every kind of variable.
///
/// # Errors
/// Which promise is broken.
pub fn environment(bytes: &[u8]) -> Result<(), String> {
    let Some((beside, _)) = input(bytes) else {
        return Ok(());
    };
    with_manifest(ASKING, &beside)
}

fn with_manifest(text: &str, beside: &str) -> Result<(), String> {
    let Some(environment) = environment_of(beside)? else {
        return Ok(());
    };
    let mistakes = match declare(text, &|name| environment.get(name)) {
        Ok(topology) => return accepted(&topology),
        Err(mistakes) => mistakes,
    };
    if mistakes.is_empty() {
        return Err("refused without a mistake".into());
    }
    for mistake in &mistakes {
        if text.get(mistake.span.clone()).is_none() {
            return Err(format!("{:?} is no place in the file", mistake.span));
        }
    }
    unsaid(&of_manifest(
        Path::new("poolwright.toml"),
        text,
        &mistakes,
        true,
    ))
}

/// Nothing where it cannot be read, which is said in words as well.
fn environment_of(beside: &str) -> Result<Option<Environment>, String> {
    match Environment::in_text(Path::new(".env"), beside) {
        Ok(environment) => Ok(Some(environment)),
        Err(failure) => unsaid(&failure.words()).map(|()| None),
    }
}

/// What has to be true of whatever is accepted.
fn accepted(topology: &Topology) -> Result<(), String> {
    let limits = |_: &str| Some(ServerLimits::assumed(Connections(100)));
    let plan = plan(topology, &limits).map_err(|error| format!("accepted, and then: {error}"))?;
    let lines = plan.lines.iter().map(|line| u64::from(line.connections.0));
    if lines.sum::<u64>() != u64::from(plan.bound.0) {
        return Err("the plan's lines are not its bound".into());
    }
    unsaid(&serde_json::to_string(&plan).map_err(|error| error.to_string())?)?;
    unsaid(&format!("{:?}", topology.prepare.url))?;
    for (app, pool) in topology.pools() {
        unsaid(&format!("{:?}", pool.url))?;
        let last = app.instances.value.0.saturating_sub(1);
        let tag = Tag::Pool {
            slot: SlotId::new(app.name.clone(), last),
            pool: pool.name.clone(),
        };
        let name = tag.application_name().map_err(|error| error.to_string())?;
        if name.len() > MAX_BYTES || name.parse::<Tag>().as_ref() != Ok(&tag) {
            return Err(format!("{name} does not name its pool"));
        }
    }
    Ok(())
}

fn input(bytes: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(bytes).ok()?;
    // The fuzzer reads the word out of the program and puts it where it is no password.
    if text.contains(SECRET) {
        return None;
    }
    let (text, beside) = text.split_once(BESIDE).unwrap_or((text, ""));
    let secret = PLACEHOLDER.replace("PW", SECRET);
    Some((
        text.replace(PLACEHOLDER, &secret),
        beside.replace(PLACEHOLDER, &secret),
    ))
}

fn unsaid(told: &str) -> Result<(), String> {
    match told.contains(SECRET) {
        true => Err(format!("a password is said: {told}")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_said_is_noticed() {
        let (text, beside) = input(b"x://u:PW@h\n%%\nA=x://u:PW@h").unwrap();
        assert!(unsaid(&text).unwrap_err().starts_with("a password is said"));
        assert!(unsaid(&beside).is_err());
        assert_eq!(unsaid("x://u:***@h"), Ok(()));
    }
}
