//! What a tenant's read under row-level security costs a connection: by the worker library, by Prisma, by SeaORM as it comes, and by the
//! least that there can be.
//!
//! A connection is held for as many round trips as the client waits for with it. On one machine a trip is next to nothing, over a network
//! it is everything; so each is measured here, and over a network that takes its time.

use std::net::Ipv4Addr;
use std::time::Duration;

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::ports::free_port;
use poolwright_testkit::proxy::Proxy;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Process, built, process, wait_until};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::{Answers, Connections, Until, ask};
use crate::network::Network;
use crate::report::{Spread, say};
use crate::stacks::{CLIENTS, LISTED, TENANT, get};

/// Of the one worker.
pub(crate) const CONNECTIONS: u32 = 3;
/// Of the network, each way: about what lies between two zones of a data centre.
pub(crate) const DELAY: Duration = Duration::from_millis(1);
pub(crate) const ASKED: Duration = Duration::from_secs(3);
pub(crate) const WARM_UP: Duration = Duration::from_secs(2);
/// Until a program listens.
const LISTENS: Duration = Duration::from_secs(20);
/// How many trips the network's time is measured with.
const PINGS: usize = 50;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Axum,
    Prisma,
    SeaOrm,
    OneTrip,
}

/// Every round of all.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tenants {
    pub(crate) axum: Vec<Reads>,
    pub(crate) prisma: Vec<Reads>,
    pub(crate) sea_orm: Vec<Reads>,
    pub(crate) one_trip: Vec<Reads>,
}

/// What one connection carried.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reads {
    /// In a second, beside the server.
    pub(crate) here: f64,
    /// The same over the network.
    pub(crate) over_network: f64,
    /// Round trips that were counted on the network, for each read.
    pub(crate) trips: f64,
    /// A round trip of the network, in milliseconds.
    pub(crate) trip_ms: f64,
}

impl Reads {
    /// For how many round trips of the network each read held its connection.
    pub(crate) fn held(&self) -> f64 {
        1e3 / self.over_network / self.trip_ms
    }
}

/// Measures all, alternating.
pub(crate) async fn compare(rounds: usize) -> Result<Tenants> {
    let mut tenants = Tenants::default();
    for _ in 0..rounds {
        for reader in [
            Reader::Axum,
            Reader::Prisma,
            Reader::SeaOrm,
            Reader::OneTrip,
        ] {
            let reads = measure(reader).await;
            let reads = reads.with_context(|| format!("{reader:?}"))?;
            say(&format!("{reader:?}: {reads:?}"));
            match reader {
                Reader::Axum => tenants.axum.push(reads),
                Reader::Prisma => tenants.prisma.push(reads),
                Reader::SeaOrm => tenants.sea_orm.push(reads),
                Reader::OneTrip => tenants.one_trip.push(reads),
            }
        }
    }
    Ok(tenants)
}

async fn measure(reader: Reader) -> Result<Reads> {
    let setup = Setup::new(reader.stack())
        .await?
        .env("NODE_ENV", "production")
        .env("PM2_INSTANCES", "1")
        .env("PRISMA_POOL_MAX", CONNECTIONS.to_string())
        .prepared()
        .await?;
    let direct = setup
        .environment()
        .get("DATABASE_URL")
        .context("no DATABASE_URL")?
        .clone();
    fill(&setup).await?;
    let (answers, _, setup) = reader.reads(setup, None).await?;
    let here = answers.per_second()? / f64::from(CONNECTIONS);

    let port = setup.server.port()?;
    let counted = Proxy::start((Ipv4Addr::LOCALHOST, port).into()).await?;
    let network = Network::start(counted.port(), DELAY).await?;
    let through = direct.replace(&format!(":{port}/"), &format!(":{}/", network.port()));
    ensure!(through != direct, "DATABASE_URL has no port");
    let trip_ms = trip_ms(&through).await?;
    let setup = setup.env("DATABASE_URL", through);
    let (answers, trips, setup) = reader.reads(setup, Some(&counted)).await?;
    setup.server.stop().await?;
    let reads = f64::from(u32::try_from(answers.latencies.len())?);
    Ok(Reads {
        here,
        over_network: answers.per_second()? / f64::from(CONNECTIONS),
        trips: f64::from(u32::try_from(trips)?) / reads,
        trip_ms,
    })
}

/// A full page of the tenant's orders; and the tenant as a setting of the role, for the one trip that sets none itself.
async fn fill(setup: &Setup) -> Result<()> {
    let mut admin = setup.server.connect("order_desk").await?;
    sqlx::query(
        "INSERT INTO orders (tenant_id, item, quantity, workflow_id)
         SELECT $1::uuid, 'Espresso beans', 2, 'order-' || gen_random_uuid() FROM generate_series(1, $2)",
    )
    .bind(TENANT)
    .bind(i32::try_from(LISTED)?)
    .execute(&mut admin)
    .await?;
    sqlx::raw_sql("ANALYZE orders").execute(&mut admin).await?;
    let role = setup.server.name("order_desk_app");
    let set = format!("ALTER ROLE \"{role}\" SET app.tenant_id = '{TENANT}'");
    sqlx::raw_sql(AssertSqlSafe(set))
        .execute(&mut admin)
        .await?;
    Ok(admin.close().await?)
}

/// The median round trip of what lies between here and the server.
async fn trip_ms(url: &str) -> Result<f64> {
    let mut connection = PgConnection::connect(url).await?;
    let mut trips = Vec::new();
    for _ in 0..PINGS {
        let begin = Instant::now();
        connection.ping().await?;
        trips.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    connection.close().await?;
    Ok(Spread::of(trips).context("no trips")?.median)
}

impl Reader {
    const fn stack(self) -> Stack {
        match self {
            Self::Prisma => Stack::Sveltekit,
            Self::Axum | Self::SeaOrm | Self::OneTrip => Stack::Axum,
        }
    }

    /// Starts one worker, lets it read, and stops it; with what the network carried meanwhile.
    async fn reads(self, setup: Setup, network: Option<&Proxy>) -> Result<(Answers, u64, Setup)> {
        let program = match self {
            Self::Axum | Self::Prisma => {
                let (stack, manager) = (self.stack(), Manager::Poolwright);
                let fleet = Fleet::from(Cell { stack, manager }, setup, 1).await?;
                let (answers, trips) = read(fleet.setup.port, network).await?;
                return Ok((answers, trips, fleet.halted().await?));
            }
            Self::SeaOrm => "sea-orm",
            Self::OneTrip => "one-trip",
        };
        let port = free_port()?;
        let environment = setup.environment().iter();
        let mut command = process::command(
            &built::program("tenant-reads")?,
            &built::repository(),
            environment,
        );
        command
            .arg(program)
            .env("POOL_MAX", CONNECTIONS.to_string())
            .env("PORT", port.to_string());
        let running = Process::spawn(command)?;
        wait_until(
            "the program listens",
            LISTENS,
            async || match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(_) => Seen::Yes(()),
                Err(error) => Seen::NotYet(error),
            },
        )
        .await
        .with_context(|| running.tail())?;
        let (answers, trips) = read(port, network).await?;
        drop(running);
        Ok((answers, trips, setup))
    }
}

async fn read(port: u16, network: Option<&Proxy>) -> Result<(Answers, u64)> {
    let kept = Connections::Kept;
    let trips = || network.map_or(0, Proxy::round_trips);
    ask(port, kept, CLIENTS, Until::Time(WARM_UP), get(), 200).await?;
    let before = trips();
    let answers = ask(port, kept, CLIENTS, Until::Time(ASKED), get(), 200).await?;
    Ok((answers, trips() - before))
}
