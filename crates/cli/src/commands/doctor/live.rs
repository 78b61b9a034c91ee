//! What Postgres and a running fleet add to what the files show.

use crate::commands::verify;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::manifest::{self, Declared, Located};
use crate::servers::Control;
use poolwright_doctor::{Examined, Note};
use poolwright_supervisor::control::Client;
use poolwright_topology::hazard::live::{Live, of_findings, of_servers};
use poolwright_topology::hazard::{Hazard, Place};
use poolwright_topology::tag::COMMAND;
use std::time::Duration;
use tokio::time::timeout;

/// A supervisor looks at its fleet once a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found, and what could not be asked.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) hazards: Vec<Hazard>,
    pub(crate) notes: Vec<Note>,
    /// Whether something that should have answered did not.
    pub(crate) silent: bool,
}

/// Asks the servers behind a manifest, and the fleet that runs for it.
pub(crate) async fn ask(located: Located, examined: &Examined) -> Asked {
    let mut asked = Asked::default();
    match declared(located) {
        Ok(declared) => {
            let place = |live: &Live| place(&declared, examined, live);
            let mut found = Vec::new();
            if let Some(variables) = without_urls(&declared) {
                asked.note(format!("Postgres was not asked: no {variables}"));
            } else {
                match of_postgres(&mut declared.clone()).await {
                    Ok(live) => found.extend(live),
                    Err(failure) => asked.unanswered("Postgres", &failure),
                }
            }
            match of_the_fleet(&declared).await {
                Ok(live) => found.extend(live),
                Err(failure) => asked.unanswered("the running fleet", &failure),
            }
            let hazards = found.into_iter().map(|live| Hazard {
                place: Some(place(&live)),
                code: live.code,
                message: live.message,
            });
            asked.hazards.extend(hazards);
        }
        Err(failure) => asked.unanswered("Postgres", &failure),
    }
    asked
}

fn declared(located: Located) -> Result<Declared, Failure> {
    let environment = Environment::beside(&located.folder)?.with_embedded(&located.state_dir)?;
    manifest::read(located, environment)
}

/// What would name the servers and is not set.
fn without_urls(declared: &Declared) -> Option<String> {
    let pools = declared.topology.pools();
    let missing = pools.filter(|(_, pool)| pool.url.is_none());
    let names: Vec<String> = missing
        .map(|(app, pool)| match &pool.url_variable {
            Some(variable) => variable.clone(),
            None => format!("url of [apps.{}.pools.{}]", app.name, pool.name),
        })
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

async fn of_postgres(declared: &mut Declared) -> Result<Vec<Live>, Failure> {
    let on_demand = verify::as_running(declared).await;
    let topology = &declared.topology;
    let mut control = Control::connect(topology, |_| Ok(COMMAND.into())).await?;
    let plan = control.plan(topology).await?;
    let facts = control.facts(topology).await?;
    let verdict = verify::observe(&mut control, topology, on_demand, Duration::ZERO).await?;
    let mut found = of_servers(topology, &plan, &facts);
    found.extend(of_findings(&verdict.findings));
    Ok(found)
}

async fn of_the_fleet(declared: &Declared) -> Result<Vec<Live>, Failure> {
    let Ok(fleet) = Client::connect(&declared.located.state_dir).await else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let watch = fleet.watch(async |picture| {
        found = of_findings(&picture.findings);
        false
    });
    match timeout(PATIENCE, watch).await {
        Ok(seen) => seen.map_err(Failure::source("asking the running fleet"))?,
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            return Err(Failure::said(format!("no answer within {seconds} s")));
        }
    }
    Ok(found)
}

/// The pool's place in its manifest; the first app's for what concerns the server.
fn place(declared: &Declared, examined: &Examined, live: &Live) -> Place {
    let file = &declared.located.file;
    let mut manifests = examined.manifests().iter();
    let manifest = manifests.find(|manifest| manifest.path == *file);
    let first = declared.topology.apps.first();
    let keys = match (&live.pool, first) {
        (Some((app, pool)), _) => vec!["apps", app.as_str(), "pools", pool.as_str()],
        (None, Some(app)) => vec!["apps", app.name.as_str()],
        (None, None) => Vec::new(),
    };
    match manifest {
        Some(manifest) => manifest.place(examined.root(), &keys),
        None => Place::new(file.display().to_string(), None),
    }
}

impl Asked {
    fn note(&mut self, text: String) {
        self.notes.push(Note { place: None, text });
    }

    fn unanswered(&mut self, who: &str, failure: &Failure) {
        self.silent = true;
        self.note(format!(
            "{who} could not be asked: {} (--static asks neither)",
            failure.words()
        ));
    }
}
