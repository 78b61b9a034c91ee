//! `poolwright prepare`: databases, roles and migrations, once.

use crate::cli::Place;
use crate::environment::Environment;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest::{self, Declared};
use crate::passwords::{self, PasswordFile};
use crate::style::{self, paint};
use crate::{commands, servers};
use clap::Args;
use poolwright_observe::prepare::{Passwords, Preparation, Step, shown};
use poolwright_topology::declare::{DatabaseUrl, Topology};
use poolwright_topology::prepare::{Change, LeftAlone, Preparation as Planned};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Create what is missing: roles, databases, migrations
///
/// Runs under an advisory lock, so that of many hosts that start together one does the work and the others find it
/// done. Idempotent: a second run changes nothing. `up` does it as well.
///
/// With --enforce, or [enforce] in the manifest, Postgres itself holds the fleet to its plan: each pool's role gets the pool's
/// bound as its CONNECTION LIMIT and loses every right that it does not need, and the control connection gets a role that sees
/// all sessions and reads no data. What Poolwright did not make is named and left alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright prepare --enforce --dry-run    what would be changed, as words and as SQL
  poolwright prepare --enforce")]
pub(crate) struct Prepare {
    /// Enforce the plan by the roles' limits and rights, also without [enforce] in the manifest
    #[arg(long)]
    enforce: bool,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    changed: bool,
    dry_run: bool,
    steps: Vec<String>,
    changes: Vec<Shown>,
    left_alone: Vec<LeftAlone>,
}

/// A change, and its statements for somebody to read.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    change: Change,
    sql: Vec<String>,
}

impl Prepare {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let environment = Environment::beside(&located.folder)?;
        let mut declared = manifest::read(located, environment)?;
        let server = servers::embed_if_needed(&mut declared).await?;
        if self.enforce {
            manifest::enforce(&mut declared)?;
        }
        let outcome = self.run_on(&declared).await;
        if let Some(server) = server.filter(|server| !server.adopted()) {
            server
                .stop()
                .await
                .map_err(Failure::source("stopping the embedded server"))?;
        }
        outcome
    }

    async fn run_on(&self, declared: &Declared) -> Result<Exit, Failure> {
        let mut report = Report {
            changed: false,
            dry_run: self.dry_run,
            steps: Vec::new(),
            changes: Vec::new(),
            left_alone: Vec::new(),
        };
        if self.dry_run {
            for planned in foresee(declared).await? {
                report.left_alone.extend(planned.left_alone);
                for change in planned.changes {
                    report.add(change, Tense::Future, self.json);
                }
            }
        } else {
            report.left_alone = prepare(declared, &mut |step| match step {
                Step::Waiting => print_step(WAITING),
                Step::Made(change) => report.add(change, Tense::Past, self.json),
            })
            .await?;
        }
        if self.json {
            report.changed = !self.dry_run && !report.changes.is_empty();
            commands::print_json(&report)?;
            return Ok(Exit::Success);
        }
        for left in &report.left_alone {
            print_left(left);
        }
        if report.changes.is_empty() {
            anstream::println!("nothing to change");
        }
        Ok(Exit::Success)
    }
}

impl Report {
    fn add(&mut self, change: Change, tense: Tense, silent: bool) {
        let (words, sql) = (describe(&change, tense), shown(&change));
        if !silent {
            match tense {
                Tense::Past => print_step(&words),
                Tense::Future => {
                    anstream::println!("{words}");
                    for statement in &sql {
                        anstream::println!("    {}", paint(style::QUIET, statement));
                    }
                }
            }
        }
        self.steps.push(words);
        self.changes.push(Shown { change, sql });
    }
}

/// What is said while another host works.
pub(crate) const WAITING: &str = "waiting for another host that is preparing";

/// A line of progress on standard error.
pub(crate) fn print_step(said: &str) {
    anstream::eprintln!("{} {said}", paint(style::QUIET, "prepare"));
}

/// Something that is not as it should be, on standard error.
pub(crate) fn print_left(left: &LeftAlone) {
    anstream::eprintln!(
        "{} the role {} {}\n  {}",
        paint(style::WARN, "left alone:"),
        left.role,
        left.found,
        left.cure
    );
}

/// What would be changed on every server.
async fn foresee(declared: &Declared) -> Result<Vec<Planned>, Failure> {
    let mut all = Vec::new();
    for (server, admin) in servers::administrators(&declared.topology) {
        let failed = || Failure::source(format!("looking at {server}"));
        let mut waits = |_| print_step(WAITING);
        let mut preparation = Preparation::begin(&admin, &mut waits)
            .await
            .map_err(failed())?;
        let planned = preparation
            .plan(&declared.topology, &declared.located.folder)
            .await;
        all.push(planned.map_err(failed())?);
        preparation.release().await.map_err(failed())?;
    }
    Ok(all)
}

/// Prepares every server, then runs the manifest's commands, all under the locks. Says what was left alone.
pub(crate) async fn prepare(
    declared: &Declared,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Vec<LeftAlone>, Failure> {
    let Declared {
        located, topology, ..
    } = declared;
    let mut held = Vec::new();
    let mut left_alone = Vec::new();
    // In the order of their names on every host, so that two hosts cannot wait for each other.
    for (server, admin) in servers::administrators(topology) {
        let failed = || Failure::source(format!("preparing {server}"));
        let mut preparation = Preparation::begin(&admin, progress)
            .await
            .map_err(failed())?;
        let planned = preparation
            .plan(topology, &located.folder)
            .await
            .map_err(failed())?;
        let passwords = passwords(topology, &server, &admin, &planned)?;
        preparation
            .enact(&planned.changes, &passwords, &located.folder, progress)
            .await
            .map_err(failed())?;
        left_alone.extend(planned.left_alone);
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
    Ok(left_alone)
}

/// A password for every role that is to be created: its URL's, the one that was generated for it earlier, or a new one.
fn passwords(
    topology: &Topology,
    server: &str,
    admin: &DatabaseUrl,
    planned: &Planned,
) -> Result<Passwords, Failure> {
    let mut passwords = Passwords::of_urls(topology, admin);
    let Some(mut file) = PasswordFile::of(topology)? else {
        return Ok(passwords);
    };
    for change in &planned.changes {
        let Change::CreateRole { role, .. } = change else {
            continue;
        };
        if passwords.of(role).is_some() {
            continue;
        }
        let pools = topology.pools().filter_map(|(_, pool)| pool.url.clone());
        let urls: Vec<DatabaseUrl> = pools
            .chain(servers::monitor(topology, server))
            .filter(|url| url.server() == server && url.user() == *role)
            .collect();
        let known = urls.iter().find_map(|url| file.password(url));
        let password = match known {
            Some(password) => password,
            None => {
                let password = file.generate(&urls)?;
                print_step(&format!(
                    "generated a password for the role {role}, in {}",
                    file.path().display()
                ));
                password
            }
        };
        passwords.add(role, password);
    }
    Ok(passwords)
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
        .envs(passwords::variable(&declared.topology))
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

/// Whether a change is made or to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tense {
    Past,
    Future,
}

/// A change in words.
pub(crate) fn describe(change: &Change, tense: Tense) -> String {
    let (past, future, what) = match change {
        Change::CreateRole { role, limit, .. } => {
            let limit = limit.map_or_else(String::new, |limit| {
                format!(", with at most {limit} connections")
            });
            ("created", "create", format!("the role {role}{limit}"))
        }
        Change::CreateDatabase {
            database, owner, ..
        } => {
            let owner = owner
                .as_ref()
                .map_or_else(String::new, |owner| format!(", owned by {owner}"));
            (
                "created",
                "create",
                format!("the database {database}{owner}"),
            )
        }
        Change::Migrate {
            database, pending, ..
        } => {
            let migrations = match pending {
                1 => "1 migration".to_owned(),
                n => format!("{n} migrations"),
            };
            ("applied", "apply", format!("{migrations} to {database}"))
        }
        Change::TakeAttributes { role, attributes } => {
            let words: Vec<_> = attributes.iter().map(|one| one.keyword()).collect();
            ("took", "take", format!("{} from {role}", words.join(", ")))
        }
        Change::Mark { role, .. } => (
            "noted",
            "note",
            format!("in the comment of {role} what of it is Poolwright's"),
        ),
        Change::Limit { role, from, to } => {
            let from = from.map_or_else(|| "no limit".to_owned(), |from| from.to_string());
            (
                "changed",
                "change",
                format!("the CONNECTION LIMIT of {role} from {from} to {to}"),
            )
        }
        Change::ConnectionCheck { role, to, .. } => (
            "set",
            "set",
            format!(
                "client_connection_check_interval of {role} to {}",
                humantime::format_duration(*to)
            ),
        ),
        Change::Grant { group, role } => ("made", "make", format!("{role} a member of {group}")),
        Change::GrantConnect { database, role } => {
            ("let", "let", format!("{role} connect to {database}"))
        }
        Change::RevokePublicConnect { database } => {
            ("let", "let", format!("nobody else connect to {database}"))
        }
        Change::RevokePublicCreate { database } => (
            "let",
            "let",
            format!("nobody create in the schema public of {database}"),
        ),
    };
    match tense {
        Tense::Past => format!("{past} {what}"),
        Tense::Future => format!("would {future} {what}"),
    }
}
