//! What processes cost: memory and processor time, as `/proc` has them.
//!
//! Linux only; on macOS `proc_pid_rusage` would have to take its place, and until then nothing is known there.

use poolwright_topology::picture::Usage;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// Measures again and again: processor time is a difference of two samples.
#[derive(Debug, Default)]
pub struct Meter {
    before: BTreeMap<u32, (Instant, Duration)>,
}

impl Meter {
    /// What each of these processes costs; one that is gone, or is seen for the first time, is missing or has used no
    /// processor time yet. Reads two small files per process.
    pub fn read(&mut self, pids: impl Iterator<Item = u32>) -> BTreeMap<u32, Usage> {
        let before = std::mem::take(&mut self.before);
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let mut all = BTreeMap::new();
        for pid in pids {
            let (Some(memory), Some(used)) = (resident(pid, page), processor_time(pid)) else {
                continue;
            };
            let now = Instant::now();
            let cores = before.get(&pid).map_or(0.0, |(then, earlier)| {
                let passed = now.duration_since(*then).as_secs_f64();
                let used = used.saturating_sub(*earlier).as_secs_f64();
                if passed > 0.0 { used / passed } else { 0.0 }
            });
            self.before.insert(pid, (now, used));
            let memory_bytes = memory;
            all.insert(
                pid,
                Usage {
                    memory_bytes,
                    cores,
                },
            );
        }
        all
    }
}

fn resident(pid: u32, page: u64) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(page)
}

/// User and system time of all threads, those that have ended included.
fn processor_time(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name is in parentheses and may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    let per_second = rustix::param::clock_ticks_per_second();
    let milliseconds = ticks.checked_mul(1000)?.checked_div(per_second)?;
    Some(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_costs_processor_time_and_one_that_is_gone_is_missing() {
        let mut meter = Meter::default();
        let own = std::process::id();
        let first = meter.read([own, u32::MAX].into_iter());
        assert_eq!(first.keys().copied().collect::<Vec<_>>(), [own]);
        assert!(first[&own].memory_bytes > 100_000, "{first:?}");
        let enough = processor_time(own).unwrap() + Duration::from_millis(50);
        while processor_time(own).unwrap() < enough {}
        let second = meter.read(std::iter::once(own));
        assert!(second[&own].cores > 0.0, "{second:?}");
    }
}
