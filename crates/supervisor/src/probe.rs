//! Seeing that a foreign program listens, without its help and without connecting to it.
//!
//! A connection would tell that *somebody* listens on the port; with several workers behind one
//! `SO_REUSEPORT` address it would not tell who. The kernel does: a process whose open descriptors include a
//! socket that `/proc/net/tcp` shows as listening on the port is the one. Linux only; elsewhere nothing
//! is ever seen, and the worker's ready timeout says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Between two looks. A look reads two small files and one directory per process of the group.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Waits until a process of the group listens on the TCP port. Cancel safe.
pub(crate) async fn listens(group: u32, port: u16) {
    let mut looks = tokio::time::interval(INTERVAL);
    loop {
        looks.tick().await;
        if seen(Path::new("/proc"), group, port) {
            return;
        }
    }
}

fn seen(proc: &Path, group: u32, port: u16) -> bool {
    // The leader's view: a worker in a network namespace of its own listens in that one.
    let net = proc.join(group.to_string()).join("net");
    let mut inodes = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(net.join(table)).unwrap_or_default();
        inodes.extend(table.lines().skip(1).filter_map(|row| listening(row, port)));
    }
    if inodes.is_empty() {
        return false;
    }
    let links: BTreeSet<_> = inodes.iter().map(|n| format!("socket:[{n}]")).collect();
    members(proc, group).any(|pid| {
        let descriptors = fs::read_dir(proc.join(pid.to_string()).join("fd"));
        descriptors.into_iter().flatten().flatten().any(|entry| {
            fs::read_link(entry.path())
                .is_ok_and(|link| link.to_str().is_some_and(|link| links.contains(link)))
        })
    })
}

/// The inode of the socket in this row of `/proc/net/tcp`, if it listens on the port.
fn listening(row: &str, port: u16) -> Option<u64> {
    let mut fields = row.split_ascii_whitespace();
    let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    if state == LISTEN && u16::from_str_radix(local_port, 16).ok()? == port {
        inode.parse().ok()
    } else {
        None
    }
}

/// The leader of a process group, then its other processes: `npm start` is not what listens.
fn members(proc: &Path, group: u32) -> impl Iterator<Item = u32> {
    let others = fs::read_dir(proc).into_iter().flatten().flatten();
    let others = others.filter_map(move |entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        (pid != group && group_of(&stat)? == group).then_some(pid)
    });
    std::iter::once(group).chain(others)
}

/// The third field after the command's name, which is in parentheses and may hold anything.
fn group_of(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// This process and, as it is a member of it, its process group.
    fn own_group() -> u32 {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        group_of(&stat).unwrap()
    }

    #[test]
    fn a_process_is_seen_listening_on_its_own_port_and_on_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let proc = Path::new("/proc");
        assert!(seen(proc, own_group(), port));
        // Connected is not listening.
        assert!(!seen(
            proc,
            own_group(),
            client.local_addr().unwrap().port()
        ));
        drop(listener);
        assert!(!seen(proc, own_group(), port));
    }

    #[test]
    fn the_listener_of_another_process_does_not_count() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut other = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        assert!(!seen(Path::new("/proc"), other.id(), port));
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_command_with_parentheses_in_its_name_hides_no_group() {
        assert_eq!(group_of("12 (a) b (c)) S 1 99 99 0"), Some(99));
    }
}
