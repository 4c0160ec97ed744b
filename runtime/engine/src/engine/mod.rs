//! The loop: takes what wakes it, admits, computes a step, tells what came of it.

mod admit;
mod shares;
mod step;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use dunlin_engine_handle::{Answer, Call, CallId, EngineError, FromEngine, StopReason, Threads, Token};

use crate::{
    Loaded, Vitals,
    chores::Chores,
    constraint::{Advanced, Compiled, Guide, Mask},
    embedding::Embedder,
    engine::{admit::Reservation, shares::Shares, step::Plan},
    generation::{Next, Sequence},
    llama::{Batch, Context, Model},
    outbox::Outbox,
    pace::Pace,
    prefixes::{Budget, Prefixes},
    task::{Kind, Progress, Running, Task},
    workers::Workers,
};

/// How long the loop waits for guides that are nearly there, so that their sequences join the next step.
const GUIDE_GRACE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(1));

/// Tokens that come faster than this are sent together: every message wakes threads that compete with the step for
/// the cores.
const SEND_INTERVAL: Duration = Duration::from_millis(25);

/// Everything that can wake the loop.
#[derive(Debug)]
pub enum Wake {
    Call {
        id: CallId,
        call: Box<Call>,
        arrived: Instant,
    },
    Cancel(CallId),
    Threads(Threads),
    Compiled {
        id: CallId,
        compiled: Result<Compiled, EngineError>,
    },
    Advanced {
        id: CallId,
        advanced: Result<Advanced, String>,
    },
    Masked {
        id: CallId,
        masked: Result<(Guide, Mask), String>,
        spent: Duration,
    },
    /// Nobody is there any more.
    Closed,
}

/// The step loop of one loaded model.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    /// `None` for models that only give embeddings.
    context: Option<Context>,
    prefixes: Prefixes,
    /// In order of admission.
    running: Vec<Running>,
    queue: VecDeque<Task>,
    /// Tasks whose constraint is being compiled.
    compiling: Vec<Task>,
    reservations: Vec<Reservation>,
    embedder: Embedder,
    chores: Chores,
    pace: Pace,
    batch: Batch,
    plan: Plan,
    shares: Shares,
    last_sent: Instant,
    /// Longest sequence in tokens.
    limit: usize,
    sequences: usize,
    inbox: Receiver<Wake>,
    /// Where workers send what they found.
    wakes: Sender<Wake>,
    out: Outbox,
    vitals: Arc<Vitals>,
}

impl Engine {
    /// Calls come in at `inbox`, whose other end is `wakes`; answers go to `out`.
    ///
    /// # Errors
    /// Of the operating system: no threads for the workers.
    pub fn new(loaded: Loaded, inbox: Receiver<Wake>, wakes: Sender<Wake>, out: Outbox) -> io::Result<Self> {
        let Loaded { info, model, context, template, load, vitals } = loaded;
        let workers = Workers::start(info.threads.prefill.div_ceil(2) as usize)?;
        let chores = Chores::new(model.clone(), template, workers, out.clone());
        let sequences = context.as_ref().map_or(0, |context| context.options().sequences);
        let budget = Budget { idle_cells: load.idle_cells as usize, spill_bytes: load.spill_bytes as usize };
        Ok(Self {
            embedder: Embedder::new(model.clone(), vitals.clone(), info.threads),
            prefixes: Prefixes::new(sequences, info.cells, budget, info.features.truncate),
            chores,
            model,
            context,
            running: Vec::new(),
            queue: VecDeque::new(),
            compiling: Vec::new(),
            reservations: Vec::new(),
            pace: Pace::default(),
            batch: Batch::default(),
            plan: Plan::default(),
            shares: Shares::default(),
            last_sent: Instant::now(),
            limit: info.context_length as usize,
            sequences: info.sequences as usize,
            inbox,
            wakes,
            out,
            vitals,
        })
    }

    pub(crate) fn chores(&self) -> &Chores {
        &self.chores
    }

    /// Serves until nobody is there any more.
    pub fn run(&mut self) {
        while self.take_wakes() {
            self.expire();
            self.admit();
            self.trim();
            self.step();
            if let Some((id, vectors)) = self.embedder.step() {
                self.send(FromEngine::Answer { id, answer: vectors.map(Answer::Embeddings) });
            }
            self.send_deltas();
            self.publish();
        }
    }

    /// Handles what has arrived; waits for something where there is nothing to compute. False at the end.
    fn take_wakes(&mut self) -> bool {
        if self.can_step() {
            if self.running.iter().any(|running| is_consulting(&running.task)) {
                self.wait_for_guides();
            }
        } else {
            self.tidy();
            self.publish();
            match self.wait() {
                Some(Wake::Closed) => return false,
                Some(wake) => self.on_wake(wake),
                None => {}
            }
        }
        while let Ok(wake) = self.inbox.try_recv() {
            if matches!(wake, Wake::Closed) {
                return false;
            }
            self.on_wake(wake);
        }
        true
    }

    /// There is something to compute, or something to admit.
    fn can_step(&self) -> bool {
        self.embedder.has_work()
            || self.running.iter().any(|running| running.task.is_feedable() || is_branching(&running.task))
            || (self.running.len() < self.sequences && self.queue.iter().any(|task| !self.must_wait(task)))
    }

    /// Blocks until something comes, or a deadline passes.
    fn wait(&self) -> Option<Wake> {
        let tasks =
            self.running.iter().map(|running| &running.task).chain(&self.queue).chain(&self.compiling);
        let deadlines = tasks.filter_map(|task| task.deadline);
        let next = deadlines.chain(self.reservations.iter().map(|reservation| reservation.until)).min();
        match next {
            None => Some(self.inbox.recv().unwrap_or(Wake::Closed)),
            Some(next) => match self.inbox.recv_deadline(next) {
                Ok(wake) => Some(wake),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Wake::Closed),
            },
        }
    }

    /// A worker looks at the tokens of some sequences; a moment of patience lets them join the next step.
    fn wait_for_guides(&mut self) {
        let grace = (self.pace.decode_step() / 20).clamp(GUIDE_GRACE.0, GUIDE_GRACE.1);
        let until = Instant::now() + grace;
        while self.running.iter().any(|running| is_consulting(&running.task)) {
            match self.inbox.recv_deadline(until) {
                Ok(Wake::Closed) => {
                    // For the caller to find.
                    drop(self.wakes.send(Wake::Closed));
                    return;
                }
                Ok(wake) => self.on_wake(wake),
                Err(_) => return,
            }
        }
    }

    fn on_wake(&mut self, wake: Wake) {
        self.vitals.tick();
        match wake {
            Wake::Call { id, call, arrived } => self.on_call(id, *call, arrived),
            Wake::Cancel(id) => self.on_cancel(id),
            Wake::Threads(threads) => self.set_threads(threads),
            Wake::Compiled { id, compiled } => self.on_compiled(id, compiled),
            Wake::Advanced { id, advanced } => self.on_advanced(id, advanced),
            Wake::Masked { id, masked, spent } => self.on_masked(id, masked, spent),
            Wake::Closed => {}
        }
    }

    fn set_threads(&mut self, threads: Threads) {
        if let Some(context) = &mut self.context {
            context.set_threads(threads);
        }
        self.embedder.set_threads(threads);
    }

    fn on_cancel(&mut self, id: CallId) {
        if let Some(index) = self.running.iter().position(|running| running.task.id == id) {
            let running = self.running.remove(index);
            self.stop(running, &EngineError::Cancelled);
        } else if let Some(index) = self.queue.iter().position(|task| task.id == id) {
            self.queue.remove(index).into_iter().for_each(|task| self.end(task, &EngineError::Cancelled));
        } else if let Some(index) = self.compiling.iter().position(|task| task.id == id) {
            let task = self.compiling.swap_remove(index);
            self.end(task, &EngineError::Cancelled);
        } else if self.embedder.cancel(id) {
            self.send(FromEngine::Answer { id, answer: Err(EngineError::Cancelled) });
        }
    }

    /// Ends what is past its deadline.
    fn expire(&mut self) {
        let now = Instant::now();
        self.reservations.retain(|reservation| reservation.until > now);
        while let Some(index) = self.running.iter().position(|running| running.task.is_past_deadline(now)) {
            let running = self.running.remove(index);
            self.stop(running, &EngineError::Deadline);
        }
        while let Some(index) = self.queue.iter().position(|task| task.is_past_deadline(now)) {
            self.queue.remove(index).into_iter().for_each(|task| self.end(task, &EngineError::Deadline));
        }
        while let Some(index) = self.compiling.iter().position(|task| task.is_past_deadline(now)) {
            let task = self.compiling.swap_remove(index);
            self.end(task, &EngineError::Deadline);
        }
    }

    fn on_compiled(&mut self, id: CallId, compiled: Result<Compiled, EngineError>) {
        let Some(index) = self.compiling.iter().position(|task| task.id == id) else { return };
        let task = self.compiling.swap_remove(index);
        match compiled {
            Ok(compiled) => {
                let replay = match &task.kind {
                    Kind::Generate(generation) => generation.replayed,
                    Kind::Score(_) | Kind::Prepare => 0,
                };
                self.consult(id, compiled.guide(), task.tokens[task.prompt - replay..].to_vec());
                self.queue.push_back(task);
            }
            Err(error) => self.end(task, &error),
        }
    }

    /// Lets a worker find what must follow `chosen`, and then what may.
    fn consult(&self, id: CallId, mut guide: Guide, chosen: Vec<Token>) {
        let wakes = self.wakes.clone();
        self.chores.workers().urgent(move || {
            let advanced = guide.advance(&chosen);
            let goes_on = advanced.as_ref().is_ok_and(|advanced| !advanced.complete);
            // The receiver is gone only while the process ends.
            drop(wakes.send(Wake::Advanced { id, advanced }));
            if goes_on {
                let start = Instant::now();
                let masked = guide.mask().map(|mask| (guide, mask));
                drop(wakes.send(Wake::Masked { id, masked, spent: start.elapsed() }));
            }
        });
    }

    fn on_advanced(&mut self, id: CallId, advanced: Result<Advanced, String>) {
        self.on_worker(id, |generation, seq| {
            Ok(generation.on_advanced(&advanced.map_err(|reason| constraint_failed(&reason))?, seq))
        });
    }

    fn on_masked(&mut self, id: CallId, masked: Result<(Guide, Mask), String>, spent: Duration) {
        self.on_worker(id, |generation, seq| {
            let (guide, mask) = masked.map_err(|reason| constraint_failed(&reason))?;
            generation.on_mask(guide, mask, spent, seq)
        });
    }

    /// Hands what a worker found to the generation that asked for it, wherever it is by now.
    fn on_worker(
        &mut self,
        id: CallId,
        found: impl FnOnce(&mut crate::generation::Generation, &mut Sequence<'_>) -> Result<Next, EngineError>,
    ) {
        let running = self.running.iter_mut().map(|running| &mut running.task);
        let Some(task) = running.chain(&mut self.queue).find(|task| task.id == id) else { return };
        let Kind::Generate(generation) = &mut task.kind else { return };
        let model = self.model.clone();
        let mut seq = Sequence { vocab: model.vocab(), tokens: &mut task.tokens, limit: self.limit };
        let next = found(generation, &mut seq);
        let progress = self.follow(id, next);
        self.conclude(id, progress);
    }

    /// Does what a generation wants next.
    fn follow(&mut self, id: CallId, next: Result<Next, EngineError>) -> Progress {
        match next {
            Ok(Next::Feed | Next::Wait) => Progress::GoesOn,
            Ok(Next::Over) => Progress::Done,
            Ok(Next::Consult(token)) => {
                let task =
                    self.running.iter_mut().map(|running| &mut running.task).find(|task| task.id == id);
                let guide = task.and_then(|task| match &mut task.kind {
                    Kind::Generate(generation) => generation.take_guide(),
                    Kind::Score(_) | Kind::Prepare => None,
                });
                if let Some(guide) = guide {
                    self.consult(id, guide, vec![token]);
                }
                Progress::GoesOn
            }
            Err(error) => Progress::Failed(error),
        }
    }

    /// Takes a task that is done, or failed, out of the running or the queue.
    fn conclude(&mut self, id: CallId, progress: Progress) {
        let error = match progress {
            Progress::GoesOn => return,
            Progress::Done => None,
            Progress::Failed(error) => Some(error),
        };
        let task = if let Some(index) = self.running.iter().position(|running| running.task.id == id) {
            let running = self.running.remove(index);
            Some(self.leave(running))
        } else {
            let index = self.queue.iter().position(|task| task.id == id);
            index.and_then(|index| self.queue.remove(index))
        };
        let Some(mut task) = task else { return };
        match error {
            Some(error) => self.fail(task.id, error),
            None => self.deliver(&mut task),
        }
    }

    /// Sends the last of a task that is done.
    pub(super) fn deliver(&mut self, task: &mut Task) {
        match &mut task.kind {
            Kind::Generate(generation) => {
                let delta = generation.take_delta();
                self.send(FromEngine::Step { deltas: delta.into_iter().collect() });
            }
            Kind::Score(scoring) => {
                let answer = Ok(Answer::Scores(scoring.scores()));
                self.send(FromEngine::Answer { id: task.id, answer });
            }
            Kind::Prepare => self.send(FromEngine::Answer { id: task.id, answer: Ok(Answer::Prepared) }),
        }
    }

    /// Stops a running task before its time.
    fn stop(&mut self, running: Running, why: &EngineError) {
        let task = self.leave(running);
        self.end(task, why);
    }

    /// Ends a task that does not run. A generation that is cancelled, or out of time, still delivers what it has.
    fn end(&mut self, mut task: Task, why: &EngineError) {
        let reason = match why {
            EngineError::Cancelled => Some(StopReason::Cancelled),
            EngineError::Deadline => Some(StopReason::Deadline),
            _ => None,
        };
        match (&mut task.kind, reason) {
            (Kind::Generate(generation), Some(reason)) => {
                generation.finish(reason);
                self.deliver(&mut task);
            }
            _ => self.fail(task.id, why.clone()),
        }
    }

    /// Gives back the sequence of a task that leaves the running.
    fn leave(&mut self, running: Running) -> Task {
        // What it was worth is told before it ends.
        self.send_shares();
        let Running { mut task, seq } = running;
        if let Some(context) = &mut self.context {
            if let Kind::Score(scoring) = &mut task.kind
                && let Some(branch) = scoring.open_branch()
            {
                self.prefixes.discard(context, branch);
            }
            self.prefixes.release(context, seq);
        }
        task
    }

    /// With nothing to compute there is time to move kept prefixes out of the way of what comes; the latest stays, since
    /// what comes is most likely to go on from it.
    fn tidy(&mut self) {
        if let Some(context) = &mut self.context
            && self.running.is_empty()
        {
            self.prefixes.tidy(context);
        }
    }

    /// Kept prefixes slow down whatever runs, and nobody while nothing does: they are brought into their budget before
    /// the steps of others, one at a time, since each costs a copy. (A step that reads 512 tokens past 512 idle cells
    /// is slower by more than the copy takes.)
    fn trim(&mut self) {
        if let Some(context) = &mut self.context
            && !self.running.is_empty()
        {
            self.prefixes.trim(context, 1);
        }
    }

    /// Sends what the generations have to say, unless they did so just now.
    fn send_deltas(&mut self) {
        let first_words = |running: &Running| match &running.task.kind {
            Kind::Generate(generation) => generation.has_first_words(),
            Kind::Score(_) | Kind::Prepare => false,
        };
        if self.last_sent.elapsed() < SEND_INTERVAL
            && self.can_step()
            && !self.running.iter().any(first_words)
        {
            return;
        }
        self.last_sent = Instant::now();
        let shares = self.shares.are_due().then(|| self.shares.take()).filter(|shares| !shares.is_empty());
        let deltas = self.running.iter_mut().filter_map(|running| match &mut running.task.kind {
            Kind::Generate(generation) => generation.take_delta(),
            Kind::Score(_) | Kind::Prepare => None,
        });
        let deltas: Vec<_> = deltas.collect();
        let step = (!deltas.is_empty()).then_some(FromEngine::Step { deltas });
        self.out.say_all(shares.map(FromEngine::Shares).into_iter().chain(step));
    }

    fn send_shares(&mut self) {
        let shares = self.shares.take();
        if !shares.is_empty() {
            self.send(FromEngine::Shares(shares));
        }
    }

    fn fail(&self, id: CallId, error: EngineError) {
        self.send(FromEngine::Answer { id, answer: Err(error) });
    }

    fn send(&self, message: FromEngine) {
        self.out.say(message);
    }

    fn publish(&self) {
        let idle = self.running.is_empty() && self.queue.is_empty() && self.compiling.is_empty();
        self.vitals.busy.store(!idle || self.embedder.has_work(), Relaxed);
        self.vitals.running.store(self.running.len() as u32, Relaxed);
        self.vitals.queued.store((self.queue.len() + self.compiling.len()) as u32, Relaxed);
        self.vitals.cells.store(self.prefixes.used_cells() as u32, Relaxed);
        self.vitals.evictions.store(self.prefixes.evictions(), Relaxed);
        if idle {
            self.vitals.idle_cells.store(self.prefixes.idle_cells() as u32, Relaxed);
            self.vitals.spilled_bytes.store(self.prefixes.spilled_bytes() as u64, Relaxed);
        }
    }
}

fn is_consulting(task: &Task) -> bool {
    matches!(&task.kind, Kind::Generate(generation) if generation.is_consulting())
}

fn is_branching(task: &Task) -> bool {
    matches!(&task.kind, Kind::Score(scoring) if scoring.is_branching())
}

fn constraint_failed(reason: &str) -> EngineError {
    EngineError::Backend(format!("the constraint could not be followed any further: {reason}"))
}
