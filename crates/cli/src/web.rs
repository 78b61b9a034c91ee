//! The page and the metrics: the running fleet for a browser and for Prometheus, served by the supervisor's own process.
//!
//! Nothing is served unless the manifest's `[observe]` or `up --observe` says so, and nobody but this machine reaches it unless
//! `public = true` does. Whoever asks costs the fleet nothing: what is shown is looked at once a second anyway
//! ([`crate::live`]), is written once for all who watch ([`Feed`]), and waits for nobody who reads slowly.
//!
//! Who may ask is decided in one place before anything else ([`Access`]). What changes the fleet takes a token; without one
//! declared there is nothing that could.

mod access;
mod feed;
mod routes;

pub(crate) use feed::Feed;

use crate::failure::Failure;
use access::Access;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use poolwright_supervisor::who_listens;
use poolwright_topology::declare::Observe;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Where it is served when `up --observe` names no address.
pub(crate) const ADDRESS: &str = "127.0.0.1:7665";

/// How many connections there may be: a dozen browsers and Prometheus. The supervisor's descriptors are its workers'.
const CONNECTIONS: usize = 64;

/// How long a client may take to send the head of a request, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after `accept` failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is to be served, and where: what the manifest says, and over it what `--observe` does. `None` when nothing is.
pub(crate) fn wanted(
    given: Option<&str>,
    declared: Option<&Observe>,
) -> Result<Option<Observe>, Failure> {
    let Some(given) = given else {
        return Ok(declared.filter(|observe| observe.listen.is_some()).cloned());
    };
    let Some(listen) = Observe::address(given) else {
        let expected = Observe::EXPECTED;
        return Err(Failure::declaration(format!(
            "found --observe {given:?}, expected {expected}"
        )));
    };
    let Some(address) = listen else {
        return Ok(None);
    };
    let observe = declared.cloned().unwrap_or_default();
    if observe.exposes(address) {
        return Err(Failure::declaration(format!(
            "found --observe {given}, which other machines reach, expected {}",
            Observe::EXPECTED_LOOPBACK
        )));
    }
    Ok(Some(Observe { listen, ..observe }))
}

/// A bound address; nobody is answered yet.
#[derive(Debug)]
pub(crate) struct Web {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
    /// The variable that would have held a token.
    without_token: Option<String>,
}

impl Web {
    /// Binds where it is wanted. Cancel safe.
    pub(crate) async fn bind(observe: Observe) -> Result<Option<Self>, Failure> {
        let Some(wanted) = observe.listen else {
            return Ok(None);
        };
        let bound = TcpListener::bind(wanted).await;
        let listener = bound.map_err(|error| not_bound(wanted, error))?;
        let address = listener.local_addr().unwrap_or(wanted);
        let without_token = observe
            .token_variable
            .clone()
            .filter(|_| observe.token.is_none());
        Ok(Some(Self {
            listener,
            address,
            access: Access::new(observe, address),
            without_token,
        }))
    }

    /// Where it is, with the port that the system chose when 0 was asked for.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What can be done there, in words.
    pub(crate) fn rights(&self) -> String {
        match &self.without_token {
            _ if self.access.writes() => "reload and scale with the token".to_owned(),
            Some(variable) => format!("read-only, {variable} is not set"),
            None => "read-only".to_owned(),
        }
    }

    /// Answers whoever asks, for as long as it is polled. Dropping it closes every connection.
    pub(crate) async fn serve(self, feed: Arc<Feed>) {
        let routes = routes::all(Arc::clone(&feed), self.access);
        let service = TowerToHyperService::new(routes);
        let listener = self.listener;
        let answer = async {
            let room = Arc::new(Semaphore::new(CONNECTIONS));
            let mut connections = JoinSet::new();
            // It is never closed.
            while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let service = service.clone();
                        connections.spawn(async move {
                            connection(stream, service).await;
                            drop(permit);
                        });
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
                while connections.try_join_next().is_some() {}
            }
        };
        tokio::join!(answer, feed.follow());
    }
}

async fn connection(stream: TcpStream, service: TowerToHyperService<axum::Router>) {
    // A step of a reload is a small packet; waiting to fill it only delays it.
    stream.set_nodelay(true).ok();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // Clients go away; that is theirs to do.
    connection.await.ok();
}

fn not_bound(address: SocketAddr, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AddrInUse {
        return Failure::said(format!(
            "cannot show the fleet on {address}: another process listens there (`{}` says which); expected a free address \
             as listen in [observe] or with --observe",
            who_listens(address.port())
        ));
    }
    Failure::source(format!("showing the fleet on {address}"))(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    fn words(given: &str, declared: Option<&Observe>) -> String {
        wanted(Some(given), declared).unwrap_err().in_words()
    }

    #[test]
    fn nothing_is_served_unless_it_is_asked_for_and_the_option_wins_over_the_manifest() {
        let listen = |given, declared: Option<&Observe>| {
            wanted(given, declared).unwrap().and_then(|it| it.listen)
        };
        let declared = Observe::default();
        assert_eq!(listen(None, None), None);
        assert_eq!(listen(None, Some(&declared)), at(ADDRESS));
        assert_eq!(listen(Some("off"), Some(&declared)), None);
        assert_eq!(listen(Some("[::1]:1"), Some(&declared)), at("[::1]:1"));
        assert_eq!(listen(Some("127.0.0.1:2"), None), at("127.0.0.1:2"));
    }

    #[test]
    fn an_address_that_others_reach_takes_the_manifests_word() {
        let public = Observe {
            public: true,
            ..Observe::default()
        };
        assert!(wanted(Some("0.0.0.0:1"), Some(&public)).is_ok());
        assert_eq!(
            words("0.0.0.0:1", None),
            "found --observe 0.0.0.0:1, which other machines reach, expected an address of this machine alone, as in \
             \"127.0.0.1:7665\", or public = true in [observe]"
        );
        assert_eq!(
            words("9187", None),
            "found --observe \"9187\", expected an address and a port, as in \"127.0.0.1:7665\", or \"off\""
        );
    }
}
