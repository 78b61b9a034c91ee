//! Keeps an executor id to one living process of the host, however its processes were started.
//!
//! **The lock is a listening Unix socket with an abstract name** (Linux). The kernel lets one process
//! bind a name and gives it back when the last descriptor is closed, `kill -9` included. Whoever finds it
//! taken connects: the holder says who it is, and the connection ends at the instant at which the holder
//! does, so that nobody polls. Why not a locked file: it needs a directory that every way to start a
//! process agrees on, and there is none. `/tmp` is private to some systemd units and swept by age,
//! `/dev/shm` is swept when its user logs out, `$XDG_RUNTIME_DIR` differs between shells and services; a
//! file that is swept while it is locked lets a second process in. And Node has no `flock`, while it
//! speaks this without a native module.
//!
//! What follows: the lock holds across users, and within one network namespace. Containers with networks of
//! their own do not meet, as they would not with files; those of one pod do.
//!
//! Where abstract names are missing (macOS) a locked file takes their place (`file`), in a directory of which there is one
//! there; whoever waits looks again instead of being told. Node has no `flock`: the Node stack holds no lock there.
//!
//! The name ([`LockName`]) has the id *and* where the executor's work lives, so that two fleets on
//! different databases share nothing but their ids.
//!
//! See `docs/executor-ids.md` for what this means to whoever runs a fleet.
//!
//! Nothing here is asynchronous: the lock is taken once in a process's life, in the supervisor's shim before
//! there is a runtime, and waited for on a thread of its own elsewhere.

#[cfg(any(not(target_os = "linux"), test))]
mod file;
mod holder;
mod lock;
mod name;
#[cfg(target_os = "linux")]
mod socket;

pub use holder::{Holder, Under};
pub use lock::{Held, Lock, LockError};
pub use name::LockName;
