//! The supervisor's end: its pictures, a slot's sessions, and orders on their way to it. Each over a connection of its own, as the
//! commands have it; what comes back are events.

use super::order::{Order, Outcome};
use super::state::{Event, Gone};
use crate::live::unix_ms;
use poolwright_supervisor::control::{Client, ClientError};
use poolwright_topology::tag::SlotId;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

/// How often a supervisor that is away is looked for.
const RETRY: Duration = Duration::from_millis(500);

/// Whoever takes the events. Nothing piles up: they are taken at once, drawing is somebody else's.
pub(super) type Tell = UnboundedSender<Event>;

/// Tells every picture, and when there are none; goes on with the next supervisor. Ends with whom it tells. Cancel safe.
pub(super) async fn watch(state_dir: &Path, tell: &Tell) {
    loop {
        let seen = async |picture| tell.send(Event::Picture(Box::new(picture))).is_ok();
        let end = match Client::connect(state_dir).await {
            Ok(client) => client.watch(seen).await,
            Err(error) => Err(error),
        };
        let Err(error) = end else { return };
        let gone = Gone {
            since_unix_ms: unix_ms(),
            reason: reason(&error),
        };
        if tell.send(Event::Gone(gone)).is_err() {
            return;
        }
        sleep(RETRY).await;
    }
}

fn reason(error: &ClientError) -> String {
    match error {
        ClientError::NotRunning { .. } => "no fleet is running".to_owned(),
        ClientError::BrokenOff(_) => "the supervisor is gone".to_owned(),
        other => other.to_string(),
    }
}

/// Asks what a slot does in Postgres. A supervisor that does not say so is told of by [`watch`].
pub(super) fn ask_sessions(state_dir: &Path, slot: SlotId, tell: &Tell) {
    let (state_dir, tell) = (state_dir.to_owned(), tell.clone());
    tokio::spawn(async move {
        let Ok(mut fleet) = Client::connect(&state_dir).await else {
            return;
        };
        if let Ok(sessions) = fleet.sessions(slot.clone()).await {
            tell.send(Event::Sessions { slot, sessions }).ok();
        }
    });
}

/// Has the supervisor do something, and tells every step and the end of it. It goes on when nobody listens any more.
pub(super) fn give(state_dir: &Path, id: u32, order: Order, tell: &Tell) {
    let (state_dir, tell) = (state_dir.to_owned(), tell.clone());
    tokio::spawn(async move {
        let outcome = carry_out(state_dir, id, order, &tell).await;
        let at_unix_ms = unix_ms();
        let ended = Event::Ended {
            id,
            outcome,
            at_unix_ms,
        };
        tell.send(ended).ok();
    });
}

async fn carry_out(state_dir: PathBuf, id: u32, order: Order, tell: &Tell) -> Outcome {
    let progress = |progress| {
        tell.send(Event::Progress { id, progress }).ok();
    };
    let mut fleet = Client::connect(&state_dir).await.map_err(in_words)?;
    let outcome = match order {
        Order::Reload => fleet.reload(progress).await,
        Order::Restart(slot) => fleet.restart(Some(slot), progress).await,
        Order::Scale { app, instances } => fleet.scale(app, instances).await,
    };
    outcome.map_err(in_words)
}

fn in_words(error: ClientError) -> String {
    match error {
        ClientError::Refused { reason } | ClientError::DoesNotFit { reason } => reason,
        ClientError::BrokenOff(_) => {
            "the supervisor is gone; nothing more is known of it".to_owned()
        }
        other => other.to_string(),
    }
}
