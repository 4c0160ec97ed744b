//! A node of a fleet: joins a scheduler, holds models and components, executes attempts.

mod residency;

pub use residency::{Demand, Hold, NoRoom, ResidentModel, evictions};
