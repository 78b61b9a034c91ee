//! What the acceptance suite drives: one of the two stacks, under one of the two process managers, on
//! an empty Postgres of its own.
//!
//! Or a program that was not written for Poolwright ([`Project`]).
//!
//! The claims themselves stand in `tests/suite`, one module each.

pub mod bound;
pub mod cell;
pub mod chaos;
pub mod clock;
pub mod desk;
pub mod directory;
pub mod disk;
pub mod fleet;
pub mod ledger;
mod pm2;
pub mod poolwright;
pub mod project;
pub mod release;
pub mod setup;
pub mod terminal;

pub use cell::{Cell, Manager, Stack};
pub use desk::Desk;
pub use fleet::Fleet;
pub use ledger::Ledger;
pub use poolwright::Poolwright;
pub use project::Project;
pub use release::Release;
pub use setup::Setup;
pub use terminal::Terminal;
