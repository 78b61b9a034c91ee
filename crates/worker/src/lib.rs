//! What a Rust service needs to obey the topology that `poolwright.toml` declares.
//!
//! A service built on this crate opens exactly the connections it was told to, says whose they are,
//! launches one DBOS executor, and leaves without dropping a request or a workflow. Nothing in here
//! knows what the service does.
//!
//! The life of a process is a chain of types, each of which only the phase before it can make:
//!
//! ```text
//! Booting ──booted()──▶ Cleared ──open()──▶ Opened ──launch()──▶ Running ──serve(router)──▶ exit
//! environment valid     told to launch,     ORM pool full,       executor launched,
//! nothing opened        holds the id        workflows register   DBOS pool full
//! ```
//!
//! | module | owns |
//! | --- | --- |
//! | [`settings`] | the environment: every mistake at once |
//! | [`identity`] | slot, executor id and the names that Postgres sees |
//! | [`lock`] | the executor id, held against every other process |
//! | [`pools`] | the ORM pool, the only place that makes one |
//! | [`executor`] | the DBOS executor, the only place that launches it |
//! | `abandoned` | workflows whose run has ended without an end in the database |
//! | [`tenant`] | transactions under row-level security |
//! | [`lending`] | who waits for a connection, for how long, and how long it is kept |
//! | [`gauges`], [`metrics`] | what the pools hold, and how it is written down |
//! | [`channel`], [`descriptor`] | the supervisor's end of the conversation |
//! | [`listener`], [`drain`] | the listening socket and its end |
//! | [`health`] | the routes every worker answers |
//! | [`telemetry`] | JSON lines on standard output |
//! | [`otel`] | traces and metrics to a collector, where the environment names one |
//! | `upkeep` | what a worker does beside its work: gauges, metrics, full pools |
//! | `unanswered` | which connections wait for an answer, as the kernel saw it |
//! | [`worker`] | the chain above |

mod abandoned;
pub mod channel;
pub mod descriptor;
pub mod drain;
pub mod executor;
pub mod gauges;
pub mod health;
pub mod identity;
pub mod lending;
pub mod listener;
pub mod lock;
pub mod metrics;
pub mod otel;
pub mod pools;
pub mod settings;
pub mod telemetry;
pub mod tenant;
mod unanswered;
mod upkeep;
pub mod worker;

pub use executor::ensure_dbos_launched;
pub use otel::durable::{TraceParent, workflow};
pub use tenant::{Tenant, Tenants};
pub use worker::{Booting, Cleared, Opened, Running, WorkerError, run};
