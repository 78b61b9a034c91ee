//! `poolwright top`: the running fleet on a terminal, as it changes.
//!
//! Three parts that know little of each other. [`state`] is what is known and shown, changed by one event at a time; [`draw`] is
//! the screen as a function of that; here and in [`screen`] and [`fleet`] is the rest: a terminal, a socket, signals and the clock.
//!
//! The supervisor pushes a picture a second and one with every step ([`crate::live`]), so there is nothing to poll. A frame is
//! drawn when something has changed, and only its changed cells are written.

mod draw;
#[cfg(test)]
mod example;
mod fleet;
mod keys;
mod notes;
mod order;
mod paint;
mod screen;
mod state;
mod words;

use crate::cli::Place;
use crate::commands::rolling;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest;
use anstream::ColorChoice;
use clap::Args;
use crossterm::event::{Event as Input, EventStream};
use futures::StreamExt;
use paint::Palette;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::isatty;
use screen::Screen;
use state::{Act, Event, State};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The least time between two frames: keys are answered at once for a person, and a slow line gets ten frames a second at most.
const FRAME: Duration = Duration::from_millis(100);

/// How long a stop that was asked for takes at most.
const STOPPING: Duration = Duration::from_millis(100);

/// How long `--once` waits for a picture. One is made a second; before the first one a fleet may still prepare its databases.
const PATIENCE: Duration = Duration::from_secs(10);

/// How wide `--once` draws where there is no terminal.
const WIDTH: usize = 80;

/// Watch the running fleet on the terminal
///
/// The budget and what of it is used, every slot with its pools, declared against what Postgres shows, and what happens: steps of
/// a reload, restarts, findings as they come and go. A slot's sessions with their queries on demand. Reloads, restarts and scales
/// on a key, after a question. `?` shows the keys.
///
/// When the fleet ends it says so and waits for the next one. Quitting leaves a reload that is under way to the supervisor.
#[derive(Debug, Args)]
#[command(after_help = "\
For programs there is `poolwright status --json`.")]
pub(crate) struct Top {
    /// Print one picture as text and end; needs no terminal
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        if self.once {
            return once(place, &located.file).await;
        }
        let terminal = std::env::var("TERM").unwrap_or_default();
        if let Some(reason) = unfit(
            isatty(rustix::stdio::stdin()),
            isatty(rustix::stdio::stdout()),
            &terminal,
        ) {
            return Err(Failure::said(reason));
        }
        // A fleet that is not there is an error of the command, as with the others; one that goes away later is waited for.
        drop(rolling::connect(place).await?);
        let state = State::of(located.file.display().to_string());
        watch(state, located.state_dir).await
    }
}

/// Why nothing can be drawn here.
fn unfit(stdin: bool, stdout: bool, terminal: &str) -> Option<String> {
    let instead = "`poolwright status --json` says the same to programs, `poolwright top --once` prints one picture";
    match (stdin, stdout, terminal) {
        (_, false, _) => Some(format!(
            "top draws on a terminal, and standard output is none; {instead}"
        )),
        (false, _, _) => Some(format!(
            "top takes keys from a terminal, and standard input is none; {instead}"
        )),
        (_, _, "" | "dumb") => Some(format!(
            "top draws on a terminal that can place its text, found TERM={terminal:?}; {instead}"
        )),
        _ => None,
    }
}

/// As the other commands have it: `NO_COLOR`, `CLICOLOR_FORCE`, and whether there is a terminal.
fn palette() -> Palette {
    match anstream::AutoStream::choice(&std::io::stdout()) {
        ColorChoice::Never => Palette::Plain,
        _ => Palette::Coloured,
    }
}

async fn once(place: &Place, file: &Path) -> Result<Exit, Failure> {
    let fleet = rolling::connect(place).await?;
    let mut state = State::of(file.display().to_string());
    let seen = fleet.watch(async |picture| {
        state.react(Event::Picture(Box::new(picture)));
        false
    });
    match timeout(PATIENCE, seen).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(Failure::source("asking the fleet")(error)),
        Err(_) => {
            return Err(Failure::said(format!(
                "the fleet was not looked at within {} s; it may still prepare its databases",
                PATIENCE.as_secs()
            )));
        }
    }
    let width = crossterm::terminal::size().map_or(WIDTH, |(columns, _)| columns.into());
    for line in draw::page(&state, palette(), width) {
        anstream::println!("{}", paint::ansi(&line));
    }
    Ok(Exit::Success)
}

/// Why the terminal is given back.
enum End {
    Asked,
    Failed(Failure),
}

/// Shows the fleet until somebody has seen enough.
async fn watch(mut state: State, state_dir: PathBuf) -> Result<Exit, Failure> {
    let listen = |kind| signal(kind).map_err(Failure::source("listening for signals"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut quit = listen(SignalKind::quit())?;
    let mut continued = listen(SignalKind::from_raw(Signal::CONT.as_raw()))?;

    let drawing = || Failure::source("drawing on the terminal");
    let palette = palette();
    let draw = move |state: &State, area, buffer: &mut _| draw::draw(state, palette, area, buffer);
    let mut screen = Screen::take(draw).await.map_err(drawing())?;
    let mut keys = EventStream::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let pictures = fleet::watch(&state_dir, &tell);
    tokio::pin!(pictures);
    let mut changed = true;
    let mut next_frame = Instant::now();
    let end = loop {
        if changed && screen.is_idle() && next_frame <= Instant::now() {
            screen.draw(state.clone());
            changed = false;
            next_frame = Instant::now() + FRAME;
        }
        let act = tokio::select! {
            () = &mut pictures => None,
            Some(event) = told.recv() => {
                changed = true;
                state.react(event)
            }
            input = keys.next() => match input {
                Some(Ok(Input::Key(key))) => {
                    changed = true;
                    state.react(Event::Key(key))
                }
                Some(Ok(_)) => {
                    changed = true;
                    None
                }
                Some(Err(error)) => break End::Failed(Failure::source("reading the terminal")(error)),
                None => break End::Asked,
            },
            drawn = screen.done() => match drawn {
                Ok(()) => None,
                Err(error) => break End::Failed(drawing()(error)),
            },
            () = sleep_until(next_frame), if changed && screen.is_idle() => None,
            _ = terminate.recv() => break End::Asked,
            _ = interrupt.recv() => break End::Asked,
            _ = hangup.recv() => break End::Asked,
            _ = quit.recv() => break End::Asked,
            _ = continued.recv() => Some(Act::Repaint),
        };
        match act {
            None => {}
            Some(Act::Quit) => break End::Asked,
            Some(Act::Sessions(slot)) => fleet::ask_sessions(&state_dir, slot, &tell),
            Some(Act::Order { id, order }) => fleet::give(&state_dir, id, order, &tell),
            Some(Act::Suspend) => {
                screen.leave().await;
                // It returns when somebody has the process go on, which is a signal of its own.
                kill_process(getpid(), Signal::TSTP).ok();
                // Where nobody could have it go on (no shell, in a container), the system does not stop it.
                sleep(STOPPING).await;
                screen.retake();
                changed = true;
            }
            Some(Act::Repaint) => {
                // Whoever stopped it may have used the terminal.
                screen.retake();
                changed = true;
            }
        }
    };
    screen.leave().await;
    match end {
        End::Asked => Ok(Exit::Success),
        End::Failed(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_can_be_drawn_it_is_said_what_does_it_instead() {
        for (stdin, stdout, terminal, expected) in [
            (true, true, "xterm-256color", None),
            (true, true, "linux", None),
            (true, false, "xterm", Some("standard output is none")),
            (false, true, "xterm", Some("standard input is none")),
            (true, true, "dumb", Some("found TERM=\"dumb\"")),
            (true, true, "", Some("found TERM=\"\"")),
        ] {
            let said = unfit(stdin, stdout, terminal);
            match expected {
                None => assert_eq!(said, None),
                Some(words) => {
                    let said = said.unwrap_or_default();
                    assert!(said.contains(words), "{said}");
                    assert!(said.contains("status --json"), "{said}");
                }
            }
        }
    }
}
