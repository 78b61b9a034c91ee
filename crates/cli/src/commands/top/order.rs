//! What a key can have the supervisor do, and what becomes of it.

use super::notes::Tone;
use crate::commands::rolling;
use poolwright_supervisor::control::{Progress, SlotFailure};
use poolwright_topology::picture::Picture;
use poolwright_topology::tag::{Name, SlotId};
use std::fmt;

/// What a key can have the supervisor do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Reload,
    Restart(SlotId),
    Scale { app: Name, instances: u32 },
}

/// An order that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnderWay {
    pub(super) id: u32,
    pub(super) order: Order,
    /// The last that was heard of it.
    pub(super) progress: Option<Progress>,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) tone: Tone,
    pub(super) words: String,
}

/// What an order came to: the slot that failed and stopped it, if one did, or why it was refused, in words.
pub(super) type Outcome = Result<Option<SlotFailure>, String>;

impl Order {
    /// What it would do to the fleet that was seen, as a question.
    pub(super) fn question(&self, seen: Option<&Picture>) -> String {
        match self {
            Self::Reload => "Replace every worker, one after the other?".to_owned(),
            Self::Restart(slot) => {
                format!("Stop {slot} when it has finished its requests, and start it again?")
            }
            Self::Scale { app, instances } => {
                let Some((picture, now)) = seen.and_then(|picture| {
                    let found = picture.apps.iter().find(|found| found.app == *app)?;
                    Some((picture, found))
                }) else {
                    return format!("Give {app} {instances} workers?");
                };
                let each: u32 = now.slots.first().map_or(0, |slot| {
                    let pools = slot.status.pools.values();
                    pools.fold(0, |sum, max| sum.saturating_add(*max))
                });
                let bound = picture.budget.bound.0;
                let rest = bound.saturating_sub(now.instances.saturating_mul(each));
                let after = rest.saturating_add(instances.saturating_mul(each));
                format!(
                    "Give {app} {instances} workers instead of {}? They may open {after} connections then instead of {bound}, of {} \
                     usable.",
                    now.instances, picture.budget.usable
                )
            }
        }
    }
}

impl Said {
    /// What became of an order, in words.
    pub(super) fn of(order: &Order, outcome: Outcome) -> Self {
        match outcome {
            Ok(None) => Said {
                tone: Tone::Good,
                words: format!("{order}: done"),
            },
            Ok(Some(failure)) => Said {
                tone: Tone::Bad,
                words: rolling::said(&order.to_string(), &failure),
            },
            Err(reason) => Said {
                tone: Tone::Bad,
                words: format!("{order}: {reason}"),
            },
        }
    }
}

impl fmt::Display for Order {
    /// As on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reload => f.write_str("reload"),
            Self::Restart(slot) => write!(f, "restart {slot}"),
            Self::Scale { app, instances } => write!(f, "scale {app}={instances}"),
        }
    }
}
