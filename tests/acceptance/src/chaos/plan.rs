//! What is going to be done to a fleet: the same for the same seed.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// Fewest and most workers that a scaling asks for.
pub(super) const FEWEST_WORKERS: usize = 2;
pub(super) const MOST_WORKERS: usize = 4;

/// How long something is held, cut off or full.
const HELD_MS: (u64, u64) = (300, 3000);

/// How far the wall clock is set, in seconds: ahead by days, and back by no more than users wait for a workflow that sleeps. DBOS
/// notes down when a sleep ends, by the wall clock, and who takes it up waits until then.
const AHEAD_S: i64 = 2 * 24 * 60 * 60;
const BACK_S: i64 = 3;

/// How many bytes of log still fit on a disk that is nearly full: half a line.
const FIT: u64 = 100;

/// Between two faults of one episode: the second meets the first in the middle of it.
const APART_MS: u64 = 1500;

/// One thing that is done to the fleet. A number that chooses is taken modulo what there is to choose from then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `poolwright reload`.
    Reload,
    /// `poolwright restart` of one slot.
    Restart(usize),
    /// `poolwright scale` to so many workers.
    Scale(usize),
    /// So many clients of the control socket that say nothing, or nonsense.
    Flood(usize),
    /// The supervisor is stopped by SIGSTOP, and goes on.
    HoldSupervisor(Duration),
    /// The supervisor can open no further file.
    FullTable(Duration),
    /// The disk takes so many more bytes of the log, and then none.
    FullDisk(u64, Duration),
    /// The wall clock of supervisor and workers is set by so many seconds.
    SetClock(i64),
    /// SIGKILL of a worker.
    KillWorker(usize),
    /// The same while Postgres works at a query of its: that outlives the worker.
    KillInQuery(usize),
    /// A worker is stopped by SIGSTOP, and goes on.
    HoldWorker(usize, Duration),
    /// `poolwright scale` to one less, and SIGKILL of the worker that leaves, while it has work: its executor will not return.
    GiveUp,
    /// A worker of nobody's that says it is the one of a slot.
    Impostor(usize),
    /// SIGKILL of the supervisor, and a new `up`.
    KillSupervisor,
    /// `pg_terminate_backend` of so many sessions of the fleet, from the given one on.
    Terminate {
        /// How many.
        sessions: i64,
        /// From which, in the order of their names.
        from: i64,
    },
    /// Postgres is stopped and started.
    RestartPostgres,
    /// Nothing comes through between the fleet and Postgres.
    Swallow(Duration),
}

/// Faults that meet each other. The next episode begins when the fleet is whole again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// What is done, and how long after the one before.
    pub faults: Vec<(Duration, Fault)>,
}

/// Episodes without an end.
#[derive(Debug)]
pub struct Plan {
    rng: Rng,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
        }
    }

    fn fault(&mut self) -> Fault {
        let rng = &mut self.rng;
        let which = rng.usize(..20);
        let slot = rng.usize(..12);
        let time = Duration::from_millis(rng.u64(HELD_MS.0..=HELD_MS.1));
        match which {
            0..=2 => Fault::Reload,
            3 => Fault::Restart(slot),
            4 | 5 => Fault::Scale(rng.usize(FEWEST_WORKERS..=MOST_WORKERS)),
            6 => Fault::Flood(rng.usize(20..200)),
            7 => Fault::HoldSupervisor(time),
            8 => Fault::FullTable(time),
            9 => Fault::KillWorker(slot),
            10 => Fault::KillInQuery(slot),
            11 => Fault::HoldWorker(slot, time),
            12 => Fault::KillSupervisor,
            13 => Fault::Terminate {
                sessions: rng.i64(1..=6),
                from: rng.i64(0..18),
            },
            14 => Fault::RestartPostgres,
            15 => Fault::GiveUp,
            16 => Fault::Impostor(slot),
            17 => Fault::Swallow(time),
            18 => Fault::FullDisk(rng.u64(..FIT), time),
            _ => Fault::SetClock(match rng.bool() {
                true => rng.i64(1..=AHEAD_S),
                false => -rng.i64(1..=BACK_S),
            }),
        }
    }
}

impl Iterator for Plan {
    type Item = Episode;

    fn next(&mut self) -> Option<Episode> {
        let (first, second) = (self.fault(), self.fault());
        let apart = Duration::from_millis(self.rng.u64(..APART_MS));
        let mut faults = vec![(Duration::ZERO, first)];
        if self.rng.bool() && !first.stays_alone() && !second.stays_alone() {
            faults.push((apart, second));
        }
        Some(Episode { faults })
    }
}

impl Fault {
    /// Whether nothing may meet it: an impostor would take the place of a worker that has gone, as it may.
    fn stays_alone(self) -> bool {
        matches!(self, Self::Impostor(_))
    }

    /// Whether it may cost a request. What only asks the supervisor, or only disturbs it, may not.
    #[must_use]
    pub fn is_rough(self) -> bool {
        match self {
            Self::Reload
            | Self::Restart(_)
            | Self::Scale(_)
            | Self::Flood(_)
            | Self::HoldSupervisor(_)
            | Self::FullTable(_)
            | Self::FullDisk(..)
            | Self::SetClock(_)
            | Self::Impostor(_) => false,
            Self::KillWorker(_)
            | Self::KillInQuery(_)
            | Self::GiveUp
            | Self::HoldWorker(..)
            | Self::KillSupervisor
            | Self::Terminate { .. }
            | Self::RestartPostgres
            | Self::Swallow(_) => true,
        }
    }

    /// Whether it may make an order to the supervisor fail beside it.
    #[must_use]
    pub fn may_fail_orders(self) -> bool {
        self.is_rough() || matches!(self, Self::FullTable(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reload => write!(f, "reload"),
            Self::Restart(slot) => write!(f, "restart of worker {slot}"),
            Self::Scale(workers) => write!(f, "scale to {workers}"),
            Self::Flood(clients) => write!(f, "{clients} clients of the control socket"),
            Self::HoldSupervisor(time) => write!(f, "SIGSTOP of the supervisor for {time:?}"),
            Self::FullTable(time) => write!(f, "no further file for the supervisor for {time:?}"),
            Self::FullDisk(bytes, time) => {
                write!(f, "no more than {bytes} bytes of log for {time:?}")
            }
            Self::SetClock(seconds) => write!(f, "the wall clock set by {seconds:+} s"),
            Self::KillWorker(slot) => write!(f, "SIGKILL of worker {slot}"),
            Self::KillInQuery(slot) => write!(f, "SIGKILL of worker {slot} in mid query"),
            Self::HoldWorker(slot, time) => write!(f, "SIGSTOP of worker {slot} for {time:?}"),
            Self::GiveUp => write!(
                f,
                "scale to one less, and SIGKILL of the worker that leaves"
            ),
            Self::Impostor(slot) => write!(f, "a second worker {slot}"),
            Self::KillSupervisor => write!(f, "SIGKILL of the supervisor"),
            Self::Terminate { sessions, from } => {
                write!(f, "pg_terminate_backend of {sessions} sessions from {from}")
            }
            Self::RestartPostgres => write!(f, "restart of Postgres"),
            Self::Swallow(time) => write!(f, "nothing through to Postgres for {time:?}"),
        }
    }
}

impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (after, fault)) in self.faults.iter().enumerate() {
            match number {
                0 => write!(f, "{fault}")?,
                _ => write!(f, ", {after:?} later {fault}")?,
            }
        }
        Ok(())
    }
}

impl Episode {
    /// One fault alone.
    #[must_use]
    pub fn of(fault: Fault) -> Self {
        Self {
            faults: vec![(Duration::ZERO, fault)],
        }
    }

    /// Whether it may cost a request.
    #[must_use]
    pub fn is_rough(&self) -> bool {
        self.faults.iter().any(|(_, fault)| fault.is_rough())
    }

    /// Whether an order to the supervisor may fail in it. Of two orders at once, one may be refused.
    #[must_use]
    pub fn may_fail_orders(&self) -> bool {
        let failing = self.faults.iter().any(|(_, fault)| fault.may_fail_orders());
        failing || self.faults.len() > 1
    }

    /// Whether it restarts Postgres.
    #[must_use]
    pub fn restarts_postgres(&self) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|(_, fault)| *fault == Fault::RestartPostgres)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episodes(seed: u64) -> Vec<Episode> {
        Plan::new(seed).take(500).collect()
    }

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(episodes(7), episodes(7));
        assert_ne!(episodes(7), episodes(8));
    }

    #[test]
    fn every_kind_of_fault_comes() {
        let kinds: std::collections::BTreeSet<String> = episodes(1)
            .iter()
            .flat_map(|episode| &episode.faults)
            .map(|(_, fault)| {
                let name = format!("{fault:?}");
                let end = name.find(['(', ' ']).unwrap_or(name.len());
                name[..end].to_owned()
            })
            .collect();
        assert_eq!(kinds.len(), 17, "{kinds:?}");
    }
}
