//! What `up` shows of a running fleet: metrics that agree with Postgres, a page that follows, and a door that is shut.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acceptance::{Fleet, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::Connections;
use poolwright_testkit::process::{self, Process};
use poolwright_testkit::sampler::Backend;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{built, ports, wait_until};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::reload::{ask, pids, under_poolwright, without_failures};

acceptance::both_stacks!(
    the_metrics_of_the_fleet_agree_with_postgres_at_rest_and_at_work,
    every_step_of_a_reload_under_load_is_on_the_page_within_a_second,
);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const TOKEN: &str = "0f8fad5bd9cb469fa165";
const LIMIT: Duration = Duration::from_secs(30);
/// A browser, four pages and a reload of three on two busy cores.
const BROWSER: Duration = Duration::from_secs(150);
/// Within this a step is to be on the page.
const FOLLOWS: u64 = 1000;

/// The page of a fleet, as a program that is no browser asks it.
struct Page {
    client: Client,
    port: u16,
}

/// A fleet of three that is shown, by the manifest with this in it.
async fn shown(stack: Stack, settings: &str) -> Result<(Fleet, Page)> {
    let port = ports::free_port()?;
    let setup = Setup::new(stack)
        .await?
        .env("POOLWRIGHT_OBSERVE", format!("127.0.0.1:{port}"))
        .env("POOLWRIGHT_TOKEN", TOKEN);
    let setup = match settings {
        "" => setup,
        settings => setup.adding(settings)?,
    };
    let fleet = Fleet::from(under_poolwright(stack), setup, 3).await?;
    let client = Client::builder().no_proxy().timeout(LIMIT).build()?;
    Ok((fleet, Page { client, port }))
}

impl Page {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    async fn get(&self, path: &str) -> Result<String> {
        let response = self.request(Method::GET, path).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// With the token, to the end of it.
    async fn change(&self, path: &str, what: &Value) -> Result<(u16, Value)> {
        let request = self.request(Method::POST, path).timeout(BROWSER);
        answer(request.bearer_auth(TOKEN).json(what)).await
    }
}

async fn answer(request: RequestBuilder) -> Result<(u16, Value)> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok((
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    ))
}

/// Requests that wait for a lock keep their connections busy for as long as the test holds the lock.
async fn the_metrics_of_the_fleet_agree_with_postgres_at_rest_and_at_work(
    stack: Stack,
) -> Result<()> {
    let (fleet, page) = shown(stack, "").await?;
    agree(&fleet, &page, "no connection of the ORM is busy", 0).await?;
    fleet
        .while_three_wait(TENANT, async || {
            agree(&fleet, &page, "three are busy", 3).await
        })
        .await?;
    agree(&fleet, &page, "no connection of the ORM is busy", 0).await?;

    let metrics = metrics(&page).await?;
    let fleets = [
        ("poolwright_connections_bound", 18.0),
        ("poolwright_connections_overhead", 1.0),
        ("poolwright_connections_usable", 97.0),
        ("poolwright_postgres_up", 1.0),
        ("poolwright_workers_serving{app=\"web\"}", 3.0),
        ("poolwright_slot_executor{app=\"web\",slot=\"web-2\"}", 1.0),
        (
            "poolwright_slot_state{app=\"web\",slot=\"web-0\",state=\"serving\"}",
            1.0,
        ),
    ];
    for (series, expected) in fleets {
        ensure!(
            metrics.get(series) == Some(&expected),
            "{series}: {metrics:#?}"
        );
    }
    let memory = &metrics["poolwright_slot_memory_bytes{app=\"web\",slot=\"web-1\"}"];
    ensure!(*memory > 1e6, "a worker of {memory} bytes");
    let picture = page.get("/api/picture").await?;
    for secret in acceptance::setup::SECRETS {
        ensure!(!picture.contains(secret), "a password is in the picture");
    }
    fleet.stop().await
}

/// Looks at both sides until they agree and show what is wanted: the fleet is looked at once a second.
async fn agree(fleet: &Fleet, page: &Page, what: &str, busy: u32) -> Result<()> {
    wait_until(
        &format!("metrics and Postgres agree, and {what}"),
        LIMIT,
        async || {
            let looked = async {
                let metrics = metrics(page).await?;
                Ok::<_, anyhow::Error>((metrics, fleet.backends().await?))
            };
            match looked.await {
                Ok((metrics, backends)) => {
                    let (said, seen) = (of_metrics(&metrics), of_postgres(&backends));
                    let total: f64 = said.values().map(|counts| counts.busy).sum();
                    if said == seen && total == f64::from(busy) {
                        Seen::Yes(())
                    } else {
                        Seen::NotYet(format!("metrics {said:#?}, Postgres {seen:#?}"))
                    }
                }
                Err(error) => Seen::NotYet(format!("{error:#}")),
            }
        },
    )
    .await
}

/// One pool of one slot: open by the worker's word, of the ORM also busy and idle; and by Postgres' in the metrics.
#[derive(Debug, Clone, Default, PartialEq)]
struct Counts {
    open: f64,
    busy: f64,
    idle: f64,
    shown: f64,
}

/// Every series and its number.
async fn metrics(page: &Page) -> Result<BTreeMap<String, f64>> {
    let text = page.get("/metrics").await?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, number) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            Ok((series.to_owned(), number.parse()?))
        })
        .collect()
}

fn of_metrics(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, Counts> {
    let mut pools = BTreeMap::new();
    for slot in ["web-0", "web-1", "web-2"] {
        let labels = format!("{{app=\"web\",slot=\"{slot}\",pool=\"prisma\"}}");
        let read = |name: &str| metrics.get(&format!("{name}{labels}")).copied();
        let counts = Counts {
            open: read("prisma_pool_connections_open").unwrap_or(-1.0),
            busy: read("prisma_pool_connections_busy").unwrap_or(-1.0),
            idle: read("prisma_pool_connections_idle").unwrap_or(-1.0),
            shown: read("poolwright_pool_shown").unwrap_or(-1.0),
        };
        pools.insert(slot.to_owned(), counts);
    }
    pools
}

fn of_postgres(backends: &[Backend]) -> BTreeMap<String, Counts> {
    let mut pools: BTreeMap<String, Counts> = BTreeMap::new();
    for backend in backends {
        let Some(slot) = backend.name.strip_suffix(":prisma") else {
            continue;
        };
        let counts = pools.entry(slot.to_owned()).or_default();
        counts.open += 1.0;
        counts.shown += 1.0;
        match backend.state.as_str() {
            "idle" => counts.idle += 1.0,
            _ => counts.busy += 1.0,
        }
    }
    pools
}

/// The supervisor's word is the line that `reload --json` prints. The screenshots stay, under `artifacts`.
async fn every_step_of_a_reload_under_load_is_on_the_page_within_a_second(
    stack: Stack,
) -> Result<()> {
    let (fleet, page) = shown(stack, "").await?;
    // Each asks again as soon as it is answered: more of them would only leave the browser less of the two cores.
    let load = ask(&fleet, Connections::KeepAlive, 3)?;
    let artifacts = built::repository().join("artifacts");
    std::fs::create_dir_all(&artifacts)?;
    let name = artifacts.join(format!("fleet-{}", stack.name()));
    let looks = ["reload-light", "light", "dark", "phone"];
    let pictures = looks.map(|look| format!("{}-{look}.png", name.display()));
    for picture in &pictures {
        // An old picture would hide that none was taken.
        std::fs::remove_file(picture).ok();
    }
    let mut browser = browser(&page, &name)?;
    let live = browser.line("that it is live", LIMIT, |line| line.contains("\"live\""));
    live.await?;

    let reload = fleet.setup.poolwright()?.start(&["reload", "--json"])?;
    let told = steps_as_they_are_told(&reload).await?;
    let done = browser.line("what it saw", BROWSER, |line| line.contains("\"done\""));
    let done: Value = serde_json::from_str(&done.await?)?;
    ensure!(browser.exited(LIMIT).await?.success(), "{}", browser.tail());
    without_failures(load, 20).await?;

    let on_page = of(&done["steps"], "step")?;
    let mut latest = 0;
    for (step, said) in &told {
        let seen = on_page.get(step);
        let seen = seen.with_context(|| format!("{step:?} was never on the page: {done:#}"))?;
        latest = latest.max(seen.saturating_sub(*said));
    }
    ensure!(told.len() == 9, "told: {told:#?}");
    ensure!(
        latest <= FOLLOWS,
        "a step was {latest} ms late: {told:#?} {done:#}"
    );
    let states = of(&done["states"], "state")?;
    for slot in ["web-0", "web-1", "web-2"] {
        for state in ["draining", "launching", "serving"] {
            let state = (slot.to_owned(), state.to_owned());
            ensure!(
                states.contains_key(&state),
                "{state:?} was never shown: {done:#}"
            );
        }
    }
    for picture in &pictures {
        let size = Path::new(picture)
            .metadata()
            .with_context(|| picture.clone())?
            .len();
        ensure!(size > 10_000, "{picture} has {size} bytes");
    }
    let record = json!({ "steps": told.len(), "latest_ms": latest });
    std::fs::write(name.with_extension("json"), format!("{record:#}\n"))?;
    fleet.stop().await
}

fn browser(page: &Page, name: &Path) -> Result<Process> {
    let script = built::repository().join("tests/acceptance/browser/fleet.mjs");
    let nothing = std::iter::empty::<(&str, &str)>();
    let mut command = process::command(&built::node()?, &built::sveltekit()?, nothing);
    command.arg(script).arg(page.url("/")).arg(name);
    Process::spawn(command)
}

/// Slot and step, and when it was told, in milliseconds since 1970.
type When = BTreeMap<(String, String), u64>;

async fn steps_as_they_are_told(reload: &Process) -> Result<When> {
    let mut told = When::new();
    loop {
        let known = told.clone();
        let line = reload
            .line("the next step", BROWSER, |line| match place(line) {
                Some(step) => !known.contains_key(&step),
                None => line.contains("\"done\""),
            })
            .await?;
        let Some(step) = place(&line) else {
            let end: Value = serde_json::from_str(&line)?;
            ensure!(end["failure"].is_null(), "{end:#}");
            return Ok(told);
        };
        told.insert(step, unix_ms()?);
    }
}

fn place(line: &str) -> Option<(String, String)> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some((
        line["slot"].as_str()?.to_owned(),
        line["step"].as_str()?.to_owned(),
    ))
}

/// When each was on the page first.
fn of(seen: &Value, what: &str) -> Result<When> {
    let mut first = When::new();
    for one in seen.as_array().context("no list")? {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let at = one["at"].as_u64().context("no time")?;
        first.entry((text("slot"), text(what))).or_insert(at);
    }
    Ok(first)
}

fn unix_ms() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_meant_for_the_page_is_refused_and_no_other_address_answers() -> Result<()> {
    let (fleet, page) = shown(Stack::Axum, "").await?;
    let get = |headers: &[(&str, &str)]| {
        let mut request = page.request(Method::GET, "/api/picture");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send()
    };
    let own = format!("http://127.0.0.1:{}", page.port);
    for (headers, expected) in [
        (vec![], 200),
        (vec![("host", "localhost")], 200),
        (
            vec![("origin", own.as_str()), ("sec-fetch-site", "same-origin")],
            200,
        ),
        (vec![("host", "evil.example")], 403),
        (
            vec![
                ("host", "evil.example:7665"),
                ("origin", "http://evil.example:7665"),
            ],
            403,
        ),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "http://127.0.0.1:1")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
    ] {
        let response = get(&headers).await?;
        let status = response.status().as_u16();
        ensure!(status == expected, "{headers:?}: {status}");
        says_what_it_must(&response)?;
    }
    for path in ["/", "/page.js", "/metrics", "/api/events", "/nothing"] {
        let response = page.request(Method::GET, path).send().await?;
        says_what_it_must(&response).context(path)?;
    }

    // 127.0.0.2 is another address of the same machine, and so is the one that the rest of the world knows, where there is one.
    let others = [
        Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))),
        address_outside(),
    ];
    for ip in others.into_iter().flatten() {
        let other = SocketAddr::new(ip, page.port);
        let connected = TcpStream::connect(other).await;
        ensure!(connected.is_err(), "{other} answers");
    }
    fleet.stop().await
}

fn says_what_it_must(response: &Response) -> Result<()> {
    let header = |name: &str| {
        let value = response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let policy = header("content-security-policy");
    ensure!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "policy: {policy}"
    );
    ensure!(!policy.contains("unsafe-"), "policy: {policy}");
    for (name, expected) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
    ] {
        ensure!(header(name) == expected, "{name}: {:?}", header(name));
    }
    Ok(())
}

/// Nothing is sent: the system only says which address it would send from.
fn address_outside() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_token_nothing_changes_and_with_it_a_reload_and_a_scaling_run_to_their_end()
-> Result<()> {
    let declared = "\n[observe]\ntoken = { env = \"POOLWRIGHT_TOKEN\" }\n";
    let (fleet, page) = shown(Stack::Axum, declared).await?;
    fleet
        .line("where it is shown", LIMIT, |line| {
            line.contains(&format!(
                "shown on http://127.0.0.1:{} (reload and scale",
                page.port
            ))
        })
        .await?;
    let before = pids(&fleet).await?;
    for pid in before.values() {
        let environment = std::fs::read(format!("/proc/{pid}/environ"))?;
        let environment = String::from_utf8_lossy(&environment);
        ensure!(!environment.contains(TOKEN), "process {pid} has the token");
    }
    let post = || page.request(Method::POST, "/api/reload");
    let plain = || {
        post()
            .bearer_auth(TOKEN)
            .header("content-type", "text/plain")
            .body("{}")
    };
    for (what, request, expected) in [
        ("no token", post().json(&json!({})), 401),
        (
            "another token",
            post().bearer_auth("0f8fad5bd9cb469fa166").json(&json!({})),
            401,
        ),
        ("no body", post().bearer_auth(TOKEN), 415),
        ("a form's content", plain(), 415),
        (
            "another page",
            post()
                .bearer_auth(TOKEN)
                .header("origin", "http://evil.example")
                .json(&json!({})),
            403,
        ),
        (
            "an unknown field",
            post().bearer_auth(TOKEN).json(&json!({ "now": true })),
            422,
        ),
        (
            "a GET",
            page.request(Method::GET, "/api/reload").bearer_auth(TOKEN),
            405,
        ),
    ] {
        let (status, said) = answer(request).await?;
        ensure!(status == expected, "{what}: {status} {said}");
        ensure!(said["error"].is_string(), "{what}: {said}");
    }
    ensure!(
        pids(&fleet).await? == before,
        "a refused request changed the fleet"
    );

    let (status, said) = page.change("/api/reload", &json!({})).await?;
    ensure!(
        status == 200 && said == json!({ "failure": null }),
        "{status} {said}"
    );
    let after = pids(&fleet).await?;
    ensure!(
        after
            .iter()
            .all(|(slot, pid)| before.get(slot) != Some(pid)),
        "{before:?} {after:?}"
    );
    let history: Value = serde_json::from_str(&page.get("/api/history").await?)?;
    ensure!(
        history["marks"]
            .as_array()
            .is_some_and(|marks| marks.len() == 9),
        "{history}"
    );
    ensure!(
        history["at"].as_array().is_some_and(|at| at.len() > 3),
        "{history}"
    );

    let (status, said) = page
        .change("/api/scale", &json!({ "app": "web", "instances": 20 }))
        .await?;
    ensure!(
        status == 409
            && said["error"]
                .as_str()
                .is_some_and(|error| error.contains("121 connections needed")),
        "{status} {said}"
    );
    let (status, said) = page
        .change("/api/scale", &json!({ "app": "web", "instances": 2 }))
        .await?;
    ensure!(status == 200, "{status} {said}");
    ensure!(
        pids(&fleet).await?.len() == 2,
        "scaled to {:?}",
        pids(&fleet).await?
    );
    let sessions = page.get("/api/sessions/web-0").await?;
    ensure!(sessions.contains("LISTEN"), "{sessions}");
    let (status, _) = answer(page.request(Method::GET, "/api/sessions/web-9")).await?;
    ensure!(status == 404, "sessions of nobody: {status}");
    fleet.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_ends_up_before_a_worker_is_started() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let address = taken.local_addr()?.to_string();
    let setup = Setup::new(Stack::Axum).await?;
    let up = setup
        .poolwright()?
        .run(&["up", "--observe", &address])
        .await?;
    let up = up.expect(1)?;
    ensure!(
        up.stderr.contains(&format!(
            "cannot show the fleet on {address}: another process listens there"
        )),
        "{up:#?}"
    );
    ensure!(!up.stderr.contains("started as process"), "{up:#?}");
    let exposed = setup
        .poolwright()?
        .run(&["up", "--observe", "0.0.0.0:7665"])
        .await?;
    let exposed = exposed.expect(2)?;
    ensure!(
        exposed.stderr.contains("public = true in [observe]"),
        "{exposed:#?}"
    );
    Ok(())
}
