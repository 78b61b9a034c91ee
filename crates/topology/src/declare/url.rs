//! A database URL whose password cannot be printed by accident.

use percent_encoding::percent_decode_str;
use std::fmt;
use url::Url;
use url::form_urlencoded::byte_serialize;

/// A validated `postgres://` URL: host, user and database are there.
///
/// `Debug` and `Display` show `***` for the password; [`DatabaseUrl::expose`] is the one way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Url);

/// Why a URL was refused. Never carries the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all. The text is not repeated: a password may stand anywhere in it.
    #[error("text that is no URL ({reason})")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// Another scheme. Said where it looks like one: whatever ran into a URL's front would be its scheme as well.
    #[error("a {scheme}:// URL")]
    Scheme {
        /// The scheme found, or "strange" for one that is long or no word.
        scheme: String,
    },
    /// A part is missing.
    #[error("\"{redacted}\" without a {part}")]
    Missing {
        /// The URL, password hidden.
        redacted: String,
        /// Which part.
        part: &'static str,
    },
    /// `connection_limit` is Prisma 6's way to say the pool's size; Prisma 7 ignores it.
    #[error("\"{redacted}\" with connection_limit, which Prisma 7 and sqlx ignore")]
    ConnectionLimit {
        /// The URL, password hidden.
        redacted: String,
    },
}

impl DatabaseUrl {
    /// What a URL has to look like, for messages.
    pub const EXPECTED: &'static str =
        "postgres://user:password@host:port/database, without connection_limit";

    /// Checks a URL.
    ///
    /// # Errors
    /// [`UrlError`], the first that applies.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(|source| UrlError::Malformed {
            reason: source.to_string(),
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            let word = |c: char| c.is_ascii_alphabetic() || c == '+';
            let scheme = match url.scheme() {
                scheme if scheme.len() <= 12 && scheme.chars().all(word) => scheme,
                _ => "strange",
            };
            return Err(UrlError::Scheme {
                scheme: scheme.to_owned(),
            });
        }
        let url = Self(url);
        let missing = |part| UrlError::Missing {
            redacted: url.to_string(),
            part,
        };
        // One with an @ is another URL, password and all, where the name of a host or a folder belongs.
        if url.host().is_empty() || url.host().contains('@') {
            return Err(missing("host"));
        }
        if url.user().is_empty() {
            return Err(missing("user"));
        }
        if url.database().is_empty() {
            return Err(missing("database"));
        }
        if url
            .0
            .query_pairs()
            .any(|(key, _)| key == "connection_limit")
        {
            return Err(UrlError::ConnectionLimit {
                redacted: url.to_string(),
            });
        }
        Ok(url)
    }

    /// The host, or the folder of the socket when the query names one.
    #[must_use]
    pub fn host(&self) -> String {
        let socket = self
            .0
            .query_pairs()
            .find(|(key, _)| key == "host")
            .map(|(_, value)| value.into_owned());
        socket.unwrap_or_else(|| self.0.host_str().unwrap_or_default().to_owned())
    }

    /// The port, 5432 by default.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(5432)
    }

    /// The role that connects.
    #[must_use]
    pub fn user(&self) -> String {
        decode(self.0.username())
    }

    /// The role's password.
    #[must_use]
    pub fn password(&self) -> Option<String> {
        self.0.password().map(decode)
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> String {
        decode(self.0.path().trim_start_matches('/'))
    }

    /// The same URL with another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        let mut url = self.0.clone();
        url.set_path(database);
        Self(url)
    }

    /// The same URL for another role, with its password or none.
    #[must_use]
    pub fn with_user(&self, user: &str, password: Option<&str>) -> Self {
        let mut url = self.0.clone();
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| name != "user" && name != "password")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        // Both fail for URLs without a host only, which are none of ours.
        let _named = url.set_username(user);
        let _known = url.set_password(password);
        Self(url)
    }

    /// Whether both reach the same server. Spelling counts, but for the names of the loopback.
    #[must_use]
    pub fn same_server(&self, other: &Self) -> bool {
        self.server() == other.server()
    }

    /// The server, `host:port`, with one spelling for the loopback.
    #[must_use]
    pub fn server(&self) -> String {
        let host = self.host();
        let host = match host.as_str() {
            "localhost" | "[::1]" | "::1" => "127.0.0.1",
            other => other,
        };
        format!("{host}:{}", self.port())
    }

    /// The server and the database, `host:port/database`: where something is kept.
    #[must_use]
    pub fn store(&self) -> String {
        format!("{}/{}", self.server(), self.database())
    }

    /// The whole URL with its password, its sessions called `application_name`. What else the query says stays to the
    /// letter: drivers differ in what they take for an escape.
    #[must_use]
    pub fn named(&self, application_name: &str) -> String {
        let mut url = self.0.clone();
        let query = url.query().unwrap_or_default();
        let is_name = |part: &&str| part.split('=').next() == Some("application_name");
        let others = query
            .split('&')
            .filter(|part| !part.is_empty() && !is_name(part));
        let name: String = byte_serialize(application_name.as_bytes()).collect();
        let name = format!("application_name={name}");
        let query: Vec<&str> = others.chain([name.as_str()]).collect();
        let query = query.join("&");
        url.set_query(Some(&query));
        url.into()
    }

    /// The whole URL with its password, for whoever connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        if url.password().is_some() {
            // Fails for URLs without a host only, which have no password to hide.
            let _hidden = url.set_password(Some("***"));
        }
        // No driver reads it, and anything may stand in it.
        url.set_fragment(None);
        // Two URLs run together are one whose database is the rest of the other.
        if self.database().contains(['@', ':']) {
            url.set_path("***");
        }
        // A password may also be given as a parameter, or be a part of whatever else stands there.
        let shown: Vec<String> = url
            .query_pairs()
            .map(|(name, value)| match is_plain(&name) {
                true if name.contains("password") || !is_plain(&value) => format!("{name}=***"),
                true => format!("{name}={value}"),
                false => "***".to_owned(),
            })
            .collect();
        if !shown.is_empty() {
            url.set_query(Some(&shown.join("&")));
        }
        f.write_str(url.as_str())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// A file's text with the passwords of its URLs blotted out, as long as before, so that places in it stay where they are. For
/// what is shown of a file that may not even parse, so it rather blots out too much.
#[must_use]
pub fn blotted(text: &str) -> String {
    text.split_inclusive('\n').map(blotted_line).collect()
}

fn blotted_line(line: &str) -> String {
    let mut blotted = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        blotted.push_str(before);
        let quote = after.find(['"', '\'']).unwrap_or(after.len());
        // A password may contain what ends a URL: the next @ in the line ends the credentials then.
        let within = after.get(..quote).and_then(|url| url.rfind('@'));
        let Some(end) = within.or_else(|| after.find('@')) else {
            rest = after;
            continue;
        };
        let (credentials, host) = after.split_at(end);
        // Without a password the user may be a token.
        match credentials.split_once(':') {
            Some((user, password)) => blotted.push_str(&format!("{user}:{}", stars(password))),
            None => blotted.push_str(&stars(credentials)),
        }
        rest = host;
    }
    blotted.push_str(rest);
    blotted_parameters(&blotted)
}

/// Values of `password=` and its like, which a URL's query may have.
fn blotted_parameters(line: &str) -> String {
    let mut parts = line.split("password=");
    let mut blotted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        blotted.push_str("password=");
        let end = part.find(['&', '"', '\'', '\n']).unwrap_or(part.len());
        let (password, rest) = part.split_at(end);
        blotted.push_str(&stars(password));
        blotted.push_str(rest);
    }
    blotted
}

/// As many bytes of stars.
fn stars(text: &str) -> String {
    "*".repeat(text.len())
}

/// Whether a part of a query is a word or a number, as settings are.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    text.len() <= 64 && text.chars().all(plain)
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url = DatabaseUrl::parse("postgres://app:s3cret@db/desk?password=s3cret").unwrap();
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        assert_eq!(url.password().as_deref(), Some("s3cret"));
    }

    #[test]
    fn of_the_query_only_plain_settings_are_shown() {
        let text =
            "postgres://a@db/desk?sslmode=require&x=postgres%3A%2F%2Fb%3As3cret%40h&%3As3cret%40=1";
        let shown = DatabaseUrl::parse(text).unwrap().to_string();
        assert_eq!(shown, "postgres://a@db/desk?sslmode=require&x=***&***");
    }

    #[test]
    fn a_database_that_looks_like_another_url_is_not_shown() {
        let url = DatabaseUrl::parse("postgres://a:b@hpostgres://c:s3cret@h/desk").unwrap();
        assert_eq!(url.to_string(), "postgres://a:***@hpostgres/***");
    }

    #[test]
    fn passwords_are_blotted_out_of_a_text_that_keeps_its_length() {
        for (text, expected) in [
            (
                "url = \"postgres://a:pw@h/d\"",
                "url = \"postgres://a:**@h/d\"",
            ),
            ("'postgres://a:p\"w@h' x", "'postgres://a:***@h' x"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://token@h/", "https://*****@h/"),
            ("'x://a:b@h', 'y://c:d@h'", "'x://a:*@h', 'y://c:*@h'"),
            ("?password=s3&x=1", "?password=**&x=1"),
        ] {
            assert_eq!(blotted(text), expected);
        }
    }

    #[test]
    fn what_is_missing_is_said_and_the_password_is_not() {
        for (text, said) in [
            ("postgres://:s3cret@db/desk", "user"),
            ("postgres://a@db/desk?host=x://b:s3cret@h", "host"),
            ("postgres://app:s3cret@db", "database"),
            ("postgres://app:s3cret@db/", "database"),
            ("mysql://app:s3cret@db/desk", "mysql"),
            ("s3cretpostgres://app@db/desk", "a strange:// URL"),
            ("app:s3cret@db/desk", "app"),
            ("not a url s3cret", "no URL"),
            (
                "postgres://app:s3cret@db/desk?connection_limit=3",
                "connection_limit",
            ),
        ] {
            let error = DatabaseUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn parts_are_decoded() {
        let url = DatabaseUrl::parse("postgres://a%40b:p%2Fw@db:5433/order%20desk").unwrap();
        assert_eq!(url.user(), "a@b");
        assert_eq!(url.password().unwrap(), "p/w");
        assert_eq!(url.database(), "order desk");
        assert_eq!(url.server(), "db:5433");
    }

    #[test]
    fn where_something_is_kept_has_the_spelling_that_the_node_stack_gives_it() {
        let fixture = include_str!("../../../../fixtures/lock/stores.json");
        let examples: Vec<serde_json::Value> = serde_json::from_str(fixture).unwrap();
        assert!(!examples.is_empty());
        for example in examples {
            let url = DatabaseUrl::parse(example["url"].as_str().unwrap()).unwrap();
            assert_eq!(url.store(), example["store"].as_str().unwrap());
        }
    }

    #[test]
    fn another_role_brings_its_own_password_and_nothing_of_the_first_one_s() {
        let url =
            DatabaseUrl::parse("postgres://app:s3cret@db/desk?password=s3cret&sslmode=disable");
        let other = url.unwrap().with_user("poolwright monitor", Some("p/w@"));
        assert_eq!(other.user(), "poolwright monitor");
        assert_eq!(other.password().as_deref(), Some("p/w@"));
        assert!(!other.expose().contains("s3cret") && other.expose().ends_with("sslmode=disable"));
        assert_eq!(other.with_user("x", None).password(), None);
    }

    #[test]
    fn a_name_takes_the_place_of_another_and_the_rest_of_the_query_stays_to_the_letter() {
        let table = [
            ("", "?application_name=web-0%3Aorm"),
            (
                "?options=-c%20work_mem%3D8MB&application_name=mine&sslmode=disable",
                "?options=-c%20work_mem%3D8MB&sslmode=disable&application_name=web-0%3Aorm",
            ),
        ];
        for (query, expected) in table {
            let base = "postgres://app:p%40w@db:5433/order%20desk";
            let url = DatabaseUrl::parse(&format!("{base}{query}")).unwrap();
            assert_eq!(url.named("web-0:orm"), format!("{base}{expected}"));
        }
    }

    #[test]
    fn the_loopback_has_one_spelling() {
        let parse = |text| DatabaseUrl::parse(text).unwrap();
        assert!(
            parse("postgres://a@localhost/x").same_server(&parse("postgres://b@127.0.0.1:5432/y"))
        );
        assert!(
            !parse("postgres://a@localhost:1/x").same_server(&parse("postgres://a@localhost:2/x"))
        );
    }
}
