//! Seeing that a foreign program listens, or accepts, without its help and without connecting to it.
//!
//! A connection would tell that *somebody* listens on the port; with several workers behind one address it would not tell
//! who. The kernel does:
//!
//! - *Who listens.* A process whose open descriptors include a socket that `/proc/net/tcp` shows as listening on the port.
//! - *Who accepts.* A held socket listens long before a worker is there. But a process that is going to answer on it waits
//!   for it: it has an epoll instance that watches the socket, or a thread that is blocked in `accept` on it. (A program
//!   that waits by `poll` or `select` does not show what for. It says that it serves, or is not seen to.)
//!
//! Linux only, by `/proc`. On macOS `proc_pidfdinfo` tells who has a listening socket, and nothing who waits for it: until
//! that is used there nothing is ever seen, and the worker's ready timeout says so.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

/// Between two looks. A look reads two small files and one directory per process of the group.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

/// What an epoll instance is called among a process's descriptors.
const EPOLL: &str = "anon_inode:[eventpoll]";

/// The numbers of `accept` and `accept4`; none where they are not known here.
#[cfg(target_arch = "x86_64")]
const ACCEPT: [&str; 2] = ["43", "288"];
#[cfg(target_arch = "aarch64")]
const ACCEPT: [&str; 2] = ["202", "242"];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ACCEPT: [&str; 0] = [];

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

/// Waits until a process of the group waits for connections on the socket with this inode. Cancel safe.
pub(crate) async fn accepts(group: u32, inode: u64) {
    let mut looks = tokio::time::interval(INTERVAL);
    loop {
        looks.tick().await;
        if accepting(Path::new("/proc"), group, inode) {
            return;
        }
    }
}

fn accepting(proc: &Path, group: u32, inode: u64) -> bool {
    let socket = format!("socket:[{inode}]");
    members(proc, group).any(|pid| {
        let process = proc.join(pid.to_string());
        let (mut ours, mut epolls) = (BTreeSet::new(), Vec::new());
        for (number, link) in descriptors(&process) {
            if link == socket {
                ours.insert(number);
            } else if link == EPOLL {
                epolls.push(number);
            }
        }
        let watched = |epoll: &u32| {
            let info = process.join("fdinfo").join(epoll.to_string());
            let info = fs::read_to_string(info).unwrap_or_default();
            info.lines().filter_map(target).any(|n| ours.contains(&n))
        };
        !ours.is_empty() && (epolls.iter().any(watched) || is_blocked(&process, &ours))
    })
}

/// The descriptor that a line of an epoll instance's `fdinfo` is about: `tfd:       10 events:       19 data: …`.
fn target(line: &str) -> Option<u32> {
    let mut fields = line.strip_prefix("tfd:")?.split_ascii_whitespace();
    fields.next()?.parse().ok()
}

/// Whether a thread of the process is in `accept` on one of these descriptors.
fn is_blocked(process: &Path, ours: &BTreeSet<u32>) -> bool {
    let threads = fs::read_dir(process.join("task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let call = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
        accepts_on(&call).is_some_and(|number| ours.contains(&number))
    })
}

/// The descriptor in a thread's `syscall`, `43 0x3 0x7ff… …`, if the call is an `accept`.
fn accepts_on(call: &str) -> Option<u32> {
    let mut fields = call.split_ascii_whitespace();
    let number = fields.next()?;
    let descriptor = fields.next()?.strip_prefix("0x")?;
    let known = ACCEPT.contains(&number);
    known.then(|| u32::from_str_radix(descriptor, 16).ok())?
}

/// The descriptors of a process, and what each is.
fn descriptors(process: &Path) -> impl Iterator<Item = (u32, String)> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten();
    entries.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let link = fs::read_link(entry.path()).ok()?;
        Some((number, link.to_str()?.to_owned()))
    })
}

fn seen(proc: &Path, group: u32, port: u16) -> bool {
    // The leader's view: a worker in a network namespace of its own listens in that one.
    let net = proc.join(group.to_string()).join("net");
    let mut inodes = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        // Row by row: it has all sockets of the host.
        let rows = File::open(net.join(table)).map(BufReader::new);
        let rows = rows
            .into_iter()
            .flat_map(|rows| rows.lines().skip(1).map_while(Result::ok));
        inodes.extend(rows.filter_map(|row| listening(&row, port)));
    }
    if inodes.is_empty() {
        return false;
    }
    let links: BTreeSet<_> = inodes.iter().map(|n| format!("socket:[{n}]")).collect();
    members(proc, group)
        .any(|pid| descriptors(&proc.join(pid.to_string())).any(|(_, link)| links.contains(&link)))
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

    fn inode(socket: &impl std::os::fd::AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    #[tokio::test]
    async fn a_process_is_seen_accepting_when_it_watches_the_socket_and_not_when_it_only_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let held = inode(&listener);
        let proc = Path::new("/proc");
        assert!(!accepting(proc, own_group(), held));
        let watched = tokio::net::TcpListener::from_std(listener).unwrap();
        accepts(own_group(), held).await;
        drop(watched);
        assert!(!accepting(proc, own_group(), held));
    }

    #[tokio::test]
    async fn a_process_is_seen_accepting_when_a_thread_of_it_is_blocked_in_that() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (held, address) = (inode(&listener), listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || listener.accept().is_ok());
        accepts(own_group(), held).await;
        TcpStream::connect(address).unwrap();
        assert!(thread.join().unwrap());
        assert!(!accepting(Path::new("/proc"), own_group(), held));
    }

    #[test]
    fn what_the_kernel_says_of_a_wait_is_read() {
        let line = "tfd:       10 events:       19 data: 7f2a00000001  pos:0 ino:9e1 sdev:8";
        assert_eq!(target(line), Some(10));
        assert_eq!(target("pos:\t0"), None);
        for number in ACCEPT {
            assert_eq!(accepts_on(&format!("{number} 0x1f 0x0 0x0")), Some(31));
        }
        for other in ["running", "0 0x3 0x7ffe 0x1", "-1 0x7ffe 0x7f2a", ""] {
            assert_eq!(accepts_on(other), None, "{other}");
        }
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
