//! A service that takes its socket by `listenfd` and says by `sd_notify` that it serves, as under systemd's socket activation,
//! and takes its database from libpq's variables.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::Listener;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<()> {
    let size = std::env::var("POOL_SIZE").ok();
    let pool = PgPoolOptions::new()
        .max_connections(size.map_or(Ok(10), |size| size.parse())?)
        .connect_lazy_with(PgConnectOptions::new());
    let app = Router::new()
        .route("/", get(answer))
        .route("/slow", get(slow))
        .with_state(pool.clone());
    let listener = match ListenFd::from_env().take_tcp_listener(0)? {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        }
        None => TcpListener::bind("127.0.0.1:3000").await?,
    };
    let (leave, leaving) = watch::channel(false);
    let mut terminated = signal(SignalKind::terminate())?;
    let linger = std::env::var("LINGER_MS").ok();
    let linger = Duration::from_millis(linger.map_or(Ok(0), |ms| ms.parse())?);
    // Without a socket to say it on, nothing is said.
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("ready to count")])?;
    axum::serve(UntilLeaving { listener, leaving }, app)
        .with_graceful_shutdown(async move {
            terminated.recv().await;
            // hyper closes a connection on which it has read nothing yet: what was accepted last gets time to be read.
            leave.send(true).ok();
            sleep(linger).await;
        })
        .await?;
    pool.close().await;
    Ok(())
}

/// Accepts until it is told to leave.
struct UntilLeaving {
    listener: TcpListener,
    leaving: watch::Receiver<bool>,
}

impl Listener for UntilLeaving {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let left = async { drop(self.leaving.wait_for(|leaving| *leaving).await) };
        tokio::select! {
            accepted = Listener::accept(&mut self.listener) => accepted,
            () = left => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What a report may take.
async fn slow(State(pool): State<PgPool>) -> Result<&'static str, StatusCode> {
    let query = sqlx::query("SELECT pg_sleep(20)");
    let done = query.execute(&pool).await;
    done.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok("done")
}

async fn answer(State(pool): State<PgPool>) -> Result<String, StatusCode> {
    let time = sqlx::query_scalar::<_, String>("SELECT now()::text");
    let time = time.fetch_one(&pool).await;
    let time = time.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(format!("{} {time}", std::process::id()))
}
