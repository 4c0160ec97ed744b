//! A plan as programs read it, from the command line and by HTTP alike.

use serde::Serialize;

use super::{NodePlan, Parked, PlannedMode, Saving};

/// What is meant for a node: watts of the board's input, parts of one, seconds since 1970.
#[derive(Debug, Serialize)]
pub struct PlanDocument<'a> {
    /// The wish in words, and why it is not followed yet.
    says: Option<&'a str>,
    wish: Option<&'a str>,
    wished_unix_seconds: Option<u64>,
    due_unix_seconds: Option<u64>,
    saves: Option<SavingDocument<'a>>,
    changes_to: Option<&'a str>,
    requests_per_hour: f64,
    modes: Vec<ModeDocument<'a>>,
    parked: Option<Parked>,
    failure: Option<&'a str>,
    barred_unix_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct SavingDocument<'a> {
    part: f64,
    of: &'a str,
    watts_now: Option<f64>,
    watts_then: Option<f64>,
    assumed: bool,
}

#[derive(Debug, Serialize)]
struct ModeDocument<'a> {
    mode: &'a str,
    watts: Option<f64>,
    watts_assumed: bool,
    at_work: f64,
    request_ms: u64,
    of_targets: Option<f64>,
    suffices: bool,
}

impl NodePlan {
    pub fn document(&self) -> PlanDocument<'_> {
        PlanDocument {
            says: (!self.says.is_empty()).then_some(&self.says),
            wish: self.mode.as_deref(),
            wished_unix_seconds: self.wished_unix_seconds,
            due_unix_seconds: self.due_unix_seconds,
            saves: self.saves.as_ref().map(saving),
            changes_to: self.changes_to.as_deref(),
            requests_per_hour: one(self.rate),
            modes: self.modes.iter().map(mode).collect(),
            parked: self.parked,
            failure: self.failure.as_deref(),
            barred_unix_seconds: self.barred_unix_seconds,
        }
    }
}

fn saving(of: &Saving) -> SavingDocument<'_> {
    SavingDocument {
        part: one(of.part),
        of: &of.of,
        watts_now: of.milliwatts_now.map(one),
        watts_then: of.milliwatts_then.map(one),
        assumed: of.assumed,
    }
}

fn mode(of: &PlannedMode) -> ModeDocument<'_> {
    ModeDocument {
        mode: &of.mode,
        watts: of.milliwatts.map(one),
        watts_assumed: of.assumed,
        at_work: one(of.busy),
        request_ms: of.request_ms,
        of_targets: (of.strain > 0).then(|| one(of.strain)),
        suffices: of.suffices,
    }
}

fn one(thousandths: u64) -> f64 {
    thousandths as f64 / 1e3
}
