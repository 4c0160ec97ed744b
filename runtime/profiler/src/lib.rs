//! Measures what a model costs on this machine, and makes cost rows of it.
//!
//! A [`Plan`] says which cells are measured (a prompt length, a depth and batch, a load), by how many threads; a
//! [`Campaign`] decides what runs next, in an order drawn from a seed, and knows when the budget is used up. Both are
//! pure. [`Bench`] runs them on engines, and [`rows`] fits what was measured. Read [`Campaign`] and [`profile`].
//!
//! Absent: where models and engines are, terminals, the fleet; sensors are those of `dunlin-meters`.

mod campaign;
mod cell;
mod counters;
mod disturbance;
mod energy;
mod halving;
mod judge;
mod keep;
mod machine;
mod operators;
mod phases;
mod plan;
mod probe;
mod quality;
mod replace;
mod rows;
mod run;
mod state;
mod statistics;

pub use campaign::{Campaign, Progress, Task};
pub use cell::{Cell, Measured, Sample, Spoilt};
pub use counters::Counted;
pub use disturbance::{DISTURBED, disturbance};
pub use energy::Joules;
pub use judge::{Hear, JudgeError, Material};
pub use keep::keep;
pub use machine::{Conditions, Dropped, Machine, Senses};
pub use operators::{OperatorShare, Operators, PhaseShares, operators};
pub use phases::{Doing, PhaseUse};
pub use plan::{Depth, Plan, Points};
pub use probe::{is_enough, probe};
pub use quality::{
    Choice, Judged, Judgement, Judgements, Keep, MAX_QUALITY_BYTES, QualityError, Tally, accuracy,
    perplexity, windows,
};
pub use replace::{Lock, replace};
pub use rows::{Of, Profile, Subject, rows};
pub use run::{Bench, ProfileError, Watcher, profile};
pub use state::{State, StateError};
pub use statistics::{Summary, summarize};
