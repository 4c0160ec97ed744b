//! What a model needs before it is loaded, what is free, and whether the one fits into the other.

mod admit;
mod available;
mod estimate;

pub use admit::{Advice, MemoryRefusal, admit};
pub use available::{AvailableError, Limit, MemoryAvailable};
pub use estimate::{Estimate, KvType, LoadPoint, Processor, WindowCache};
