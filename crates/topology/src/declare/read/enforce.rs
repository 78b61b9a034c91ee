//! `[enforce]`: what Postgres itself is to hold the fleet to.

use super::value::Content;
use super::{Reader, Value};
use crate::budget::role_of;
use crate::declare::{App, Enforce, MAX_POOL, Monitor, Prepare};
use crate::units::Connections;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeTable;

/// The longest name that Postgres keeps whole, in bytes.
const MAX_ROLE: usize = 63;

/// Below, a busy server would look at its sockets more than at its queries; above, it is no cure.
const CHECK: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// What `[enforce]` says: nothing when it is off.
type Switched = Option<Enforce>;

impl Reader<'_> {
    pub(super) fn enforce(&mut self, root: &DeTable<'_>) -> Option<Switched> {
        let Some(value) = root.get("enforce") else {
            return Some(None);
        };
        let table = self.table(value, "[enforce]")?;
        self.only(
            table,
            &[
                "roles",
                "margin",
                "monitor",
                "connection_check",
                "password_file",
            ],
        );
        let default = Enforce::default();
        let roles = match table.get("roles") {
            None => Some(true),
            Some(value) => self.switch(value),
        };
        let margin = match table.get("margin") {
            None => Some(default.margin),
            Some(value) => self
                .count(value, 0..=MAX_POOL, "")
                .map(|count| Connections(count.value)),
        };
        let monitor = match table.get("monitor") {
            None => Some(default.monitor),
            Some(value) => self.monitor(value),
        };
        let connection_check = match table.get("connection_check") {
            None => Some(default.connection_check),
            Some(value) => self.parsed(
                value,
                "a time between \"100ms\" and \"1h\", as in \"1s\", or \"off\"",
                |text| match text {
                    "off" => Some(None),
                    text => humantime::parse_duration(text)
                        .ok()
                        .filter(|interval| CHECK.contains(interval))
                        .map(Some),
                },
            ),
        };
        let password_file = self.text(table, "password_file");
        let enforce = Enforce {
            margin: margin?,
            monitor: monitor?,
            connection_check: connection_check?,
            password_file: password_file?,
        };
        Some(roles?.then_some(enforce))
    }

    /// Refuses what only the whole manifest shows to be wrong.
    pub(super) fn enforceable(
        &mut self,
        root: &DeTable<'_>,
        enforce: &Enforce,
        apps: &[App],
        prepare: &Prepare,
    ) {
        let Some(value) = root.get("enforce") else {
            return;
        };
        let pools = || apps.iter().flat_map(|app| &app.pools);
        let given = pools().any(|pool| pool.url.is_some() || pool.url_variable.is_some());
        if given && prepare.url.is_none() && prepare.url_variable.is_none() {
            self.mistake(
                value.span(),
                "[enforce] without the url of [prepare]",
                "url = { env = \"ADMIN_DATABASE_URL\" } in [prepare]: a role that may create roles",
            );
        }
        let monitor = &enforce.monitor.role;
        if pools().any(|pool| role_of(pool) == *monitor) {
            self.mistake(
                value.span(),
                format!("the monitor's role {monitor:?}, which is a pool's"),
                "a role of its own for the monitor: it takes none of a pool's connections",
            );
        }
    }

    fn monitor(&mut self, value: &Value<'_>) -> Option<Monitor> {
        let table = self.table(value, "monitor = { role = …, url = … }")?;
        self.only(table, &["role", "url"]);
        let role = match table.get("role") {
            None => Some(None),
            Some(value) => self
                .parsed(value, "the name of a role, of at most 63 bytes", |text| {
                    (1..=MAX_ROLE)
                        .contains(&text.len())
                        .then(|| text.to_owned())
                })
                .map(Some),
        };
        let url = self.url(table);
        let ((url, url_variable), role) = (url?, role?);
        let user = url.as_ref().map(crate::declare::DatabaseUrl::user);
        if let (Some(user), Some(role)) = (&user, &role)
            && user != role
        {
            self.mistake(
                value.span(),
                format!("the role {role:?} and a URL of the role {user:?}"),
                "the same role in both, or one of them left out",
            );
            return None;
        }
        Some(Monitor {
            role: role.or(user).unwrap_or_else(|| Monitor::default().role),
            url,
            url_variable,
        })
    }

    /// `true` or `false`, also as the text of a variable.
    fn switch(&mut self, value: &Value<'_>) -> Option<bool> {
        const EXPECTED: &str = "true or false";
        let given = self.given(value)?;
        let switch = match &given.value {
            Content::Environment(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Content::Literal(literal) => literal.as_bool(),
        };
        if switch.is_none() {
            self.refuse(&given, EXPECTED);
        }
        switch
    }
}
