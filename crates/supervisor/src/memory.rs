//! Whether the kernel killed a process because memory had run out.
//!
//! A SIGKILL that nobody sent is the commonest riddle of a container. The kernel answers it in two places:
//!
//! - Its log names the process: `Out of memory: Killed process 4711 (node)`. Reading it takes a privilege
//!   that few services have, and it counts processes as the host does, not as a container.
//! - The memory control group counts its kills: `oom_kill` in `memory.events` (version 2) or
//!   `memory.oom_control` (version 1). Anybody may read that, and it does not say whom; but a count that rose while a
//!   process lived that was then killed by somebody unknown leaves little doubt.
//!
//! Linux only. On macOS the kernel ends processes for want of memory in the same way and leaves no such record;
//! there the exit stays a plain SIGKILL.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::read;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel's log, a record for each read.
const LOG: &str = "/dev/kmsg";

/// The longest record that the kernel hands out is a kibibyte of text and as much beside it.
const RECORD: usize = 8192;

/// The clock of the log and the monotonic one are set apart by at most this much: neither is corrected in step with the
/// other.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// How things stood when a process was started.
#[derive(Debug)]
pub(crate) struct Before {
    since_boot: Duration,
    kills: Option<u64>,
}

impl Before {
    pub(crate) fn now() -> Self {
        Self {
            since_boot: since_boot(),
            kills: kills(),
        }
    }

    /// Whether a process that was started then and has ended by SIGKILL was killed by the kernel. Reads two
    /// files; never waits.
    pub(crate) fn ran_out(&self, pid: Option<u32>) -> bool {
        let named = pid.is_some_and(|pid| {
            let records = log().into_iter().flat_map(Records);
            let since = self.since_boot.saturating_sub(CLOCKS_APART);
            records.into_iter().any(|r| names(&r, pid, since))
        });
        let counted = match (self.kills, kills()) {
            (Some(before), Some(now)) => now > before,
            _ => false,
        };
        named || counted
    }
}

fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

fn log() -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(LOG, flags, Mode::empty()).ok()
}

/// The records of the log that are there.
struct Records(OwnedFd);

impl Iterator for Records {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut record = [0; RECORD];
        loop {
            match read(&self.0, &mut record) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => return None,
                Ok(length) => {
                    let text = record.get(..length).unwrap_or_default();
                    return Some(String::from_utf8_lossy(text).into_owned());
                }
                // Overwritten while it was being read: the next one follows.
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Whether a record (`priority,number,microseconds,flags;text`) says that this process was killed, not before
/// `since` after the machine's start: numbers of processes come again.
fn names(record: &str, pid: u32, since: Duration) -> bool {
    let Some((head, text)) = record.split_once(';') else {
        return false;
    };
    let at = head.split(',').nth(2).and_then(|at| at.parse().ok());
    let recent = at.is_some_and(|at| Duration::from_micros(at) >= since);
    recent && text.contains(&format!("Killed process {pid} ("))
}

/// How many processes the kernel has killed in this process' memory control group, where it says so.
fn kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounted = Path::new("/sys/fs/cgroup");
    counters(&groups, mounted)
        .iter()
        .find_map(|file| count(&fs::read_to_string(file).ok()?))
}

/// The files that count, most telling first. A container sees its own group as the root of the tree, or sees the
/// host's path and only its own group mounted.
fn counters(groups: &str, mounted: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (tree, file) = match controllers {
            "" => (mounted.to_owned(), "memory.events"),
            "memory" => (mounted.join("memory"), "memory.oom_control"),
            _ => continue,
        };
        let below = path.trim_start_matches('/');
        files.extend([tree.join(below).join(file), tree.join(file)]);
    }
    files
}

fn count(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_a_process_by_its_whole_number_and_in_its_lifetime() {
        let record = "3,418,487171590,-;Memory cgroup out of memory: Killed process 19537 (python3) total-vm:221368kB";
        let then = Duration::from_secs(400);
        assert!(names(record, 19537, then));
        assert!(!names(record, 1953, then));
        assert!(!names(record, 9537, then));
        assert!(!names(record, 19537, Duration::from_secs(500)));
        assert!(!names("3,418,487171590,-;hello", 19537, then));
        assert!(!names("Killed process 19537 (python3)", 19537, then));
    }

    #[test]
    fn both_versions_of_control_groups_count_in_the_own_group_or_in_the_one_that_is_mounted() {
        let mounted = Path::new("/c");
        let second = counters("0::/system.slice/web.service\n", mounted);
        let expected = [
            "/c/system.slice/web.service/memory.events",
            "/c/memory.events",
        ];
        assert_eq!(second, expected.map(PathBuf::from));
        let first = counters("9:name=systemd:/\n4:memory:/a\n", mounted);
        let expected = [
            "/c/memory/a/memory.oom_control",
            "/c/memory/memory.oom_control",
        ];
        assert_eq!(first, expected.map(PathBuf::from));
    }

    #[test]
    fn kills_are_counted_and_not_other_trouble() {
        let events = "low 0\nhigh 0\nmax 12\noom 4\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(count(events), Some(3));
        assert_eq!(
            count("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
            Some(1)
        );
        assert_eq!(count("oom_kill_disable 0\n"), None);
    }
}
