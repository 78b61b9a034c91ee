//! Real servers, processes, samplers and load, for tests only.
//!
//! Nothing here stands in for a part of the product: tests run the real programs on a real Postgres,
//! and this crate starts them, watches them and cleans up after them. The one impostor is the
//! `fake-worker` binary, which misbehaves on demand where a supervisor has to cope.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `POOLWRIGHT_TEST_DATABASE_URL` | use this server (as its superuser) instead of an embedded one |

pub mod built;
pub mod collector;
pub mod load;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod sampler;
pub mod server;
pub mod svg;
pub mod wait;

pub use collector::Collector;
pub use process::Process;
pub use sampler::Sampler;
pub use server::TestServer;
pub use wait::wait_until;
