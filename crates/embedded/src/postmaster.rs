//! `postmaster.pid`: what a running server says about itself.

use std::path::Path;

use rustix::process::Pid;

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepts connections.
    Ready,
    /// Starting or stopping.
    Busy,
}

/// The contents of a `postmaster.pid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Postmaster {
    pub(crate) pid: Pid,
    pub(crate) port: u16,
    pub(crate) phase: Phase,
}

/// Reads the file; `None` when there is none, or not all of it yet.
pub(crate) fn read(data: &Path) -> Option<Postmaster> {
    parse(&std::fs::read_to_string(data.join("postmaster.pid")).ok()?)
}

/// The server that lives in this directory now: a file that a crash left behind does not count,
/// nor does another process that got its pid. A postmaster's working directory is its data
/// directory. (Without `/proc`, on macOS, any process with the pid is taken for it: what it answers on the port decides.)
pub(crate) fn living(data: &Path) -> Option<Postmaster> {
    let postmaster = read(data)?;
    works_in(postmaster.pid, data)?.then_some(postmaster)
}

#[cfg(target_os = "linux")]
fn works_in(process: Pid, data: &Path) -> Option<bool> {
    let directory = std::fs::read_link(format!("/proc/{process}/cwd")).ok()?;
    Some(directory == data.canonicalize().ok()?)
}

#[cfg(not(target_os = "linux"))]
fn works_in(process: Pid, _data: &Path) -> Option<bool> {
    Some(rustix::process::test_kill_process(process).is_ok())
}

/// Lines: pid, data directory, start time, port, socket directory, listen address, shared memory
/// key, status (`src/include/utils/pidfile.h`).
fn parse(text: &str) -> Option<Postmaster> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let phase = match lines.get(7).copied() {
        Some("ready") => Phase::Ready,
        _ => Phase::Busy,
    };
    Some(Postmaster {
        pid: Pid::from_raw(lines.first()?.parse().ok()?)?,
        port: lines.get(3)?.parse().ok()?,
        phase,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_ready_only_when_its_last_line_says_so() {
        let starting = "4711\n/data\n1700000000\n5433\n\n127.0.0.1\n   1234  5\nstarting\n";
        assert_eq!(parse(starting).unwrap().phase, Phase::Busy);
        let ready = parse(&starting.replace("starting", "ready   ")).unwrap();
        assert_eq!((ready.phase, ready.port), (Phase::Ready, 5433));
        assert_eq!(ready.pid.as_raw_nonzero().get(), 4711);
    }

    #[test]
    fn half_a_file_is_no_server() {
        assert_eq!(parse("4711\n/data\n17000"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_file_that_a_crash_left_behind_is_no_living_server() {
        let data = tempfile::tempdir().unwrap();
        let ours = std::process::id();
        let text = format!("{ours}\n/data\n1700000000\n5433\n\n127.0.0.1\n1 2\nready\n");
        std::fs::write(data.path().join("postmaster.pid"), text).unwrap();
        assert!(read(data.path()).is_some());
        assert_eq!(living(data.path()), None);
    }
}
