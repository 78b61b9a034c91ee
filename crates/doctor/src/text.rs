//! What a text in a source says, in whatever language it stands.

use crate::{sql, url};
use poolwright_topology::hazard::Code;
use std::net::SocketAddr;

/// The hazards that a text is by itself, each with what was found.
pub(crate) fn hazards(text: &str) -> impl Iterator<Item = (Code, String)> {
    let tenant = sql::set_for_session(text).map(|setting| {
        let found = format!("{setting} is set for the session");
        (Code::TenantForSession, found)
    });
    let limit = url::limits_connections(text).then(|| {
        let found = "a URL that limits connections by connection_limit, which is ignored";
        (Code::ConnectionLimitInUrl, found.to_owned())
    });
    tenant.into_iter().chain(limit)
}

/// Whether a text is an address to listen on: `127.0.0.1:3000`.
pub(crate) fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}
