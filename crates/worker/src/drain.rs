//! Serves requests, and stops without dropping one.
//!
//! A drain runs in this order, and each step has a client in mind:
//!
//! 1. stop accepting: who connects now is another worker's. On a socket of our own, what the kernel
//!    has accepted for us is taken first, or it would be reset;
//! 2. every response says `Connection: close`: who is busy on a kept connection leaves it;
//! 3. after [`PAUSE`], close the idle connections. Not at once: a client that is just writing its
//!    next request would find the connection reset under its hands and cannot know whether the
//!    request was carried out. Idle is one on which nothing has arrived, and that is the kernel's to say: on a
//!    machine with more to do than it can, a request may have arrived long before this process reads it;
//! 4. wait for the requests in flight, at most until the deadline.

mod shared;

use crate::listener::Listening;
use axum::Router;
use axum::http::header::{CONNECTION, HeaderName};
use axum::http::{HeaderValue, Response};
use futures::FutureExt;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use poolwright_guard::Guard;
use shared::Shared;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long an idle connection stays open in a drain. Longer than a client that is at work needs between two requests, also
/// on a machine with ten times as much to do as it can: it is the client's own delay that cuts a request here, between its look at
/// the connection and its writing, and nothing but patience helps against that. Connections in use end
/// long before, with their next answer; only idle ones make a reload wait.
const PAUSE: Duration = Duration::from_secs(2);

/// How long a client may take to send the head of a request, and how long a connection may be idle.
/// Above the minute for which common proxies keep theirs, so that the proxy closes first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long to wait after `accept` failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const X_WORKER: HeaderName = HeaderName::from_static("x-worker");

/// What ends a connection's task before its client does.
#[derive(Clone)]
struct Ends {
    /// Responses say `Connection: close`.
    draining: CancellationToken,
    /// Idle connections are closed.
    idle: CancellationToken,
    /// Everything is dropped.
    deadline: CancellationToken,
}

/// Serves `router` until `draining`, then drains until nothing is in flight or `timeout` is over.
/// Gives back the deadline of the drain, whose rest belongs to the workflows.
///
/// Not cancel safe: requests in flight are dropped.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(
    listening: Listening,
    router: Router,
    worker: HeaderValue,
    draining: CancellationToken,
    timeout: Duration,
) -> io::Result<Instant> {
    let (socket, shared) = match listening {
        Listening::Shared(socket) => (socket, true),
        Listening::Own(socket) => (socket, false),
    };
    let listener = TcpListener::from_std(socket)?;
    let service = TowerToHyperService::new(router);
    let ends = Ends {
        draining: draining.clone(),
        idle: CancellationToken::new(),
        deadline: CancellationToken::new(),
    };
    let connections = TaskTracker::new();
    let open = |stream| {
        connections.spawn(connection(
            stream,
            service.clone(),
            worker.clone(),
            ends.clone(),
        ));
    };

    while let Some(accepted) = draining.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => open(stream),
            Err(error) if of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let timeout = match Guard::Drain.is_left_out() {
        true => Duration::ZERO,
        false => timeout,
    };
    let deadline = Instant::now() + timeout;
    if !shared {
        while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
            open(stream);
        }
    }
    drop(listener);
    connections.close();
    let pause = (Instant::now() + PAUSE).min(deadline);
    tokio::time::timeout_at(pause, connections.wait())
        .await
        .ok();
    ends.idle.cancel();
    if tokio::time::timeout_at(deadline, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            requests = connections.len(),
            "the drain's time is over, what is still in flight is dropped"
        );
        ends.deadline.cancel();
        connections.wait().await;
    }
    Ok(deadline)
}

async fn connection(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    worker: HeaderValue,
    ends: Ends,
) {
    // Answers are small and complete; waiting to fill a packet only delays them.
    stream.set_nodelay(true).ok();
    let stream = Shared::new(stream);
    let draining = ends.draining.clone();
    let marked = service_fn(move |request| {
        let answer = service.call(request);
        let worker = worker.clone();
        let draining = draining.clone();
        async move {
            answer.await.map(|mut response: Response<_>| {
                response.headers_mut().insert(X_WORKER, worker);
                if draining.is_cancelled() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                response
            })
        }
    });
    let mut http = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream.clone()), marked)
    );
    let ended = tokio::select! {
        biased;
        ended = http.as_mut() => Some(ended),
        () = ends.idle.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // A request that has arrived is answered with `Connection: close`, and that is the end then.
            if !stream.has_unread() {
                http.as_mut().graceful_shutdown();
            }
            match ends.deadline.run_until_cancelled(http).await {
                Some(ended) => ended,
                None => return,
            }
        }
    };
    if let Err(error) = ended {
        // Clients go away; that is theirs to do.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Whether a failed `accept` concerns one connection only, which has gone away meanwhile.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
