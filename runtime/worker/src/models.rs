//! The models of a worker: an engine each.

use std::{collections::BTreeMap, sync::Arc};

use dunlin_costs::{ModelFacts, Quantisation, Thermal};
use dunlin_emulation::{Board, EmulatedModel, Individual};
use dunlin_engine_handle::{Engine, EngineError, Load, Patience, Program, Pulse, State, Status, Threads};
use dunlin_profiler::{Conditions, Senses};
use dunlin_worker_handle::{
    BoardHeat, BoardReading, BoardState, Emulated, EngineKind, FromWorker, ModelId, ModelState, Open, Vitals,
};
use tokio::{sync::mpsc, task::AbortHandle};

use crate::measure::{Start, Timing};

#[derive(Debug)]
pub(crate) struct Models {
    open: BTreeMap<ModelId, Model>,
    /// Where the engines are emulated.
    board: Option<Board>,
    /// How engines were when it was told last.
    vitals: Vec<(ModelId, Vitals)>,
    out: mpsc::UnboundedSender<FromWorker>,
}

#[derive(Debug)]
struct Model {
    engine: Engine,
    reporting: AbortHandle,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.reporting.abort();
    }
}

impl Models {
    pub(crate) fn new(out: mpsc::UnboundedSender<FromWorker>) -> Self {
        Self { open: BTreeMap::new(), board: None, vitals: Vec::new(), out }
    }

    /// One that is open already is loaded anew.
    pub(crate) fn open(&mut self, id: ModelId, open: &Open) {
        // Its memory is needed.
        self.close(&id);
        let engine = match self.starter(&id, open) {
            Ok(start) => start(Timing::No),
            Err(reason) => return self.tell(&id, ModelState::Failed { reason, memory: false }),
        };
        let reporting = tokio::spawn(report(id.clone(), engine.clone(), self.meter(), self.out.clone()));
        self.open.insert(id, Model { engine, reporting: reporting.abort_handle() });
    }

    /// Starts engines on a model that are nobody else's.
    ///
    /// # Errors
    /// Why the emulated board cannot run it.
    pub(crate) fn starter(&mut self, id: &ModelId, open: &Open) -> Result<Start, String> {
        let load = open.load.clone();
        match &open.engine {
            EngineKind::Program(program) => {
                let program = program.clone();
                Ok(Box::new(move |timing| {
                    let load = Load { times_operators: timing == Timing::Operators, ..load.clone() };
                    Engine::start(Program::new(program.clone()), load, Patience::default())
                }))
            }
            EngineKind::Emulated(emulated) => {
                let model = self.emulated(id, emulated)?;
                // It has no operators to time.
                Ok(Box::new(move |_| Engine::start(model.clone(), load.clone(), Patience::default())))
            }
        }
    }

    pub(crate) fn close(&mut self, id: &ModelId) {
        // The process ends with the last handle; what runs on it has others.
        if let Some(model) = self.open.remove(id) {
            let engine = model.engine.clone();
            tokio::spawn(async move { engine.drain().await });
        }
    }

    pub(crate) fn set_threads(&self, id: &ModelId, threads: Threads) {
        if let Some(model) = self.open.get(id) {
            model.engine.set_threads(threads);
        }
    }

    pub(crate) fn engine(&self, id: &ModelId) -> Option<Engine> {
        self.open.get(id).map(|model| model.engine.clone())
    }

    /// All of its models share one board.
    fn emulated(&mut self, id: &ModelId, emulated: &Emulated) -> Result<EmulatedModel, String> {
        let board = self.be(&BoardState {
            class: emulated.class.clone(),
            mode: emulated.mode.clone(),
            seed: emulated.seed,
        })?;
        let facts = ModelFacts {
            name: emulated.model.clone(),
            digest: id.0.parse().map_err(|error| format!("{error}"))?,
            quantisation: Quantisation::new(&emulated.quantization),
            file_bytes: emulated.file_bytes,
            kv_bytes_per_token: emulated.kv_bytes_per_token,
        };
        let unknown = || format!("a {} is not known to run {}", emulated.class, emulated.model);
        EmulatedModel::new(&board, &facts).ok_or_else(unknown)
    }

    /// Sets the mode of the board, which is made if there is none yet.
    fn be(&mut self, state: &BoardState) -> Result<Board, String> {
        let board = match &self.board {
            Some(board) => board.clone(),
            None => {
                Board::new(&state.class, Individual::Seed(state.seed)).map_err(|error| error.to_string())?
            }
        };
        board.set_mode(&state.mode).map_err(|error| error.to_string())?;
        self.board = Some(board.clone());
        Ok(board)
    }

    pub(crate) fn set_board(&mut self, state: &BoardState) {
        match self.be(state) {
            Ok(_) => self.tell_board(),
            // The agent reads back what the board says.
            Err(reason) => tracing::warn!(reason, "the emulated board is not set"),
        }
    }

    /// Says what the meters of an emulated board show; nothing without one.
    pub(crate) fn tell_board(&self) {
        self.meter().into_iter().for_each(|meter| meter.tell());
    }

    /// Says how engines are, where that is different.
    pub(crate) fn tell_vitals(&mut self) {
        let of = |(id, model): (&ModelId, &Model)| {
            let Status { pulse, incarnation, .. } = model.engine.status();
            (id.clone(), Vitals { pulse: Pulse { ticks: 0, ..pulse }, starts: incarnation })
        };
        let vitals: Vec<_> = self.open.iter().map(of).collect();
        if self.vitals != vitals {
            self.vitals.clone_from(&vitals);
            drop(self.out.send(FromWorker::Vitals(vitals)));
        }
    }

    /// Tells the same from elsewhere.
    pub(crate) fn meter(&self) -> Option<BoardMeter> {
        Some(BoardMeter { board: self.board.clone()?, out: self.out.clone() })
    }

    fn tell(&self, id: &ModelId, state: ModelState) {
        drop(self.out.send(FromWorker::Model { model: id.clone(), state }));
    }
}

/// The meters of an emulated board.
#[derive(Debug, Clone)]
pub(crate) struct BoardMeter {
    board: Board,
    out: mpsc::UnboundedSender<FromWorker>,
}

impl BoardMeter {
    pub(crate) fn tell(&self) {
        let reading = self.board.reading();
        let reading = BoardReading {
            mode: self.board.mode().to_string(),
            input_joules: reading.input_joules,
            watts: reading.watts,
            degrees: reading.degrees,
            heat: match reading.thermal {
                Thermal::Cool => BoardHeat::Cool,
                Thermal::Warm => BoardHeat::Warm,
                Thermal::Throttled => BoardHeat::Throttled,
            },
        };
        drop(self.out.send(FromWorker::Board(reading)));
    }
}

impl Senses for BoardMeter {
    fn conditions(&self) -> Conditions {
        let reading = self.board.reading();
        // A class that is always held back is measured as it is.
        let is_held_back = reading.thermal == Thermal::Throttled;
        let throttled = is_held_back && self.board.class().thermal != Thermal::Throttled;
        Conditions { celsius: Some(reading.degrees as f32), throttled }
    }
}

/// Tells each new state of an engine, until it is closed.
async fn report(
    model: ModelId,
    engine: Engine,
    meter: Option<BoardMeter>,
    out: mpsc::UnboundedSender<FromWorker>,
) {
    let mut status = engine.watch();
    // What holds the handle is the model, not its report.
    drop(engine);
    let mut told = None;
    loop {
        let state = state(&status.borrow_and_update());
        if let Some(state) = state.filter(|state| told.as_ref() != Some(state)) {
            // What the load drew is not of the request that waited for it.
            if matches!(state, ModelState::Ready(_)) {
                meter.iter().for_each(BoardMeter::tell);
            }
            drop(out.send(FromWorker::Model { model: model.clone(), state: state.clone() }));
            told = Some(state);
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn state(status: &Status) -> Option<ModelState> {
    Some(match &status.state {
        State::Starting => ModelState::Loading { fraction: 0.0 },
        State::Loading { fraction } => ModelState::Loading { fraction: *fraction },
        State::Ready | State::Busy => {
            ModelState::Ready(Box::new(Arc::unwrap_or_clone(status.model.clone()?)))
        }
        State::Draining => return None,
        State::Dead { reason, restart: Some(_) } => ModelState::Restarting { reason: reason.to_string() },
        State::Dead { reason, restart: None } => ModelState::Failed {
            reason: status.refusal.as_ref().map_or_else(|| reason.to_string(), ToString::to_string),
            memory: matches!(status.refusal, Some(EngineError::Memory(_))),
        },
    })
}
