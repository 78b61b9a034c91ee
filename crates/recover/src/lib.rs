//! What dead executors left, and its way back to living ones.
//!
//! A running workflow is `PENDING` under the id of its executor. When the executor dies, DBOS takes the workflow up at the
//! next launch under the same id, and where there is none it stays `PENDING` for ever. [`Store::recover`] makes the write
//! that the launch would have made: it re-enqueues the workflow, and whichever executor of its version polls next goes on with it.
//!
//! **The work of a living executor is never touched.** The judgement and the write cannot be separated:
//!
//! - *On this host* the lock of an executor's id ([`poolwright_lock`]) is taken before the write and given back after the
//!   commit. Whoever has it lives, and whoever starts meanwhile waits.
//! - *On other hosts* an executor lives that has a session in the system database under its name, `web-0:dbos` or `web-0`.
//! - *What happens in between is out of sight.* One snapshot covers reading and writing (repeatable read), taken before anybody is
//!   looked for: what an executor began after it cannot be written to, and a row that it changed makes the write fail, after
//!   which everything is judged anew.
//!
//! Two recoveries at once, on whichever hosts, exclude each other by an advisory lock of the transaction. The second
//! one finds nothing to do.
//!
//! The alternative that lost: ask, then write. However short the time in between, a launch fits into it.
//!
//! | module | owns |
//! | --- | --- |
//! | `store` | one system database, and the one session that it is seen through |
//! | `recovery` | the transaction |
//! | `living` | who is alive, from the sessions |
//! | `versions` | which versions of the application run, and what none of them can take |
//! | `report` | what came of it, as data |

mod error;
mod living;
mod recovery;
mod report;
mod store;
mod versions;

pub use error::Error;
pub use living::holder;
pub use recovery::{Intent, Standing};
pub use report::{Left, Outcome, Report, Sign, Stuck, Version};
pub use store::Store;
