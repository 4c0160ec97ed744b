//! Keeps one engine alive: starts it, carries its calls, notices its death or its silence, starts it again.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::codec::{FramedRead, FramedWrite};

use crate::{
    Answer, Call, CallId, Delta, EngineError, FromEngine, Launch, Launched, Life, Load, Pulse, State, Status,
    Threads, ToEngine, Work, frame::Codec, launch::Stream,
};

/// How often an engine gives signs of life.
pub const PULSE_INTERVAL: Duration = Duration::from_millis(250);

/// Calls that one engine may have at a time; one more is refused as busy.
const MAX_CALLS: usize = 4096;

/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// A watchdog that itself comes later than this knows nothing: the whole machine was stopped.
const WATCHDOG_LATE: Duration = Duration::from_secs(1);

/// How long an engine that closed its socket may take to end, and how long one that was told to end.
const EXIT_GRACE: Duration = Duration::from_millis(50);
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// How long an engine may be silent before it is killed, and how fast a dead one is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// Without any sign of life.
    pub silence: Duration,
    /// With work, and none of it moving.
    pub standstill: Duration,
    /// The same while the model loads: a cold disk may keep it waiting.
    pub loading_standstill: Duration,
    /// Before the second restart in a row (the first is at once); doubles with each further one.
    pub first_backoff: Duration,
    pub longest_backoff: Duration,
    /// An incarnation that served for so long starts the count of restarts anew.
    pub healthy_after: Duration,
    /// Restarts in a row before it is given up.
    pub restarts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(5),
            standstill: Duration::from_secs(10),
            loading_standstill: Duration::from_mins(1),
            first_backoff: Duration::from_millis(250),
            longest_backoff: Duration::from_secs(30),
            healthy_after: Duration::from_mins(1),
            restarts: 10,
        }
    }
}

impl Patience {
    /// The pause before restart number `n` in a row, from 1; `None`: no more.
    fn backoff(&self, n: u32) -> Option<Duration> {
        match n {
            n if n > self.restarts => None,
            0 | 1 => Some(Duration::ZERO),
            n => Some(self.first_backoff.saturating_mul(1 << (n - 2).min(20)).min(self.longest_backoff)),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Command {
    Call { id: CallId, call: Box<Call>, reply: Reply, work: Option<Work> },
    Cancel(CallId),
    Threads(Threads),
    Drain,
}

/// Where the results of a call go.
#[derive(Debug)]
pub(crate) enum Reply {
    Once(oneshot::Sender<Result<Answer, EngineError>>),
    Stream(mpsc::UnboundedSender<Result<Delta, EngineError>>),
}

impl Reply {
    /// A caller that is gone already does not mind.
    pub(crate) fn fail(self, error: EngineError) {
        match self {
            Self::Once(reply) => drop(reply.send(Err(error))),
            Self::Stream(reply) => drop(reply.send(Err(error))),
        }
    }

    fn answer(self, answer: Result<Answer, EngineError>) {
        match (self, answer) {
            (Self::Once(reply), answer) => drop(reply.send(answer)),
            (Self::Stream(reply), Err(error)) => drop(reply.send(Err(error))),
            (Self::Stream(reply), Ok(answer)) => {
                let error = EngineError::Backend(format!("a generation was answered with {answer:?}"));
                drop(reply.send(Err(error)));
            }
        }
    }
}

/// How one incarnation came to its end.
enum End {
    /// Nobody holds a handle any more.
    Abandoned,
    Drained,
    Refused(EngineError),
    Crashed(String),
}

/// How a time without an engine came to its end.
#[derive(PartialEq)]
enum Pause {
    Over,
    Abandoned,
    Drained,
}

/// Everything that can wake the supervisor of a running engine.
enum Event {
    Frame(Option<Result<FromEngine, crate::frame::FrameError>>),
    Exited(String),
    Command(Option<Command>),
    Watch,
}

pub(crate) struct Supervisor {
    launch: Box<dyn Launch>,
    load: Load,
    patience: Patience,
    inbox: mpsc::UnboundedReceiver<Command>,
    status: watch::Sender<Status>,
    /// The last step point that was asked for; a new incarnation is told it again.
    threads: Option<Threads>,
}

impl Supervisor {
    pub(crate) fn new(
        launch: Box<dyn Launch>,
        load: Load,
        patience: Patience,
        inbox: mpsc::UnboundedReceiver<Command>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self { launch, load, patience, inbox, status, threads: None }
    }

    pub(crate) async fn run(mut self) {
        let mut restarts = 0;
        loop {
            let born = Instant::now();
            let (end, incarnation) = self.live_once().await;
            if born.elapsed() >= self.patience.healthy_after {
                restarts = 0;
            }
            restarts += 1;
            let draining = incarnation.as_ref().is_some_and(|incarnation| incarnation.draining);
            let (reason, pause) = self.verdict(&end, restarts);
            // What dies while it is being stopped is not started again.
            let pause = pause.filter(|_| !draining);
            self.set_dead(Arc::from(reason), pause);
            if let Some(incarnation) = incarnation {
                incarnation.bury(&end).await;
            }
            self.status.send_modify(|status| status.pid = None);
            let after = match pause {
                Some(pause) => self.refuse(Some(Instant::now() + pause)).await,
                None => Pause::Drained,
            };
            match (after, end) {
                (Pause::Over, _) => {}
                (Pause::Abandoned, _) | (_, End::Abandoned) => return,
                (Pause::Drained, _) => return self.lie_dead().await,
            }
        }
    }

    /// Starts the engine and serves it until it ends.
    async fn live_once(&mut self) -> (End, Option<Incarnation>) {
        self.status.send_modify(|status| {
            status.state = State::Starting;
            status.incarnation += 1;
            status.pulse = Pulse::default();
        });
        let launched = match self.launch.launch() {
            Ok(launched) => launched,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = format!("its executable was not found: {error}");
                return (End::Refused(EngineError::Unavailable { reason, retry_after_ms: None }), None);
            }
            Err(error) => return (End::Crashed(format!("it could not be started: {error}")), None),
        };
        self.status.send_modify(|status| status.pid = launched.life.pid());
        let mut incarnation = Incarnation::new(launched);
        incarnation.send(ToEngine::Load(self.load.clone()));
        if let Some(threads) = self.threads {
            incarnation.send(ToEngine::Threads(threads));
        }
        (incarnation.serve(self).await, Some(incarnation))
    }

    /// Why the engine ended, and the pause before a restart, if there is to be one.
    fn verdict(&self, end: &End, restarts: u32) -> (String, Option<Duration>) {
        let reason = match end {
            End::Abandoned | End::Drained => return ("it was told to stop".to_owned(), None),
            End::Refused(refusal) => {
                self.status.send_modify(|status| status.refusal = Some(refusal.clone()));
                return (refusal.to_string(), None);
            }
            End::Crashed(reason) => reason,
        };
        match self.patience.backoff(restarts) {
            Some(pause) => {
                tracing::warn!(%reason, ?pause, "engine died");
                (reason.clone(), Some(pause))
            }
            None => {
                tracing::error!(%reason, restarts, "engine given up");
                (format!("given up after {restarts} deaths in a row, the last: {reason}"), None)
            }
        }
    }

    /// Comes before any caller hears of the end.
    fn set_dead(&self, reason: Arc<str>, restart: Option<Duration>) {
        self.status.send_modify(|status| status.state = State::Dead { reason, restart });
    }

    /// Answers calls with a refusal until the last handle is dropped.
    async fn lie_dead(mut self) {
        while self.refuse(None).await != Pause::Abandoned {}
    }

    /// Answers calls with a refusal until `end`.
    async fn refuse(&mut self, end: Option<Instant>) -> Pause {
        let pause = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(pause);
        loop {
            let command = tokio::select! {
                () = &mut pause => return Pause::Over,
                command = self.inbox.recv() => command,
            };
            match command {
                None => return Pause::Abandoned,
                Some(Command::Call { reply, .. }) => reply.fail(self.refusal(end)),
                Some(Command::Threads(threads)) => self.threads = Some(threads),
                Some(Command::Cancel(_)) => {}
                Some(Command::Drain) => {
                    self.status.send_modify(|status| {
                        if let State::Dead { restart, .. } = &mut status.state {
                            *restart = None;
                        }
                    });
                    return Pause::Drained;
                }
            }
        }
    }

    fn refusal(&self, end: Option<Instant>) -> EngineError {
        let status = self.status.borrow();
        match (&status.refusal, &status.state) {
            (Some(refusal), _) => refusal.clone(),
            (None, State::Dead { reason, .. }) => EngineError::Unavailable {
                reason: reason.to_string(),
                retry_after_ms: end.map(|end| millis(end.saturating_duration_since(Instant::now()))),
            },
            (None, state) => EngineError::Unavailable { reason: state.name().into(), retry_after_ms: None },
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// One running engine process.
struct Incarnation {
    frames: FramedRead<ReadHalf<Box<dyn Stream>>, Codec<FromEngine, ToEngine>>,
    /// Feeds the task that writes: an engine that does not read must not keep its supervisor from watching it.
    outbox: Option<mpsc::UnboundedSender<ToEngine>>,
    life: Life,
    calls: HashMap<CallId, Reply>,
    /// Of the calls that somebody counts.
    works: HashMap<CallId, Work>,
    draining: bool,
    watchdog: Watchdog,
}

impl Incarnation {
    fn new(launched: Launched) -> Self {
        let (read, write) = tokio::io::split(launched.stream);
        let (outbox, messages) = mpsc::unbounded_channel();
        tokio::spawn(write_all(write, messages));
        Self {
            frames: FramedRead::new(read, Codec::default()),
            outbox: Some(outbox),
            life: launched.life,
            calls: HashMap::new(),
            works: HashMap::new(),
            draining: false,
            watchdog: Watchdog::new(),
        }
    }

    async fn serve(&mut self, supervisor: &mut Supervisor) -> End {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                frame = self.frames.next() => Event::Frame(frame),
                command = supervisor.inbox.recv() => Event::Command(command),
                how = self.life.ended() => Event::Exited(how),
                _ = watch.tick() => Event::Watch,
            };
            let end = match event {
                Event::Frame(Some(Ok(message))) => self.on_message(message, &supervisor.status),
                Event::Frame(Some(Err(error))) => Some(End::Crashed(format!("it talked nonsense: {error}"))),
                Event::Frame(None) => Some(End::Crashed(self.last_moments().await)),
                Event::Exited(how) => Some(End::Crashed(how)),
                Event::Command(None) => Some(End::Abandoned),
                Event::Command(Some(command)) => {
                    self.on_command(command, supervisor);
                    None
                }
                Event::Watch => {
                    self.watchdog.verdict(&supervisor.patience, &supervisor.status.borrow().state)
                }
            };
            if let Some(end) = end {
                return end;
            }
            if self.draining && self.calls.is_empty() {
                return End::Drained;
            }
            self.publish_activity(&supervisor.status);
        }
    }

    fn on_message(&mut self, message: FromEngine, status: &watch::Sender<Status>) -> Option<End> {
        match message {
            FromEngine::Loading { fraction } => status.send_modify(|status| {
                status.state = State::Loading { fraction };
            }),
            FromEngine::Ready(model) => status.send_modify(|status| {
                status.state = State::Ready;
                status.model = Some(Arc::new(*model));
            }),
            FromEngine::Refused(refusal) => return Some(End::Refused(refusal)),
            FromEngine::Pulse(pulse) => {
                self.watchdog.on_pulse(&pulse);
                status.send_modify(|status| status.pulse = pulse);
            }
            FromEngine::Step { deltas } => deltas.into_iter().for_each(|delta| self.on_delta(delta)),
            FromEngine::Shares(shares) => {
                for (id, share) in shares {
                    self.works.get(&id).into_iter().for_each(|work| work.add(share));
                }
            }
            FromEngine::Answer { id, answer } => {
                if let Some(reply) = self.forget(id) {
                    reply.answer(answer);
                }
            }
        }
        None
    }

    fn on_delta(&mut self, delta: Delta) {
        let id = delta.id;
        let finished = delta.finish.is_some();
        if let Some(Reply::Stream(reply)) = self.calls.get(&id) {
            // A receiver that is gone has sent a cancel, and the last delta is on its way.
            drop(reply.send(Ok(delta)));
        }
        if finished {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: CallId) -> Option<Reply> {
        self.works.remove(&id);
        self.calls.remove(&id)
    }

    fn on_command(&mut self, command: Command, supervisor: &mut Supervisor) {
        match command {
            Command::Call { reply, .. } if self.draining => reply.fail(EngineError::Unavailable {
                reason: "it was told to stop".into(),
                retry_after_ms: None,
            }),
            Command::Call { reply, .. } if self.calls.len() >= MAX_CALLS => {
                reply.fail(EngineError::Busy { retry_after_ms: None });
            }
            Command::Call { id, call, reply, work } => {
                self.calls.insert(id, reply);
                work.into_iter().for_each(|work| drop(self.works.insert(id, work)));
                self.send(ToEngine::Call { id, call });
            }
            Command::Cancel(id) if self.calls.contains_key(&id) => self.send(ToEngine::Cancel { id }),
            Command::Cancel(_) => {}
            Command::Threads(threads) => {
                supervisor.threads = Some(threads);
                self.send(ToEngine::Threads(threads));
            }
            Command::Drain => {
                self.draining = true;
                supervisor.status.send_modify(|status| status.state = State::Draining);
            }
        }
    }

    fn send(&self, message: ToEngine) {
        if let Some(outbox) = &self.outbox {
            // The writer ends only with the stream; its end is seen by the reader.
            drop(outbox.send(message));
        }
    }

    fn publish_activity(&self, status: &watch::Sender<Status>) {
        let activity = if self.calls.is_empty() { State::Ready } else { State::Busy };
        status.send_if_modified(|status| {
            let changes = status.state.is_serving() && status.state != activity;
            if changes {
                status.state = activity;
            }
            changes
        });
    }

    /// The socket closed; the process should follow at once.
    async fn last_moments(&mut self) -> String {
        tokio::time::timeout(EXIT_GRACE, self.life.ended())
            .await
            .unwrap_or_else(|_| "it closed its socket".to_owned())
    }

    /// Tells the callers, then makes sure that the process is gone.
    async fn bury(mut self, end: &End) {
        let error = match end {
            End::Crashed(reason) => EngineError::Died { reason: reason.clone() },
            End::Refused(refusal) => refusal.clone(),
            End::Abandoned | End::Drained => EngineError::Cancelled,
        };
        self.calls.drain().for_each(|(_, reply)| reply.fail(error.clone()));
        self.outbox = None;
        let grace = if matches!(end, End::Crashed(_)) { Duration::ZERO } else { DRAIN_GRACE };
        if tokio::time::timeout(grace, self.life.ended()).await.is_err() {
            self.life.kill();
            self.life.ended().await;
        }
    }
}

async fn write_all(write: WriteHalf<Box<dyn Stream>>, mut messages: mpsc::UnboundedReceiver<ToEngine>) {
    let mut frames = FramedWrite::new(write, Codec::<FromEngine, ToEngine>::default());
    while let Some(message) = messages.recv().await {
        if let Err(error) = frames.send(message).await {
            tracing::debug!(%error, "writing to an engine");
            return;
        }
    }
    // All handles are gone: the engine sees the end of its input and ends.
    drop(frames.close().await);
}

/// Judges by an engine's pulse whether it still gets anywhere.
struct Watchdog {
    last_look: Instant,
    last_pulse: Instant,
    last_progress: Instant,
    ticks: u64,
    busy: bool,
}

impl Watchdog {
    fn new() -> Self {
        let now = Instant::now();
        Self { last_look: now, last_pulse: now, last_progress: now, ticks: 0, busy: true }
    }

    fn on_pulse(&mut self, pulse: &Pulse) {
        self.last_pulse = Instant::now();
        if pulse.ticks != self.ticks || !pulse.busy || !self.busy {
            self.last_progress = self.last_pulse;
        }
        (self.ticks, self.busy) = (pulse.ticks, pulse.busy);
    }

    fn verdict(&mut self, patience: &Patience, state: &State) -> Option<End> {
        let now = Instant::now();
        let late = now - self.last_look > WATCH_INTERVAL + WATCHDOG_LATE;
        self.last_look = now;
        if late {
            (self.last_pulse, self.last_progress) = (now, now);
        }
        let standstill = if state.is_serving() {
            patience.standstill
        } else {
            patience.standstill.max(patience.loading_standstill)
        };
        if now - self.last_pulse > patience.silence {
            return Some(End::Crashed(format!(
                "it gave no sign of life for {:?} and was killed",
                patience.silence
            )));
        }
        if self.busy && now - self.last_progress > standstill {
            return Some(End::Crashed(format!(
                "it had work but got nowhere for {standstill:?} and was killed"
            )));
        }
        None
    }
}
