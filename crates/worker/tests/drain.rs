//! A drain drops no request: checked on real sockets, byte by byte.

use anyhow::Result;
use axum::Router;
use axum::http::HeaderValue;
use axum::routing::get;
use poolwright_worker::drain;
use poolwright_worker::listener::{Listening, listen};
use poolwright_worker::settings::Surroundings;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: desk\r\n\r\n";
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: desk\r\n\r\n";

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    /// Told when `/slow` has been entered.
    entered: Arc<Notify>,
    /// Lets `/slow` answer.
    answer: Arc<Notify>,
    done: JoinHandle<std::io::Result<Instant>>,
}

fn served(timeout: Duration) -> Result<Served> {
    let listening = listen(None, "127.0.0.1:0".parse()?, Surroundings::Bare)?;
    let address = match &listening {
        Listening::Own(socket) | Listening::Shared(socket) => socket.local_addr()?,
    };
    let (entered, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&entered), Arc::clone(&answer));
    let slow = move || async move {
        tell.notify_one();
        wait.notified().await;
        "late"
    };
    let router = Router::new()
        .route("/", get(|| async { "soon" }))
        .route("/slow", get(slow));
    let stop = CancellationToken::new();
    let worker = HeaderValue::from_static("web-0");
    let done = tokio::spawn(drain::serve(
        listening,
        router,
        worker,
        stop.clone(),
        timeout,
    ));
    Ok(Served {
        address,
        stop,
        entered,
        answer,
        done,
    })
}

/// The next response, head and body, in lower case.
async fn response(stream: &mut TcpStream) -> Result<String> {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\nsoon") && !text.ends_with("\r\n\r\nlate") {
        anyhow::ensure!(stream.read(&mut byte).await? == 1, "closed after {text:?}");
        text.push(char::from(byte[0].to_ascii_lowercase()));
    }
    Ok(text)
}

#[tokio::test]
async fn a_kept_connection_is_answered_in_the_drain_told_to_close_and_only_then_closed()
-> Result<()> {
    let served = served(Duration::from_secs(20))?;
    let mut kept = TcpStream::connect(served.address).await?;
    kept.write_all(REQUEST).await?;
    let before = response(&mut kept).await?;
    assert!(before.contains("x-worker: web-0"), "{before}");
    assert!(!before.contains("connection: close"), "{before}");

    served.stop.cancel();
    kept.write_all(REQUEST).await?;
    let after = response(&mut kept).await?;
    assert!(after.contains("connection: close"), "{after}");
    assert_eq!(kept.read(&mut [0]).await?, 0);
    served.done.await??;
    Ok(())
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_reset_and_without_waiting_for_the_timeout()
-> Result<()> {
    let served = served(Duration::from_secs(600))?;
    let mut idle = TcpStream::connect(served.address).await?;
    idle.write_all(REQUEST).await?;
    response(&mut idle).await?;
    served.stop.cancel();
    // A reset would be an error, not an end.
    assert_eq!(idle.read(&mut [0]).await?, 0);
    served.done.await??;
    Ok(())
}

#[tokio::test]
async fn a_request_in_flight_is_finished_while_nobody_new_is_let_in() -> Result<()> {
    let served = served(Duration::from_secs(600))?;
    let mut slow = TcpStream::connect(served.address).await?;
    slow.write_all(SLOW).await?;
    served.entered.notified().await;
    served.stop.cancel();
    // The listening socket is closed once the drain has begun.
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    served.answer.notify_one();
    let answer = response(&mut slow).await?;
    assert!(answer.contains("connection: close"), "{answer}");
    served.done.await??;
    Ok(())
}

#[tokio::test]
async fn a_request_that_outlasts_the_timeout_is_dropped_and_the_drain_ends() -> Result<()> {
    let served = served(Duration::from_millis(50))?;
    let mut slow = TcpStream::connect(served.address).await?;
    slow.write_all(SLOW).await?;
    served.entered.notified().await;
    served.stop.cancel();
    served.done.await??;
    assert!(response(&mut slow).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_request_that_arrived_while_the_process_was_held_up_is_answered_and_not_cut() -> Result<()>
{
    let served = served(Duration::from_secs(600))?;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut kept = TcpStream::connect(served.address).await?;
        kept.write_all(REQUEST).await?;
        response(&mut kept).await?;
        clients.push(kept);
    }
    served.stop.cancel();
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // From the arrival of the requests until after the pause the one thread of this process does something else.
    for client in &clients {
        assert_eq!(client.try_write(REQUEST)?, REQUEST.len());
    }
    let held_up = std::time::Instant::now();
    while held_up.elapsed() < Duration::from_millis(2_200) {
        std::hint::spin_loop();
    }
    for client in &mut clients {
        let answer = response(client).await?;
        assert!(answer.contains("connection: close"), "{answer}");
    }
    served.done.await??;
    Ok(())
}
