//! Watts that somebody declared, by what the board does: the last resort, where there is no sensor.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use dunlin_costs::{Figure, Scope};
use serde::{Deserialize, Serialize};

use crate::{Description, Meter, ReadError, Reading, Source, Value};

/// Watts at the board's input, as somebody measured or assumes them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// The model resident, no request.
    pub idle_w: f64,
    pub load_w: f64,
    pub prefill_w: f64,
    pub decode_w: f64,
}

impl Declared {
    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<String> {
        let named = [
            ("idle_w", self.idle_w),
            ("load_w", self.load_w),
            ("prefill_w", self.prefill_w),
            ("decode_w", self.decode_w),
        ];
        let wrong = named.iter().find(|(_, watts)| !(0.0..=MAX_WATTS).contains(watts));
        wrong.map(|(name, watts)| format!("{name} is {watts}: watts from 0 to {MAX_WATTS} are expected"))
    }

    fn watts(&self, [load, prefill, decode]: [f64; 3]) -> f64 {
        let above = |watts: f64| (watts - self.idle_w).max(0.0);
        self.idle_w
            + above(self.load_w) * load
            + above(self.prefill_w) * prefill
            + above(self.decode_w) * decode
    }
}

/// More than any board of the kind that this is for.
const MAX_WATTS: f64 = 2000.0;

/// What the board does now, as parts of its time: told by who knows, for the declared meter. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<[AtomicU64; 3]>);

impl Activity {
    /// Parts of the time, 0 to 1 each.
    pub fn set(&self, load: f64, prefill: f64, decode: f64) {
        for (kept, part) in self.0.iter().zip([load, prefill, decode]) {
            kept.store(part.clamp(0.0, 1.0).to_bits(), Relaxed);
        }
    }

    fn parts(&self) -> [f64; 3] {
        [0, 1, 2].map(|at: usize| f64::from_bits(self.0[at].load(Relaxed)))
    }
}

#[derive(Debug)]
struct Model {
    description: Description,
    watts: Declared,
    activity: Activity,
}

/// A meter that measures nothing: it says what was declared for what `activity` tells.
pub fn declared(watts: Declared, activity: &Activity) -> Box<dyn Meter> {
    let source = "declared by who runs the board";
    Box::new(Model {
        description: Description {
            name: "declared".to_owned(),
            source: Source::Declared,
            scope: Scope::BoardInput,
            sees: "nothing: watts that were declared, by what the board does".to_owned(),
            correction: None,
            error: Figure::assumed(0.05, 0.25, 1.0, source),
            refresh: Duration::from_millis(100),
            place: PathBuf::new(),
        },
        watts,
        activity: activity.clone(),
    })
}

impl Meter for Model {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        Ok(Reading::now(Value::Watts(self.watts.watts(self.activity.parts()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_board_does_decides() {
        let watts = Declared { idle_w: 3.0, load_w: 5.0, prefill_w: 9.0, decode_w: 8.0 };
        let activity = Activity::default();
        let mut meter = declared(watts, &activity);
        let mut read = |load, prefill, decode| {
            activity.set(load, prefill, decode);
            meter.read().unwrap().value
        };
        assert_eq!(read(0.0, 0.0, 0.0), Value::Watts(3.0));
        assert_eq!(read(0.0, 1.0, 0.0), Value::Watts(9.0));
        assert_eq!(read(0.0, 0.5, 0.5), Value::Watts(8.5));
        assert_eq!(read(7.0, 0.0, 0.0), Value::Watts(5.0));
        assert_eq!(watts.fault(), None);
        let wrong = Declared { prefill_w: f64::NAN, ..watts };
        assert_eq!(wrong.fault().unwrap(), "prefill_w is NaN: watts from 0 to 2000 are expected");
    }
}
