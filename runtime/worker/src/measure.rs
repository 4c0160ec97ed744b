//! What is measured for the agent: short looks at models that are open, and campaigns on engines of their own.

use std::{sync::Arc, time::Duration};

use dunlin_engine_handle::{Engine, EngineError, ModelInfo};
use dunlin_profiler::{
    Bench, Campaign, Joules, JudgeError, Machine, Material, Plan, ProfileError, Progress, Sample, Senses,
    State, StateError, Task, Watcher,
};
use dunlin_worker_handle::{CallId, Finding, FromWorker, Probe, Profile, Window};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{extra::Extra, models::BoardMeter};

/// How often, and how far apart, it is tried to load a model for which there is no memory yet.
const MEMORY_TRIES: u32 = 5;
const MEMORY_PAUSE: Duration = Duration::from_millis(500);

/// Starts an engine on a model.
pub(crate) type Start = Box<dyn Fn(Timing) -> Engine + Send + Sync>;

/// Whether an engine computes each operator by itself, and says how long that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    No,
    Operators,
}

/// Tells what is found; that it ended, in any case.
pub(crate) struct Findings {
    call: CallId,
    out: mpsc::UnboundedSender<FromWorker>,
    /// Of the emulated board, if it is one.
    board: Option<BoardMeter>,
    has_ended: bool,
}

impl Drop for Findings {
    fn drop(&mut self) {
        if !self.has_ended {
            self.tell(Finding::Ended(Err("the worker lost it: a bug of Dunlin".to_owned())));
        }
    }
}

impl Findings {
    pub(crate) fn new(
        call: CallId,
        out: mpsc::UnboundedSender<FromWorker>,
        board: Option<BoardMeter>,
    ) -> Self {
        Self { call, out, board, has_ended: false }
    }

    /// A look at an engine; `None`: the model is not open.
    pub(crate) async fn probe(mut self, engine: Option<Engine>, probe: Probe, stop: CancellationToken) {
        let Some(engine) = engine else { return self.end(Err("the model is not open".to_owned())) };
        let looked = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            looked = self.look(&engine, probe) => looked,
        };
        self.end(looked);
    }

    async fn look(&mut self, engine: &Engine, probe: Probe) -> Result<(), String> {
        let model = engine.ready().await.map_err(|error| error.to_string())?;
        self.tell(Finding::Model(Box::new(Arc::unwrap_or_clone(model))));
        let (senses, limit) = (self.senses(), Duration::from_millis(probe.limit_ms));
        let mut found = |sample| self.found(sample);
        let looked =
            dunlin_profiler::probe(engine, probe.threads, &*senses, limit, &probe.known, &mut found).await;
        looked.map_err(|error| error.to_string())
    }

    /// A campaign; `start` says why there can be no engine.
    pub(crate) async fn profile(
        mut self,
        start: Result<Start, String>,
        profile: Profile,
        stop: CancellationToken,
    ) {
        let done = match start {
            Ok(start) => self.campaign(&start, profile, stop).await,
            Err(reason) => Err(reason),
        };
        self.end(done);
    }

    async fn campaign(&mut self, start: &Start, of: Profile, stop: CancellationToken) -> Result<(), String> {
        let began = Instant::now();
        let budget = of.budget_ms.map(Duration::from_millis);
        let extras = match Extra::of(of.extras) {
            Ok(extras) => extras,
            Err(error) => return self.refuse(&error),
        };
        let described = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            described = described(start, &extras.material) => described?,
        };
        let model = match described {
            Ok(model) => model,
            Err(error) => return self.refuse(&error),
        };
        let plan = Plan::new(of.depth, &of.points, model.context_length);
        self.tell(Finding::Model(Box::new(Arc::unwrap_or_clone(model))));
        let mut campaign = Campaign::new(plan, of.state, budget, of.metered);
        let joules = if of.metered { Joules::Elsewhere } else { Joules::Unknown };
        let senses = self.senses();
        let plain = || start(Timing::No);
        let bench = Bench {
            start: &plain,
            files: of.files,
            joules: &joules,
            senses: &*senses,
            machine: Machine::default(),
            stop: stop.clone(),
        };
        match dunlin_profiler::profile(&bench, &mut campaign, self).await {
            Ok(()) => {}
            Err(ProfileError::Interrupted) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        let threads = campaign.threads().1.last().copied().unwrap_or(1);
        let judged = campaign.into_state().judged;
        self.extras(start, &extras, (judged, threads), budget.map(|budget| began + budget), stop).await
    }

    fn senses(&self) -> Box<dyn Senses> {
        match &self.board {
            Some(board) => Box::new(board.clone()),
            None => Box::new(Machine::default()),
        }
    }

    fn found(&self, sample: Sample) {
        // A sample of its meter at the end of the run.
        self.board.iter().for_each(BoardMeter::tell);
        let ago = |at: Instant| at.elapsed().as_micros() as u64;
        let window = sample.measured.window;
        let window = window.map(|(from, to)| Window { began_ago_us: ago(from), ended_ago_us: ago(to) });
        self.tell(Finding::Sample { sample: Box::new(sample), window });
    }

    fn end(&mut self, how: Result<(), String>) {
        self.has_ended = true;
        self.tell(Finding::Ended(how));
    }

    pub(crate) fn tell(&self, finding: Finding) {
        // An agent that is gone closes the socket.
        drop(self.out.send(FromWorker::Finding { call: self.call, finding: Box::new(finding) }));
    }
}

/// What the file says of itself, as an engine has it, unless it could not be judged. The memory of those that were just unloaded
/// comes back in a moment.
async fn described(start: &Start, material: &Material) -> Result<Result<Arc<ModelInfo>, JudgeError>, String> {
    let mut tries = 0;
    loop {
        let engine = start(Timing::No);
        match engine.ready().await {
            Ok(model) => {
                let fits = material.check(&engine).await;
                engine.drain().await;
                return Ok(fits.map(|()| model));
            }
            Err(EngineError::Memory(_)) if tries < MEMORY_TRIES => {
                tries += 1;
                tokio::time::sleep(MEMORY_PAUSE).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl Watcher for Findings {
    fn begins(&mut self, task: Task, Progress { done, total }: Progress) {
        self.board.iter().for_each(BoardMeter::tell);
        let running = match task {
            Task::Run { cell, .. } => cell.to_string(),
            Task::Start { .. } => "load".to_owned(),
            Task::WarmUp => "warm-up".to_owned(),
        };
        self.tell(Finding::Task { running, done, total });
    }

    fn keep(&mut self, state: &State) -> Result<(), StateError> {
        if let Some(&sample) = state.samples.last() {
            self.found(sample);
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.tell(Finding::Note(text.to_owned()));
    }
}
