//! Waiting for events that can only be looked for.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How often to look.
const POLL: Duration = Duration::from_millis(20);

/// What a look showed.
#[derive(Debug)]
pub enum Seen<T, S> {
    /// It has happened.
    Yes(T),
    /// Not yet; this is what stands there instead.
    NotYet(S),
}

/// Looks again and again until `look` says [`Seen::Yes`]. When that takes longer than `limit`, the
/// error says what was awaited and what was seen last.
///
/// Cancel safety: as safe as `look` is.
pub async fn wait_until<T, S: Debug>(
    event: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Seen<T, S>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last: Option<S> = None;
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Seen::Yes(value)) => return Ok(value),
            Ok(Seen::NotYet(seen)) if Instant::now() < deadline => last = Some(seen),
            Ok(Seen::NotYet(seen)) => {
                bail!("waited {limit:?} until {event}; last seen: {seen:#?}")
            }
            Err(_) => bail!("waited {limit:?} until {event}; last seen: {last:#?}"),
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_that_never_comes_is_reported_with_what_was_seen_last() {
        let error = wait_until("pigs fly", Duration::from_millis(50), || async {
            Seen::<(), _>::NotYet("pigs on the ground")
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("pigs fly") && error.contains("on the ground"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_hold_up_the_deadline() {
        let limit = Duration::from_millis(50);
        let look = || std::future::pending::<Seen<(), ()>>();
        assert!(wait_until("the look returns", limit, look).await.is_err());
    }
}
