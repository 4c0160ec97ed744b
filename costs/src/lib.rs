//! What a request costs on a node: cost rows, predictions of time and energy, calibration.
//!
//! A [`Row`] holds the measured costs of one model at one operating point; [`Row::predict`] says in closed form what a
//! request would take beside what already runs, and what it adds to the node's energy. A [`Table`] keeps rows, a
//! [`Calibration`] corrects them by what was seen. Read [`Row`] and [`Prediction`] first.
//!
//! Absent: clocks, files, sockets, async; the choice among predictions (that is placement's).

mod calibration;
mod class;
pub mod document;
mod estimate;
mod figure;
pub mod fit;
mod key;
mod least_squares;
mod pareto;
mod power;
mod predict;
mod prior;
mod provenance;
mod row;
mod step;
mod table;

pub use calibration::{Calibration, Learned, Phase};
pub use class::{Class, ClassError, ClassMode, MAX_CLASS_BYTES};
pub use document::DocumentError;
pub use estimate::{Estimate, Flags, Joules, Prediction};
pub use figure::{Bound, Figure};
pub use key::{Backend, DigestFault, KvType, Mode, ModelDigest, NodeClass, Quantisation, RowKey, Thermal};
pub use pareto::{TYPICAL, pareto_front};
pub use power::{Correction, Power, Scope, ScopeFault, Watts};
pub use predict::{Load, Running, Situation, Work};
pub use prior::{ModelFacts, Prior, PriorPoint, Sharing};
pub use provenance::{Grade, Method, Origin, Provenance};
pub use row::{Decode, Fit, LoadCosts, Memory, Prefill, Quality, Row, RowFault, RowParts};
pub use step::Steps;
pub use table::{MAX_TABLE_BYTES, Query, Table};
