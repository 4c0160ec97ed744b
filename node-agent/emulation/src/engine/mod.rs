//! An engine of an emulated board, as the handle sees it: the same messages, the same supervision.

mod calls;
mod steps;

use std::{collections::VecDeque, io, time::Duration};

use dunlin_costs::{ModelDigest, ModelFacts, Row};
use dunlin_engine_handle::{
    EngineError, Features, FromEngine, Launch, Launched, Life, Load, MemoryKind, ModelInfo, PULSE_INTERVAL,
    Pulse, Threads, ToEngine, Token, frame::Codec,
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
    sequence::Sequence,
    words::{BOS, END_OF_TURN, VOCABULARY},
};

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
            self.divide(&step, reader, took);
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
}
