//! `poolwright up`: plan, prepare, run, verify.

use crate::backends::FromPostgres;
use crate::background::{self, Background};
use crate::cli::Place;
use crate::cluster;
use crate::commands::prepare::Tense;
use crate::commands::verify::Executors;
use crate::commands::{apart, exec_worker, plan, prepare, verify};
use crate::environment::Environment;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::hint;
use crate::live::Live;
use crate::manifest::{self, Declared};
use crate::narrator::Narrator;
use crate::passwords;
use crate::recovery::Recovery;
use crate::servers::{self, Control, EmbeddedFile};
use crate::service::Service;
use crate::starvation::Starvation;
use crate::style::{self, paint};
use crate::web::{self, Feed, Web};
use clap::Args;
use poolwright_observe::prepare::Step;
use poolwright_supervisor::control::Inquirer;
use poolwright_supervisor::shim::EXECUTOR_STORE;
use poolwright_supervisor::{
    AppSpec, Event, FleetSpec, Outcome, Policy, Readiness, SlotVariables, Supervisor,
};
use poolwright_topology::budget::server_of;
use poolwright_topology::census::Verdict;
use poolwright_topology::declare::{App, DatabaseUrl, Observe, Ready, Topology};
use poolwright_topology::status::SlotStatus;
use poolwright_topology::tag::Name;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How many events may wait to be printed.
const EVENTS: usize = 256;

/// How long the fleet is observed when it has become ready: twenty samples.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// Run the fleet, in the foreground or with --detach
///
/// Checks the plan, prepares databases, holds the listening sockets, starts the workers and launches them one after the
/// other; when all serve, Postgres confirms the declared connections. Without a URL for the pools an embedded server is
/// started under .poolwright/. SIGTERM and Ctrl-C drain the fleet, a second one kills it.
///
/// What the workers write is printed and kept for `poolwright logs`. As a systemd service of Type=notify it says when it is ready,
/// and keeps WatchdogSec quiet; as process 1 of a container it passes signals on and reaps orphans.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Do not touch databases, roles and migrations
    #[arg(long)]
    no_prepare: bool,
    /// Return when all workers serve, and leave the fleet in the background: 0, or 4 when Postgres shows something
    /// else than what was declared
    #[arg(long)]
    detach: bool,
    /// Show the running fleet on a page there, and its metrics to Prometheus, whatever [observe] says: an address and a
    /// port, or off
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "POOLWRIGHT_OBSERVE",
        num_args = 0..=1,
        default_missing_value = web::ADDRESS
    )]
    observe: Option<String>,
    /// What --detach starts
    #[arg(long, hide = true, conflicts_with = "detach")]
    background: bool,
}

impl Up {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        if self.detach {
            return background::start("--detach", "--background").await;
        }
        let located = manifest::locate(place)?;
        let background = self
            .background
            .then(|| Background::enter(&located.state_dir))
            .transpose()?;
        let environment = Environment::beside(&located.folder)?;
        let mut declared = manifest::read(located, environment)?;
        let observe = web::wanted(self.observe.as_deref(), declared.topology.observe.as_ref())?;
        let server = servers::embed_if_needed(&mut declared).await?;
        let embedded = server.is_some();
        let running = apart(|| self.run_on(&declared, embedded, observe, background));
        let outcome = running.await;
        if let Some(server) = server.filter(|server| !server.adopted()) {
            server
                .stop()
                .await
                .map_err(Failure::source("stopping the embedded server"))?;
        }
        outcome
    }

    async fn run_on(
        &self,
        declared: &Declared,
        embedded: bool,
        observe: Option<Observe>,
        background: Option<Background>,
    ) -> Result<Exit, Failure> {
        let topology = &declared.topology;
        // Claimed before anything is written: of two `up` at once the second one stops here.
        let supervisor =
            Supervisor::bind(fleet(declared)?).map_err(Failure::source("claiming the fleet"))?;
        let web = match observe {
            Some(observe) => Web::bind(observe).await?,
            None => None,
        };
        cluster::write(&declared.located.state_dir, topology)?;
        let _embedded_file = embedded
            .then(|| EmbeddedFile::write(&declared.located.state_dir, topology))
            .transpose()?;

        let plan = servers::live_plan(topology).await?;
        anstream::eprint!("{}", plan::render(&plan));
        if !plan.fits {
            return Ok(Exit::Over);
        }
        if !self.no_prepare {
            let mut progress = |step| match step {
                Step::Waiting => prepare::print_step(prepare::WAITING),
                Step::Made(change) => {
                    prepare::print_step(&prepare::describe(&change, Tense::Past));
                }
            };
            let steps = apart(|| prepare::prepare(declared, &mut progress));
            match interruptible(steps).await? {
                Some(left_alone) => {
                    // Without enforcement they are advice, and `prepare` gives it.
                    for left in left_alone?.iter().filter(|_| topology.enforce.is_some()) {
                        prepare::print_left(left);
                    }
                }
                None => {
                    return Err(Failure::said(
                        "interrupted while preparing; no worker was started",
                    ));
                }
            }
        }
        let control = Control::connect(topology, |server| control_name(topology, server)).await?;
        let backends = Arc::new(FromPostgres::new(topology.clone(), control));
        let (live, views) = Live::new(
            supervisor.inquirer(),
            Arc::clone(&backends),
            topology.clone(),
            plan,
        );
        let feed = Arc::new(Feed::new(views.clone(), supervisor.inquirer()));
        let supervisor = supervisor.showing(views);
        let narrator =
            Narrator::start(&declared.located.state_dir).map_err(Failure::source(format!(
                "writing the log in {}",
                declared.located.state_dir.display()
            )))?;
        let mut recovery = Recovery::new(topology, &narrator);
        if interruptible(apart(|| recovery.begin())).await?.is_none() {
            return Err(Failure::said("interrupted; no worker was started"));
        }
        let (bell, inquirer) = (recovery.bell(), supervisor.inquirer());
        let starvation = Starvation::new(topology, &narrator, inquirer.clone());
        let pages = pages(&supervisor, web.as_ref());
        let prompt = live.prompt();
        let hear = |event: &Event| {
            bell.hear(event);
            prompt.hear(event);
            feed.hear(event);
        };
        let running = apart(|| {
            let ends = (pages, background);
            supervise(supervisor, &backends, topology, &narrator, hear, ends)
        });
        let shown = apart(|| async {
            if let Some(web) = web {
                web.serve(Arc::clone(&feed)).await;
            }
        });
        let looking = apart(|| live.look_on(starvation));
        let recovering = apart(|| recovery.watch(inquirer));
        let aside = async {
            tokio::join!(looking, recovering, shown);
        };
        let outcome = beside(aside, running).await;
        narrator.finish();
        outcome
    }
}

/// The work's outcome, with something beside it that may end earlier and is dropped with it.
async fn beside<T>(aside: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        outcome = &mut work => return outcome,
        () = aside => {}
    }
    work.await
}

/// Runs the fleet and tells what happens, to its end.
async fn supervise(
    supervisor: Supervisor,
    backends: &Arc<FromPostgres>,
    topology: &Topology,
    narrator: &Narrator,
    hear: impl Fn(&Event),
    (pages, mut background): (String, Option<Background>),
) -> Result<Exit, Failure> {
    let mut service = Service::new();
    let inquirer = supervisor.inquirer();
    let (events, mut happened) = mpsc::channel(EVENTS);
    let fleet = supervisor.run(Arc::<FromPostgres>::clone(backends), events);
    tokio::pin!(fleet);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(event) = happened.recv() => {
                narrator.tell(&event);
                hear(&event);
                if event == Event::AllServing {
                    // The fleet goes on meanwhile: its events wait in the channel.
                    let confirmation = async {
                        let verdict = observe(backends, topology).await;
                        (verdict, executors(&inquirer).await)
                    };
                    tokio::select! {
                        (verdict, executors) = confirmation => {
                            let holds = confirm(verdict, &executors, narrator);
                            narrator.out(pages.clone());
                            if let Some(background) = background.take() {
                                narrator.leave(move || background.serving(holds));
                            }
                        }
                        outcome = &mut fleet => break outcome,
                    }
                }
            }
            outcome = &mut fleet => break outcome,
            () = service.alive() => {}
        }
    };
    while let Ok(event) = happened.try_recv() {
        narrator.tell(&event);
    }
    match outcome.map_err(Failure::source("running the fleet"))? {
        Outcome::Stopped => Ok(Exit::Success),
        Outcome::Failed {
            failure,
            last_words,
        } => {
            let words: String = last_words
                .iter()
                .map(|line| format!("\n  | {line}"))
                .collect();
            let hint = hint::of(topology, &failure.slot, &last_words);
            let hint = hint.map(|hint| format!("\n  {hint}")).unwrap_or_default();
            Err(Failure::said(format!(
                "{failure}; the fleet was stopped{words}{hint}"
            )))
        }
    }
}

/// Observes over the control connections; the handover's own questions wait meanwhile.
async fn observe(backends: &FromPostgres, topology: &Topology) -> Result<Verdict, Failure> {
    let mut lent = backends.lent().await?;
    // All of them serve.
    let foreign = topology.apps.iter().filter(|app| app.is_foreign());
    let on_demand = foreign.flat_map(App::slots).collect();
    let verdict = verify::observe(&mut lent.control, topology, on_demand, CONFIRMATION).await?;
    lent.give_back();
    Ok(verdict)
}

/// Who runs the workflows of each slot.
async fn executors(inquirer: &Inquirer) -> Executors {
    let status = inquirer.status().await;
    let apps = status.into_iter().flat_map(|status| status.apps);
    let slots = apps.flat_map(|app| app.slots);
    let of_slot = |slot: SlotStatus| Some((slot.slot, slot.executor_id?));
    slots.filter_map(of_slot).collect()
}

/// Where a browser on this machine finds the apps, and the fleet itself.
fn pages(supervisor: &Supervisor, web: Option<&Web>) -> String {
    let shown = |address| paint(style::STRONG, page(address));
    let apps = supervisor
        .addresses()
        .map(|(app, address)| format!("{app} serves on {}", shown(address)));
    let fleet = web.map(|web| {
        let rights = web.rights();
        format!("the fleet is shown on {} ({rights})", shown(web.address()))
    });
    apps.chain(fleet).collect::<Vec<_>>().join("\n")
}

/// Where a browser on this machine finds an app that listens there.
fn page(address: SocketAddr) -> String {
    let port = address.port();
    if address.ip().is_unspecified() {
        format!("http://localhost:{port}")
    } else {
        format!("http://{address}")
    }
}

/// What Postgres says of the fleet that has just become ready. A server that does not answer now is no reason to
/// stop a fleet that serves. Whether it holds, as far as is known.
fn confirm(verdict: Result<Verdict, Failure>, executors: &Executors, narrator: &Narrator) -> bool {
    match verdict {
        Ok(verdict) => {
            let table = verify::render(&verdict, executors, CONFIRMATION);
            narrator.out(table.trim_end().to_owned());
            verdict.holds
        }
        Err(failure) => {
            failure.report();
            true
        }
    }
}

/// `None` when a signal came first. The supervisor has taken the signals over already, but runs not yet.
async fn interruptible<T>(work: impl Future<Output = T>) -> Result<Option<T>, Failure> {
    let listen = |kind| signal(kind).map_err(Failure::source("listening for signals"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(tokio::select! {
        done = work => Some(done),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    })
}

/// The control connection to a server is named after the first app that has a pool there.
pub(crate) fn control_name(topology: &Topology, server: &str) -> Result<String, Failure> {
    let first = topology.pools().find(|(_, pool)| server_of(pool) == server);
    let Some((app, _)) = first else {
        return Err(Failure::said(format!("no app has a pool on {server}")));
    };
    app.control()
        .application_name()
        .map_err(Failure::source("naming the control connection"))
}

pub(crate) fn fleet(declared: &Declared) -> Result<FleetSpec, Failure> {
    Ok(FleetSpec {
        apps: declared
            .topology
            .apps
            .iter()
            .map(|app| app_spec(app, declared))
            .collect(),
        shim: exec_worker::command().map_err(Failure::source("finding this executable"))?,
        state_dir: declared.located.state_dir.clone(),
        policy: Policy::default(),
    })
}

fn app_spec(app: &App, declared: &Declared) -> AppSpec {
    let mut env: BTreeMap<String, String> = cluster::address(app).into_iter().collect();
    // With the page's token a worker could change the fleet that it is part of.
    let observe = declared.topology.observe.as_ref();
    let token = observe.and_then(|observe| observe.token_variable.clone());
    env.extend(declared.environment.additions());
    env.retain(|name, _| token.as_ref() != Some(name));
    env.extend(app.env.0.clone());
    env.extend(cluster::variables(app));
    // The worker gets the plan's own numbers, so that worker and plan cannot disagree.
    let mut resolved = |variable: &Option<String>, value: u32| {
        if let Some(name) = variable {
            env.insert(name.clone(), value.to_string());
        }
    };
    resolved(&app.instances.variable, app.instances.value.0);
    for pool in &app.pools {
        resolved(&pool.max.variable, pool.max.value.0);
    }
    for pool in &app.pools {
        if let (Some(variable), Some(url)) = (&pool.url_variable, &pool.url) {
            env.insert(variable.clone(), url.expose().to_owned());
        }
    }
    if let Some((variable, file)) = passwords::variable(&declared.topology) {
        env.insert(variable, file);
    }
    let executor = app.pools.iter().find(|pool| pool.executor);
    let store = executor.and_then(|pool| pool.url.as_ref());
    // A program that speaks the channel holds its executor id itself.
    if let Some(url) = store.filter(|_| app.is_foreign()) {
        env.insert(EXECUTOR_STORE.to_owned(), url.store());
    }
    AppSpec {
        name: app.name.clone(),
        command: cluster::command(app, &declared.located.state_dir),
        cwd: match &app.cwd {
            Some(cwd) => declared.located.folder.join(cwd),
            None => declared.located.folder.clone(),
        },
        env: env.into_iter().collect(),
        withheld: token.into_iter().collect(),
        slot_env: match app.is_foreign() {
            true => named_urls(app),
            false => SlotVariables::default(),
        },
        instances: app.instances.value.0,
        listen: app.listen,
        ready: match app.ready {
            Ready::Channel => Readiness::Channel,
            Ready::Pm2 => Readiness::Pm2,
            Ready::Notify => Readiness::Notify,
            // It takes the held socket without knowing, and says in PM2's word that it listens, without knowing.
            Ready::Listening if app.cluster => Readiness::Pm2,
            Ready::Listening => Readiness::Listening,
            Ready::Accepting => Readiness::Accepting,
        },
        ready_timeout: app.ready_timeout,
        drain_timeout: app.drain_timeout,
        stop_signal: app.stop_signal,
        instance_var: app.instance_var.clone(),
        pools: app
            .pools
            .iter()
            .map(|pool| (pool.name.to_string(), pool.max.value.0))
            .collect(),
        executor: executor.is_some(),
    }
}

/// The URLs of a program that does not name its sessions, with the name in them that it would have to give them:
/// `web-0:orm`, or `web-0` where several pools have their URL from one variable. `PGAPPNAME` alone would not do: some
/// libraries (DBOS' own pool in Node) name their sessions themselves, unless the URL does.
fn named_urls(app: &App) -> SlotVariables {
    let mut urls: BTreeMap<String, (DatabaseUrl, Vec<Name>)> = BTreeMap::new();
    for pool in app.pools.iter().filter(|pool| pool.name_in_url) {
        if let (Some(variable), Some(url)) = (&pool.url_variable, &pool.url) {
            let of_variable = urls.entry(variable.clone());
            let (_, pools) = of_variable.or_insert_with(|| (url.clone(), Vec::new()));
            pools.push(pool.name.clone());
        }
    }
    SlotVariables::new(move |slot| {
        let named = urls.iter().map(|(variable, (url, pools))| {
            let name = match pools.as_slice() {
                [pool] => format!("{slot}:{pool}"),
                _ => slot.to_string(),
            };
            (variable.clone(), url.named(&name))
        });
        named.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolwright_topology::declare::declare;
    use poolwright_topology::tag::SlotId;

    #[test]
    fn the_sessions_of_a_foreign_program_are_named_in_its_urls() {
        let manifest = r#"
            [apps.web]
            command = ["x"]
            ready = "pm2"
            [apps.web.pools.orm]
            max = 1
            url = { env = "DATABASE_URL" }
            [apps.web.pools.audit]
            max = 1
            url = { env = "DATABASE_URL" }
            [apps.web.pools.dbos]
            max = 2
            url = { env = "DBOS_URL" }
            [apps.web.pools.plain]
            max = 1
            url = { env = "PLAIN_URL" }
            name_in_url = false
            [apps.web.pools.fixed]
            max = 1
            url = "postgres://e@h/fixed"
        "#;
        let env = |name: &str| Some(format!("postgres://a:s3cret@h/{}", name.to_lowercase()));
        let topology = declare(manifest, &env).unwrap();
        let urls = named_urls(&topology.apps[0]);
        assert!(!format!("{urls:?}").contains("s3cret"));
        let slot = SlotId::new(topology.apps[0].name.clone(), 7);
        let found: Vec<_> = urls.of(&slot);
        let expected = [
            (
                "DATABASE_URL",
                "postgres://a:s3cret@h/database_url?application_name=web-7",
            ),
            (
                "DBOS_URL",
                "postgres://a:s3cret@h/dbos_url?application_name=web-7%3Adbos",
            ),
        ];
        let expected = expected.map(|(name, url)| (name.to_owned(), url.to_owned()));
        assert_eq!(found, expected);
    }
}
