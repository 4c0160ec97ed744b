//! From a call to a running task: checks, the queue, a sequence.

use std::time::{Duration, Instant};

use dunlin_engine_handle::{Answer, Call, CallId, EngineError, FromEngine, Generate, Prepare, Score, Token};

use super::{Engine, Wake};
use crate::{
    generation::{Generation, Sequence},
    llama::Context,
    prefixes::{Admitted, Full, Owner},
    sampling::{MAX_TOP_LOGPROBS, Sampler},
    scoring::Scoring,
    task::{Kind, Running, Task},
    text::{MAX_STOP_BYTES, MAX_STOPS},
};

/// Calls that wait for a sequence; one more is refused as busy.
const MAX_QUEUED: usize = 1024;

/// Cells kept free for each task that is admitted, beyond its prompt: it should get somewhere before it is preempted.
const HEADROOM: usize = 32;

/// It pays to wait for a running task to read a prefix if it saves at least this many tokens.
const WORTH_WAITING: usize = 32;

/// How long sequences are kept for generations that were announced.
const RESERVED_FOR: Duration = Duration::from_millis(250);

/// Sequences kept for the branches of a fork.
#[derive(Debug)]
pub(super) struct Reservation {
    owner: Owner,
    prefix: Vec<Token>,
    left: u32,
    pub(super) until: Instant,
}

impl Reservation {
    fn is_for(&self, task: &Task) -> bool {
        self.owner.is_same_tenant(&task.owner) && task.tokens.starts_with(&self.prefix)
    }
}

enum Admission {
    Running,
    /// Not this one, but perhaps the next.
    Later,
    /// None at all.
    Full,
}

impl Engine {
    pub(super) fn on_call(&mut self, id: CallId, call: Call, arrived: Instant) {
        let Some(call) = self.chores.take(id, call) else { return };
        let accepted = match call {
            Call::Embed { texts } => self.embedder.push(id, &texts),
            Call::Operators => self.on_operators(id),
            _ if self.queue.len() + self.compiling.len() >= MAX_QUEUED => {
                Err(EngineError::Busy { retry_after_ms: None })
            }
            _ if self.context.is_none() => {
                Err(EngineError::Unsupported("this model gives embeddings and nothing else".to_owned()))
            }
            Call::Generate(generate) => self.on_generate(id, generate, arrived),
            Call::Score(score) => self.on_score(id, score, arrived),
            Call::Prepare(prepare) => self.on_prepare(id, prepare, arrived),
            // Answered by the chores.
            Call::Tokenize(_) | Call::Detokenize { .. } | Call::Render(_) | Call::Compile { .. } => Ok(()),
        };
        if let Err(error) = accepted {
            self.fail(id, error);
        }
    }

    fn on_generate(&mut self, id: CallId, generate: Generate, arrived: Instant) -> Result<(), EngineError> {
        self.check_prompt(&generate.prompt, 1)?;
        self.check_generate(&generate)?;
        let owner = Owner::new(&generate.tenant, generate.public);
        let mut tokens = [generate.prompt.as_slice(), &generate.replay].concat();
        let (replay, deadline_ms) = (generate.replay.len(), generate.deadline_ms);
        let mut generation = Generation::new(id, generate, arrived);
        let constraint = generation.constraint.take();
        let model = self.model.clone();
        let mut seq = Sequence { vocab: model.vocab(), tokens: &mut tokens, limit: self.limit };
        generation.replay(replay, &mut seq);
        let is_over = generation.is_over();
        let mut task =
            Task::new(id, owner, tokens, deadline_ms, arrived, Kind::Generate(Box::new(generation)));
        if is_over {
            self.deliver(&mut task);
            return Ok(());
        }
        let Some(constraint) = constraint else {
            self.queue.push_back(task);
            return Ok(());
        };
        self.compiling.push(task);
        let wakes = self.wakes.clone();
        self.chores.compile_then(constraint, move |compiled| {
            // The receiver is gone only while the process ends.
            drop(wakes.send(Wake::Compiled { id, compiled }));
        });
        Ok(())
    }

    fn on_score(&mut self, id: CallId, score: Score, arrived: Instant) -> Result<(), EngineError> {
        let scoring = Scoring::new(&score, &self.model.vocab())?;
        self.check_prompt(&score.prompt, scoring.longest())?;
        let kind = Kind::Score(Box::new(scoring));
        let owner = Owner::new(&score.tenant, score.public);
        self.queue.push_back(Task::new(id, owner, score.prompt, score.deadline_ms, arrived, kind));
        Ok(())
    }

    fn on_operators(&self, id: CallId) -> Result<(), EngineError> {
        let times = self.context.as_ref().and_then(Context::operators);
        let times = times.ok_or_else(|| {
            EngineError::Unsupported(
                "operators are timed only by an engine that was started for it".to_owned(),
            )
        })?;
        self.send(FromEngine::Answer { id, answer: Ok(Answer::Operators(times)) });
        Ok(())
    }

    fn on_prepare(&mut self, id: CallId, prepare: Prepare, arrived: Instant) -> Result<(), EngineError> {
        self.check_prompt(&prepare.prompt, 1)?;
        let owner = Owner::new(&prepare.tenant, prepare.public);
        self.reservations.push(Reservation {
            owner: owner.clone(),
            prefix: prepare.prompt.clone(),
            left: prepare.branches.min(self.sequences as u32),
            until: arrived + RESERVED_FOR,
        });
        let kind = Kind::Prepare;
        self.queue.push_back(Task::new(id, owner, prepare.prompt, None, arrived, kind));
        Ok(())
    }

    /// `more`: tokens that will follow the prompt at least.
    fn check_prompt(&self, prompt: &[Token], more: usize) -> Result<(), EngineError> {
        let vocab = self.model.vocab();
        if prompt.is_empty() {
            return Err(EngineError::InvalidArgument("an empty prompt".to_owned()));
        }
        if let Some(token) = prompt.iter().find(|&&token| !vocab.contains(token)) {
            let complaint = format!("token {token} is outside of the vocabulary of {}", vocab.len());
            return Err(EngineError::InvalidArgument(complaint));
        }
        if prompt.len() + more > self.limit {
            let possible = self.limit.saturating_sub(more) as u32;
            return Err(EngineError::PromptTooLong { tokens: prompt.len() as u32, possible });
        }
        Ok(())
    }

    fn check_generate(&self, generate: &Generate) -> Result<(), EngineError> {
        let (vocab, replay) = (self.model.vocab(), &generate.replay);
        if let Some(token) = replay.iter().find(|&&token| !vocab.contains(token)) {
            let complaint = format!("token {token} is outside of the vocabulary of {}", vocab.len());
            return Err(EngineError::InvalidArgument(complaint));
        }
        if replay.len() > generate.max_tokens as usize || generate.prompt.len() + replay.len() > self.limit {
            let complaint = format!("{} tokens to replay are more than there may be", replay.len());
            return Err(EngineError::InvalidArgument(complaint));
        }
        let sampling = generate.sampling.as_ref();
        if let Some(complaint) =
            sampling.and_then(|sampling| Sampler::complaint(sampling, self.model.vocab().len()))
        {
            return Err(EngineError::InvalidArgument(complaint));
        }
        if generate.stop.len() > MAX_STOPS || generate.stop.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
            let complaint = format!("at most {MAX_STOPS} stop strings of at most {MAX_STOP_BYTES} bytes");
            return Err(EngineError::InvalidArgument(complaint));
        }
        if generate.top_logprobs.is_some_and(|top| top > MAX_TOP_LOGPROBS) {
            let complaint = format!("at most {MAX_TOP_LOGPROBS} alternatives per token can be reported");
            return Err(EngineError::InvalidArgument(complaint));
        }
        Ok(())
    }

    /// Lets tasks of the queue run, the oldest first, as far as there is room.
    pub(super) fn admit(&mut self) {
        let mut index = 0;
        while index < self.queue.len() && self.running.len() < self.sequences {
            match self.admit_one(index) {
                Admission::Running => {}
                Admission::Later => index += 1,
                Admission::Full => return,
            }
        }
    }

    fn admit_one(&mut self, index: usize) -> Admission {
        if self.must_wait(&self.queue[index]) {
            return Admission::Later;
        }
        let Some(context) = &mut self.context else { return Admission::Full };
        let task = &self.queue[index];
        let room = match &task.kind {
            Kind::Generate(_) => HEADROOM,
            Kind::Score(scoring) => scoring.longest() + HEADROOM,
            Kind::Prepare => 0,
        };
        // Alone it gets all there is.
        let room = if self.running.is_empty() { 0 } else { room };
        match self.prefixes.admit(context, &task.owner, &task.tokens, room) {
            Ok(admitted) => {
                let task = self.queue.remove(index);
                task.into_iter().for_each(|task| self.start(task, admitted));
                Admission::Running
            }
            Err(Full::Cells) if self.running.is_empty() => {
                let task = self.queue.remove(index);
                task.into_iter().for_each(|task| self.end(task, &EngineError::ContextFull));
                Admission::Running
            }
            Err(Full::Cells | Full::Sequences) => Admission::Full,
        }
    }

    fn start(&mut self, mut task: Task, admitted: Admitted) {
        task.fed = admitted.cached as usize;
        if let Some(reservation) = self.reservations.iter_mut().find(|reservation| reservation.is_for(&task))
            && matches!(task.kind, Kind::Generate(_))
        {
            reservation.left = reservation.left.saturating_sub(1);
        }
        if let Kind::Generate(generation) = &mut task.kind
            && generation.clock.start()
        {
            let cached = task.fed.min(task.prompt);
            generation.usage.cached_tokens = cached as u32;
            generation.usage.prompt_tokens =
                (task.prompt - cached).saturating_sub(generation.replayed) as u32;
        }
        self.running.push(Running { task, seq: admitted.seq });
    }

    /// Waiting serves a task better than starting: another is reading its prefix, or the sequences that are left are
    /// kept for others.
    pub(super) fn must_wait(&self, task: &Task) -> bool {
        if self.running.is_empty() {
            return false;
        }
        let reserved: usize =
            self.reservations.iter().filter(|r| !r.is_for(task)).map(|r| r.left as usize).sum();
        let is_announced = matches!(task.kind, Kind::Prepare);
        (!is_announced && self.running.len() + reserved >= self.sequences) || self.is_being_read(task)
    }

    /// A running task of the same tenant is about to read more of this prompt than is cached so far.
    fn is_being_read(&self, task: &Task) -> bool {
        let shared = |other: &Task| {
            let prompt = &other.tokens[..other.prompt];
            let common = prompt.iter().zip(&task.tokens).take_while(|(a, b)| a == b).count();
            common.min(task.tokens.len() - 1)
        };
        let readers = self.running.iter().map(|running| &running.task);
        let readers = readers.filter(|other| other.owner.is_same_tenant(&task.owner) && !other.is_decoding());
        let Some((common, fed)) = readers.map(|other| (shared(other), other.fed)).max() else { return false };
        common > fed && common >= WORTH_WAITING + self.prefixes.cached(&task.owner, &task.tokens)
    }
}
