//! What a board draws: sensors of power and energy, read by a thread of their own, integrated over windows.
//!
//! A [`Meter`] is one sensor, with what it sees and how well. A [`Sampler`] reads one by a thread and keeps the last samples;
//! [`Sampler::window`] gives the joules between two moments, corrected to one scope, the board's input as estimated, with the
//! correction named. [`discover`] finds the meters of this machine, the best first; [`survey`] says of each that could be
//! there what it lacks. Read [`Meter`] and [`Window`] first.
//!
//! Absent: whose joules they are (that is the agent's to say), network, other programs. The only `unsafe` is the one call
//! into the mailbox of a Raspberry Pi.

mod battery;
mod config;
mod declared;
mod discover;
mod energy;
mod heat;
mod ina2xx;
mod ina3221;
mod mailbox;
mod meter;
#[cfg(feature = "nvml")]
mod nvml;
mod pmic;
mod rapl;
mod sampler;
mod shunt;
mod sysfs;
mod trace;

pub use config::{DEFAULT_PERIOD, Feeds, MeterConfig, PROFILE_PERIOD};
pub use declared::{Activity, Declared, declared};
pub use discover::{Finding, State, discover, survey};
pub use energy::{Energy, ScopesDiffer};
pub use heat::{Charge, Conditions, THROTTLED_CELSIUS, WARM_CELSIUS, is_held_back};
pub use meter::{Description, Meter, ReadError, Reading, Source, Value};
pub use pmic::{PmicError, PmicReading, Rail, Throttling};
pub use sampler::{Feed, Sampler};
pub use trace::{EDGE_SHARE, MAX_SAMPLES, Trace, Window, WindowError};
