//! The declared topology of a fleet, and everything that follows from it by arithmetic.
//!
//! This crate is pure: no async, no clock, no environment, no sockets, no SQL. Whatever it needs of
//! the world is an argument, so that every decision Poolwright takes can be tested without a
//! database or a process. CI refuses a dependency on a runtime or a driver here.
//!
//! | module | turns | into |
//! | --- | --- | --- |
//! | [`declare`] | a manifest and an environment | a validated [`declare::Topology`], or every mistake at once |
//! | [`budget`] | a topology and a server's limits | a [`budget::Plan`]: a sum with named lines, a verdict |
//! | [`tag`] | (slot, pool) | an `application_name`, and back |
//! | [`census`] | rows of `pg_stat_activity` | an attribution, and findings |
//! | [`finding`] | | what `verify` found, as data |
//! | [`hazard`] | | what `doctor` finds, as data |
//! | [`prepare`] | a topology and what a server has | the changes that `prepare` makes |
//! | [`handover`] | events of slots | the next actions of the supervisor |
//! | [`channel`] | messages between supervisor and worker | JSON lines, and back |
//! | [`status`] | | what the supervisor knows of its fleet, as data |
//! | [`knee`] | sizes and what they reach | the smallest that is enough |
//! | [`picture`] | status and census | one view of the fleet from both sides, and where they disagree |

pub mod budget;
pub mod census;
pub mod channel;
pub mod declare;
pub mod finding;
pub mod handover;
pub mod hazard;
pub mod knee;
pub mod picture;
pub mod prepare;
pub mod status;
pub mod tag;
pub mod units;
