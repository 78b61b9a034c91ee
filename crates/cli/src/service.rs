//! The fleet as a systemd service of `Type=notify`: says when it is ready and when it stops, and keeps the watchdog quiet.
//!
//! Without systemd (no `NOTIFY_SOCKET`) all of it does nothing. Workers never get that variable: the supervisor takes it
//! out of their environment.

use poolwright_supervisor::Event;
use sd_notify::NotifyState;
use std::future::pending;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// What systemd is told.
#[derive(Debug)]
pub(crate) struct Service {
    watchdog: Option<Interval>,
}

impl Service {
    /// Needs a tokio runtime with time.
    pub(crate) fn new() -> Self {
        // Twice as often as asked for, as sd_watchdog_enabled(3) recommends.
        let period = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        let watchdog = period.filter(|period| !period.is_zero()).map(|period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { watchdog }
    }

    /// Passes on what matters to systemd.
    pub(crate) fn tell(event: &Event) {
        match event {
            Event::AllServing => say(&[NotifyState::Ready]),
            Event::Stopping(_) | Event::Failed { .. } => say(&[NotifyState::Stopping]),
            _ => {}
        }
    }

    /// The line that `systemctl status` shows.
    pub(crate) fn status(line: &str) {
        say(&[NotifyState::Status(line)]);
    }

    /// Says again and again that the loop which calls this is alive. Never ends. Cancel safe.
    pub(crate) async fn alive(&mut self) {
        let Some(watchdog) = &mut self.watchdog else {
            return pending().await;
        };
        loop {
            watchdog.tick().await;
            say(&[NotifyState::Watchdog]);
        }
    }
}

fn say(state: &[NotifyState<'_>]) {
    // A service manager that does not listen is no reason to stop a fleet.
    sd_notify::notify(state).ok();
}
