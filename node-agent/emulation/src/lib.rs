//! Boards that nobody has at hand. A [`Board`] has a class, memory, a mode, heat and a meter; an [`EmulatedModel`] starts
//! behind the same handle as real engines and answers at the pace of the board, with text that means nothing.
//!
//! The pace is a roofline: each step takes the time of its memory traffic and of its arithmetic, which overlap in part.
//! That is another form than the one by which costs are predicted, and every board has a hidden factor of its own, so a
//! scheduler that does well here has not merely been told the answer. Published figures anchor it, by `dunlin_costs::Class`.
//!
//! Whatever comes from here is marked as emulated by those who pass it on; it never counts in figures of accuracy.
//! Absent here: sensors, real models, the agent. Read [`Board`] and `roofline.rs`.

mod board;
mod engine;
mod heat;
mod point;
mod roofline;
mod sequence;
mod text;
mod words;

pub use board::{Board, BoardError, Individual, Reading};
pub use engine::EmulatedModel;
pub use heat::{Cooling, Heat};
pub use roofline::{Roofline, Step, StepTime};
pub use words::{BOS, END_OF_TURN, detokenize, tokenize};
