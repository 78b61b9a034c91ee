//! Processes of the fleet: the listening sockets, spawning, the channel, signals, the control socket.
//!
//! This crate knows processes and nothing of SQL, and prints nothing: whatever can be observed goes
//! to the caller as an [`Event`]. What is to be done is decided by [`poolwright_topology::handover`];
//! here it is only enacted.
//!
//! ```text
//! signals ───────────┐
//! control socket ────┤
//! channels, exits ───┼─→ one input → handover::Fleet::handle → actions → enacted
//! deadlines ─────────┘                                      └─→ events → the caller
//! ```
//!
//! | module | owns |
//! | --- | --- |
//! | [`spec`] | what the caller wants |
//! | [`event`] | what the caller gets to know |
//! | [`shim`] | the last steps before a worker's own code, inside its process |
//! | [`control`] | the private socket that `status`, `reload` and the like talk to, both ends |
//! | [`usage`] | what processes cost |
//! | [`backends`] | what is asked of Postgres, through the caller |
//! | `dispatcher` | the loop |
//! | `clock` | what falls due |
//! | `roster` | what is known of each slot |
//! | `requests` | who waits for the end of what |
//! | `signals` | SIGTERM, SIGINT and SIGHUP |
//! | `spawner` | the one thread that starts processes |
//! | `inheritance` | the descriptors that a worker starts with |
//! | `descriptors` | how many descriptors there may be, and which numbers are kept |
//! | `attendant` | one worker: its channel, its output, its end |
//! | `environment` | the variables of a worker |
//! | `listener` | the sockets that are held through everything |
//! | `memory` | whether the kernel killed a worker because memory had run out |
//! | `notify` | hearing that a foreign program serves, by `sd_notify` |
//! | `probe` | seeing that a foreign program listens, or accepts |
//! | `private` | places for sockets that are nobody else's |
//!
//! Linux first. What rests on it, and what macOS has in its place:
//!
//! | on Linux | in | on macOS |
//! | --- | --- | --- |
//! | no worker outlives its supervisor: `PR_SET_PDEATHSIG` | [`shim`] | only workers that speak the channel end with it |
//! | an executor id is one process's: abstract socket names | `poolwright-lock` | a locked file |
//! | seeing a program listen or accept: `/proc` | `probe` | it is never seen, and the ready timeout says so |
//! | who sent a datagram: `SO_PASSCRED` | `notify` | the directory's mode keeps other users out |
//! | memory that ran out: the kernel's log, control groups | `memory` | a plain SIGKILL |
//! | what a process costs: `/proc` | [`usage`] | not known |
//! | the hard limit on descriptors is one to go up to | `descriptors` | 10,240, the most that `setrlimit` takes |
//!
//! Peer credentials of the control socket, `flock` on its claim and process groups are the same on both.

mod attendant;
pub mod backends;
mod budget;
mod clock;
pub mod control;
mod descriptors;
mod dispatcher;
mod environment;
mod error;
pub mod event;
mod inheritance;
mod lines;
mod listener;
mod memory;
mod notify;
mod private;
mod probe;
mod requests;
mod roster;
pub mod shim;
mod signals;
mod spawner;
pub mod spec;
pub mod usage;

pub use backends::{Backends, NoBackends, NotAdmitted, Unreachable};
pub use dispatcher::Supervisor;
pub use error::{Error, who_listens};
pub use event::{Event, Outcome, StopReason, Stream};
pub use poolwright_topology::handover::{
    Cause, Consequence, Exit, Failure, Policy, Readiness, RollEnd, RollNews, SlotState,
};
pub use spec::{AppSpec, FleetSpec, SlotVariables, StopSignal};
