//! What is planned of nodes over minutes, apart from placements: in which mode each should be, and which may rest.
//!
//! Pure: whoever asks brings the time, what each mode would cost at what the node is asked for now, and what waits.

mod file;
mod modes;
mod parking;
mod rules;

pub use modes::{Gain, ModeChange, ModeChoice, ModePlan, ModeState, ModeWaits, ModeWish};
pub use parking::{Need, ParkAction, ParkPlan, ParkRest, ParkState};
pub use rules::{BoardRules, Errand, MAX_BOARDS, MAX_PLAN_BYTES, ModeRules, ParkLevel, ParkRules, PlanRules};
