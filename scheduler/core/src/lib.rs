//! The scheduler, sans IO: what is known of the fleet, where each request goes, and what becomes of it.
//!
//! [`Scheduler::handle`] takes an [`Input`] and the time; [`Scheduler::poll_output`] gives what is to be done,
//! [`Scheduler::next_wakeup`] when to come back. Of streams it sees offsets and counts: the caller keeps each invocation's
//! input, options, seed, journal and the ids of its tokens, the core which attempt is current, in which epoch, and what
//! was delivered. Read [`Scheduler`] and [`Decision`].
//!
//! Absent: clocks, sockets, threads, async, files, tokens, and randomness that is not seeded.

// The tests inside share boards with those outside.
#[cfg(test)]
extern crate self as dunlin_scheduler_core;
#[cfg(test)]
#[path = "../tests/fleet/boards.rs"]
#[allow(dead_code, reason = "the tests outside use all of it")]
mod boards;

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
mod plan;
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
use catalog::ModelIndex;
pub use catalog::{Alias, Variant};
pub use fleet::{
    AttemptReport, Battery, Grants, Inventory, Labels, LoadPoint, ModelReport, ModelView, NodeFilter,
    NodeView, OperatingPoint, Report, Residency, Standing,
};
pub use id::{AttemptId, DecisionId, Epoch, Fingerprint, Incarnation, InvocationId, NodeId, TenantId};
pub use input::{AttemptEnd, Failure, FleetPolicy, Input, NodeEvent, Progress};
pub use lease::Lapse;
pub use output::{Fault, Fenced, Measured, Outcome, Output, Place, Refusal, Refused};
use placement::RowIndex;
pub use placement::{Candidate, CoTenant, Decision, Guards, Manner, Rest, Verdict};
pub use plan::{
    BoardRules, Errand, Gain, ModeChange, ModeChoice, ModePlan, ModeRules, ModeState, ModeWaits, ModeWish,
    Need, ParkAction, ParkLevel, ParkPlan, ParkRest, ParkRules, ParkState, PlanRules,
};
pub use policy::{Circumstances, Condition, Hours, Pattern, Policy, Route, TimeOfDay};
pub use request::{Objective, Prefix, Request, Targets, Terms, WhenNothingFits};
pub use scheduler::{Config, InvocationView, Load, Scheduler, Stage};
pub use time::Time;
pub use usage::{Metered, Usage};

/// How much, how many, how long: every limit of the core.
pub mod limits {
    pub use crate::{
        attempt::{GAP_TIMEOUT, MISSED_GRACE, MISSED_REPORTS, STALL},
        catalog::{MAX_MODELS, MAX_VARIANTS},
        fleet::{
            MAX_ATTEMPTS_PER_NODE, MAX_CALIBRATIONS, MAX_HELD, MAX_HOLDERS, MAX_MODELS_PER_NODE, MAX_NODES,
            MAX_PREFIXES_PER_ENGINE,
        },
        invocation::MAX_AVOIDED,
        lease::{LEASE, REPORT_LEASE},
        placement::{LOOKS, MAX_CANDIDATES, MAX_GROUPS, MAX_KINDS, MAX_ROWS, PATIENCE},
        plan::{MAX_BOARDS, MAX_PLAN_BYTES},
        policy::{MAX_POLICY_BYTES, MAX_ROUTES},
        quarantine::{DEATHS, MAX_SUSPECTS, SENTENCE, WINDOW},
        queue::{HEADS, LANE_HEADS, MAX_QUEUED, MAX_QUEUED_PER_TENANT},
        request::MAX_PREFIXES,
        retry::{MAX_LOSSES, MAX_RETRIES},
        scheduler::{LATE, LOAD_AGAIN, MAX_DRAIN, MAX_INVOCATIONS, MAX_WAIT},
    };
}
