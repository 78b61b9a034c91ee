//! What dead executors left, by hand and by a running fleet: which executors a declaration has given up, and where their work is.
//!
//! A running fleet looks before its first worker starts (for ids beyond the declared ones), when a slot was scaled away and when
//! one was parked; and again as long as it could not, or somebody lives under an id that it has given up.

use crate::failure::Failure;
use crate::narrator::Narrator;
use crate::style::{self, paint};
use poolwright_guard::Guard;
use poolwright_recover::{Intent, Outcome, Report, Standing, Store, Stuck};
use poolwright_supervisor::control::{FleetStatus, Inquirer};
use poolwright_supervisor::{Event, SlotState};
use poolwright_topology::declare::{DatabaseUrl, Topology};
use poolwright_topology::tag::{Name, SlotId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// When it is looked again after Postgres did not answer.
const RETRY: Duration = Duration::from_secs(5);

/// How long executors of other hosts are given to reconnect to a Postgres that has been away.
const SETTLED: Duration = Duration::from_secs(10);

/// When it is looked again while an executor lives that the fleet has given up: on another host, say, where it is still running.
const AGAIN: Duration = Duration::from_secs(60);

/// Where executors keep their work.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `host:port/database`.
    name: String,
    /// Ways to it, the first that may write is taken.
    urls: Vec<DatabaseUrl>,
}

/// Every system database of a topology. A pool without a URL has none.
pub(crate) fn places(topology: &Topology) -> Vec<Place> {
    let admin = &topology.prepare.url;
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    for (_, pool) in topology.pools().filter(|(_, pool)| pool.executor) {
        let Some(url) = &pool.url else { continue };
        let admin = admin.as_ref().filter(|admin| admin.same_server(url));
        let admin = admin.map(|admin| admin.with_database(&url.database()));
        let own = [url.clone()];
        // Where the pool's role is held to its bound it has no connection to spare.
        let urls: Vec<DatabaseUrl> = match topology.enforce {
            Some(_) => admin.into_iter().chain(own).collect(),
            None => own.into_iter().chain(admin).collect(),
        };
        let name = url.store();
        let place = places.entry(name.clone()).or_insert(Place {
            name,
            urls: Vec::new(),
        });
        place.urls.extend(urls);
    }
    places.into_values().collect()
}

/// What a fleet has, and what of it is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roll {
    apps: BTreeSet<Name>,
    slots: BTreeSet<SlotId>,
    parked: BTreeSet<SlotId>,
}

impl Roll {
    /// As declared.
    pub(crate) fn declared(topology: &Topology) -> Self {
        let apps = topology.apps.iter();
        let apps = apps.filter(|app| app.pools.iter().any(|pool| pool.executor));
        Self {
            slots: apps.clone().flat_map(|app| app.slots()).collect(),
            apps: apps.map(|app| app.name.clone()).collect(),
            parked: BTreeSet::new(),
        }
    }

    /// The same, as it runs: after scaling, and with what is parked.
    pub(crate) fn running(mut self, status: &FleetStatus) -> Self {
        self.slots.clear();
        for slot in status.apps.iter().flat_map(|app| &app.slots) {
            if slot.state == SlotState::Parked {
                self.parked.insert(slot.slot.clone());
            }
            self.slots.insert(slot.slot.clone());
        }
        self
    }

    /// Whose an executor id is.
    pub(crate) fn standing(&self, executor_id: &str) -> Standing {
        match executor_id.parse::<SlotId>() {
            Ok(slot) if !self.apps.contains(slot.app()) => Standing::Foreign,
            Ok(slot) if !self.slots.contains(&slot) || self.parked.contains(&slot) => {
                Standing::GivenUp
            }
            Ok(_) => Standing::Expected,
            Err(_) => Standing::Foreign,
        }
    }
}

/// Looks at every system database, and recovers what was given up there if that is the intent.
pub(crate) async fn recover(
    places: &[Place],
    intent: Intent,
    standing: &(dyn Fn(&str) -> Standing + Sync),
) -> Result<Vec<Report>, Failure> {
    let mut reports = Vec::new();
    for place in places {
        let failed = || Failure::source(format!("recovering in {}", place.name));
        let store = Store::open(&place.urls).await.map_err(failed())?;
        let Some(mut store) = store else { continue };
        let report = store.recover(intent, standing).await.map_err(failed())?;
        store.close().await;
        reports.push(report);
    }
    Ok(reports)
}

/// Rung when there may be something to recover.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bell(Arc<Notify>);

impl Bell {
    /// Rings when the event says that a slot is given up: its process and its backends are gone by then.
    pub(crate) fn hear(&self, event: &Event) {
        let given_up = match event {
            Event::Removed { .. } => true,
            Event::Moved { to, .. } => *to == SlotState::Parked,
            _ => false,
        };
        if given_up {
            self.0.notify_one();
        }
    }
}

/// The recovery of a running fleet.
pub(crate) struct Recovery<'a> {
    places: Vec<Place>,
    declared: Roll,
    narrator: &'a Narrator,
    bell: Bell,
    /// When it is looked without being rung for.
    next: Option<Duration>,
    told: Told,
}

/// What was said last, so that it is said once.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    failure: Option<String>,
    stuck: Vec<Stuck>,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(topology: &Topology, narrator: &'a Narrator) -> Self {
        Self {
            places: places(topology),
            declared: Roll::declared(topology),
            narrator,
            bell: Bell::default(),
            next: None,
            told: Told::default(),
        }
    }

    /// What has to be rung for this to look.
    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Before the first worker: what is there beyond the declared slots. A failure is told, and no reason not to start.
    pub(crate) async fn begin(&mut self) {
        let roll = self.declared.clone();
        self.look(&roll).await;
    }

    /// Looks whenever there may be something, until the fleet has ended. What is cancelled is undone by Postgres.
    pub(crate) async fn watch(mut self, inquirer: Inquirer) {
        if self.places.is_empty() {
            return;
        }
        loop {
            let next = self.next;
            let pause = async {
                match next {
                    Some(next) => sleep(next).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.bell.0.notified() => {}
                () = pause => {}
            }
            let Some(status) = inquirer.status().await else {
                return;
            };
            let roll = self.declared.clone().running(&status);
            self.look(&roll).await;
        }
    }

    async fn look(&mut self, roll: &Roll) {
        if Guard::Recovery.is_left_out() {
            return;
        }
        let standing = |executor_id: &str| roll.standing(executor_id);
        let was_away = self.told.failure.is_some();
        let intent = match was_away {
            false => Intent::Recover,
            true => Intent::Look,
        };
        match recover(&self.places, intent, &standing).await {
            Ok(_) if was_away => {
                self.told.failure = None;
                self.next = Some(SETTLED);
            }
            Ok(reports) => {
                self.next = reports.iter().any(somebody_lives).then_some(AGAIN);
                for report in &reports {
                    self.tell(report);
                }
            }
            Err(failure) => {
                self.next = Some(RETRY);
                let words = failure.in_words();
                if self.told.failure.as_ref() != Some(&words) {
                    let painted = paint(style::WARN, "not looked for what executors left:");
                    self.narrator.announce(None, format!("{painted} {words}"));
                    self.told.failure = Some(words);
                }
            }
        }
    }

    fn tell(&mut self, report: &Report) {
        for left in &report.executors {
            if left.outcome != Outcome::Reenqueued {
                continue;
            }
            let words = format!("{} re-enqueued", left_workflows(left.workflows));
            match left.executor_id.parse() {
                Ok(slot) => self.narrator.announce(Some(&slot), words),
                Err(_) => self.narrator.announce(None, words),
            }
        }
        // While nobody runs, everything waits.
        if report.versions.is_empty() || self.told.stuck == report.stuck {
            return;
        }
        for stuck in &report.stuck {
            let words = describe_stuck(stuck, report);
            let warning = paint(style::WARN, "warning:");
            self.narrator.announce(None, format!("{warning} {words}"));
        }
        self.told.stuck.clone_from(&report.stuck);
    }
}

fn somebody_lives(report: &Report) -> bool {
    let lives = |outcome| matches!(outcome, Outcome::Living { .. });
    report.executors.iter().any(|left| lives(left.outcome))
}

fn left_workflows(count: u64) -> String {
    match count {
        1 => "the workflow that it left is".to_owned(),
        n => format!("the {n} workflows that it left are"),
    }
}

/// `20 workflows`.
pub(crate) fn workflows(count: u64) -> String {
    match count {
        1 => "1 workflow".to_owned(),
        n => format!("{n} workflows"),
    }
}

/// What waits for whom, in words.
pub(crate) fn describe_stuck(stuck: &Stuck, report: &Report) -> String {
    let of = match &stuck.application {
        Some(application) => format!(" of {application}"),
        None => String::new(),
    };
    let waits = match &stuck.version {
        Some(version) => format!("for the version {version}, which no living executor runs"),
        None => "for no version in particular, and nobody takes them".to_owned(),
    };
    let running: Vec<String> = report
        .versions
        .iter()
        .map(|running| match running.assumed {
            false => running.version.clone(),
            true => format!("{} (most likely)", running.version),
        })
        .collect();
    let running = match running.is_empty() {
        true => "none runs".to_owned(),
        false => format!("running: {}", running.join(", ")),
    };
    let count = workflows(stuck.workflows);
    let status = stuck.status.to_lowercase();
    format!("{count}{of}, {status}, wait {waits} ({running})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolwright_topology::declare::declare;

    const MANIFEST: &str = r#"
        [apps.web]
        command = ["x"]
        instances = 2
        [apps.web.pools.dbos]
        max = 3
        url = "postgres://desk_dbos:s3cret@localhost/desk_dbos"
        executor = true
        [apps.api]
        command = ["x"]
        instances = 1
        [apps.api.pools.orm]
        max = 3
        url = "postgres://api:s3cret@localhost/desk"
        [prepare]
        url = "postgres://admin:s3cret@127.0.0.1/postgres"
    "#;

    fn topology(more: &str) -> Topology {
        declare(&format!("{MANIFEST}{more}"), &|_| None).unwrap()
    }

    #[test]
    fn given_up_is_what_an_app_with_an_executor_has_no_slot_for_and_what_is_parked() {
        let mut roll = Roll::declared(&topology(""));
        for (id, standing) in [
            ("web-0", Standing::Expected),
            ("web-1", Standing::Expected),
            ("web-2", Standing::GivenUp),
            ("web-300", Standing::GivenUp),
            ("web-02", Standing::Foreign),
            ("api-7", Standing::Foreign),
            ("local", Standing::Foreign),
        ] {
            assert_eq!(roll.standing(id), standing, "{id}");
        }
        roll.parked.insert("web-1".parse().unwrap());
        assert_eq!(roll.standing("web-1"), Standing::GivenUp);
    }

    #[test]
    fn the_way_to_the_work_is_the_pools_own_and_the_administrators_first_where_roles_are_held_to_their_bound()
     {
        let users = |topology: &Topology| -> Vec<String> {
            let [place] = &places(topology)[..] else {
                panic!("one executor");
            };
            assert_eq!(place.name, "127.0.0.1:5432/desk_dbos");
            let of = |url: &DatabaseUrl| {
                assert_eq!(url.database(), "desk_dbos");
                url.user()
            };
            place.urls.iter().map(of).collect()
        };
        assert_eq!(users(&topology("")), ["desk_dbos", "admin"]);
        assert_eq!(users(&topology("\n[enforce]\n")), ["admin", "desk_dbos"]);
    }
}
