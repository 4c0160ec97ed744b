//! Loads on a scripted server, over loopback; and what servers say that they should not.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod garbage;
mod pace;
mod server;
