//! Tells what happens in a fleet: on the terminal, in its log, and to systemd. None of them can hold the fleet up ([`crate::aside`]).

use crate::aside::{Aside, Given};
use crate::logs::{Source, Writer};
use crate::news;
use crate::service::Service;
use crate::style::{self, paint};
use poolwright_supervisor::{Event, Stream};
use poolwright_topology::tag::SlotId;
use std::io::{self, Write};
use std::path::Path;

/// A line, and where to.
enum Said {
    Out(String),
    Err(String),
    /// Nobody looks any more: this is done, and nothing is printed after it.
    Leave(Box<dyn FnOnce() -> io::Result<()> + Send>),
}

/// Whoever hears of a running fleet.
pub(crate) struct Narrator {
    printer: Aside<Said>,
    log: Writer,
}

impl Narrator {
    pub(crate) fn start(state_dir: &Path) -> io::Result<Self> {
        let mut looked_at = true;
        let print = move |given| {
            // A terminal that is gone is no reason to stop a fleet.
            let _unprinted = match given {
                Given::One(Said::Leave(leave)) => {
                    looked_at = false;
                    leave()
                }
                _ if !looked_at => Ok(()),
                Given::One(Said::Out(line)) => writeln!(anstream::stdout(), "{line}"),
                Given::One(Said::Err(line)) => writeln!(anstream::stderr(), "{line}"),
                Given::Lost(count) => writeln!(
                    anstream::stderr(),
                    "{count} lines were not printed, nobody took them in time; `poolwright logs` has them"
                ),
            };
        };
        let printer = Aside::start("print", print)?;
        let say = printer.also();
        let log = Writer::start(state_dir, move |words| say(Said::Err(words)))?;
        Ok(Self { printer, log })
    }

    /// Workers' lines go to where the worker wrote them; the supervisor's own to standard error.
    pub(crate) fn tell(&self, event: &Event) {
        if let Event::Output { slot, stream, line } = event {
            let printed = format!("{} {line}", paint(style::QUIET, slot));
            let source = match stream {
                Stream::Stdout => {
                    self.out(printed);
                    Source::Stdout
                }
                Stream::Stderr => {
                    self.err(printed);
                    Source::Stderr
                }
            };
            self.log.write(Some(slot), source, line);
            return;
        }
        Service::tell(event);
        for news in news::of(event) {
            self.announce(news.slot, news.words);
        }
    }

    /// What the supervisor's own process does, of a slot or of the fleet: to standard error and to the log.
    pub(crate) fn announce(&self, slot: Option<&SlotId>, painted: String) {
        let words = anstream::adapter::strip_str(&painted).to_string();
        self.log.write(slot, Source::Supervisor, &words);
        if slot.is_none() {
            Service::status(&words);
        }
        self.err(match slot {
            Some(slot) => format!("{} {painted}", paint(style::STRONG, slot)),
            None => painted,
        });
    }

    /// To standard output.
    pub(crate) fn out(&self, line: String) {
        self.printer.give(Said::Out(line));
    }

    /// When everything until now is printed, does this and prints nothing more.
    pub(crate) fn leave(&self, then: impl FnOnce() -> io::Result<()> + Send + 'static) {
        self.printer.give(Said::Leave(Box::new(then)));
    }

    fn err(&self, line: String) {
        self.printer.give(Said::Err(line));
    }

    /// Waits until everything is told, but not for ever.
    pub(crate) fn finish(self) {
        // It may have something to say at its end.
        self.log.finish();
        self.printer.finish();
    }
}
