//! What a first-party pipeline is asked: its body, its model, and parameters.
//!
//! A pipeline has one table of [`Parameter`]s, which says what there is, what holds where nothing is given, and what it
//! means to a person. [`Asked`] reads a request by that table and refuses what is not in it.

mod asked;
mod choices;
mod number;
pub mod sampling;
mod table;

pub use asked::{Asked, Line, lines};
pub use choices::{CHOICES, Choices};
pub use number::Number;
pub use table::{Fallback, JSON, LINES, MODEL, Parameter};
