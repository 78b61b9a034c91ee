//! The reload protocol as a pure state machine.
