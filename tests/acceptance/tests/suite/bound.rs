//! The declared number of connections, under load and in steady state (S4, S5, S11).

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::bound::{declared, overhead};
use acceptance::{Cell, Fleet, Setup};
use anyhow::{Result, ensure};
use poolwright_testkit::load::{self, Connections, Load};
use poolwright_testkit::sampler::{self, Limits, Sampler};
use reqwest::Method;
use serde_json::json;

acceptance::matrix!(
    under_thirty_clients_no_pool_ever_exceeds_its_number_and_each_then_holds_exactly_it
);

/// How long the clients ask.
const LOAD: Duration = Duration::from_secs(8);

/// One request of this many places an order, the others read.
const PLACES_ONE_IN: usize = 10;

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// The sampler runs from before the first worker's start to the end of the load.
async fn under_thirty_clients_no_pool_ever_exceeds_its_number_and_each_then_holds_exactly_it(
    cell: Cell,
) -> Result<()> {
    let setup = Setup::new(cell.stack).await?;
    let declared = declared(3, 3, 3);
    let overhead = overhead(cell, &setup).await?;
    let names = declared
        .iter()
        .chain(&overhead)
        .map(|(name, max)| (name.clone(), *max))
        .collect();
    let limits = Limits { names, fleet: None };
    let sampler = Sampler::start(&setup.server.admin_url()?, sampler::PERIOD, limits).await?;

    let fleet = Fleet::from(cell, setup, 3).await?;
    let outcome = ask(&fleet).await?;
    ensure!(
        outcome.succeeded() > 100,
        "hardly any answers: {:?}",
        outcome.statuses
    );
    ensure!(
        outcome.failed() == 0,
        "{:?} {:?}",
        outcome.statuses,
        outcome.errors
    );

    let seen = sampler.finish().await?;
    ensure!(seen.violations.is_empty(), "{:#?}", seen.violations);
    let mut peaks: BTreeMap<String, usize> = seen
        .peaks
        .into_iter()
        .map(|(name, peak)| (name, peak.confirmed))
        .collect();
    // `prepare` and its migrations, before the first worker.
    peaks.retain(|name, _| name.contains(':') && !name.starts_with("poolwright"));
    let mut expected = declared;
    expected.extend(overhead);
    ensure!(
        peaks == expected,
        "peaks {peaks:#?}, declared {expected:#?}"
    );

    let steady = sampler::count(&fleet.backends().await?);
    ensure!(
        steady == expected,
        "steady state {steady:#?}, declared {expected:#?}"
    );
    let verdict = fleet.setup.poolwright()?.json(&["verify"]).await?;
    ensure!(
        verdict["holds"] == true && verdict["bound"] == 18 && verdict["peak"] == 18,
        "{verdict}"
    );
    fleet.stop().await
}

async fn ask(fleet: &Fleet) -> Result<load::Outcome> {
    let load = Load {
        clients: 30,
        connections: Connections::KeepAlive,
        time: LOAD,
        requests: usize::MAX,
    };
    let url = fleet.desk.url("/api/orders");
    load::run(load, move |client, number| {
        let method = if number % PLACES_ONE_IN == 0 {
            Method::POST
        } else {
            Method::GET
        };
        let request = client
            .request(method.clone(), &url)
            .header("x-tenant-id", TENANT);
        match method {
            Method::POST => request.json(&json!({ "item": "Espresso beans", "quantity": 2 })),
            _ => request,
        }
    })
    .await
}
