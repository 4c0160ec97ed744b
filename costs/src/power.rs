//! Watts, by what the sensor sees, and their correction to the one scope in which joules are ranked.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Bound, Figure};

/// What part of a board a sensor sees. Joules are ranked in [`Scope::BoardInput`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All that the board draws, as measured or estimated at its input.
    BoardInput,
    /// The sum of the rails of the Pi 5's PMIC; not what hangs on its 5 V, nor the losses of the regulators.
    PmicRails,
    /// `VDD_CPU_GPU_CV` of a Jetson.
    CpuGpuRail,
    /// A package as RAPL counts it.
    Package,
    /// The board of a discrete GPU, as NVML counts it.
    Accelerator,
}

/// How readings of a narrower scope become board input: `factor x reading + offset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Shown wherever joules are shown.
    pub name: String,
    #[serde(default = "one")]
    pub factor: Figure,
    #[serde(default)]
    pub offset_w: Figure,
}

fn one() -> Figure {
    Figure::known(1.0)
}

impl Correction {
    /// Raspberry Pi 5: a fit of the PMIC's sum against a USB-C meter, of one board (github.com/jfikar/RPi5-power).
    pub fn pi5_pmic() -> Self {
        Self {
            name: "1.1451 x PMIC + 0.5879 W".to_owned(),
            factor: Figure::known(1.1451),
            offset_w: Figure::known(0.5879),
        }
    }

    /// Jetson Orin Nano: `VDD_IN` is 1.5 to 3 W above `VDD_CPU_GPU_CV` (github.com/YuvrajSingh-mist/smolbenchmark).
    pub fn orin_cpu_gpu_rail() -> Self {
        let source =
            "github.com/YuvrajSingh-mist/smolbenchmark: VDD_IN reads 1.5 to 3 W above VDD_CPU_GPU_CV";
        Self {
            name: "VDD_CPU_GPU_CV + 2.25 W (1.5 to 3)".to_owned(),
            factor: one(),
            offset_w: Figure::assumed(1.5, 2.25, 3.0, source),
        }
    }

    fn apply(&self, watts: f64, bound: Bound) -> f64 {
        self.factor.at(bound) * watts + self.offset_w.at(bound)
    }
}

/// Joules of a row cannot be compared with those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("these watts are of {0:?}, and no correction to the board's input is named")]
pub struct ScopeFault(pub Scope);

/// Draw of a node by what it does, as its sensor reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    pub scope: Scope,
    /// The model resident, no request.
    pub idle_w: Figure,
    pub load_w: Figure,
    pub prefill_w: Figure,
    pub decode_w: Figure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
}

/// Watts at the board's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watts {
    pub idle: f64,
    pub load: f64,
    pub prefill: f64,
    pub decode: f64,
}

impl Power {
    /// Corrected to the board's input, at one end of what is assumed.
    ///
    /// # Errors
    /// [`ScopeFault`] if the sensor sees less and no correction is named.
    pub fn board(&self, bound: Bound) -> Result<Watts, ScopeFault> {
        let corrected = |figure: &Figure| match (&self.correction, self.scope) {
            (Some(correction), _) => Ok(correction.apply(figure.at(bound), bound)),
            (None, Scope::BoardInput) => Ok(figure.at(bound)),
            (None, scope) => Err(ScopeFault(scope)),
        };
        Ok(Watts {
            idle: corrected(&self.idle_w)?,
            load: corrected(&self.load_w)?,
            prefill: corrected(&self.prefill_w)?,
            decode: corrected(&self.decode_w)?,
        })
    }

    /// As the sensor reads it.
    pub fn read(&self, bound: Bound) -> Watts {
        Watts {
            idle: self.idle_w.at(bound),
            load: self.load_w.at(bound),
            prefill: self.prefill_w.at(bound),
            decode: self.decode_w.at(bound),
        }
    }

    pub(crate) fn is_assumed(&self) -> bool {
        let corrected =
            self.correction.iter().flat_map(|correction| [&correction.factor, &correction.offset_w]);
        let read = [&self.idle_w, &self.load_w, &self.prefill_w, &self.decode_w];
        read.into_iter().chain(corrected).any(Figure::is_assumed)
    }
}
