//! Joules of a node: a meter, and whose they are.

mod book;
mod idle;
mod ledger;
mod metering;
mod phases;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod tests;
mod told;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use dunlin_costs::{Figure, Scope};
use dunlin_meters::{Activity, DEFAULT_PERIOD, Description, MeterConfig, Sampler, Source, discover};

pub(crate) use metering::Metering;

/// By the best meter of this machine that works, if there is one.
pub(crate) fn of_machine(root: &Path, config: &MeterConfig) -> Metering {
    let Some(meter) = discover(root, config, &Activity::default()).into_iter().next() else {
        tracing::info!("no meter: joules are not known (`dunlin doctor` says why)");
        return Metering::none();
    };
    let description = meter.description().clone();
    tracing::info!(meter = description.name, sees = description.sees, "joules are metered");
    if let (Source::Declared, Some(watts)) = (description.source, config.declared) {
        return Metering::declared(watts, description);
    }
    match Sampler::start(meter, DEFAULT_PERIOD) {
        Ok(sampler) => Metering::sampled(sampler),
        Err(error) => {
            tracing::warn!(%error, "the meter cannot be read: there is no thread for it");
            Metering::none()
        }
    }
}

/// By the meter of an emulated board.
pub(crate) fn of_emulated(class: &str) -> Metering {
    Metering::fed(emulated(class))
}

fn emulated(class: &str) -> Description {
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
