//! Recovery against a real Postgres, with DBOS' own tables.

#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

mod claims;
mod sequences;
mod system;
