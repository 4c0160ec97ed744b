//! Runs the tasks of a campaign on engines.

mod measure;

use std::{path::PathBuf, time::Duration};

use dunlin_engine_handle::{Engine, EngineError, ModelInfo};
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::measure::{Measuring, both};
use crate::{
    Campaign, Cell, Conditions, Dropped, Joules, Machine, Measured, Progress, Sample, Senses, Spoilt, State,
    StateError, Task, counters::Counting,
};

/// A board that got hotter than this since the beginning waits until it is cooler again,
const HOTTER: f32 = 8.0;
const COOLED: f32 = 5.0;
/// but no longer than this at a time (the pause of arXiv:2503.09114v1, 4).
const MAX_COOLING: Duration = Duration::from_secs(30);
/// Part of the file that is read from storage in a load that was cold.
const COLD_SHARE: f64 = 0.25;
/// Idle draw is counted for so long.
const IDLE: Duration = Duration::from_secs(2);

/// Where a campaign runs.
pub struct Bench<'a> {
    /// Starts an engine on the model.
    pub start: &'a (dyn Fn() -> Engine + Send + Sync),
    /// Those of the model.
    pub files: Vec<PathBuf>,
    pub joules: &'a Joules,
    pub senses: &'a dyn Senses,
    pub machine: Machine,
    /// Ends it after the run that is on; what was measured is kept.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Sees how a campaign goes.
pub trait Watcher: Send + Sync {
    fn begins(&mut self, task: Task, progress: Progress);

    /// After each run.
    ///
    /// # Errors
    /// If it cannot be kept: then there is no point in going on.
    fn keep(&mut self, state: &State) -> Result<(), StateError>;

    /// Something that a person should know.
    fn note(&mut self, text: &str);
}

/// Why a profile did not come to its end.
#[derive(Debug, Error)]
pub enum ProfileError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("interrupted; what was measured is kept")]
    Interrupted,
}

/// Runs a campaign to its end.
///
/// # Errors
/// [`ProfileError`]; what was measured before is in the campaign, and was kept.
pub async fn profile(
    bench: &Bench<'_>,
    campaign: &mut Campaign,
    watcher: &mut dyn Watcher,
) -> Result<(), ProfileError> {
    let mut running = Running {
        bench,
        watcher,
        engine: None,
        began: Instant::now(),
        coolest: None,
        told_warm: false,
        tried: false,
    };
    let done = running.all(campaign).await;
    if let Some((engine, _)) = running.engine.take() {
        engine.drain().await;
    }
    done
}

struct Running<'a> {
    bench: &'a Bench<'a>,
    watcher: &'a mut dyn Watcher,
    engine: Option<(Engine, std::sync::Arc<ModelInfo>)>,
    began: Instant,
    /// Temperature at the beginning.
    coolest: Option<f32>,
    told_warm: bool,
    /// It was tried what the system tells of an engine.
    tried: bool,
}

impl Running<'_> {
    async fn all(&mut self, campaign: &mut Campaign) -> Result<(), ProfileError> {
        self.coolest = self.bench.senses.conditions().celsius;
        while let Some(task) = campaign.next(self.began.elapsed()) {
            self.watcher.begins(task, campaign.progress());
            let began = Instant::now();
            let stop = self.bench.stop.clone();
            let sample = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(ProfileError::Interrupted),
                sample = self.task(task, campaign) => sample?,
            };
            if let Some(sample) = sample {
                campaign.record(sample, began.elapsed());
                self.watcher.keep(campaign.state())?;
            }
            let pause = self.rest(campaign.plan().pause);
            tokio::select! {
                () = stop.cancelled() => return Err(ProfileError::Interrupted),
                () = pause => {}
            }
        }
        Ok(())
    }

    async fn task(&mut self, task: Task, campaign: &Campaign) -> Result<Option<Sample>, ProfileError> {
        match task {
            Task::Start { cold } => self.start(cold).await.map(Some),
            Task::WarmUp => {
                let measuring = self.measuring()?;
                let (read, wrote) = campaign.threads();
                let threads = (read.first().copied().unwrap_or(1), wrote.first().copied().unwrap_or(1));
                measuring.prefill(both(threads.0), 64).await?;
                measuring.decode(both(threads.1), 16, 1, 8).await?;
                Ok(None)
            }
            Task::Run { cell, warm_up } => {
                let before = self.bench.senses.conditions();
                let (measured, spoilt) = self.run(cell, campaign).await?;
                let after = self.bench.senses.conditions();
                let spoilt =
                    if before.throttled || after.throttled { Some(Spoilt::Throttled) } else { spoilt };
                Ok(Some(Sample { cell, measured: at(measured, after), spoilt, warm_up }))
            }
        }
    }

    async fn run(&self, cell: Cell, campaign: &Campaign) -> Result<(Measured, Option<Spoilt>), ProfileError> {
        match cell {
            Cell::Prefill { threads, prompt } => Ok(self.measuring()?.prefill(both(threads), prompt).await?),
            Cell::Decode { threads, depth, batch } => {
                let plan = campaign.plan();
                let seen = campaign.state().seconds(cell).last().copied();
                let enough = seen.map_or(0.0, |seconds| plan.window.as_secs_f64() / seconds);
                let metered = self.bench.joules.are_metered();
                let output = if metered { plan.output.max(enough as u32).min(512) } else { plan.output };
                Ok(self.measuring()?.decode(both(threads), depth, batch, output).await?)
            }
            Cell::Idle => {
                let from = Instant::now();
                tokio::time::sleep(IDLE).await;
                let joules = self.bench.joules.window(from, Instant::now()).await;
                let window = Some((from, Instant::now()));
                Ok((Measured { seconds: IDLE.as_secs_f64(), joules, window, ..Measured::default() }, None))
            }
            // These are tasks of their own.
            Cell::Load { .. } => Ok((Measured::default(), Some(Spoilt::Short))),
        }
    }

    fn measuring(&self) -> Result<Measuring<'_>, EngineError> {
        let gone = || EngineError::Unavailable { reason: "no engine runs".into(), retry_after_ms: None };
        let (engine, model) = self.engine.as_ref().ok_or_else(gone)?;
        Ok(Measuring { engine, model, joules: self.bench.joules, machine: &self.bench.machine })
    }

    async fn start(&mut self, cold: bool) -> Result<Sample, ProfileError> {
        if let Some((engine, _)) = self.engine.take() {
            engine.drain().await;
        }
        let asked = cold && Machine::drop_cache(&self.bench.files) == Dropped::Asked;
        let from = Instant::now();
        let engine = (self.bench.start)();
        let model = engine.ready().await?;
        let to = Instant::now();
        let used = engine.status().pid.and_then(|pid| self.bench.machine.used(pid));
        let wanted = COLD_SHARE * model.weights_bytes as f64;
        let was_cold = asked && used.is_some_and(|used| used.read as f64 >= wanted);
        if cold && !was_cold && !std::mem::replace(&mut self.told_warm, true) {
            self.watcher
                .note("the kernel kept the model's file in memory though it was asked not to: loads of that kind are not counted as from the disk");
        }
        if let Some(pid) = engine.status().pid.filter(|_| !std::mem::replace(&mut self.tried, true)) {
            self.tell_what_is_not_known(pid);
        }
        let measured = Measured {
            looked: (to - from).as_secs_f64(),
            cores: used.map(|used| used.seconds / (to - from).as_secs_f64()),
            seconds: (to - from).as_secs_f64(),
            joules: self.bench.joules.window(from, to).await,
            memory: used.map(|used| used.peak),
            window: Some((from, to)),
            ..Measured::default()
        };
        let now = self.bench.senses.conditions();
        self.engine = Some((engine, model));
        let spoilt = now.throttled.then_some(Spoilt::Throttled);
        Ok(Sample {
            cell: Cell::Load { cold: was_cold },
            measured: at(measured, now),
            spoilt,
            warm_up: false,
        })
    }

    fn tell_what_is_not_known(&mut self, pid: u32) {
        let machine = &self.bench.machine;
        if let Err(reason) = Counting::begin(machine.proc(), pid) {
            self.watcher.note(&format!("instructions and cache misses are not counted: {reason}"));
        }
        if !machine.forget_peak(pid) {
            self.watcher.note("memory is known of loads only: the peak of an engine may not be reset here");
        }
    }

    /// The pause of the plan; longer where the board has become hot.
    async fn rest(&self, pause: Duration) {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let above = |by: f32| {
            let now = self.bench.senses.conditions();
            now.throttled || now.celsius.zip(self.coolest).is_some_and(|(now, coolest)| now > coolest + by)
        };
        let mut limit = HOTTER;
        let mut cooling = Duration::ZERO;
        while above(limit) && cooling < MAX_COOLING {
            limit = COOLED;
            cooling += Duration::from_secs(1);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

fn at(measured: Measured, conditions: Conditions) -> Measured {
    Measured { celsius: conditions.celsius, ..measured }
}
