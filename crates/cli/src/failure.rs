//! Why a command could not do its work, with the exit code that goes with it.

use crate::exit_codes::Exit;
use crate::style;
use miette::{GraphicalReportHandler, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use poolwright_topology::declare::{Mistake, Placed, blotted};
use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// A command's end without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The manifest or the environment is wrong.
    Declaration {
        file: PathBuf,
        text: String,
        mistakes: Vec<Mistake>,
    },
    /// An ecosystem file or the environment is wrong.
    Ecosystem {
        file: PathBuf,
        mistakes: Vec<Placed>,
    },
    /// Anything that is said in one sentence, with its exit code.
    Said { exit: Exit, message: String },
    /// An error of a library, with what was being done.
    Source {
        doing: String,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Failure {
    pub(crate) fn said(message: impl Into<String>) -> Self {
        Self::Said {
            exit: Exit::Failure,
            message: message.into(),
        }
    }

    pub(crate) fn declaration(message: impl Into<String>) -> Self {
        Self::Said {
            exit: Exit::Declaration,
            message: message.into(),
        }
    }

    pub(crate) fn runtime(source: std::io::Error) -> Self {
        Self::source("starting the runtime")(source)
    }

    /// For `map_err`: keeps the chain of causes.
    pub(crate) fn source<E: Error + Send + Sync + 'static>(
        doing: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Source {
            doing,
            source: Box::new(source),
        }
    }

    /// In one line, with every cause. None of them carries a password.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Said { message, .. } => message.clone(),
            Self::Declaration { file, .. } | Self::Ecosystem { file, .. } => {
                format!("{} is wrong", file.display())
            }
            Self::Source { doing, source } => {
                let mut words = doing.clone();
                let mut cause: Option<&dyn Error> = Some(source.as_ref());
                while let Some(error) = cause {
                    words = format!("{words}: {error}");
                    cause = error.source();
                }
                words
            }
        }
    }

    /// What went wrong, in one line.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Declaration { mistakes, .. } => {
                let mistakes = mistakes.iter().map(ToString::to_string);
                mistakes.collect::<Vec<_>>().join("; ")
            }
            Self::Ecosystem { mistakes, .. } => {
                let mistakes = mistakes.iter().map(ToString::to_string);
                mistakes.collect::<Vec<_>>().join("; ")
            }
            Self::Said { message, .. } => message.clone(),
            Self::Source { doing, source } => format!("{doing}: {source}"),
        }
    }

    /// Prints it to standard error and says how to exit.
    pub(crate) fn report(&self) -> Exit {
        match self {
            Self::Declaration {
                file,
                text,
                mistakes,
            } => {
                let pictured = std::io::stderr().is_terminal();
                anstream::eprint!("{}", of_manifest(file, text, mistakes, pictured));
                Exit::Declaration
            }
            Self::Ecosystem { file, mistakes } => {
                anstream::eprint!("{}", of_ecosystem(file, mistakes));
                Exit::Declaration
            }
            Self::Said { exit, message } => {
                anstream::eprintln!(
                    "{}error{}: {message}",
                    style::BAD.render(),
                    style::BAD.render_reset()
                );
                *exit
            }
            Self::Source { doing, source } => {
                let bad = style::BAD;
                anstream::eprintln!("{}error{}: {doing}", bad.render(), bad.render_reset());
                let mut cause: Option<&dyn Error> = Some(source.as_ref());
                let mut said = doing.clone();
                while let Some(error) = cause {
                    let text = error.to_string();
                    // Some libraries repeat their source's text in their own.
                    if !said.contains(&text) {
                        anstream::eprintln!("  because {text}");
                    }
                    said = text;
                    cause = error.source();
                }
                Exit::Failure
            }
        }
    }
}

/// The line above all mistakes.
fn announced(file: &Path, number: usize) -> String {
    let bad = style::BAD;
    format!(
        "{}error{}: {} in {} and its environment; nothing was opened\n",
        bad.render(),
        bad.render_reset(),
        counted(number),
        file.display()
    )
}

fn counted(mistakes: usize) -> String {
    match mistakes {
        1 => "1 mistake".to_owned(),
        n => format!("{n} mistakes"),
    }
}

/// All mistakes of an ecosystem file at once, one line each.
pub(crate) fn of_ecosystem(file: &Path, mistakes: &[Placed]) -> String {
    let mut told = announced(file, mistakes.len());
    for mistake in mistakes {
        told.push_str(&format!("  {}: {mistake}\n", file.display()));
    }
    told
}

/// All mistakes of a manifest at once: one line each, and with `pictured` their places in the file as well. The passwords in
/// the file's URLs are blotted out there.
pub(crate) fn of_manifest(file: &Path, text: &str, mistakes: &[Mistake], pictured: bool) -> String {
    let mut told = announced(file, mistakes.len());
    for mistake in mistakes {
        let (line, column) = position(text, mistake.span.start);
        let file = file.display();
        told.push_str(&format!("  {file}:{line}:{column}: {mistake}\n"));
    }
    if pictured {
        told.push_str(&picture(file, text, mistakes));
    }
    told
}

fn picture(file: &Path, text: &str, mistakes: &[Mistake]) -> String {
    let labels = mistakes.iter().map(|mistake| {
        let after = mistake.span.start.saturating_add(1);
        let end = mistake.span.end.max(after).min(text.len().max(1));
        let label = format!("found {}", mistake.found);
        LabeledSpan::new_with_span(Some(label), mistake.span.start..end)
    });
    let diagnostic = MietteDiagnostic::new(counted(mistakes.len())).with_labels(labels);
    let source = NamedSource::new(file.display().to_string(), blotted(text));
    let report = Report::new(diagnostic).with_source_code(source);
    let mut picture = "\n".to_owned();
    let handler = GraphicalReportHandler::new();
    match handler.render_report(&mut picture, report.as_ref()) {
        Ok(()) => picture + "\n",
        // The lines above say it all.
        Err(_) => String::new(),
    }
}

/// Line and column of a byte, both from 1, the column in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}
