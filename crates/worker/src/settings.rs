//! The environment of a worker, read once and checked whole.
//!
//! Invariant: after [`Settings::read`] nothing downstream checks again. Every mistake is reported at
//! once, because an operator who repairs one variable per restart repairs eight in eight restarts.
//! The environment is an argument (a function from name to value), so no test touches the real one.

mod mistakes;
mod signals;

use crate::identity::Identity;
use mistakes::without_password;
pub use mistakes::{Mistake, Mistakes};
pub use poolwright_topology::declare::DatabaseUrl;
use poolwright_topology::declare::UrlError;
pub use signals::Signals;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Reads variables and collects what is wrong with them.
pub struct Reader<'a> {
    source: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
}

/// What a worker is told by its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who this process is.
    pub identity: Identity,
    /// The ORM pool's size in connections (`PRISMA_POOL_MAX`).
    pub orm_max: u32,
    /// The DBOS pool's size in connections (`DBOS_POOL_MAX`).
    pub dbos_max: u32,
    /// Where the ORM connects to (`DATABASE_URL`).
    pub orm_url: DatabaseUrl,
    /// Where DBOS connects to (`DBOS_SYSTEM_DATABASE_URL`).
    pub dbos_url: DatabaseUrl,
    /// Whether the ORM pool's metrics are printed (`PRINT_PRISMA_POOL_METRICS`).
    pub print_metrics: bool,
    /// Where to listen when no socket is handed down (`HOST`, `PORT`).
    pub address: SocketAddr,
    /// How long a drain may take (`DRAIN_TIMEOUT_MS`).
    pub drain_timeout: Duration,
    /// How long to wait for another process to let go of the executor id
    /// (`POOLWRIGHT_LOCK_TIMEOUT_MS`).
    pub lock_timeout: Duration,
    /// Who started this process, and so what it may expect of its surroundings.
    pub surroundings: Surroundings,
    /// The version of the code in place of the service's own (`DBOS__APPVERSION`, which every DBOS
    /// SDK reads).
    pub app_version: Option<String>,
    /// What is exported by OTLP (`OTEL_…`).
    pub signals: Signals,
}

/// Who started this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surroundings {
    /// Nobody in particular: no channel is used.
    Bare,
    /// PM2, with its channel's descriptor where it gives one: told when the worker is ready.
    Pm2(Option<i32>),
    /// Poolwright, with its channel's descriptor.
    Poolwright(i32),
}

/// DBOS pins one connection of its pool for LISTEN; with a maximum of 1 it would wait for itself.
const DBOS_MIN: u64 = 2;

/// A pool larger than this is a typing mistake: it is ten times Postgres' default for a whole server.
const POOL_LIMIT: u64 = 1000;

/// The most instances an app may have, and so one more than the highest slot.
const INSTANCES_LIMIT: u64 = 512;

/// Longer than a process that is ending takes, short enough for its reason to be read before anybody gives
/// up on the start: both process managers wait 30 s for a worker.
const LOCK_TIMEOUT_MS: u64 = 10_000;

impl Settings {
    /// Reads a worker's variables; mistakes stay in `reader`.
    ///
    /// `None` when there is any mistake in these variables.
    pub fn read(reader: &mut Reader<'_>, pid: u32) -> Option<Self> {
        // Each line reads its variable whatever the others held; only then does `?` give up.
        let instances = reader.number("PM2_INSTANCES", 1..=INSTANCES_LIMIT, 3);
        let orm_max = reader.number("PRISMA_POOL_MAX", 1..=POOL_LIMIT, 3);
        let dbos_max = reader.number("DBOS_POOL_MAX", DBOS_MIN..=POOL_LIMIT, 3);
        let print_metrics = reader.flag("PRINT_PRISMA_POOL_METRICS", false);
        let orm_url = reader.database_url("DATABASE_URL", "PRISMA_POOL_MAX");
        let dbos_url = reader.database_url("DBOS_SYSTEM_DATABASE_URL", "DBOS_POOL_MAX");
        let index = reader.number("PM2_INSTANCE_ID", 0..=INSTANCES_LIMIT - 1, 0);
        let host = reader.parsed("HOST", "an IP address", IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let port = reader.number("PORT", 0..=u64::from(u16::MAX), 3000);
        let drain_timeout = reader.milliseconds("DRAIN_TIMEOUT_MS", 30_000);
        let lock_timeout = reader.milliseconds("POOLWRIGHT_LOCK_TIMEOUT_MS", LOCK_TIMEOUT_MS);
        let surroundings = reader.surroundings();
        let signals = reader.signals();
        let identity = reader.identity(index, pid);

        instances?;
        Some(Self {
            identity: identity?,
            orm_max: u32::try_from(orm_max?).ok()?,
            dbos_max: u32::try_from(dbos_max?).ok()?,
            orm_url: orm_url?,
            dbos_url: dbos_url?,
            print_metrics: print_metrics?,
            address: SocketAddr::new(host?, u16::try_from(port?).ok()?),
            drain_timeout: drain_timeout?,
            lock_timeout: lock_timeout?,
            surroundings: surroundings?,
            app_version: reader.given("DBOS__APPVERSION"),
            signals: signals?,
        })
    }
}

impl<'a> Reader<'a> {
    /// A reader of `source`, which answers a variable's name with its value.
    pub fn new(source: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            source,
            mistakes: Vec::new(),
        }
    }

    /// A whole number within `range`, or `default` when the variable is not set.
    pub fn number(
        &mut self,
        variable: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Option<u64> {
        let Some(found) = (self.source)(variable) else {
            return Some(default);
        };
        // `parse` also takes "+3", which no shell user means.
        match found.parse() {
            Ok(number) if range.contains(&number) && !found.starts_with('+') => Some(number),
            _ => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                self.refuse(variable, Some(found), expected)
            }
        }
    }

    /// A time in milliseconds, at most an hour.
    pub fn milliseconds(&mut self, variable: &'static str, default: u64) -> Option<Duration> {
        self.number(variable, 0..=3_600_000, default)
            .map(Duration::from_millis)
    }

    /// `true`, `false`, `1` or `0`.
    pub fn flag(&mut self, variable: &'static str, default: bool) -> Option<bool> {
        match (self.source)(variable) {
            None => Some(default),
            Some(found) => match found.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => self.refuse(variable, Some(found), "true, false, 1 or 0".into()),
            },
        }
    }

    /// Text that `T` can be read from.
    pub fn parsed<T: FromStr>(
        &mut self,
        variable: &'static str,
        expected: &str,
        default: T,
    ) -> Option<T> {
        match (self.source)(variable) {
            None => Some(default),
            Some(found) => match found.parse() {
                Ok(value) => Some(value),
                Err(_) => self.refuse(variable, Some(found), expected.into()),
            },
        }
    }

    /// A Postgres URL; `maximum` names the variable that sizes the pool, for whoever still writes
    /// `connection_limit`.
    pub fn database_url(
        &mut self,
        variable: &'static str,
        maximum: &'static str,
    ) -> Option<DatabaseUrl> {
        let Some(found) = (self.source)(variable) else {
            return self.refuse(variable, None, "a postgres:// URL".into());
        };
        match DatabaseUrl::parse(&found) {
            Ok(url) => Some(url),
            Err(error) => {
                const EXPECTED: &str =
                    "a postgres:// or postgresql:// URL with host, user and database";
                let expected = match error {
                    UrlError::ConnectionLimit { .. } => format!(
                        "{EXPECTED}, without connection_limit (it is ignored; {maximum} sizes the pool)"
                    ),
                    _ => EXPECTED.to_owned(),
                };
                self.refuse(variable, Some(without_password(&found)), expected)
            }
        }
    }

    /// What was read, or every mistake there was.
    ///
    /// # Errors
    /// [`Mistakes`], at least one.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Mistakes> {
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            _ => Err(Mistakes::new(self.mistakes)),
        }
    }

    /// A variable that is set to something: OpenTelemetry's variables mean nothing when they are empty.
    fn given(&self, variable: &str) -> Option<String> {
        (self.source)(variable).filter(|value| !value.is_empty())
    }

    fn surroundings(&mut self) -> Option<Surroundings> {
        const CHANNEL: &str = "NODE_CHANNEL_FD";
        let supervised = self.flag("POOLWRIGHT_CHANNEL", false)?;
        // The descriptors below 3 are the standard streams.
        let descriptor = match (self.source)(CHANNEL) {
            None => None,
            Some(_) => {
                let number = self.number(CHANNEL, 3..=65_535, 3)?;
                Some(i32::try_from(number).ok()?)
            }
        };
        match (supervised, descriptor) {
            (true, Some(descriptor)) => Some(Surroundings::Poolwright(descriptor)),
            (true, None) => self.refuse(
                CHANNEL,
                None,
                "the channel's descriptor, because POOLWRIGHT_CHANNEL is set".into(),
            ),
            // PM2 numbers every process it starts in `pm_id`.
            (false, descriptor) if descriptor.is_some() || (self.source)("pm_id").is_some() => {
                Some(Surroundings::Pm2(descriptor))
            }
            (false, _) => Some(Surroundings::Bare),
        }
    }

    fn identity(&mut self, index: Option<u64>, pid: u32) -> Option<Identity> {
        const APP: &str = "POOLWRIGHT_APP";
        let app = (self.source)(APP);
        let name = app.as_deref().unwrap_or("web");
        // A wrong index is reported already; the name is still checked.
        let slot = u32::try_from(index.unwrap_or(0)).ok()?;
        match Identity::new(name, slot, pid) {
            Ok(identity) => index.map(|_| identity),
            Err(_) => self.refuse(
                APP,
                app,
                "a short name of lowercase letters, digits, \"_\" and \"-\"".into(),
            ),
        }
    }

    fn refuse<T>(
        &mut self,
        variable: &'static str,
        found: Option<String>,
        expected: String,
    ) -> Option<T> {
        self.mistakes.push(Mistake::new(variable, found, expected));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const ORM: &str = "postgres://app:s3cret@localhost:5432/order_desk";
    const DBOS: &str = "postgresql://dbos:s3cret@localhost/dbos";

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Mistakes> {
        let mut all = HashMap::from([("DATABASE_URL", ORM), ("DBOS_SYSTEM_DATABASE_URL", DBOS)]);
        all.extend(variables.iter().copied());
        only(&all)
    }

    fn only(variables: &HashMap<&str, &str>) -> Result<Settings, Mistakes> {
        let source = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        let mut reader = Reader::new(&source);
        let settings = Settings::read(&mut reader, 4711);
        reader.finish(settings)
    }

    #[test]
    fn the_defaults_are_three_and_three_in_slot_zero() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.orm_max, settings.dbos_max), (3, 3));
        assert_eq!(settings.identity.executor_id(), "web-0");
        assert_eq!(settings.address, "0.0.0.0:3000".parse().unwrap());
        assert_eq!(settings.drain_timeout, Duration::from_secs(30));
        assert_eq!(settings.surroundings, Surroundings::Bare);
        assert!(!settings.print_metrics);
    }

    #[test]
    fn telemetry_is_exported_where_an_endpoint_is_named_and_only_then() {
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const HERE: &str = "http://127.0.0.1:4318";
        let cases = [
            (vec![], (false, false)),
            (vec![(ALL, "")], (false, false)),
            (vec![(ALL, HERE)], (true, true)),
            (
                vec![(TRACES, "https://collector.example/v1/traces")],
                (true, false),
            ),
            (
                vec![(ALL, HERE), ("OTEL_SDK_DISABLED", "true")],
                (false, false),
            ),
        ];
        for (variables, expected) in cases {
            let signals = read(&variables).unwrap().signals;
            assert_eq!((signals.traces, signals.metrics), expected, "{variables:?}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_in_the_words_of_the_contract() {
        let error = only(&HashMap::from([("PM2_INSTANCES", "three")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid environment, 3 mistakes:\n  \
             PM2_INSTANCES: found \"three\", expected a whole number from 1 to 512\n  \
             DATABASE_URL: not set, expected a postgres:// URL\n  \
             DBOS_SYSTEM_DATABASE_URL: not set, expected a postgres:// URL"
        );
    }

    #[test]
    fn each_variable_refuses_what_lies_outside_its_range_and_names_itself() {
        let cases = [
            ("PM2_INSTANCES", "0", "from 1 to 512"),
            ("PM2_INSTANCES", "513", "from 1 to 512"),
            ("PRISMA_POOL_MAX", "0", "from 1 to 1000"),
            ("PRISMA_POOL_MAX", "-1", "from 1 to 1000"),
            ("PRISMA_POOL_MAX", "+3", "from 1 to 1000"),
            ("DBOS_POOL_MAX", "1", "from 2 to 1000"),
            ("DBOS_POOL_MAX", "3.5", "from 2 to 1000"),
            ("PRINT_PRISMA_POOL_METRICS", "yes", "true, false, 1 or 0"),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "collector:4318",
                "an http:// or https:// URL",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            (
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                "/nowhere.pem",
                "a file of PEM certificates",
            ),
            (
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
                "a file of PEM certificates",
            ),
            ("PM2_INSTANCE_ID", "512", "from 0 to 511"),
            ("PORT", "65536", "from 0 to 65535"),
            ("HOST", "nowhere", "an IP address"),
            ("POOLWRIGHT_APP", "Web", "lowercase"),
            ("NODE_CHANNEL_FD", "2", "from 3 to 65535"),
            ("DATABASE_URL", "mysql://a@b/c", "postgres://"),
            ("DATABASE_URL", "postgres://a@b/", "database"),
            ("DATABASE_URL", "postgres://b/c", "user"),
            ("DATABASE_URL", "", "postgres://"),
            (
                "DATABASE_URL",
                "postgres://a@b/c?connection_limit=3",
                "PRISMA_POOL_MAX",
            ),
        ];
        for (variable, value, expected) in cases {
            let text = read(&[(variable, value)]).unwrap_err().to_string();
            assert!(
                text.starts_with("invalid environment, 1 mistake:\n"),
                "{text}"
            );
            assert!(
                text.contains(&format!("{variable}: found \"{value}\"")),
                "{text}"
            );
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_password_reaches_neither_the_message_nor_debug() {
        let wrong = [
            "mysql://u:s3cret@h/d",
            "u:s3cret@h/d",
            "postgres://u:s3@cret@h",
            "postgres://u:s3cret@h/d?connection_limit=1",
            "postgres://u@h?password=s3cret&x=1",
        ];
        for url in wrong {
            let text = read(&[("DATABASE_URL", url)]).unwrap_err().to_string();
            assert!(!text.contains("cret"), "{text}");
            assert!(text.contains("***"), "{text}");
        }
        assert!(!format!("{:?}", read(&[]).unwrap()).contains("s3cret"));
    }

    #[test]
    fn the_sessions_are_called_by_the_workers_name_whatever_the_url_says() {
        let settings = read(&[(
            "DATABASE_URL",
            "postgres://a:b@c/d?application_name=x&sslmode=disable",
        )])
        .unwrap();
        assert_eq!(
            settings.orm_url.named("web-0:prisma"),
            "postgres://a:b@c/d?sslmode=disable&application_name=web-0%3Aprisma"
        );
    }

    #[test]
    fn who_started_the_process_is_told_apart() {
        let of = |variables: &[(&str, &str)]| read(variables).map(|read| read.surroundings);
        let channel = ("NODE_CHANNEL_FD", "3");
        assert_eq!(of(&[("pm_id", "0")]), Ok(Surroundings::Pm2(None)));
        assert_eq!(of(&[channel]), Ok(Surroundings::Pm2(Some(3))));
        assert_eq!(
            of(&[channel, ("POOLWRIGHT_CHANNEL", "1")]),
            Ok(Surroundings::Poolwright(3))
        );
        let text = of(&[("POOLWRIGHT_CHANNEL", "1")]).unwrap_err().to_string();
        assert!(text.contains("NODE_CHANNEL_FD: not set"), "{text}");
    }
}
