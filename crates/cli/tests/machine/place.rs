//! What all cases share: one Postgres, with a database of the test's own in it.

use poolwright_testkit::sampler::{Limits, PERIOD, Sampler};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{TestServer, wait_until};
use sqlx::{Connection, PgConnection};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::OnceLock;
use std::time::Duration;
use url::Url;

use crate::run::{MOST, POOLS, slot};

/// A state machine is made without arguments.
static PLACE: OnceLock<Place> = OnceLock::new();

/// Nobody waits longer for Postgres.
const PATIENCE: Duration = Duration::from_secs(20);

/// The database that every worker has its sessions in.
#[derive(Debug)]
pub(crate) struct Place {
    url: Url,
}

impl Place {
    /// Makes the database; once in a process.
    pub(crate) async fn make(server: &TestServer) {
        let url = server.create_database("machine").await.unwrap();
        let url = url.parse().unwrap();
        PLACE.set(Self { url }).expect("there is none yet");
    }

    pub(crate) fn get() -> &'static Self {
        PLACE.get().unwrap()
    }

    /// Its URL, past any proxy.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Its URL by way of a proxy.
    pub(crate) fn url_through(&self, port: u16) -> Url {
        let mut url = self.url.clone();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(port)).unwrap();
        url
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let (host, port) = (
            self.url.host_str().unwrap(),
            self.url.port().unwrap_or(5432),
        );
        (host, port).to_socket_addrs().unwrap().next().unwrap()
    }

    /// Counts the backends of every slot from here on.
    pub(crate) async fn watch(&self) -> Sampler {
        let slots = 0..MOST;
        let names = slots.flat_map(|index| {
            POOLS.map(|(pool, max)| (format!("{}:{pool}", slot(index)), max.try_into().unwrap()))
        });
        let limits = Limits {
            names: names.collect(),
            fleet: None,
        };
        Sampler::start(self.url(), PERIOD, limits).await.unwrap()
    }

    /// A session that nobody's process has, under the name of a slot's pool.
    pub(crate) async fn leave_behind(&self, name: &str) -> PgConnection {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("application_name", name);
        PgConnection::connect(url.as_str()).await.unwrap()
    }

    /// Until one of the sessions under this name has a query under way.
    pub(crate) async fn until_busy(&self, name: &str) {
        self.until(
            name,
            "is busy",
            "application_name = $1 AND state = 'active'",
            |n| n > 0,
        )
        .await;
    }

    /// Ends whatever carries a slot's name, and waits until it is gone.
    pub(crate) async fn clean(&self) {
        let mut admin = self.admin().await;
        let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name LIKE 'web-%'";
        sqlx::raw_sql(all).execute(&mut admin).await.unwrap();
        self.until("web-%", "is gone", "application_name LIKE $1", |n| n == 0)
            .await;
    }

    async fn until(&self, name: &str, what: &str, which: &str, enough: impl Fn(i64) -> bool) {
        let mut admin = self.admin().await;
        let count = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {which}"
        );
        let look = async || {
            let query = sqlx::query_scalar(sqlx::AssertSqlSafe(count.as_str())).bind(name);
            match query.fetch_one(&mut admin).await.unwrap() {
                n if enough(n) => Seen::Yes(()),
                n => Seen::NotYet(n),
            }
        };
        wait_until(&format!("{name} {what}"), PATIENCE, look)
            .await
            .unwrap();
    }

    async fn admin(&self) -> PgConnection {
        self.leave_behind("testkit:machine").await
    }
}
