//! What happens in a fleet, in words.

use crate::style::{self, paint};
use poolwright_supervisor::{Consequence, Event, RollEnd, RollNews, SlotState, StopReason};
use poolwright_topology::tag::SlotId;

/// Something worth a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct News<'a> {
    /// Whose it is; the fleet's, when it is no slot's.
    pub(crate) slot: Option<&'a SlotId>,
    /// The line without the slot's name, painted.
    pub(crate) words: String,
}

/// The lines to an event; none for what the workers say themselves.
pub(crate) fn of(event: &Event) -> Vec<News<'_>> {
    let slot = |slot, words: String| {
        let slot = Some(slot);
        vec![News { slot, words }]
    };
    let fleet = |words: String| vec![News { slot: None, words }];
    let failed =
        |failure: &dyn std::fmt::Display| format!("{} {failure}", paint(style::BAD, "failed"));
    match event {
        Event::Output { .. } | Event::Started { .. } | Event::Gauges { .. } => Vec::new(),
        Event::Holding { app, address } => fleet(format!(
            "{} listens on http://{address}",
            paint(style::STRONG, app)
        )),
        Event::Spawned { slot: of, pid } => slot(of, format!("started as process {pid}")),
        Event::Moved { slot: of, to, .. } => match to {
            SlotState::Launching => slot(of, "launching".into()),
            SlotState::Serving => slot(of, paint(style::GOOD, "serving")),
            SlotState::Draining => slot(of, "draining".into()),
            SlotState::Vacant
            | SlotState::Booting
            | SlotState::Booted
            | SlotState::Vanishing
            | SlotState::Resting
            | SlotState::Parked => Vec::new(),
        },
        Event::AllServing => fleet(paint(style::GOOD, "all workers serve")),
        Event::BadLine { slot: of, error } => slot(
            of,
            format!("said on the channel what is no message: {error}"),
        ),
        Event::Stranger { slot: of, pid } => slot(
            of,
            format!(
                "process {pid} spoke for it by sd_notify and is none of its own, so that does not count"
            ),
        ),
        Event::OnlyReady { slot: of } => slot(
            of,
            "says `ready` without having said `booted`: ready = \"pm2\" is the word for that, and has workers started one at \
             a time and their executor id held for them"
                .into(),
        ),
        Event::OutputDropped { slot: of, lines } => slot(
            of,
            format!("{lines} lines of output were dropped, nobody took them in time"),
        ),
        Event::Failed { failure, .. } => slot(&failure.slot, failed(&failure.cause)),
        Event::Crashed { failure, then, .. } => {
            let mut lines = slot(&failure.slot, failed(&failure.cause));
            lines.extend(slot(&failure.slot, consequence(then)));
            lines
        }
        Event::Roll(news) => match news {
            RollNews::Boots(of) => slot(of, "its successor boots".into()),
            RollNews::Drains(_) | RollNews::Serves(_) | RollNews::Ended(RollEnd::Stopped) => {
                Vec::new()
            }
            RollNews::Ended(RollEnd::Done) => fleet(paint(style::GOOD, "every worker is replaced")),
            RollNews::Ended(RollEnd::Failed(failure)) => fleet(format!(
                "{} {failure}; the others run what they ran before",
                paint(style::BAD, "stopped replacing workers:")
            )),
        },
        Event::Removed { slot: of } => slot(of, "left, and its connections are gone".into()),
        Event::NotRelinquished { reason } => fleet(format!(
            "{} {reason}",
            paint(style::WARN, "the roles' limits stay as high as before:")
        )),
        Event::Unreachable { reason } => fleet(format!(
            "{} {reason}; nothing is launched until it answers",
            paint(style::BAD, "Postgres does not answer:")
        )),
        Event::Reachable => fleet("Postgres answers again".into()),
        Event::TerminatingBackends { slot: of, count } => slot(
            of,
            format!("{count} connections outlive their process, they are terminated"),
        ),
        Event::NotTerminated { slot: of, reason } => slot(
            of,
            format!("its connections cannot be terminated and are waited for: {reason}"),
        ),
        Event::Stopping(reason) => fleet(match reason {
            StopReason::Signal(name) => format!("{name}: draining; a second signal kills"),
            StopReason::SecondSignal(name) => format!("{name} again: killing"),
            StopReason::Request => "asked to stop: draining".into(),
            StopReason::KillRequest => "asked to stop now: killing".into(),
        }),
        Event::Killing { slot: of } => slot(of, paint(style::BAD, "does not leave, is killed")),
        Event::Exited { slot: of, exit, .. } => slot(of, exit.to_string()),
    }
}

fn consequence(then: &Consequence) -> String {
    match then {
        Consequence::Restart { after } => format!(
            "is started again after {} ms, when its connections are gone",
            after.as_millis()
        ),
        Consequence::Park { failures } => {
            format!("is parked after {failures} failures; reload or restart tries it again")
        }
    }
}
