//! One emulated board: what its engines share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dunlin_costs::{Class, ClassError, ClassMode, Mode, ModelDigest, Power, Thermal};
use thiserror::Error;
use tokio::time::Instant;

use crate::heat::{Cooling, Heat};

/// Spread of the hidden factors: a normal logarithm with this deviation.
const SIGMA: f64 = 0.2;

/// What is particular to one board of its class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Individual {
    /// None of it: the published figures.
    Nominal,
    /// A hidden factor on all times, drawn from this seed.
    Seed(u64),
}

impl Individual {
    /// All times are longer by it.
    fn factor(self) -> f64 {
        match self {
            Self::Nominal => 1.0,
            Self::Seed(seed) => {
                let mut random = fastrand::Rng::with_seed(seed);
                // Box and Muller; never the logarithm of zero.
                let (u, v) = (1.0 - random.f64(), random.f64());
                (SIGMA * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()).exp()
            }
        }
    }
}

/// Why there is no such board.
#[derive(Debug, Error)]
pub enum BoardError {
    #[error(transparent)]
    Class(#[from] ClassError),
    #[error("a {class} has no mode {mode:?}; it has {known}")]
    Mode { class: String, mode: String, known: String },
}

/// A board that does not exist. Clones are the same board.
#[derive(Debug, Clone)]
pub struct Board(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    class: Class,
    factor: f64,
    power: Option<Power>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    at: Instant,
    heat: Heat,
    joules: Joules,
    memory_used: u64,
    /// Models whose file the page cache has.
    cached: BTreeSet<ModelDigest>,
    /// Watts above idle of the engines that work now, as the sensor reads them.
    working: BTreeMap<u64, f64>,
    engines: u64,
}

/// Since the board was started.
#[derive(Debug, Clone, Copy, Default)]
struct Joules {
    sensor: f64,
    input: f64,
    above_idle: f64,
}

/// What the meters of a board show. Everything of it is emulated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Joules since the start as the class's sensor sees them, at the board's input, and of these above what it draws
    /// when idle. `None` where the class says nothing of power.
    pub sensor_joules: Option<f64>,
    pub input_joules: Option<f64>,
    pub above_idle_joules: Option<f64>,
    /// Now, at the board's input.
    pub watts: Option<f64>,
    pub degrees: f64,
    pub thermal: Thermal,
}

impl Board {
    /// One of the embedded classes, in its default mode. Inside a tokio runtime: its clock is that of the runtime.
    ///
    /// # Errors
    /// [`BoardError::Class`] with the nearest name.
    pub fn new(class: &str, individual: Individual) -> Result<Self, BoardError> {
        let class = Class::find(class)?;
        let cooling = Cooling::of(class.name.as_str());
        Ok(Self::with(class, individual, cooling))
    }

    /// Of any class, cooled in any way.
    pub fn with(class: Class, individual: Individual, cooling: Cooling) -> Self {
        let power = class.table.rows().find_map(|row| row.power.clone());
        let mode = class.mode.clone();
        let mut shared = Shared {
            factor: individual.factor(),
            power,
            state: Mutex::new(State {
                mode,
                at: Instant::now(),
                heat: Heat::settled(cooling, 0.0),
                joules: Joules::default(),
                memory_used: 0,
                cached: BTreeSet::new(),
                working: BTreeMap::new(),
                engines: 0,
            }),
            class,
        };
        let idle = shared.input(shared.idle(&shared.class.mode).unwrap_or(0.0));
        shared.state.get_mut().unwrap_or_else(PoisonError::into_inner).heat = Heat::settled(cooling, idle);
        Self(Arc::new(shared))
    }

    pub fn class(&self) -> &Class {
        &self.0.class
    }

    pub fn mode(&self) -> Mode {
        self.now().mode.clone()
    }

    /// Switches the power state of the whole board; its engines follow from their next step on.
    ///
    /// # Errors
    /// [`BoardError::Mode`] if the class has no such mode.
    pub fn set_mode(&self, mode: &str) -> Result<(), BoardError> {
        let modes = &self.0.class.modes;
        let Some(ClassMode { name, .. }) = modes.iter().find(|known| known.name.as_str() == mode) else {
            let known: Vec<&str> = modes.iter().map(|mode| mode.name.as_str()).collect();
            let class = self.0.class.name.to_string();
            return Err(BoardError::Mode { class, mode: mode.to_owned(), known: known.join(", ") });
        };
        self.now().mode = name.clone();
        Ok(())
    }

    /// Bytes that models and their contexts may still take.
    pub fn free_memory(&self) -> u64 {
        self.0.class.memory_bytes.saturating_sub(self.now().memory_used)
    }

    pub fn reading(&self) -> Reading {
        let state = self.now();
        let metered = |joules: f64| self.0.power.is_some().then_some(joules);
        Reading {
            sensor_joules: metered(state.joules.sensor),
            input_joules: metered(state.joules.input),
            above_idle_joules: metered(state.joules.above_idle),
            watts: metered(self.0.watts(&state).1),
            degrees: state.heat.degrees(),
            thermal: state.heat.state(),
        }
    }

    /// Whether the page cache has the file of a model.
    pub fn is_cached(&self, model: ModelDigest) -> bool {
        self.now().cached.contains(&model)
    }

    /// By how much arithmetic and memory are slower than the rows say, for one that works beside `others`.
    pub(crate) fn slower(&self, engine: &Resident, contention: f64) -> (f64, f64) {
        let state = self.now();
        let others = state.working.keys().filter(|&&other| other != engine.number).count();
        let factor = self.0.factor * (1.0 + contention * others as f64);
        let (arithmetic, memory) = state.heat.slower();
        (factor * arithmetic, factor * memory)
    }

    /// The hidden factor, on times that are not of steps.
    pub(crate) fn factor(&self) -> f64 {
        self.0.factor
    }

    /// Takes memory for a model until what it returns is dropped. Tells whether the file was in the page cache, too.
    ///
    /// # Errors
    /// The bytes that are free, if they are fewer.
    pub(crate) fn reserve(&self, model: ModelDigest, bytes: u64) -> Result<(Resident, bool), u64> {
        let mut state = self.now();
        let free = self.0.class.memory_bytes.saturating_sub(state.memory_used);
        if bytes > free {
            return Err(free);
        }
        state.memory_used += bytes;
        state.engines += 1;
        let cached = !state.cached.insert(model);
        Ok((Resident { board: self.clone(), number: state.engines, bytes }, cached))
    }

    /// The state, everything up to now accounted for.
    fn now(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let time = now.saturating_duration_since(state.at);
        let (sensor, input) = self.0.watts(&state);
        let idle = self.0.input(self.0.idle(&state.mode).unwrap_or(0.0));
        let seconds = time.as_secs_f64();
        state.joules.sensor += sensor * seconds;
        state.joules.input += input * seconds;
        state.joules.above_idle += (input - idle) * seconds;
        state.heat.pass(time, input);
        state.at = now;
        state
    }
}

impl Shared {
    /// As the sensor reads it.
    fn idle(&self, mode: &Mode) -> Option<f64> {
        let mode = self.class.modes.iter().find(|known| known.name == *mode)?;
        mode.idle_w.as_ref().map(|watts| watts.nominal())
    }

    /// At the board's input, what the sensor reads as so many watts.
    fn input(&self, watts: f64) -> f64 {
        let correction = self.power.as_ref().and_then(|power| power.correction.as_ref());
        correction.map_or(watts, |by| by.factor.nominal() * watts + by.offset_w.nominal())
    }

    /// Now, at the sensor and at the input.
    fn watts(&self, state: &State) -> (f64, f64) {
        // Engines that share the board take turns at its memory: together they draw what the hungriest draws.
        let working = state.working.values().copied().fold(0.0, f64::max);
        let sensor = self.idle(&state.mode).unwrap_or(0.0) + working;
        (sensor, self.input(sensor))
    }
}

/// A model in the memory of a board.
#[derive(Debug)]
pub(crate) struct Resident {
    board: Board,
    number: u64,
    bytes: u64,
}

impl Resident {
    /// It draws so many watts above idle from now on; `None`: it has nothing to do.
    pub(crate) fn work(&self, watts: Option<f64>) {
        let mut state = self.board.now();
        match watts {
            Some(watts) => drop(state.working.insert(self.number, watts)),
            None => drop(state.working.remove(&self.number)),
        }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let mut state = self.board.now();
        state.memory_used -= self.bytes;
        state.working.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_factors_spread_as_they_should_and_come_from_their_seed() {
        let logs: Vec<f64> = (0..4000).map(|seed| Individual::Seed(seed).factor().ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let deviation = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / logs.len() as f64).sqrt();
        assert!(mean.abs() < 0.01 && (0.19..0.21).contains(&deviation), "{mean} {deviation}");
        assert_eq!(Individual::Seed(7).factor(), Individual::Seed(7).factor());
        assert_eq!(Individual::Nominal.factor(), 1.0);
    }
}
