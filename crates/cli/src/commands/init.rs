//! `poolwright init`: a manifest of what a project shows.

mod draft;
mod started;

use crate::cli::Place;
use crate::ecosystem;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest;
use crate::style::{self, paint};
use clap::Args;
use draft::Draft;
use poolwright_topology::declare::declare;
use started::Started;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Write a manifest of what a project shows
///
/// Looks at a SvelteKit, Node or Rust project: how it is started, where it listens, which pools it has, how large they may
/// be and which variables name their URLs, what migrates. Shows the manifest, then asks. What was not found is left as a
/// comment and said. Nothing is overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright init           look, show, ask
  poolwright init --yes     write it without asking
  poolwright init apps/web  another folder")]
pub(crate) struct Init {
    /// The project's folder [default: this one]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Write it without asking
    #[arg(long, short)]
    yes: bool,
}

impl Init {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let here =
            std::env::current_dir().map_err(Failure::source("finding the working directory"))?;
        let folder = match &self.path {
            Some(path) => here.join(path),
            None => here,
        };
        let folder = folder.canonicalize().map_err(|source| {
            Failure::declaration(format!("cannot read {}: {source}", folder.display()))
        })?;
        let file = place.file.clone();
        let file = file.map_or_else(|| folder.join(manifest::NAME), |file| folder.join(file));
        refuse_existing(&file)?;
        let Draft { text, missing } = drafted(&folder)?;
        anstream::print!("{text}");
        anstream::eprintln!();
        for what in &missing {
            anstream::eprintln!("{}: {what}", paint(style::WARN, "not found"));
        }
        let shown = manifest::shown(&file);
        if !self.yes && !agreed(&shown)? {
            anstream::eprintln!("nothing was written");
            return Ok(Exit::Failure);
        }
        write(&file, &text)?;
        anstream::eprintln!(
            "{} {}; `poolwright plan --max-connections 100` shows what it sums up to",
            paint(style::GOOD, "wrote"),
            shown.display()
        );
        Ok(Exit::Success)
    }
}

fn refuse_existing(file: &Path) -> Result<(), Failure> {
    if file.symlink_metadata().is_ok() {
        return Err(Failure::said(format!(
            "{} is there already, and is not overwritten",
            manifest::shown(file).display()
        )));
    }
    Ok(())
}

/// What the project shows, as a manifest that is valid.
fn drafted(folder: &Path) -> Result<Draft, Failure> {
    let survey =
        poolwright_doctor::survey(folder).map_err(Failure::source("reading the project"))?;
    if survey.node.is_none() && survey.rust.is_none() {
        return Err(Failure::said(format!(
            "no package.json and no Cargo.toml with a package in {}, expected the folder of a project",
            folder.display()
        )));
    }
    let started = by_pm2(folder)?;
    let draft = draft::draft(folder, &survey, started.as_ref());
    // A name that was found in the sources may be none for a manifest.
    declare(&draft.text, &|_| None).map_err(|mistakes| Failure::Declaration {
        file: folder.join(manifest::NAME),
        text: draft.text.clone(),
        mistakes,
    })?;
    Ok(draft)
}

/// How PM2 starts the project, if it does.
fn by_pm2(folder: &Path) -> Result<Option<Started>, Failure> {
    let mut files = manifest::ECOSYSTEM.iter().map(|name| folder.join(name));
    let Some(file) = files.find(|file| file.is_file()) else {
        return Ok(None);
    };
    let evaluated = match ecosystem::evaluate(&file) {
        Ok(evaluated) => evaluated,
        Err(failure) => {
            anstream::eprintln!("{}: {}", paint(style::QUIET, "note"), failure.words());
            return Ok(None);
        }
    };
    let started = Started::of(&evaluated.exported, folder);
    if started.as_ref().is_some_and(|started| started.is_declared) {
        return Err(Failure::said(format!(
            "{} declares the topology already, under its `poolwright` key",
            manifest::shown(&file).display()
        )));
    }
    Ok(started)
}

/// Asks on a terminal; elsewhere nobody is there to agree.
fn agreed(file: &Path) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        anstream::eprintln!("no terminal to ask on; --yes writes it");
        return Ok(false);
    }
    anstream::eprint!("Write it to {}? [y/N] ", file.display());
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(Failure::source("reading the answer"))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Makes the file, and fails where somebody else has made one meanwhile.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = || Failure::source(format!("writing {}", file.display()));
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .map_err(failed())?;
    made.write_all(text.as_bytes()).map_err(failed())
}
