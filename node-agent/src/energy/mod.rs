//! Joules of a node: a meter, and whose they are.

mod idle;
mod ledger;
mod metering;
mod phases;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use dunlin_costs::{Figure, Scope};
use dunlin_meters::{Description, Source};

pub(crate) use metering::Metering;

/// Of the meter of an emulated board.
pub(crate) fn emulated(class: &str) -> Description {
    Description {
        name: "emulated".to_owned(),
        source: Source::Emulated,
        scope: Scope::BoardInput,
        sees: format!("the input of an emulated {class}"),
        correction: None,
        error: Figure::known(0.0),
        refresh: Duration::from_millis(1),
        place: PathBuf::new(),
    }
}
