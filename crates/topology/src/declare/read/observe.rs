//! `[observe]`: where the running fleet is looked at.

use super::value::{Content, variable_of};
use super::{Reader, Value};
use crate::declare::{App, MIN_TOKEN, Mistake, Observe, Token};
use toml::Spanned;
use toml::de::DeTable;

impl Reader<'_> {
    /// `None` after a mistake; `Some(None)` where nothing is said of it.
    pub(super) fn observe(
        &mut self,
        root: &DeTable<'_>,
        apps: &[Option<App>],
    ) -> Option<Option<Observe>> {
        let Some(value) = root.get("observe") else {
            return Some(None);
        };
        let table = self.table(value, "[observe]")?;
        self.only(table, &["listen", "public", "hosts", "token"]);
        let default = Observe::default();
        let listen = match table.get("listen") {
            None => Some(default.listen),
            Some(value) => self.parsed(value, Observe::EXPECTED, Observe::address),
        };
        let public = self.flag(table, "public");
        let hosts = match table.get("hosts") {
            None => Some(Vec::new()),
            Some(value) => self.hosts(value),
        };
        let token = self.token(table);
        let ((token, token_variable), listen, public) = (token?, listen?, public?);
        let observe = Observe {
            listen,
            public,
            hosts: hosts?,
            token,
            token_variable,
        };
        self.observable(value, table, &observe, apps);
        Some(Some(observe))
    }

    /// The address is nobody else's, and not everybody's by accident.
    fn observable(
        &mut self,
        value: &Value<'_>,
        table: &DeTable<'_>,
        observe: &Observe,
        apps: &[Option<App>],
    ) {
        let Some(address) = observe.listen else {
            return;
        };
        let span = table.get("listen").map_or(value.span(), Spanned::span);
        if observe.exposes(address) {
            self.mistake(
                span,
                format!("{address}, which other machines reach"),
                Observe::EXPECTED_LOOPBACK,
            );
            return;
        }
        let mut apps = apps.iter().flatten();
        let app = apps.find(|app| address.port() != 0 && app.listen == Some(address));
        if let Some(app) = app {
            self.mistake(
                span,
                format!("{address}, which [apps.{}] listens on", app.name),
                "an address of its own",
            );
        }
    }

    fn hosts(&mut self, value: &Value<'_>) -> Option<Vec<String>> {
        let hosts = self.texts(value, "a list of names, as in [\"fleet.example.org\"]")?;
        let is_name = |name: &String| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !name.is_empty() && name.bytes().all(allowed)
        };
        if let Some(host) = hosts.iter().find(|host| !is_name(host)) {
            self.mistake(
                value.span(),
                format!("{host:?}"),
                "names of hosts without scheme and port, as in \"fleet.example.org\"",
            );
            return None;
        }
        Some(hosts.iter().map(|host| host.to_ascii_lowercase()).collect())
    }

    /// Like a URL's: a variable that is not set is no mistake, and the page is read-only then. No value is repeated.
    fn token(&mut self, table: &DeTable<'_>) -> Option<(Option<Token>, Option<String>)> {
        const EXPECTED: &str =
            "token = { env = \"POOLWRIGHT_TOKEN\" }: a manifest is no place for a secret";
        let Some(value) = table.get("token") else {
            return Some((None, None));
        };
        let Some(variable) = variable_of(value.get_ref()) else {
            self.mistake(value.span(), "a token in the manifest", EXPECTED);
            return None;
        };
        self.only_setting_keys(value);
        if value.get_ref().get("default").is_some() {
            self.mistake(value.span(), "a token in the manifest", EXPECTED);
            return None;
        }
        if self.look_up(&variable).is_none() {
            return Some((None, Some(variable)));
        }
        let given = self.given(value)?;
        let Content::Environment(text) = &given.value else {
            return None;
        };
        let token = Token::new(text);
        if token.is_none() {
            self.mistakes.push(Mistake {
                span: given.span,
                variable: given.variable,
                found: format!("a token of {} characters", text.chars().count()),
                expected: format!(
                    "at least {MIN_TOKEN} visible ASCII characters, as `openssl rand -hex 16` prints"
                ),
            });
            return None;
        }
        Some((token, Some(variable)))
    }
}
