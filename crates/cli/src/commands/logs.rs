//! `poolwright logs`: what the workers wrote.

use crate::cli::Place;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::logs::{self, Reader, Record, Source};
use crate::manifest;
use crate::style::{self, paint};
use clap::Args;
use poolwright_topology::tag::SlotId;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked for new lines: at once, for a person.
const LOOK: Duration = Duration::from_millis(100);

/// Show what the workers wrote, and what the supervisor did with them
///
/// `up` keeps one file per slot under .poolwright/logs/, put away at 10 MiB or after a day; the last 8 of a slot are kept, for
/// 14 days. Running or not, the fleet's log is read from there, all slots in one order.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright logs --follow
  poolwright logs web-1 --since 10m
  poolwright logs --json | jq -r 'select(.stream == \"stderr\") | .line'

With --json, one object a line:
  {\"at\":\"2026-01-31T12:00:00.000Z\",\"slot\":\"web-0\",\"stream\":\"stdout\",\"line\":\"…\"}    stream: stdout, stderr, supervisor")]
pub(crate) struct Logs {
    /// The slot, such as web-0 [default: every slot]
    #[arg(value_name = "APP-N")]
    slot: Option<SlotId>,
    /// Go on with what is written from now on, until interrupted
    #[arg(long, short = 'F')]
    follow: bool,
    /// Only what was written since then, as in 30s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Logs {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let folder = logs::folder(&located.state_dir);
        let since = self
            .since
            .and_then(|since| SystemTime::now().checked_sub(since));
        let only = self.slot.as_ref().map(ToString::to_string);
        let mut reader = Reader::open(folder.clone(), only, since);
        let there_are = reader.slots().unwrap_or_default();
        self.refuse_without_logs(&folder, &there_are)?;
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.show(&mut reader) {
                Ok(()) => {}
                // Whoever read it has had enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Exit::Success);
                }
                Err(error) => {
                    let doing = format!("reading the log in {}", folder.display());
                    return Err(Failure::source(doing)(error));
                }
            }
            if !self.follow {
                return Ok(Exit::Success);
            }
        }
    }

    fn refuse_without_logs(&self, folder: &Path, there_are: &[String]) -> Result<(), Failure> {
        if there_are.is_empty() {
            return Err(Failure::said(format!(
                "no log in {}: `poolwright up` writes it",
                folder.display()
            )));
        }
        match &self.slot {
            Some(slot) if !there_are.contains(&slot.to_string()) => Err(Failure::said(format!(
                "no log of {slot} in {}; there are {}",
                folder.display(),
                there_are.join(", ")
            ))),
            _ => Ok(()),
        }
    }

    /// Everything there is at present.
    fn show(&self, reader: &mut Reader) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        while let Some(record) = reader.next()? {
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&record)?)?;
            } else {
                writeln!(out, "{}", rendered(&record))?;
            }
        }
        out.flush()
    }
}

fn rendered(record: &Record) -> String {
    let style = match record.stream {
        Source::Stdout => style::QUIET,
        Source::Stderr => style::WARN,
        Source::Supervisor => style::STRONG,
    };
    format!(
        "{} {} {}",
        paint(style::QUIET, humantime::format_rfc3339_millis(record.at)),
        paint(style, &record.slot),
        record.line
    )
}
