//! The identity side of the scheduler: real QUIC over loopback, clocks that stand still.

mod fleet;
mod hostile;
mod joining;
mod renewing;
mod revoking;
