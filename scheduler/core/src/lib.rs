//! The scheduler, sans IO: what is known of the fleet, where each request goes, and what becomes of it.
//!
//! [`Scheduler::handle`] takes an [`Input`] and the time; [`Scheduler::poll_output`] gives what is to be done,
//! [`Scheduler::next_wakeup`] when to come back. Of streams it sees offsets and counts: the caller keeps each invocation's
//! input, options, seed, journal and the ids of its tokens, the core which attempt is current, in which epoch, and what
//! was delivered. Read [`Scheduler`] and [`Decision`].
//!
//! Absent: clocks, sockets, threads, async, files, tokens, and randomness that is not seeded.

mod attempt;
mod catalog;
mod demand;
mod fleet;
mod id;
mod input;
mod invocation;
mod lease;
mod output;
mod placement;
mod policy;
mod quarantine;
mod queue;
mod request;
mod retry;
mod scheduler;
mod time;
mod timer;
mod usage;

use attempt::Attempt;
pub use attempt::{GAP_TIMEOUT, STALL};
use catalog::ModelIndex;
pub use catalog::{Alias, MAX_MODELS, MAX_VARIANTS, Variant};
pub use fleet::{
    AttemptReport, Battery, Grants, Inventory, Labels, LoadPoint, MAX_NODES, ModelReport, ModelView, NodeFilter,
    NodeView, OperatingPoint, Report, Residency, Standing,
};
pub use id::{AttemptId, DecisionId, Epoch, Fingerprint, Incarnation, InvocationId, NodeId, TenantId};
pub use input::{AttemptEnd, Failure, FleetPolicy, Input, NodeEvent, Progress};
pub use lease::{LEASE, Lapse, REPORT_LEASE};
pub use output::{Fault, Fenced, Measured, Outcome, Output, Place, Refusal, Refused};
use placement::RowIndex;
pub use placement::{
    Candidate, CoTenant, Decision, Guards, LOOKS, MAX_CANDIDATES, Manner, PATIENCE, Rest, Verdict,
};
pub use policy::{
    Circumstances, Condition, Hours, MAX_POLICY_BYTES, MAX_ROUTES, Pattern, Policy, Route, TimeOfDay,
};
pub use quarantine::{DEATHS, SENTENCE, WINDOW};
pub use queue::{MAX_QUEUED, MAX_QUEUED_PER_TENANT};
pub use request::{MAX_PREFIXES, Objective, Prefix, Request, Targets, Terms, WhenNothingFits};
pub use retry::{MAX_LOSSES, MAX_RETRIES};
pub use scheduler::{Config, InvocationView, LATE, Load, MAX_INVOCATIONS, MAX_WAIT, DRAIN, Scheduler, Stage};
pub use time::Time;
pub use usage::{Metered, Usage};
