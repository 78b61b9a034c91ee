//! What a census found, one function per kind of place.

use super::{Backend, Census, Key, Observed, exceeds};
use crate::finding::{Finding, Kind, Severity};
use crate::tag::{Name, SlotId};

impl Census {
    /// Everything that is not as declared, worst first.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.total_findings(&mut findings);
        self.pool_findings(&mut findings);
        self.unnamed_findings(&mut findings);
        self.slot_findings(&mut findings);
        self.stray_findings(&mut findings);
        findings.sort_by(|a, b| {
            (b.severity, a.kind, &a.slot, &a.pool).cmp(&(a.severity, b.kind, &b.slot, &b.pool))
        });
        findings
    }

    fn total_findings(&self, findings: &mut Vec<Finding>) {
        if exceeds(self.peak, self.bound.0) {
            findings.push(Finding {
                kind: Kind::OverBound,
                severity: Severity::Error,
                slot: None,
                pool: None,
                message: format!(
                    "{} connections of the fleet at once, the plan's bound is {}",
                    self.peak, self.bound
                ),
                cure: "the findings below say which slot and pool they belong to".into(),
            });
        }
        if self.hidden > 0 {
            findings.push(Finding {
                kind: Kind::LimitedView,
                severity: Severity::Warning,
                slot: None,
                pool: None,
                message: format!(
                    "the state of {} sessions is hidden from this role; they were counted by name, parallel workers included",
                    self.hidden
                ),
                cure: "GRANT pg_read_all_stats to the role of [prepare].url, or give its URL".into(),
            });
        }
    }

    fn pool_findings(&self, findings: &mut Vec<Finding>) {
        for ((slot, pool), observed) in &self.seen {
            let key = (slot.clone(), pool.clone());
            if !self.declared.has(&key) {
                continue;
            }
            let max = self.declared.max(&key);
            let place = |kind, severity, message, cure: &str| Finding {
                kind,
                severity,
                slot: Some(slot.clone()),
                pool: Some(pool.to_string()),
                message,
                cure: cure.to_owned(),
            };
            if exceeds(observed.peak, max) {
                findings.push(place(
                    Kind::PoolOverDeclared,
                    Severity::Error,
                    format!(
                        "{slot}:{pool} holds {} connections, declared are {max}{}",
                        observed.peak,
                        youngest(observed)
                    ),
                    "give the worker the declared maximum, or end the session that borrows its name",
                ));
            } else if exceeds(observed.peak_with_closing, max) {
                findings.push(place(
                    Kind::ClosingBackend,
                    Severity::Info,
                    format!(
                        "{slot}:{pool} showed {} connections in a single sample, declared are {max}: a closing backend beside its successor",
                        observed.peak_with_closing
                    ),
                    "nothing: it did not last until the next sample",
                ));
            }
            let may_fall_short = self.on_demand.contains(slot) || self.may_have_unnamed(&key);
            if self.samples > 1
                && observed.peak > 0
                && falls_short(observed.peak, max)
                && !may_fall_short
            {
                findings.push(place(
                    Kind::PoolUnderDeclared,
                    Severity::Warning,
                    format!(
                        "{slot}:{pool} holds {} of {max} declared connections",
                        observed.peak
                    ),
                    "a pool that is opened in full at start shows at once that its budget is there",
                ));
            }
        }
        for ((slot, pool), (declared, row)) in &self.foreign_roles {
            let (name, whose) = match pool {
                Some(pool) => (format!("{slot}:{pool}"), "whose pool connects"),
                None => (slot.to_string(), "whose pools connect"),
            };
            findings.push(Finding {
                kind: Kind::ForeignRole,
                severity: Severity::Error,
                slot: Some(slot.clone()),
                pool: pool.as_ref().map(Name::to_string),
                message: format!(
                    "a session borrows the name {name}, {whose} as {declared}: {}",
                    describe(row)
                ),
                cure: format!("end it (SELECT pg_terminate_backend({})) and give that program a name of its own", row.pid),
            });
        }
    }

    /// Whether sessions that name no pool may be of this one.
    fn may_have_unnamed(&self, (slot, pool): &Key) -> bool {
        let mut unnamed = self.unnamed.iter();
        unnamed.any(|((of, among), seen)| of == slot && among.contains(pool) && seen.peak > 0)
    }

    /// What sessions that name a slot alone are more than its pools leave room for.
    fn unnamed_findings(&self, findings: &mut Vec<Finding>) {
        for ((slot, among), observed) in &self.together {
            let max = self.declared.together(slot, among).0;
            let unnamed = self.unnamed.get(&(slot.clone(), among.clone()));
            // Named sessions alone are their own pool's finding.
            let some = unnamed.is_some_and(|unnamed| unnamed.peak > 0);
            if !self.declared.slots().contains(slot) || !some || !exceeds(observed.peak, max) {
                continue;
            }
            let of = match among.as_slice() {
                [] => "in all".to_owned(),
                [first, others @ ..] => others.iter().fold(format!("for {first}"), |list, name| {
                    format!("{list} and {name}")
                }),
            };
            findings.push(Finding {
                kind: Kind::SlotOverDeclared,
                severity: Severity::Error,
                slot: Some(slot.clone()),
                pool: None,
                message: format!(
                    "{slot} holds {} connections {of}, declared are {max} together{}",
                    observed.peak,
                    youngest(observed)
                ),
                cure: "give the program the declared maxima; with application_name in each pool's URL it says whose they are".into(),
            });
        }
    }

    fn slot_findings(&self, findings: &mut Vec<Finding>) {
        let declared = self.declared.slots();
        let about = |kind, slot: &SlotId, message, cure: &str| Finding {
            kind,
            severity: Severity::Error,
            slot: Some(slot.clone()),
            pool: None,
            message,
            cure: cure.to_owned(),
        };
        for slot in declared {
            if !self.holds_any(slot) && self.on_demand.contains(slot) {
                findings.push(Finding {
                    severity: Severity::Info,
                    ..about(
                        Kind::IdleWorker,
                        slot,
                        format!("{slot} serves and holds no connection"),
                        "nothing, if its pools open connections when they need them",
                    )
                });
            } else if !self.holds_any(slot) {
                findings.push(about(
                    Kind::MissingWorker,
                    slot,
                    format!("{slot} holds no connection: no worker runs as it"),
                    "start it, or declare fewer instances",
                ));
            }
            if let Some(pids) = self.shared.get(slot) {
                let list: Vec<String> = pids.iter().map(u32::to_string).collect();
                findings.push(about(
                    Kind::SharedExecutorId,
                    slot,
                    format!(
                        "{} processes connect as {slot}, so as one executor: {}",
                        pids.len(),
                        list.join(", ")
                    ),
                    "end all but one; an executor id belongs to one process",
                ));
            }
        }
        for ((slot, pool), observed) in self.seen.iter().filter(|(_, seen)| seen.peak > 0) {
            if !declared.contains(slot) {
                findings.push(about(
                    Kind::UnknownSlot,
                    slot,
                    format!(
                        "{slot} is not in the plan and holds {} connections as {slot}:{pool}",
                        observed.peak
                    ),
                    "end it, or declare more instances",
                ));
            } else if !self.declared.has(&(slot.clone(), pool.clone())) {
                findings.push(Finding {
                    pool: Some(pool.to_string()),
                    ..about(
                        Kind::UnknownPool,
                        slot,
                        format!(
                            "{slot} has a pool {pool} that the plan does not have, with {} connections",
                            observed.peak
                        ),
                        "declare the pool, or end what opened it",
                    )
                });
            }
        }
        for ((slot, _), observed) in self.unnamed.iter().filter(|(_, seen)| seen.peak > 0) {
            if !declared.contains(slot) {
                findings.push(about(
                    Kind::UnknownSlot,
                    slot,
                    format!(
                        "{slot} is not in the plan and holds {} connections as {slot}",
                        observed.peak
                    ),
                    "end it, or declare more instances",
                ));
            }
        }
    }

    fn holds_any(&self, slot: &SlotId) -> bool {
        let named = self.seen.iter().map(|((of, _), seen)| (of, seen));
        let unnamed = self.unnamed.iter().map(|((of, _), seen)| (of, seen));
        named
            .chain(unnamed)
            .any(|(of, seen)| of == slot && seen.now > 0)
    }

    fn stray_findings(&self, findings: &mut Vec<Finding>) {
        for row in self.strays.values() {
            findings.push(Finding {
                kind: Kind::Unattributed,
                severity: Severity::Error,
                slot: None,
                pool: None,
                message: format!("a session of the fleet's role says not whose it is: {}", describe(row)),
                cure: "set its application_name (PGAPPNAME does), or give that program a role of its own".into(),
            });
        }
    }
}

/// The youngest of too many, for a message.
fn youngest(observed: &Observed) -> String {
    let row = observed.youngest.as_ref();
    row.map(|row| format!("; the youngest is {}", describe(row)))
        .unwrap_or_default()
}

fn falls_short(observed: usize, declared: u32) -> bool {
    u32::try_from(observed).is_ok_and(|observed| observed < declared)
}

fn describe(row: &Backend) -> String {
    let mut text = format!("backend {} named {:?}", row.pid, row.application_name);
    if let Some(role) = &row.role {
        text += &format!(", role \"{role}\"");
    }
    if let Some(database) = &row.database {
        text += &format!(", database \"{database}\"");
    }
    if let Some(client) = &row.client {
        text += &format!(", from {client}");
    }
    if let Some(pid) = row.client_pid {
        text += &format!(" (process {pid})");
    }
    text
}
