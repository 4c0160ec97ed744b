//! An engine of an emulated board, as the handle sees it: the same messages, the same supervision.

use std::{collections::VecDeque, io, time::Duration};

use dunlin_costs::{ModelDigest, ModelFacts, Row};
use dunlin_engine_handle::{
    Answer, Call, CallId, EngineError, Features, FromEngine, Launch, Launched, Life, Load, MemoryKind,
    ModelInfo, PULSE_INTERVAL, Pulse, Rendered, Role, StopReason, Threads, ToEngine, Token, frame::Codec,
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{DuplexStream, ReadHalf},
    sync::mpsc,
    time::{Instant, Interval, sleep_until},
};
use tokio_util::codec::{FramedRead, FramedWrite};

use crate::{
    Board,
    board::Resident,
    point::Point,
    roofline::{FULL_CHUNK, Step},
    sequence::{Purpose, Sequence},
    text,
    words::{BOS, END_OF_TURN, VOCABULARY, detokenize, tokenize},
};

/// Prefixes that an engine keeps for later.
const MAX_HELD: usize = 16;

/// Calls that wait; one more is refused.
const MAX_WAITING: usize = 256;

/// A step that others wait for takes no longer than this if it can.
const SHARED_STEP: Duration = Duration::from_millis(100);

/// An engine that comes later than this to its next step starts its clock anew.
const MAX_LATENESS: Duration = Duration::from_secs(1);

/// Sequences for which the cells of an engine suffice at full length, where the load does not say.
const DEFAULT_FULL_SEQUENCES: u64 = 4;

/// A model on an emulated board: what a handle starts.
#[derive(Debug, Clone)]
pub struct EmulatedModel {
    board: Board,
    facts: ModelFacts,
    rows: Vec<Row>,
}

impl EmulatedModel {
    /// `None` if the class of the board knows no costs of such a model.
    pub fn new(board: &Board, facts: &ModelFacts) -> Option<Self> {
        let class = board.class();
        let mut rows: Vec<Row> = class.rows(facts.digest).cloned().collect();
        if let (true, Some(prior)) = (rows.is_empty(), &class.prior) {
            rows = prior.rows(facts);
        }
        (!rows.is_empty()).then(|| Self { board: board.clone(), facts: facts.clone(), rows })
    }

    pub fn digest(&self) -> ModelDigest {
        self.facts.digest
    }

    pub fn board(&self) -> &Board {
        &self.board
    }
}

impl Launch for EmulatedModel {
    fn launch(&mut self) -> io::Result<Launched> {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let life = tokio::spawn(run(self.clone(), theirs));
        Ok(Launched { stream: Box::new(ours), life: Life::Task(Some(life)) })
    }
}

type Frames = FramedRead<ReadHalf<DuplexStream>, Codec<ToEngine, FromEngine>>;

/// One incarnation.
async fn run(model: EmulatedModel, stream: DuplexStream) {
    let (read, write) = tokio::io::split(stream);
    let (out, mut messages) = mpsc::unbounded_channel();
    let writer = async move {
        let mut frames = FramedWrite::new(write, Codec::<ToEngine, FromEngine>::default());
        while let Some(message) = messages.recv().await {
            if frames.send(message).await.is_err() {
                return;
            }
        }
    };
    // The engine lives no longer than either half.
    tokio::select! {
        () = writer => {}
        () = load_and_serve(model, FramedRead::new(read, Codec::default()), out) => {}
    }
}

async fn load_and_serve(model: EmulatedModel, mut frames: Frames, out: mpsc::UnboundedSender<FromEngine>) {
    let Some(Ok(ToEngine::Load(load))) = frames.next().await else { return };
    let context = if load.context == 0 { model.rows[0].key.context } else { load.context };
    let cells = match load.cells {
        0 => u64::from(context) * u64::from(load.sequences).min(DEFAULT_FULL_SEQUENCES),
        cells => u64::from(cells),
    };
    let bytes = model.facts.file_bytes + cells * model.facts.kv_bytes_per_token;
    let (resident, cached) = match model.board.reserve(model.facts.digest, bytes) {
        Ok(reserved) => reserved,
        Err(free) => {
            let refusal = EngineError::Memory(format!(
                "{} takes {bytes} bytes with {cells} cells, {free} are free on the emulated board",
                model.facts.name
            ));
            drop(out.send(FromEngine::Refused(refusal)));
            // The handle ends it.
            return std::future::pending().await;
        }
    };
    let mut pulse = tokio::time::interval(PULSE_INTERVAL);
    pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut engine = Engine {
        point: None,
        context,
        cells,
        sequences: load.sequences.max(1) as usize,
        threads: load.threads,
        model,
        resident,
        out,
        waiting: VecDeque::new(),
        running: Vec::new(),
        held: VecDeque::new(),
        ticks: 0,
        steps: 0,
        last_end: Instant::now(),
    };
    if engine.load(&load, cached, &mut frames, &mut pulse).await.is_some() {
        engine.serve(&mut frames, &mut pulse).await;
    }
}

struct Engine {
    model: EmulatedModel,
    resident: Resident,
    out: mpsc::UnboundedSender<FromEngine>,
    threads: Threads,
    /// By which mode and threads it was chosen, and the point.
    point: Option<(dunlin_costs::Mode, Threads, Point)>,
    /// Tokens that a sequence may have.
    context: u32,
    cells: u64,
    sequences: usize,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    /// Tokens of sequences that ended, with their owners; used last at the end.
    held: VecDeque<(String, u32, Vec<Token>)>,
    ticks: u64,
    steps: u64,
    last_end: Instant,
}

impl Engine {
    /// `None` when the handle is gone.
    async fn load(
        &mut self,
        load: &Load,
        cached: bool,
        frames: &mut Frames,
        pulse: &mut Interval,
    ) -> Option<()> {
        let costs = &self.model.rows[0].load;
        let ms = if cached { costs.warm_ms.nominal() } else { costs.cold_ms.nominal() };
        let took = Duration::from_secs_f64(ms / 1e3 * self.model.board.factor());
        let watts = self.point().and_then(|point| point.draw).map_or(0.0, |draw| draw.load);
        self.resident.work(Some(watts));
        let start = Instant::now();
        self.wait_until(start + took, frames, pulse, |engine, now| {
            let fraction = (now - start).as_secs_f64() / took.as_secs_f64().max(1e-9);
            engine.say(FromEngine::Loading { fraction: fraction.min(1.0) as f32 });
        })
        .await?;
        self.resident.work(None);
        self.last_end = Instant::now();
        self.say(FromEngine::Ready(Box::new(self.info(load, took))));
        Some(())
    }

    fn info(&self, load: &Load, took: Duration) -> ModelInfo {
        let facts = &self.model.facts;
        ModelInfo {
            name: facts.name.clone(),
            architecture: "emulated".into(),
            quantization: facts.quantisation.to_string(),
            parameters: 0,
            vocabulary: VOCABULARY,
            context_length: self.context,
            trained_context: self.context,
            memory: MemoryKind::Attention,
            features: Features { fork: true, truncate: true, constraints: true, ..Features::default() },
            bos: Some(BOS),
            end_of_turn: vec![END_OF_TURN],
            sequences: self.sequences as u32,
            cells: u32::try_from(self.cells).unwrap_or(u32::MAX),
            kv_bytes_per_token: facts.kv_bytes_per_token,
            weights_bytes: facts.file_bytes,
            threads: load.threads,
            backend: format!("emulated {}", self.model.board.class().name),
            load_ms: took.as_millis() as u64,
        }
    }

    /// `None` when the class has no row for the mode; then it goes at the pace of the first that there is.
    fn point(&mut self) -> Option<Point> {
        let mode = self.model.board.mode();
        match &self.point {
            Some((of, threads, point)) if *of == mode && *threads == self.threads => Some(*point),
            _ => {
                let cores = self.model.board.class().cores;
                let rows = &self.model.rows;
                let point = Point::choose(rows, &mode, self.threads, cores)
                    .or_else(|| Point::choose(rows, &rows[0].key.mode, self.threads, cores))?;
                self.point = Some((mode, self.threads, point));
                Some(point)
            }
        }
    }

    /// One step after another; returns when the handle is gone.
    async fn serve(&mut self, frames: &mut Frames, pulse: &mut Interval) {
        loop {
            self.admit();
            let Some((step, reader)) = self.next_step() else {
                self.resident.work(None);
                if self.idle(frames, pulse).await.is_none() {
                    return;
                }
                self.last_end = Instant::now();
                continue;
            };
            let took = self.begin(&step, reader);
            let now = Instant::now();
            let from = if now - self.last_end > MAX_LATENESS { now } else { self.last_end };
            let end = from + took;
            if self.wait_until(end, frames, pulse, |_, _| {}).await.is_none() {
                return;
            }
            self.last_end = end;
            self.steps += 1;
            self.complete(&step, reader, end);
        }
    }

    /// Until there is something to do.
    async fn idle(&mut self, frames: &mut Frames, pulse: &mut Interval) -> Option<()> {
        while self.waiting.is_empty() {
            tokio::select! {
                frame = frames.next() => self.on_frame(frame?.ok()?),
                _ = pulse.tick() => self.pulse(),
            }
        }
        Some(())
    }

    /// Lets time pass, and takes what comes meanwhile.
    async fn wait_until(
        &mut self,
        end: Instant,
        frames: &mut Frames,
        pulse: &mut Interval,
        on_pulse: impl Fn(&Self, Instant),
    ) -> Option<()> {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(end) => return Some(()),
                frame = frames.next() => self.on_frame(frame?.ok()?),
                now = pulse.tick() => {
                    self.ticks += 1;
                    self.pulse();
                    on_pulse(self, now);
                }
            }
        }
    }

    fn say(&self, message: FromEngine) {
        // Fails only while the whole incarnation is torn down.
        drop(self.out.send(message));
    }

    fn pulse(&self) {
        let used: u64 = self.running.iter().map(|sequence| sequence.tokens.len() as u64).sum();
        let (running, queued) = (self.running.len() as u32, self.waiting.len() as u32);
        self.say(FromEngine::Pulse(Pulse {
            ticks: self.ticks,
            busy: running + queued > 0,
            running,
            queued,
            cells: used as u32,
            steps: self.steps,
            ..Pulse::default()
        }));
    }

    fn on_frame(&mut self, frame: ToEngine) {
        match frame {
            ToEngine::Call { id, call } => self.on_call(id, *call),
            ToEngine::Cancel { id } => {
                let all = self.waiting.iter_mut().chain(&mut self.running);
                all.filter(|sequence| sequence.id == id).for_each(|sequence| sequence.cancelled = true);
            }
            ToEngine::Threads(threads) => self.threads = threads,
            ToEngine::Load(_) => {}
        }
    }

    fn on_call(&mut self, id: CallId, call: Call) {
        let now = Instant::now();
        let answer = match call {
            Call::Generate(generate) => {
                Sequence::generate(id, generate, now).and_then(|sequence| self.enqueue(sequence))
            }
            Call::Score(score) => self.enqueue(Sequence::score(id, score, now)),
            Call::Prepare(prepare) => self.enqueue(Sequence::prepare(id, prepare, now)),
            Call::Embed { .. } => {
                Err(EngineError::Unsupported("an emulated engine has no embeddings".into()))
            }
            Call::Tokenize(tokenize_call) => {
                let bos = tokenize_call.add_special.then_some(BOS);
                Ok(Some(Answer::Tokens(bos.into_iter().chain(tokenize(&tokenize_call.text)).collect())))
            }
            Call::Detokenize { tokens } => detokenize(&tokens)
                .map(|bytes| Some(Answer::Bytes(bytes)))
                .ok_or_else(|| EngineError::InvalidArgument("a token outside of the vocabulary".into())),
            Call::Render(render) => Ok(Some(Answer::Rendered(rendered(&render)))),
            Call::Compile { constraint } => {
                text::check(&constraint).map(|()| Some(Answer::Compiled { warnings: Vec::new() }))
            }
        };
        if let Some(answer) = answer.transpose() {
            self.say(FromEngine::Answer { id, answer });
        }
    }

    /// # Errors
    /// If it can never run, or too many wait.
    fn enqueue(&mut self, sequence: Sequence) -> Result<Option<Answer>, EngineError> {
        let (tokens, possible) = (sequence.unread(), self.context.saturating_sub(1));
        if tokens > possible {
            return Err(EngineError::PromptTooLong { tokens, possible });
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(EngineError::Busy { retry_after_ms: None });
        }
        self.waiting.push_back(sequence);
        Ok(None)
    }

    /// Ends what is over, and lets in what has room.
    fn admit(&mut self) {
        let now = self.last_end.max(Instant::now());
        let over = |sequence: &Sequence| sequence.is_over(now).map(|reason| (sequence.id, reason));
        let ended: Vec<_> = self.waiting.iter().chain(&self.running).filter_map(over).collect();
        for (id, reason) in ended {
            self.end(id, reason, now);
        }
        while let Some(next) = self.waiting.front() {
            let room = self.cells - self.running.iter().map(|running| self.reserved(running)).sum::<u64>();
            if self.running.len() >= self.sequences || self.reserved(next) > room {
                return;
            }
            let held = self.longest_held(next);
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            sequence.admit(held, now);
            self.running.push(sequence);
        }
    }

    fn reserved(&self, sequence: &Sequence) -> u64 {
        sequence.most_tokens().min(u64::from(self.context)).min(self.cells)
    }

    /// Tokens that an ended sequence of the same owner shares with this one, or that both call public.
    fn longest_held(&self, sequence: &Sequence) -> u32 {
        let shared = |(tenant, public, tokens): &(String, u32, Vec<Token>)| {
            let common = tokens.iter().zip(&sequence.tokens).take_while(|(a, b)| a == b).count() as u32;
            if *tenant == sequence.tenant { common } else { common.min(*public).min(sequence.public) }
        };
        self.held.iter().map(shared).max().unwrap_or(0)
    }

    /// What the next step does, and which sequence reads its prompt in it.
    fn next_step(&mut self) -> Option<(Step, Option<usize>)> {
        let decoding = self.running.iter().filter(|sequence| sequence.decodes());
        let (sequences, context) =
            decoding.fold((0, 0), |(count, sum), sequence| (count + 1, sum + sequence.tokens.len() as u64));
        let beside = Step { sequences, context, ..Step::default() };
        let Some(reader) = self.running.iter().position(|sequence| !sequence.decodes()) else {
            return (sequences > 0).then_some((beside, None));
        };
        let (done, unread) = (self.running[reader].read, self.running[reader].unread());
        let beside = Step { done, ..beside };
        let chunk = match self.point() {
            Some(point) if sequences > 0 => {
                let slower = self.model.board.slower(&self.resident, point.contention);
                point.roofline.chunk_within(SHARED_STEP.as_secs_f64(), &beside, unread, slower)
            }
            _ => unread.min(FULL_CHUNK),
        };
        Some((Step { chunk, ..beside }, Some(reader)))
    }

    /// Tells the board what the step draws. Gives its length.
    fn begin(&mut self, step: &Step, reader: Option<usize>) -> Duration {
        let Some(point) = self.point() else { return Duration::ZERO };
        let slower = self.model.board.slower(&self.resident, point.contention);
        let time = point.roofline.step(step, slower);
        let starts = reader.is_some_and(|reader| self.running[reader].is_unread());
        let start = if starts { point.roofline.start() * slower.0 } else { 0.0 };
        let watts = point.draw.map_or(0.0, |draw| {
            (draw.start * start + draw.step(&time) * time.seconds) / (start + time.seconds)
        });
        self.resident.work(Some(watts));
        Duration::from_secs_f64(start + time.seconds)
    }

    /// The step has ended: everyone who decoded, or read the end of his prompt, has a token.
    fn complete(&mut self, step: &Step, reader: Option<usize>, now: Instant) {
        let decoded: Vec<CallId> =
            self.running.iter().filter(|sequence| sequence.decodes()).map(|sequence| sequence.id).collect();
        if let Some(reader) = reader {
            self.running[reader].read += step.chunk;
        }
        let mut deltas = Vec::new();
        let mut ended = Vec::new();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            let read_to_its_end = reader == Some(index) && sequence.decodes();
            if sequence.is_over(now).is_some() || !(decoded.contains(&sequence.id) || read_to_its_end) {
                continue;
            }
            if let Purpose::Generate { .. } = sequence.purpose {
                let delta = sequence.say(self.context, now);
                if delta.finish.is_some() {
                    ended.push(sequence.id);
                }
                deltas.push(delta);
            } else {
                ended.push(sequence.id);
            }
        }
        if !deltas.is_empty() {
            self.say(FromEngine::Step { deltas });
        }
        ended.into_iter().for_each(|id| self.retire(id));
    }

    /// It has said everything: what it read is kept for others, and a score is answered.
    fn retire(&mut self, id: CallId) {
        let Some(at) = self.running.iter().position(|sequence| sequence.id == id) else { return };
        let sequence = self.running.remove(at);
        match sequence.purpose {
            Purpose::Generate { .. } => {}
            Purpose::Score(score) => {
                self.say(FromEngine::Answer { id, answer: Ok(Answer::Scores(text::scores(&score))) });
            }
            Purpose::Prepare => self.say(FromEngine::Answer { id, answer: Ok(Answer::Prepared) }),
        }
        if self.held.len() == MAX_HELD {
            self.held.pop_front();
        }
        self.held.push_back((sequence.tenant, sequence.public, sequence.tokens));
    }

    /// It ends before its time.
    fn end(&mut self, id: CallId, reason: StopReason, now: Instant) {
        let waiting = self.waiting.iter().position(|sequence| sequence.id == id);
        let waited = waiting.and_then(|at| self.waiting.remove(at));
        let sequence = waited.or_else(|| {
            let at = self.running.iter().position(|sequence| sequence.id == id)?;
            Some(self.running.remove(at))
        });
        let Some(mut sequence) = sequence else { return };
        self.say(match (&sequence.purpose, reason) {
            (Purpose::Generate { .. }, reason) => {
                FromEngine::Step { deltas: vec![sequence.finish(reason, now)] }
            }
            (_, StopReason::Deadline) => FromEngine::Answer { id, answer: Err(EngineError::Deadline) },
            (_, _) => FromEngine::Answer { id, answer: Err(EngineError::Cancelled) },
        });
    }
}

fn rendered(render: &dunlin_engine_handle::Render) -> Rendered {
    let mut text = String::new();
    for message in &render.messages {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        text += &format!("<{role}> {}\n", message.content);
    }
    if render.cue {
        text += "<assistant>";
    }
    Rendered { tokens: std::iter::once(BOS).chain(tokenize(&text)).collect(), text }
}
