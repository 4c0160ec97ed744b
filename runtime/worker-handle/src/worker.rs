//! The handle of a worker.

use std::{collections::BTreeMap, sync::Arc};

use dunlin_engine_handle::{Launch, Threads};
use tokio::sync::{mpsc, watch};

use crate::{
    BoardReading, BoardState, CallId, Confinement, Event, Finding, Invoke, Measure, ModelId, ModelState,
    Open, Vitals,
    supervise::{Command, Supervisor},
};

/// What is known of a worker right now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// Counts starts of the process, from 1.
    pub incarnation: u32,
    /// Why it does not run, if it does not.
    pub dead: Option<Arc<str>>,
    pub models: BTreeMap<ModelId, ModelState>,
    /// `None`: it has not said yet.
    pub confinement: Option<Confinement>,
}

/// A worker that is kept alive. Cheap to clone; the process ends with the last clone.
#[derive(Debug, Clone)]
pub struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    board: watch::Receiver<Option<BoardReading>>,
    vitals: watch::Receiver<BTreeMap<ModelId, Vitals>>,
    calls: Arc<std::sync::atomic::AtomicU64>,
}

impl Worker {
    /// Starts the process, and starts it again whenever it dies. Must be called on a tokio runtime.
    pub fn start(launch: impl Launch) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (status, watch) = watch::channel(Status::default());
        let (shown, board) = watch::channel(None);
        let (felt, vitals) = watch::channel(BTreeMap::new());
        tokio::spawn(Supervisor::new(Box::new(launch), inbox, status, (shown, felt)).run());
        Self { commands, status: watch, board, vitals, calls: Arc::default() }
    }

    /// Whether a model is being loaded.
    pub fn loads(&self) -> bool {
        let is_loading =
            |state: &ModelState| matches!(state, ModelState::Loading { .. } | ModelState::Restarting { .. });
        self.status.borrow().models.values().any(is_loading)
    }

    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Whether a model can be used right now.
    pub fn is_ready(&self, model: &ModelId) -> bool {
        matches!(self.status.borrow().models.get(model), Some(ModelState::Ready(_)))
    }

    /// What it could take from itself, once it has said so.
    pub fn confinement(&self) -> Option<Confinement> {
        self.status.borrow().confinement.clone()
    }

    /// Sees every change of the status.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Loads a model; [`Status::models`] tells how far it is. It is loaded again whenever the worker had to be started
    /// again.
    pub fn open(&self, model: ModelId, open: Open) {
        self.tell(Command::Open { model, open: Box::new(open) });
    }

    pub fn set_threads(&self, model: ModelId, threads: Threads) {
        self.tell(Command::Threads { model, threads });
    }

    /// Makes an emulated board of it, or sets the mode of the one that it is.
    pub fn set_board(&self, board: BoardState) {
        self.tell(Command::Board(board));
    }

    /// What the emulated board shows, as it tells it.
    pub fn board(&self) -> watch::Receiver<Option<BoardReading>> {
        self.board.clone()
    }

    /// How its engines are, as it tells it.
    pub fn vitals(&self) -> watch::Receiver<BTreeMap<ModelId, Vitals>> {
        self.vitals.clone()
    }

    /// Unloads a model. What runs on it fails.
    pub fn close(&self, model: ModelId) {
        self.tell(Command::Close(model));
    }

    /// Begins an attempt. It ends with [`Event::Ended`] in any case, also where the worker dies.
    pub fn invoke(&self, invoke: Invoke) -> Running {
        let call = self.next_call();
        let (to, events) = mpsc::unbounded_channel();
        self.tell(Command::Invoke { call, invoke: Box::new(invoke), to });
        Running { call, events, commands: self.commands.clone() }
    }

    /// Begins to measure. It ends with [`Finding::Ended`] in any case.
    pub fn measure(&self, measure: Measure) -> Measuring {
        let call = self.next_call();
        let (to, findings) = mpsc::unbounded_channel();
        self.tell(Command::Measure { call, measure: Box::new(measure), to });
        Measuring { call, findings, commands: self.commands.clone() }
    }

    fn next_call(&self) -> CallId {
        CallId(self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    fn tell(&self, command: Command) {
        // The supervisor ends with the last handle; this is one.
        drop(self.commands.send(command));
    }
}

/// An attempt on a worker. Dropping it cancels the attempt.
#[derive(Debug)]
pub struct Running {
    call: CallId,
    events: mpsc::UnboundedReceiver<Event>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Running {
    /// The next event; `None` after the end. Budgets of tokens and emitted bytes bound what waits here. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Asks it to end; it still says how it ended.
    pub fn cancel(&self) {
        drop(self.commands.send(Command::Cancel(self.call)));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// A measurement on a worker. Dropping it breaks it off.
#[derive(Debug)]
pub struct Measuring {
    call: CallId,
    findings: mpsc::UnboundedReceiver<Finding>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Measuring {
    /// The next finding; `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Finding> {
        self.findings.recv().await
    }

    /// Asks it to end; the run that is on is lost.
    pub fn cancel(&self) {
        drop(self.commands.send(Command::Cancel(self.call)));
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.cancel();
    }
}
