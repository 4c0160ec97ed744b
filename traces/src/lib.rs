//! Spans of invocations, told to a collector by OpenTelemetry's protocol over HTTP, as JSON.
//!
//! A [`Span`] is told after it has ended, with the times that are known by then: an [`Exporter`] takes it, never waits, and sends
//! what has come together from a thread of its own.
//!
//! Absent here: which spans there are (the scheduler and the agent say so), names of spans (`dunlin-protocol`), logs.

mod exporter;
mod otlp;
mod span;

pub use exporter::{CollectorError, Exporter, Resource};
pub use span::{Kind, Span, Status, Value, unix_nanos};
