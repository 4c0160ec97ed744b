//! What the benchmarks of fleets share.
//!
//! A [`Stand`] is a fleet of real processes in a folder of its own; `dunlin-bench-engine` is the engine that its agents start: it
//! computes nothing, so what is left is what a fleet costs. [`measure`] runs [`Case`]s, which yield [`Figure`]s; [`pairs`]
//! compares two ways of doing the same thing.
//!
//! Absent here: what is asked of whom, which each benchmark says in its cases.

mod case;
mod client;
mod figure;
pub mod pairs;
pub mod process;
mod stand;
mod text;

pub use case::{Arguments, Case, block_on, measure};
pub use client::{Answered, Client};
pub use figure::{Figure, quantile, rounded};
pub use stand::{Programs, Running, Stand};
pub use text::letter;
