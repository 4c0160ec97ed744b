//! The identity side of the scheduler: real QUIC over loopback, clocks that stand still.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fleet;
mod hostile;
mod joining;
mod renewing;
mod revoking;
