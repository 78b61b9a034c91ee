//! The one thread that forks.
//!
//! `PR_SET_PDEATHSIG` follows the thread that forked, not its process: a worker forked by a thread of
//! the runtime would be killed when the runtime retires that thread. This one lives as long as the
//! supervisor, and when it ends, so do the workers.

use std::io;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::descriptors::SoftLimit;

/// Starts processes. Dropping it ends the thread and, by their death signal, every worker.
#[derive(Debug)]
pub(crate) struct Spawner {
    orders: mpsc::Sender<Order>,
    soft_limit: SoftLimit,
}

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread. Its children belong to the runtime of `handle`, which reaps them.
    pub(crate) fn start(handle: Handle) -> io::Result<Self> {
        let soft_limit = SoftLimit::raise()?;
        let (orders, queue) = mpsc::channel::<Order>();
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                let _runtime = handle.enter();
                for Order { command, reply } in queue {
                    let mut command = tokio::process::Command::from(command);
                    // Nobody who asked is there to take it when this fails; the child dies by its drop.
                    reply.send(command.kill_on_drop(true).spawn()).ok();
                }
            })?;
        Ok(Self { orders, soft_limit })
    }

    /// The limit on descriptors that workers are to have.
    pub(crate) const fn soft_limit(&self) -> SoftLimit {
        self.soft_limit
    }

    /// Starts one process.
    ///
    /// Cancel safe: a process whose asker is gone is killed.
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, child) = oneshot::channel();
        let gone = || io::Error::other("the spawning thread is gone");
        self.orders
            .send(Order { command, reply })
            .map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}
