//! The tables of `apps/schema`, as SeaORM sees them.

pub(crate) mod effect;
pub(crate) mod order;
