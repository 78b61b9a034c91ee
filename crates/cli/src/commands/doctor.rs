//! `poolwright doctor`: the mistakes that break a topology, before they run.

mod live;
mod sarif;

use crate::cli::Place;
use crate::commands;
use crate::ecosystem;
use crate::environment::Environment;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest;
use crate::style::{self, paint};
use clap::Args;
use poolwright_doctor::{Evaluated, Examined, Note, Report, Surroundings, examine};
use poolwright_topology::finding::Severity;
use poolwright_topology::hazard::{self, Hazard};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Find the mistakes that break a topology before they run
///
/// Reads the project: TypeScript, JavaScript and Rust sources, lock files, .env, ecosystem files and manifests. Where the
/// manifest's URLs are set, asks Postgres too: what the roles may, what tables are open to every tenant, what is left for the
/// fleet; and a running fleet. Every hazard has a place, a reason, a cure and a code, under which a manifest may accept it,
/// with a reason:
///
///   [doctor]
///   allow = [{ code = "PW202", path = "src/tools", reason = "run by hand, never hot-reloaded" }]
///
/// Exits with 5 when something is found that is not accepted, with 1 when nothing is found and somebody did not answer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright doctor                        the project of the manifest, or this folder
  poolwright doctor packages/web           another folder
  poolwright doctor --static --sarif       in a code review: the files alone
  poolwright doctor --json | jq .findings  for a program")]
pub(crate) struct Doctor {
    /// The project's folder [default: the manifest's, or this one]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Read the files only: ask neither Postgres nor a running fleet
    #[arg(long = "static")]
    asks_nobody: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print SARIF 2.1.0, for code reviews
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
}

impl Doctor {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let mut examined = examined(&self.root(place)?, place)?;
        let root = examined.root().to_path_buf();
        let mut silent = false;
        if !self.asks_nobody
            && let Some(located) = self.manifest(place)
        {
            let asked = live::ask(located, &examined).await;
            silent = asked.silent;
            examined.add(asked.hazards, asked.notes);
        }
        let report = examined.report();
        if self.json {
            commands::print_json(&report)?;
        } else if self.sarif {
            let here = std::env::current_dir();
            let here = here.map_err(Failure::source("finding the working directory"))?;
            commands::print_json(&sarif::sarif(&report, &root, &here))?;
        } else {
            for note in &report.notes {
                anstream::eprintln!("{}", note_line(&root, note));
            }
            anstream::print!("{}", render(&root, &report));
        }
        Ok(match (report.findings.is_empty(), silent) {
            (false, _) => Exit::Found,
            (true, true) => Exit::Failure,
            (true, false) => Exit::Success,
        })
    }

    /// The manifest whose servers and whose fleet are asked.
    fn manifest(&self, place: &Place) -> Option<manifest::Located> {
        let mut place = place.clone();
        if place.file.is_none() {
            place.file.clone_from(&self.path);
        }
        manifest::locate(&place).ok()
    }

    /// Where to look: what is asked for, else the manifest's folder, else here.
    fn root(&self, place: &Place) -> Result<PathBuf, Failure> {
        let here =
            std::env::current_dir().map_err(Failure::source("finding the working directory"))?;
        let root = match &self.path {
            Some(path) => here.join(path),
            None if place.file.is_some() => manifest::locate(place)?.folder,
            None => manifest::locate(place).map_or(here, |located| located.folder),
        };
        let root = root.canonicalize().map_err(|source| {
            Failure::declaration(format!("cannot read {}: {source}", root.display()))
        })?;
        if !root.is_dir() {
            let found = root.display();
            return Err(Failure::declaration(format!(
                "{found} is a file, expected the folder of a project"
            )));
        }
        Ok(root)
    }
}

/// The files below `root`, examined.
fn examined(root: &Path, place: &Place) -> Result<Examined, Failure> {
    let environments = Environments::default();
    let evaluate = |file: &Path| match ecosystem::evaluate(file) {
        Ok(ecosystem::Evaluated { exported, cpus }) => Ok(Evaluated { exported, cpus }),
        Err(Failure::Said { message, .. }) => Err(message),
        Err(other) => Err(format!("{other:?}")),
    };
    // A manifest above the root has its say too, as it has for every other command.
    let above = manifest::locate(place).ok().map(|located| located.file);
    let above = above.filter(|file| {
        let is_toml = file.extension().is_some_and(|end| end == "toml");
        is_toml && !file.starts_with(root)
    });
    let around = Surroundings {
        env: &|folder, name| environments.get(folder, name),
        evaluate: &evaluate,
        above: above.as_deref(),
    };
    let examined = examine(root, &around).map_err(|failure| match failure {
        poolwright_doctor::Failure::Manifest(wrong) => Failure::Declaration {
            file: manifest::shown(&wrong.path),
            text: wrong.text,
            mistakes: wrong.mistakes,
        },
        poolwright_doctor::Failure::Io(error) => Failure::source("reading the project")(error),
    });
    environments.refuse_unreadable()?;
    examined
}

/// The environments of manifests, each read once.
#[derive(Default)]
struct Environments {
    read: RefCell<BTreeMap<PathBuf, Option<Environment>>>,
    unreadable: RefCell<Option<Failure>>,
}

impl Environments {
    fn get(&self, folder: &Path, name: &str) -> Option<String> {
        let mut read = self.read.borrow_mut();
        let environment = read.entry(folder.to_path_buf()).or_insert_with(|| {
            let read = Environment::beside(folder)
                .and_then(|read| read.with_embedded(&folder.join(".poolwright")));
            read.map_err(|failure| self.unreadable.replace(Some(failure)))
                .ok()
        });
        environment.as_ref()?.get(name)
    }

    fn refuse_unreadable(self) -> Result<(), Failure> {
        self.unreadable.into_inner().map_or(Ok(()), Err)
    }
}

fn note_line(root: &Path, note: &Note) -> String {
    let place = note.place.as_ref().map(|place| shown(root, place) + ": ");
    format!(
        "{}: {}{}",
        paint(style::QUIET, "note"),
        place.unwrap_or_default(),
        note.text
    )
}

fn render(root: &Path, report: &Report) -> String {
    let mut text = String::new();
    for hazard in &report.findings {
        render_hazard(&mut text, root, hazard);
    }
    let files = match report.files {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let allowed = match report.allowed.len() {
        0 => String::new(),
        count => format!(", {count} allowed by the manifest"),
    };
    // `write!` to a String cannot fail.
    let _infallible = if report.findings.is_empty() {
        let none = paint(style::GOOD, "no hazards");
        writeln!(text, "{none} in {files}{allowed}")
    } else {
        let count = |severity| {
            let of_it = |hazard: &&Hazard| hazard.code.severity() == severity;
            report.findings.iter().filter(of_it).count()
        };
        let counts = [
            (count(Severity::Error), "error"),
            (count(Severity::Warning), "warning"),
            (count(Severity::Info), "hint"),
        ];
        let counts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
            .collect();
        writeln!(text, "{} in {files}{allowed}", counts.join(", "))
    };
    text
}

fn render_hazard(text: &mut String, root: &Path, hazard: &Hazard) {
    let code = hazard.code;
    let severity = match code.severity() {
        Severity::Error => paint(style::BAD, "error"),
        Severity::Warning => paint(style::WARN, "warning"),
        Severity::Info => paint(style::QUIET, "hint"),
    };
    let place = hazard.place.as_ref().map(|place| shown(root, place) + ": ");
    let _infallible = writeln!(
        text,
        "{severity}: {}{} {}\n  because {}\n  cure: {}\n",
        place.unwrap_or_default(),
        hazard.message,
        paint(style::QUIET, format!("[{code} {}]", code.name())),
        code.why(),
        code.cure()
    );
}

/// A place as a person at this working directory would type it.
fn shown(root: &Path, place: &hazard::Place) -> String {
    let file = manifest::shown(&root.join(&place.file));
    let place = hazard::Place::new(file.display().to_string(), place.position);
    place.to_string()
}
