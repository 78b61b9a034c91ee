//! Where a running fleet is looked at from outside: the page and the metrics.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// The port unless another one is declared: what `POOL` is on a telephone's keys. (9187, which comes to mind first, is
/// `postgres_exporter`'s, and that runs on the same machines.)
pub const OBSERVE_PORT: u16 = 7665;

/// The fewest characters of a token: 16 of hexadecimal digits are 64 bits, which nobody guesses over a network.
pub const MIN_TOKEN: usize = 16;

/// Where a running fleet is looked at, and by whom it may be changed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe {
    /// Where the page and the metrics are served; `None` when they are not to be.
    pub listen: Option<SocketAddr>,
    /// Whether that may be an address that other machines reach.
    pub public: bool,
    /// Names that it is reached by, beside its address and `localhost`.
    pub hosts: Vec<String>,
    /// What a request that changes the fleet has to show; without it there are none.
    pub token: Option<Token>,
    /// The variable that holds the token, where one was named.
    pub token_variable: Option<String>,
}

/// A secret. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Observe {
    /// What is expected of an address.
    pub const EXPECTED: &str = "an address and a port, as in \"127.0.0.1:7665\", or \"off\"";

    /// What is expected of an address that only this machine reaches.
    pub const EXPECTED_LOOPBACK: &str =
        "an address of this machine alone, as in \"127.0.0.1:7665\", or public = true in [observe]";

    /// Reads an address, or `off`.
    #[must_use]
    pub fn address(text: &str) -> Option<Option<SocketAddr>> {
        match text {
            "off" => Some(None),
            address => address.parse().ok().map(Some),
        }
    }

    /// Whether an address is one that other machines reach although nobody said that they may.
    #[must_use]
    pub fn exposes(&self, address: SocketAddr) -> bool {
        !self.public && !address.ip().to_canonical().is_loopback()
    }
}

impl Default for Observe {
    fn default() -> Self {
        Self {
            listen: Some((Ipv4Addr::LOCALHOST, OBSERVE_PORT).into()),
            public: false,
            hosts: Vec::new(),
            token: None,
            token_variable: None,
        }
    }
}

impl Token {
    /// A token that is long enough, of characters that an HTTP header can hold.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (visible && text.len() >= MIN_TOKEN).then(|| Self(text.to_owned()))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}
