//! When which process number was given out: within an hour the kernel comes round to the same ones.
//!
//! It counts up, and begins again at its limit (`pid_max`). So a number is given out anew only when the count passes it, and the
//! last field of `/proc/loadavg` says how far it has come.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Far more often than the count can come round.
const PERIOD: Duration = Duration::from_millis(250);

/// Watches the count until it is dropped.
#[derive(Debug)]
pub(super) struct Numbers {
    looks: Arc<Mutex<Vec<Look>>>,
    watch: JoinHandle<()>,
}

/// The last number given out, by microseconds of Unix time.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: i64,
    last: i32,
}

impl Numbers {
    pub(super) fn watched() -> Result<Self> {
        let looks = Arc::new(Mutex::new(vec![look()?]));
        let seen = Arc::clone(&looks);
        let watch = tokio::spawn(async move {
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Ok(look) = look() {
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(look);
                }
            }
        });
        Ok(Self { looks, watch })
    }

    /// Whether this number may have been given out anew between two moments, in microseconds of Unix time.
    pub(super) fn reused(&self, pid: i32, from: i64, to: i64) -> bool {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        passed(&looks, pid, from, to)
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// `looks` are in order.
fn passed(looks: &[Look], pid: i32, from: i64, to: i64) -> bool {
    let first = looks
        .partition_point(|look| look.at <= from)
        .saturating_sub(1);
    let pairs = looks.get(first..).unwrap_or_default().windows(2);
    pairs
        .map_while(|pair| match pair {
            [before, after] if before.at <= to => Some((before.last, after.last)),
            _ => None,
        })
        .any(|(before, after)| match before <= after {
            true => before < pid && pid <= after,
            false => before < pid || pid <= after,
        })
}

fn look() -> Result<Look> {
    let loadavg = fs::read_to_string("/proc/loadavg")?;
    let last = loadavg.split_whitespace().last().context("no process")?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Look {
        at: i64::try_from(at.as_micros())?,
        last: last.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_out_anew_only_when_the_count_passes_it() {
        let looks = [(0, 100), (10, 200), (20, 90), (30, 120)].map(|(at, last)| Look { at, last });
        assert!(passed(&looks, 150, 0, 10), "on the way up");
        assert!(!passed(&looks, 100, 0, 10), "given out before");
        assert!(!passed(&looks, 95, 0, 10));
        assert!(passed(&looks, 300, 10, 20), "up to the limit");
        assert!(passed(&looks, 90, 10, 20), "and on from the beginning");
        assert!(!passed(&looks, 150, 10, 20));
        assert!(passed(&looks, 100, 12, 28), "in one of the looks");
        assert!(!passed(&looks, 150, 11, 30), "not any more");
    }

    #[tokio::test]
    async fn the_kernel_tells_how_far_it_has_come() -> Result<()> {
        let before = look()?;
        let mut child = tokio::process::Command::new("true").spawn()?;
        let pid = i32::try_from(child.id().context("it has ended")?)?;
        child.wait().await?;
        assert!(passed(&[before, look()?], pid, before.at, look()?.at));
        Ok(())
    }
}
