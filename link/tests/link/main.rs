//! Real connections over loopback, on clocks that stand still.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod connections;
mod folder;
mod streams;
mod world;
