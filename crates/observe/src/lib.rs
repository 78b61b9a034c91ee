//! Postgres as Poolwright sees it: what a server allows, who is connected, and the preparation of databases.
//!
//! Only [`prepare`] writes. Every connection made here carries an `application_name` of Poolwright's, so
//! that the census can tell it from the fleet's.

pub mod census;
pub mod clients;
pub mod connect;
pub mod facts;
pub mod limits;
pub mod prepare;
