//! Who may ask, and what every answer says of itself.
//!
//! Loopback keeps other machines out, not other pages in the same browser. A page of somebody else's can send requests here, and
//! by a name of its own that it lets point to 127.0.0.1 (DNS rebinding) even read the answers. So three things are looked at
//! before a request gets anywhere: `Host` is an address or a name that was declared, `Origin` is this page's own, and what
//! the browser says of where the request comes from (`Sec-Fetch-Site`) is this page or nobody's. Programs that are no
//! browsers send none of the last two, and need not.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use poolwright_topology::declare::{Observe, Token};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use subtle::ConstantTimeEq;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What every answer says: nothing of elsewhere is loaded, nothing is embedded elsewhere, nothing is kept.
const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// Who may ask.
#[derive(Debug)]
pub(super) struct Access {
    address: SocketAddr,
    hosts: Vec<String>,
    token: Option<Token>,
}

/// Why a request gets nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    status: StatusCode,
    reason: String,
}

impl Access {
    /// As declared, where it is bound.
    pub(super) fn new(observe: Observe, address: SocketAddr) -> Self {
        Self {
            address,
            hosts: observe.hosts,
            token: observe.token,
        }
    }

    /// Whether anything can be changed at all.
    pub(super) const fn writes(&self) -> bool {
        self.token.is_some()
    }

    /// Whether a request may go on: it was meant for us, and no foreign page sent it.
    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let host = host(uri, headers)?;
        if !self.is_ours(host.host()) {
            return Err(forbidden(format!(
                "found the Host {:?}, expected the address that this is served on, \"localhost\", or a name in hosts of [observe]",
                host.as_str()
            )));
        }
        if let Some(origin) = headers.get(header::ORIGIN)
            && !is_of(origin, &host)
        {
            return Err(forbidden(format!(
                "found the Origin {origin:?}, expected this page's own"
            )));
        }
        let site = headers.get(SEC_FETCH_SITE);
        let own = site.is_none_or(|site| site == "same-origin" || site == "none");
        if !own && !is_navigation(method, headers) {
            return Err(forbidden(format!(
                "found a request from another page (Sec-Fetch-Site {:?}), expected one of this page's own",
                site.map(HeaderValue::as_bytes)
                    .map(String::from_utf8_lossy)
                    .unwrap_or_default()
            )));
        }
        Ok(())
    }

    /// An address cannot be rebound, a name can: only those that were declared are ours.
    fn is_ours(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let own = self.address.ip();
            return ip.is_loopback() || ip == own || own.is_unspecified();
        }
        let name = bare.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost" || name.ends_with(".localhost") || self.hosts.contains(&name)
    }

    /// Whether a request may change the fleet.
    pub(super) fn authorise(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some(token) = &self.token else {
            return Err(forbidden(
                "found no token declared, expected token = { env = \"POOLWRIGHT_TOKEN\" } in [observe]: this page is read-only"
                    .to_owned(),
            ));
        };
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()?.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        // In the same time wherever they differ: the time would say how much of it is right.
        let right = given.is_some_and(|(_, given)| {
            let given = given.trim().as_bytes();
            given.ct_eq(token.expose().as_bytes()).into()
        });
        if right {
            return Ok(());
        }
        let found = match given {
            Some(_) => "another token",
            None => "no token",
        };
        Err(Refused {
            status: StatusCode::UNAUTHORIZED,
            reason: format!(
                "found {found}, expected \"Authorization: Bearer …\" with the declared one"
            ),
        })
    }
}

/// The first thing that happens to a request, and the last one to its answer.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let admitted = access.admit(request.method(), request.uri(), request.headers());
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whom the request is for: exactly one `Host`, and the same in the request line where that names one.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
        _ => None,
    };
    let host = host.filter(|host| uri.authority().is_none_or(|named| named == host));
    host.ok_or_else(|| Refused {
        status: StatusCode::BAD_REQUEST,
        reason: "found no Host, or more than one, expected one host and port".to_owned(),
    })
}

/// Whether a page of this origin was served by this host; https where something in front of us speaks it.
fn is_of(origin: &HeaderValue, host: &Authority) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| {
        let rest = origin.strip_prefix("http://");
        rest.or_else(|| origin.strip_prefix("https://"))
    });
    origin.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
}

/// Whether a person follows a link: the answer is shown to them, and to nobody's script.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name, value: &str| headers.get(name).is_some_and(|found| found == value);
    method.is_safe() && is(SEC_FETCH_MODE, "navigate") && is(SEC_FETCH_DEST, "document")
}

const fn forbidden(reason: String) -> Refused {
    Refused {
        status: StatusCode::FORBIDDEN,
        reason,
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = error(self.status, self.reason);
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"poolwright\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// What went wrong, in words.
pub(super) fn error(status: StatusCode, reason: impl Into<String>) -> Response {
    (status, Json(json!({ "error": reason.into() }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn access(address: &str) -> Access {
        let observe = Observe {
            hosts: vec!["fleet.example.org".into()],
            token: Token::new(TOKEN),
            ..Observe::default()
        };
        Access::new(observe, address.parse().unwrap())
    }

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        of.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn status(address: &str, method: Method, of: &[(&'static str, &'static str)]) -> u16 {
        let admitted = access(address).admit(&method, &Uri::from_static("/"), &headers(of));
        admitted.map_or_else(|refused| refused.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_an_address_of_ours_and_declared_names_are_taken_for_us() {
        let (here, open) = ("127.0.0.1:7665", "0.0.0.0:7665");
        for (address, host, expected) in [
            (here, "127.0.0.1:7665", 200),
            (here, "localhost:7665", 200),
            (here, "LocalHost.", 200),
            (here, "[::1]:9000", 200),
            (here, "fleet.example.org", 200),
            (here, "FLEET.example.org:443", 200),
            (here, "evil.example:7665", 403),
            (here, "localhost.evil.example", 403),
            (here, "10.0.0.5:7665", 403),
            (open, "10.0.0.5:7665", 200),
            (open, "evil.example:7665", 403),
            ("10.0.0.5:7665", "10.0.0.5:7665", 200),
            ("10.0.0.5:7665", "10.0.0.6:7665", 403),
            (here, "a b", 400),
            (here, "", 400),
        ] {
            let found = status(address, Method::GET, &[("host", host)]);
            assert_eq!(found, expected, "{host} on {address}");
        }
        assert_eq!(status(here, Method::GET, &[]), 400, "no Host");
    }

    #[test]
    fn two_hosts_and_a_request_line_that_says_another_are_refused() {
        let mut two = headers(&[("host", "localhost")]);
        two.append("host", HeaderValue::from_static("localhost"));
        let access = access("127.0.0.1:1");
        assert!(
            access
                .admit(&Method::GET, &Uri::from_static("/"), &two)
                .is_err()
        );
        let one = headers(&[("host", "localhost")]);
        let another = Uri::from_static("http://evil.example/");
        assert!(access.admit(&Method::GET, &another, &one).is_err());
    }

    #[test]
    fn a_foreign_origin_is_refused_whatever_it_asks_for() {
        for (origin, expected) in [
            ("http://localhost:7665", 200),
            ("https://localhost:7665", 200),
            ("http://localhost:3000", 403),
            ("http://evil.example", 403),
            ("null", 403),
        ] {
            let of = [("host", "localhost:7665"), ("origin", origin)];
            for method in [Method::GET, Method::POST] {
                assert_eq!(status("127.0.0.1:7665", method, &of), expected, "{origin}");
            }
        }
    }

    #[test]
    fn another_page_of_the_same_browser_may_link_here_and_nothing_else() {
        let from = |site, method, mode, dest| {
            let of = [
                ("host", "localhost"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            status("127.0.0.1:7665", method, &of)
        };
        assert_eq!(from("same-origin", Method::POST, "cors", "empty"), 200);
        assert_eq!(from("none", Method::GET, "navigate", "document"), 200);
        assert_eq!(from("cross-site", Method::GET, "navigate", "document"), 200);
        assert_eq!(from("cross-site", Method::GET, "navigate", "iframe"), 403);
        assert_eq!(
            from("cross-site", Method::POST, "navigate", "document"),
            403
        );
        assert_eq!(from("cross-site", Method::GET, "no-cors", "image"), 403);
        // Another port of the same machine is the same site to a browser.
        assert_eq!(from("same-site", Method::GET, "cors", "empty"), 403);
    }

    #[test]
    fn only_the_declared_token_changes_the_fleet() {
        let access = access("127.0.0.1:7665");
        let with = |value: &'static str| {
            let authorised = access.authorise(&headers(&[("authorization", value)]));
            authorised.map_or_else(|refused| refused.status.as_u16(), |()| 200)
        };
        assert_eq!(with("Bearer 0123456789abcdef"), 200);
        assert_eq!(with("bearer 0123456789abcdef"), 200);
        for wrong in [
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcde",
            "Bearer ",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        let read_only = Access::new(Observe::default(), "127.0.0.1:1".parse().unwrap());
        let refused = read_only.authorise(&headers(&[("authorization", "Bearer x")]));
        assert_eq!(refused.unwrap_err().status, StatusCode::FORBIDDEN);
    }
}
