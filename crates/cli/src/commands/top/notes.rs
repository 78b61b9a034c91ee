//! What happened between two pictures of a fleet, one line each.

use crate::commands::rolling;
use poolwright_supervisor::control::Step;
use poolwright_topology::finding::{Finding, Kind, Severity};
use poolwright_topology::handover::SlotState;
use poolwright_topology::picture::{AppPicture, Picture, Reach, SlotPicture};
use poolwright_topology::status::StepTaken;
use poolwright_topology::tag::SlotId;
use std::collections::BTreeMap;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// When, in milliseconds since 1970.
    pub(super) at_unix_ms: u64,
    /// Whose it is; the fleet's, when it is no slot's.
    pub(super) slot: Option<SlotId>,
    /// How it is meant.
    pub(super) tone: Tone,
    /// What, without the slot's name.
    pub(super) words: String,
}

/// How something is meant. What it says is in the words; this is for the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Quiet,
    Strong,
}

impl Note {
    pub(super) const fn of_fleet(at_unix_ms: u64, tone: Tone, words: String) -> Self {
        Self {
            at_unix_ms,
            slot: None,
            tone,
            words,
        }
    }

    const fn of_slot(slot: SlotId, at_unix_ms: u64, tone: Tone, words: String) -> Self {
        Self {
            at_unix_ms,
            slot: Some(slot),
            tone,
            words,
        }
    }

    fn of_step(slot: &SlotId, taken: StepTaken) -> Self {
        let StepTaken { step, at_unix_ms } = taken;
        let slot = slot.clone();
        let tone = match step {
            Step::Serves => Tone::Good,
            Step::Boots | Step::Drains => Tone::Plain,
        };
        Self::of_slot(slot, at_unix_ms, tone, rolling::words(step).to_owned())
    }
}

/// How a finding is meant.
pub(super) const fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Warn,
        Severity::Info => Tone::Plain,
    }
}

/// Its severity in a word.
pub(super) const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// What there is to tell of a fleet that was not seen before: the last steps of each slot, and what is found in it.
pub(super) fn first(picture: &Picture) -> Vec<Note> {
    let slots = picture.apps.iter().flat_map(|app| &app.slots);
    let mut notes: Vec<Note> = slots.flat_map(|slot| steps(slot, &[])).collect();
    notes.sort_by_key(|note| note.at_unix_ms);
    let now = picture.at_unix_ms;
    notes.push(Note::of_fleet(
        now,
        Tone::Quiet,
        format!("watching the fleet of process {}", picture.pid),
    ));
    notes.extend(silence(&picture.postgres, now));
    notes.extend(picture.findings.iter().map(|finding| found(finding, now)));
    notes
}

/// What has changed, oldest first.
pub(super) fn between(before: &Picture, after: &Picture) -> Vec<Note> {
    let now = after.at_unix_ms;
    let mut notes = Vec::new();
    for app in &after.apps {
        let earlier = before.apps.iter().find(|earlier| earlier.app == app.app);
        if let Some(earlier) = earlier {
            of_app(earlier, app, now, &mut notes);
        }
    }
    match (&before.postgres, &after.postgres) {
        (Reach::Answers, silent) => notes.extend(silence(silent, now)),
        (Reach::Silent { .. }, Reach::Answers) => {
            let words = "Postgres answers again".to_owned();
            notes.push(Note::of_fleet(now, Tone::Good, words));
        }
        (Reach::Silent { .. }, Reach::Silent { .. }) => {}
    }
    let earlier: BTreeMap<_, _> = before.findings.iter().map(place).collect();
    let later: BTreeMap<_, _> = after.findings.iter().map(place).collect();
    let come = later
        .iter()
        .filter(|(place, _)| !earlier.contains_key(place));
    notes.extend(come.map(|(_, finding)| found(finding, now)));
    let gone = earlier
        .iter()
        .filter(|(place, _)| !later.contains_key(place));
    notes.extend(gone.map(|(_, finding)| over(finding, now)));
    notes.sort_by_key(|note| note.at_unix_ms);
    notes
}

fn of_app(before: &AppPicture, after: &AppPicture, now: u64, notes: &mut Vec<Note>) {
    if before.instances != after.instances {
        let words = format!(
            "{} is to have {} workers instead of {}",
            after.app, after.instances, before.instances
        );
        notes.push(Note::of_fleet(now, Tone::Strong, words));
    }
    let by_slot = |app: &AppPicture| -> BTreeMap<SlotId, SlotPicture> {
        let slots = app.slots.iter();
        slots
            .map(|slot| (slot.status.slot.clone(), slot.clone()))
            .collect()
    };
    let (earlier, later) = (by_slot(before), by_slot(after));
    for (slot, after) in &later {
        match earlier.get(slot) {
            Some(before) => of_slot(before, after, now, notes),
            None => notes.push(of_state(after, after.status.since_unix_ms)),
        }
    }
    for slot in earlier.keys().filter(|slot| !later.contains_key(slot)) {
        let words = "left, and its connections are gone".to_owned();
        notes.push(Note::of_slot(slot.clone(), now, Tone::Plain, words));
    }
}

fn of_slot(before: &SlotPicture, after: &SlotPicture, now: u64, notes: &mut Vec<Note>) {
    let (earlier, later) = (&before.status, &after.status);
    let known: Vec<StepTaken> = taken(before).collect();
    notes.extend(steps(after, &known));
    let told = earlier.last_step != later.last_step
        && matches!(
            (later.last_step.map(|taken| taken.step), later.state),
            (Some(Step::Drains), SlotState::Draining) | (Some(Step::Serves), SlotState::Serving)
        );
    let moved = (earlier.state, earlier.since_unix_ms) != (later.state, later.since_unix_ms);
    if moved && !told {
        notes.push(of_state(after, later.since_unix_ms));
    }
    if later.restarts > earlier.restarts {
        let words = match &later.last_failure {
            Some(failure) => format!("was started again: {}", without(failure, &later.slot)),
            None => "was started again".to_owned(),
        };
        notes.push(Note::of_slot(later.slot.clone(), now, Tone::Warn, words));
    }
}

/// The last steps that a slot took, oldest first.
fn taken(slot: &SlotPicture) -> impl Iterator<Item = StepTaken> {
    let earlier = slot.status.earlier_steps.iter().copied();
    earlier.chain(slot.status.last_step)
}

/// Those of them that were not known yet.
fn steps(slot: &SlotPicture, known: &[StepTaken]) -> Vec<Note> {
    let new = taken(slot).filter(|taken| !known.contains(taken));
    new.map(|taken| Note::of_step(&slot.status.slot, taken))
        .collect()
}

fn of_state(slot: &SlotPicture, at_unix_ms: u64) -> Note {
    let status = &slot.status;
    let failure = status.last_failure.as_deref().unwrap_or("it kept failing");
    let failure = without(failure, &status.slot);
    let (tone, words) = match status.state {
        SlotState::Serving => (Tone::Good, "serves".to_owned()),
        SlotState::Draining => (Tone::Plain, "drains".to_owned()),
        SlotState::Launching => (Tone::Plain, "launches".to_owned()),
        SlotState::Booting => (Tone::Quiet, "boots".to_owned()),
        SlotState::Booted => (Tone::Quiet, "waits for its turn to launch".to_owned()),
        SlotState::Vanishing => (
            Tone::Quiet,
            "its process is gone, Postgres still shows its connections".to_owned(),
        ),
        SlotState::Resting => (
            Tone::Bad,
            format!("failed, and is started again: {failure}"),
        ),
        SlotState::Parked => (Tone::Bad, format!("is parked: {failure}")),
        SlotState::Vacant => (Tone::Quiet, "has no process".to_owned()),
    };
    Note::of_slot(status.slot.clone(), at_unix_ms, tone, words)
}

/// Failures begin with the slot's name; beside it, it would stand twice.
fn without<'a>(failure: &'a str, slot: &SlotId) -> &'a str {
    let rest = failure.strip_prefix(&slot.to_string());
    rest.map_or(failure, str::trim_start)
}

fn silence(postgres: &Reach, now: u64) -> Option<Note> {
    match postgres {
        Reach::Answers => None,
        Reach::Silent { reason } => {
            let words = format!("Postgres does not answer: {reason}");
            Some(Note::of_fleet(now, Tone::Bad, words))
        }
    }
}

/// What makes two findings the same one, at two moments.
fn place(finding: &Finding) -> ((Kind, Option<&SlotId>, Option<&str>), &Finding) {
    let (slot, pool) = (finding.slot.as_ref(), finding.pool.as_deref());
    ((finding.kind, slot, pool), finding)
}

fn found(finding: &Finding, now: u64) -> Note {
    let words = format!("{}: {}", word(finding.severity), finding.message);
    Note::of_fleet(now, tone(finding.severity), words)
}

fn over(finding: &Finding, now: u64) -> Note {
    let clause = finding.message.split(": ").next().unwrap_or_default();
    Note::of_fleet(now, Tone::Good, format!("no longer: {clause}"))
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn words(notes: &[Note]) -> Vec<String> {
        let line = |note: &Note| match &note.slot {
            Some(slot) => format!("{slot} {}", note.words),
            None => note.words.clone(),
        };
        notes.iter().map(line).collect()
    }

    fn changed(change: impl FnOnce(&mut Picture)) -> Vec<String> {
        let before = example::quiet();
        let mut after = before.clone();
        after.at_unix_ms += 1_000;
        change(&mut after);
        words(&between(&before, &after))
    }

    #[test]
    fn nothing_happened_between_two_pictures_that_say_the_same() {
        assert_eq!(changed(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn every_step_is_told_once_with_the_state_that_comes_of_the_last_one() {
        let taken = |step, at_unix_ms| StepTaken { step, at_unix_ms };
        let at = example::NOW + 800;
        let drains = |picture: &mut Picture| {
            let slot = &mut picture.apps[0].slots[1].status;
            slot.state = SlotState::Draining;
            slot.since_unix_ms = at + 1;
            // Faster than anybody looks.
            slot.earlier_steps = vec![taken(Step::Boots, at)];
            slot.last_step = Some(taken(Step::Drains, at + 1));
        };
        let said = changed(drains);
        assert_eq!(
            said,
            ["web-1 the successor boots", "web-1 the predecessor drains"]
        );
        let mut before = example::quiet();
        drains(&mut before);
        let mut after = before.clone();
        let slot = &mut after.apps[0].slots[1].status;
        slot.earlier_steps.extend(slot.last_step);
        slot.last_step = Some(taken(Step::Serves, at + 2_000));
        slot.state = SlotState::Serving;
        slot.since_unix_ms = at + 2_000;
        assert_eq!(words(&between(&before, &after)), ["web-1 serves"]);
        assert_eq!(
            words(&first(&after))[..3],
            [
                "web-1 the successor boots",
                "web-1 the predecessor drains",
                "web-1 serves"
            ]
        );
    }

    #[test]
    fn a_crash_a_restart_and_a_parked_slot_are_told_with_their_reason() {
        let said = changed(|picture| {
            let slot = &mut picture.apps[0].slots[2].status;
            slot.state = SlotState::Parked;
            slot.restarts += 1;
            slot.last_failure = Some("web-2 exited with code 3".into());
        });
        assert_eq!(
            said,
            [
                "web-2 is parked: exited with code 3",
                "web-2 was started again: exited with code 3"
            ]
        );
    }

    #[test]
    fn a_worker_that_was_replaced_within_one_picture_is_told_all_the_same() {
        let said = changed(|picture| {
            picture.apps[0].slots[0].status.since_unix_ms = picture.at_unix_ms - 10;
        });
        assert_eq!(said, ["web-0 serves"]);
    }

    #[test]
    fn slots_that_come_and_leave_and_the_number_that_was_asked_for_are_told() {
        let said = changed(|picture| {
            let web = &mut picture.apps[0];
            web.instances = 2;
            web.slots.pop();
        });
        assert_eq!(
            said,
            [
                "web is to have 2 workers instead of 3",
                "web-2 left, and its connections are gone"
            ]
        );
    }

    #[test]
    fn findings_are_told_when_they_come_and_when_they_are_over_and_not_while_they_last() {
        let finding = |seconds: u32| Finding {
            kind: Kind::PoolStarved,
            severity: Severity::Error,
            slot: Some("web-1".parse().unwrap()),
            pool: Some("dbos".into()),
            message: format!("web-1:dbos is starved: nothing has moved for {seconds} s"),
            cure: String::new(),
        };
        let mut before = example::quiet();
        let said = changed(|picture| picture.findings = vec![finding(6)]);
        assert_eq!(
            said,
            ["error: web-1:dbos is starved: nothing has moved for 6 s"]
        );
        before.findings = vec![finding(6)];
        let mut after = before.clone();
        after.findings = vec![finding(7)];
        assert_eq!(between(&before, &after), []);
        after.findings.clear();
        assert_eq!(
            words(&between(&before, &after)),
            ["no longer: web-1:dbos is starved"]
        );
    }

    #[test]
    fn a_silent_postgres_is_told_once_and_that_it_is_back() {
        let silent = Reach::Silent {
            reason: "connection refused".into(),
        };
        let mut before = example::quiet();
        let mut after = before.clone();
        after.postgres = silent.clone();
        assert_eq!(
            words(&between(&before, &after)),
            ["Postgres does not answer: connection refused"]
        );
        before.postgres = silent;
        assert_eq!(between(&before, &after), []);
        assert_eq!(
            words(&between(&before, &example::quiet())),
            ["Postgres answers again"]
        );
    }
}
