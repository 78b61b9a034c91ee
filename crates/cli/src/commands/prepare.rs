//! `poolwright prepare`: databases, roles and migrations, once.

use crate::cli::Place;
use crate::environment::Environment;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest::{self, Declared};
use crate::style::{self, paint};
use crate::{commands, servers};
use clap::Args;
use poolwright_observe::prepare::{Preparation, Step};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Create what is missing: roles, databases, migrations
///
/// Runs under an advisory lock, so that of many hosts that start together one does the work and the others find it
/// done. Idempotent: a second run changes nothing. `up` does it as well.
#[derive(Debug, Args)]
pub(crate) struct Prepare {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    changed: bool,
    steps: Vec<String>,
}

impl Prepare {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let environment = Environment::beside(&located.folder)?;
        let mut declared = manifest::read(located, environment)?;
        let server = servers::embed_if_needed(&mut declared).await?;
        let mut steps = Vec::new();
        let outcome = prepare(&declared, &mut |step| {
            let said = describe(&step);
            if !self.json {
                print_step(&said);
            }
            if step != Step::Waiting {
                steps.push(said);
            }
        })
        .await;
        if let Some(server) = server.filter(|server| !server.adopted()) {
            server
                .stop()
                .await
                .map_err(Failure::source("stopping the embedded server"))?;
        }
        outcome?;
        if self.json {
            commands::print_json(&Report {
                changed: !steps.is_empty(),
                steps,
            })?;
        } else if steps.is_empty() {
            anstream::println!("nothing to create");
        }
        Ok(Exit::Success)
    }
}

/// A line of progress on standard error.
pub(crate) fn print_step(said: &str) {
    anstream::eprintln!("{} {said}", paint(style::QUIET, "prepare"));
}

/// Prepares every server, then runs the manifest's commands, all under the locks.
pub(crate) async fn prepare(
    declared: &Declared,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<(), Failure> {
    let Declared {
        located, topology, ..
    } = declared;
    let mut held = Vec::new();
    // In the order of their names on every host, so that two hosts cannot wait for each other.
    for (server, admin) in servers::administrators(topology) {
        let mut preparation = Preparation::begin(&admin, progress)
            .await
            .map_err(Failure::source(format!("preparing {server}")))?;
        preparation
            .apply(topology, &located.folder, progress)
            .await
            .map_err(Failure::source(format!("preparing {server}")))?;
        held.push((server, preparation));
    }
    for command in &topology.prepare.commands {
        run(command, declared).await?;
    }
    for (server, preparation) in held {
        preparation
            .release()
            .await
            .map_err(Failure::source(format!("preparing {server}")))?;
    }
    Ok(())
}

/// Runs one command of `[prepare]`. Its output is shown only when it fails: it runs at every start.
async fn run(command: &[String], declared: &Declared) -> Result<(), Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let words = command.join(" ");
    let output = Command::new(resolve(program, &declared.located.folder))
        .args(arguments)
        .current_dir(&declared.located.folder)
        .envs(declared.environment.additions())
        .envs(servers::url_variables(&declared.topology))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Failure::source(format!("running `{words}` of [prepare]")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines.len().saturating_sub(20);
    Err(Failure::said(format!(
        "`{words}` of [prepare] ended with {}{}",
        output.status,
        lines
            .iter()
            .skip(tail)
            .map(|line| format!("\n  | {line}"))
            .collect::<String>()
    )))
}

/// A program with a `/` in its name is relative to the manifest, any other is looked for in `PATH`.
fn resolve(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') {
        folder.join(program)
    } else {
        PathBuf::from(program)
    }
}

/// A step in words.
pub(crate) fn describe(step: &Step) -> String {
    match step {
        Step::Waiting => "waiting for another host that is preparing".into(),
        Step::Role { name } => format!("created the role {name}"),
        Step::Database { name, owner: None } => format!("created the database {name}"),
        Step::Database {
            name,
            owner: Some(owner),
        } => format!("created the database {name}, owned by {owner}"),
        Step::Migrated {
            database,
            applied: 1,
        } => format!("applied 1 migration to {database}"),
        Step::Migrated { database, applied } => {
            format!("applied {applied} migrations to {database}")
        }
        Step::Member { role, group } => format!("made {role} a member of {group}"),
    }
}
