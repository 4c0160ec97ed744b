//! Load on a server of OpenAI's API, and what came of it.
//!
//! A [`Plan`] says what is sent and when; [`Client::send`] sends one request and notes when each piece of its answer came, as a
//! [`Sample`]; [`run`] sends a plan's requests in their time; [`Report::of`] is arithmetic on samples, and [`page`] shows it.
//!
//! Absent here: a terminal, signals, and any part of Dunlin: every server that streams is measured by the same rules.

mod answer;
mod client;
mod fault;
mod page;
pub mod plan;
mod quantile;
mod report;
mod run;
mod sample;
mod sse;
mod table;

pub use answer::{Joules, ServerTimes, Usage};
pub use client::{Api, Client, ClientError, Endpoint, Trust};
pub use fault::Fault;
pub use page::page;
pub use plan::Plan;
pub use quantile::{Estimate, Quantiles};
pub use report::{Attainment, Failures, Lag, Report, Slo};
pub use run::{Done, Outcome, measure_words, run, warm_up};
pub use sample::Sample;
pub use sse::Decoder;
pub use table::csv;

/// Requests under way at once. What an open loop wants beyond it is not sent, and counts as failed.
pub const MAX_IN_FLIGHT: usize = 10_000;
/// Requests of one run.
pub const MAX_REQUESTS: usize = 1_000_000;
