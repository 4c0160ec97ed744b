//! The door over a real scheduler without nodes, by bytes on sockets: what is answered where nothing can be served.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod connections;
mod house;
mod keys;
mod statuses;
