//! Models as wasi-nn knows them, for both of its faces: graphs, execution contexts, and how a call on them fails.

use std::sync::Arc;

use dunlin_engine_handle::{self as engine, EngineError};
use dunlin_nn::{Ended, Fault, Mode, Options, Session};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use crate::{
    InvokeError,
    calls::{account::Account, cells::Cells, job::Job, models::Model, weights::Brought},
    invoke::{
        budget::{Exhausted, Held},
        interrupt::{SETTLE, Stop},
        seed::Seed,
    },
};

/// How a call ends if not in its result: with a fault that the guest is told, or with the end of the guest.
#[derive(Debug)]
pub(crate) enum Refusal {
    Fault(Fault),
    Trap(wasmtime::Error),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        Self::Fault(match stop {
            Stop::Cancelled => Fault::Cancelled,
            Stop::Deadline => Fault::Deadline,
        })
    }
}

/// wasi-nn has no word for budgets. A guest that went on with half of what it asked for would say so to nobody.
impl From<Exhausted> for Refusal {
    fn from(Exhausted(budget): Exhausted) -> Self {
        Self::Trap(InvokeError::Exhausted(budget).into())
    }
}

impl From<InvokeError> for Refusal {
    fn from(error: InvokeError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<wasmtime::Error> for Refusal {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

/// A loaded model, with the options that its contexts begin with.
#[derive(Debug, Clone)]
#[expect(unreachable_pub, reason = "the generated bindings export it, though they are private themselves")]
pub struct Graph {
    model: Model,
    pub(crate) options: Options,
    /// Where the guest brought it.
    room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Graph {
    /// The granted model of this name.
    pub(crate) async fn load(job: &Job, alias: &str, options: Options) -> Result<Self, Refusal> {
        let Some(grant) = job.models.iter().find(|grant| grant.alias == alias) else {
            return Err(Fault::ModelNotFound(alias.to_owned()).into());
        };
        let model = job.interrupt.unless_stopped(Model::ready(grant.clone())).await??;
        note_ignored(job, &options);
        Ok(Self { model, options, room: None })
    }

    /// The model that these bytes are, for which there is room.
    pub(crate) async fn bring(
        job: &Job,
        room: OwnedSemaphorePermit,
        bytes: Vec<u8>,
        options: Options,
    ) -> Result<Self, Refusal> {
        let Brought { model, room } = job.weights.load(&job.interrupt, room, bytes).await?;
        note_ignored(job, &options);
        Ok(Self { model, options, room: Some(room) })
    }
}

/// A guest that sets what has no effect is told so, once, in its log.
fn note_ignored(job: &Job, options: &Options) {
    for key in &options.ignored {
        job.log.note_once(&format!("wasi-nn: the option {key} has no effect on this host"));
    }
}

/// One execution context: a session, and the generation that goes on in it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings export it, though they are private themselves")]
pub struct Execution {
    model: Model,
    pub(crate) session: Session,
    cells: Cells,
    seed: Seed,
    generations: u32,
    live: Option<Live>,
    /// Its place among the contexts alive.
    _place: Held,
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

#[derive(Debug)]
struct Live {
    generation: engine::Generation,
    account: Account,
}

impl Drop for Live {
    fn drop(&mut self) {
        // What the engine has done already counts, though nobody asked for it.
        while let Some(Ok(delta)) = self.generation.try_next() {
            self.take_note(&delta);
        }
        self.account.close();
    }
}

impl Execution {
    pub(crate) fn new(job: &mut Job, graph: &Graph) -> Result<Self, Refusal> {
        let place = job.meters.contexts.hold(1)?;
        let cells = Cells::new(job.meters.kv.clone())?;
        let seed = job.seed.context(job.contexts);
        job.contexts += 1;
        Ok(Self {
            model: graph.model.clone(),
            session: Session::new(graph.options.clone()),
            cells,
            seed,
            generations: 0,
            live: None,
            _place: place,
            _room: graph.room.clone(),
        })
    }

    /// Takes options over, as JSON.
    pub(crate) fn configure(&mut self, job: &Job, json: &[u8]) -> Result<(), Fault> {
        self.session.configure(json)?;
        note_ignored(job, self.session.options());
        Ok(())
    }

    pub(crate) async fn set_prompt(&mut self, job: &Job, prompt: Vec<u8>) -> Result<(), Refusal> {
        self.stop();
        let tokenize = Session::tokenize(prompt)?;
        let text = tokenize.text.clone();
        let tokens = job.interrupt.unless_stopped(self.model.engine().tokenize(tokenize)).await??;
        self.cells.replace(0, tokens.len())?;
        self.session.set_prompt(text, tokens);
        Ok(())
    }

    /// Begins a text, which [`Self::advance`] goes on with as long as it is running.
    pub(crate) fn start(&mut self, job: &Job, mode: Mode) -> Result<(), Refusal> {
        self.stop();
        let seed = self.seed.generation(self.generations);
        self.generations += 1;
        let left = job.meters.tokens.left();
        let mut planned = self.session.plan(mode, &self.model.info, seed, left.max(1))?;
        let place = job.meters.generations.hold(1)?;
        let tokens = job.meters.tokens.hold(planned.generate.max_tokens.max(1).into())?;
        self.session.begin(&planned);
        planned.generate.tenant.clone_from(&job.tenant);
        planned.generate.deadline_ms = Some(job.interrupt.time_left_ms());
        if planned.generate.max_tokens == 0 {
            return Ok(());
        }
        let recording = job.recorder.begin();
        planned.generate.replay.clone_from(&recording.replay);
        let account = Account::open(job, &self.model, place, tokens, recording);
        let generation = self.model.engine().generate(planned.generate);
        self.live = Some(Live { generation, account });
        Ok(())
    }

    /// The next piece, which the session then has; and how the text ended, if it did.
    pub(crate) async fn advance(&mut self, job: &Job) -> Result<Option<Ended>, Refusal> {
        let Some(live) = &mut self.live else {
            return Err(Fault::InvalidArgument("no text was begun".into()).into());
        };
        let next = live.next(job).await;
        let delta = match next {
            Ok(delta) => delta,
            Err(refusal) => {
                self.stop();
                return Err(refusal);
            }
        };
        let ended = self.session.take(&delta);
        if ended.is_some() {
            self.stop();
        }
        Ok(ended)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.live.is_some()
    }

    /// Ends the generation, if one goes on.
    pub(crate) fn stop(&mut self) {
        self.live = None;
    }

    /// The prompt as a vector.
    pub(crate) async fn embed(&mut self, job: &Job) -> Result<(), Refusal> {
        self.stop();
        let tokens = self.session.prompt()?.len();
        let possible = self.session.options().batch_size.unwrap_or(u32::MAX);
        if tokens > possible as usize {
            let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
            return Err(Fault::PromptTooLong { tokens, possible }.into());
        }
        let texts = vec![self.session.text().to_owned()];
        let vectors = job.interrupt.unless_stopped(self.model.engine().embed(texts)).await??;
        self.session.embed(vectors.into_iter().next().unwrap_or_default());
        Ok(())
    }
}

impl Live {
    async fn next(&mut self, job: &Job) -> Result<engine::Delta, Refusal> {
        let next = tokio::select! {
            biased;
            next = self.generation.next() => next,
            stop = job.interrupt.stopped() => {
                // The engine knows of deadlines. Its last words and its usage are waited for, but not for long.
                if stop == Stop::Cancelled {
                    self.generation.cancel();
                }
                match timeout(SETTLE, self.generation.next()).await {
                    Ok(next) => next,
                    Err(_) => return Err(stop.into()),
                }
            }
        };
        let Some(delta) = next else {
            return Err(Fault::Runtime("the engine said nothing more".into()).into());
        };
        let delta = delta?;
        self.take_note(&delta);
        Ok(delta)
    }

    fn take_note(&mut self, delta: &engine::Delta) {
        self.account.take(&delta.tokens);
        if let Some(finish) = &delta.finish {
            self.account.tell(&finish.usage);
        }
    }
}
