//! Keeps one worker alive: starts it, carries its messages, notices its death or its silence, starts it again.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use dunlin_engine_handle::{
    Launch, Launched, Life, Threads,
    frame::{Codec, FrameError},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::codec::Framed;

use crate::{
    BoardReading, BoardState, CallId, Ended, EngineKind, Event, FailureKind, Finding, FromWorker, Invoke,
    Measure, ModelId, Open, Status, ToWorker, Vitals,
};

/// Without any sign of life for so long, a worker is killed.
const SILENCE: Duration = Duration::from_secs(5);

/// How often the watchdog looks; one that comes much later knows nothing, as the whole machine was stopped.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
const WATCHDOG_LATE: Duration = Duration::from_secs(1);

/// Before the second restart in a row (the first is at once); doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// One that lived for so long starts the count of restarts anew.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// How long one that closed its socket may take to end.
const EXIT_GRACE: Duration = Duration::from_millis(50);
/// How long one may take to end when nobody needs it any more.
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) enum Command {
    Open { model: ModelId, open: Box<Open> },
    Threads { model: ModelId, threads: Threads },
    Close(ModelId),
    Board(BoardState),
    Invoke { call: CallId, invoke: Box<Invoke>, to: mpsc::UnboundedSender<Event> },
    Cancel(CallId),
    Measure { call: CallId, measure: Box<Measure>, to: mpsc::UnboundedSender<Finding> },
}

/// How one incarnation came to its end.
enum End {
    /// Nobody holds a handle any more.
    Abandoned,
    Crashed(String),
}

/// Where it goes what an emulated board shows, and how engines are.
type Told = (watch::Sender<Option<BoardReading>>, watch::Sender<BTreeMap<ModelId, Vitals>>);

type Wire = Framed<Box<dyn dunlin_engine_handle::Stream>, Codec<FromWorker, ToWorker>>;

pub(crate) struct Supervisor {
    launch: Box<dyn Launch>,
    inbox: mpsc::UnboundedReceiver<Command>,
    status: watch::Sender<Status>,
    shown: watch::Sender<Option<BoardReading>>,
    felt: watch::Sender<BTreeMap<ModelId, Vitals>>,
    /// The emulated board that it is to be.
    board: Option<BoardState>,
    /// What is to be loaded whenever a worker starts.
    wanted: BTreeMap<ModelId, Box<Open>>,
    calls: HashMap<CallId, mpsc::UnboundedSender<Event>>,
    measurements: HashMap<CallId, mpsc::UnboundedSender<Finding>>,
}

impl Supervisor {
    pub(crate) fn new(
        launch: Box<dyn Launch>,
        inbox: mpsc::UnboundedReceiver<Command>,
        status: watch::Sender<Status>,
        (shown, felt): Told,
    ) -> Self {
        Self {
            launch,
            inbox,
            status,
            shown,
            felt,
            board: None,
            wanted: BTreeMap::new(),
            calls: HashMap::new(),
            measurements: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            self.status.send_modify(|status| {
                status.incarnation += 1;
                status.dead = None;
            });
            let reason = match self.serve().await {
                End::Abandoned => return,
                End::Crashed(reason) => reason,
            };
            tracing::warn!(reason, "the worker died");
            self.bury(&reason);
            failures = if began.elapsed() >= HEALTHY_AFTER { 1 } else { failures + 1 };
            if !self.rest(backoff(failures), &reason).await {
                return;
            }
        }
    }

    async fn serve(&mut self) -> End {
        let Launched { stream, mut life } = match self.launch.launch() {
            Ok(launched) => launched,
            Err(error) => return End::Crashed(format!("it could not be started: {error}")),
        };
        let mut wire = Framed::new(stream, Codec::default());
        let end = self.converse(&mut wire, &mut life).await;
        // A worker ends when its socket closes.
        drop(wire);
        let grace = if matches!(end, End::Abandoned) { FAREWELL } else { Duration::ZERO };
        if timeout(grace, life.ended()).await.is_err() {
            life.kill();
            life.ended().await;
        }
        end
    }

    async fn converse(&mut self, wire: &mut Wire, life: &mut Life) -> End {
        let opens = self.wanted.clone().into_iter().map(|(model, open)| ToWorker::Open { model, open });
        for message in self.board.clone().map(ToWorker::Board).into_iter().chain(opens) {
            if let Err(error) = wire.send(message).await {
                return End::Crashed(why(wire_error(error), life).await);
            }
        }
        let mut watch = interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut looked) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                frame = wire.next() => match frame {
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        self.on_message(message);
                    }
                    Some(Err(error)) => return End::Crashed(why(wire_error(error), life).await),
                    None => return End::Crashed(why("it closed its socket".to_owned(), life).await),
                },
                how = life.ended() => return End::Crashed(how),
                command = self.inbox.recv() => {
                    let Some(command) = command else { return End::Abandoned };
                    let Some(message) = self.on_command(command) else { continue };
                    if let Err(error) = wire.send(message).await {
                        return End::Crashed(why(wire_error(error), life).await);
                    }
                }
                _ = watch.tick() => {
                    if looked.elapsed() > WATCHDOG_LATE {
                        heard = Instant::now();
                    }
                    looked = Instant::now();
                    if heard.elapsed() > SILENCE {
                        return End::Crashed(format!("it gave no sign of life for {} s", SILENCE.as_secs()));
                    }
                }
            }
        }
    }

    fn on_message(&mut self, message: FromWorker) {
        match message {
            FromWorker::Pulse => {}
            FromWorker::Confined(confinement) => {
                if let Some(gaps) = confinement.gaps() {
                    tracing::warn!("pipelines and engines keep what could not be taken from them: {gaps}");
                }
                self.status.send_modify(|status| status.confinement = Some(confinement));
            }
            FromWorker::Board(reading) => drop(self.shown.send_replace(Some(reading))),
            FromWorker::Vitals(vitals) => drop(self.felt.send_replace(vitals.into_iter().collect())),
            FromWorker::Model { model, state } => {
                // Of one that was closed in the meantime nothing is to be known.
                if self.wanted.contains_key(&model) {
                    self.status.send_modify(|status| drop(status.models.insert(model, state)));
                }
            }
            FromWorker::Finding { call, finding } => {
                let is_last = matches!(*finding, Finding::Ended(_));
                if let Some(to) = self.measurements.get(&call) {
                    drop(to.send(*finding));
                }
                if is_last {
                    self.measurements.remove(&call);
                }
            }
            FromWorker::Event { call, event } => {
                let is_last = matches!(event, Event::Ended(_));
                if let Some(to) = self.calls.get(&call) {
                    // Who dropped the receiver has cancelled already.
                    drop(to.send(event));
                }
                if is_last {
                    self.calls.remove(&call);
                }
            }
        }
    }

    /// Takes note of a command; gives what the worker is to be told.
    fn on_command(&mut self, command: Command) -> Option<ToWorker> {
        match command {
            Command::Open { model, open } => {
                self.wanted.insert(model.clone(), open.clone());
                Some(ToWorker::Open { model, open })
            }
            Command::Threads { model, threads } => {
                self.wanted.get_mut(&model)?.load.threads = threads;
                Some(ToWorker::Threads { model, threads })
            }
            Command::Board(board) => {
                for open in self.wanted.values_mut() {
                    if let EngineKind::Emulated(emulated) = &mut open.engine {
                        emulated.mode.clone_from(&board.mode);
                    }
                }
                self.board = Some(board.clone());
                Some(ToWorker::Board(board))
            }
            Command::Close(model) => {
                self.wanted.remove(&model);
                self.status.send_modify(|status| drop(status.models.remove(&model)));
                Some(ToWorker::Close(model))
            }
            Command::Invoke { call, invoke, to } => {
                self.calls.insert(call, to);
                Some(ToWorker::Invoke { call, invoke })
            }
            Command::Measure { call, measure, to } => {
                self.measurements.insert(call, to);
                Some(ToWorker::Measure { call, measure })
            }
            Command::Cancel(call) => {
                let is_known = self.calls.contains_key(&call) || self.measurements.contains_key(&call);
                is_known.then_some(ToWorker::Cancel(call))
            }
        }
    }

    /// Whatever ran has failed, and no model is there.
    fn bury(&mut self, reason: &str) {
        for (_, to) in self.calls.drain() {
            drop(to.send(lost(reason)));
        }
        for (_, to) in self.measurements.drain() {
            drop(to.send(unfinished(reason)));
        }
        self.status.send_modify(|status| {
            status.dead = Some(Arc::from(reason));
            status.models.clear();
        });
        self.felt.send_replace(BTreeMap::new());
    }

    /// Waits before the next start; false where nobody needs one.
    async fn rest(&mut self, pause: Duration, reason: &str) -> bool {
        let until = Instant::now() + pause;
        loop {
            let command = tokio::select! {
                () = sleep_until(until) => return true,
                command = self.inbox.recv() => command,
            };
            match command {
                None => return false,
                Some(Command::Invoke { to, .. }) => drop(to.send(lost(reason))),
                Some(Command::Measure { to, .. }) => drop(to.send(unfinished(reason))),
                Some(command) => drop(self.on_command(command)),
            }
        }
    }
}

fn lost(reason: &str) -> Event {
    Event::Ended(Box::new(Ended::failed(FailureKind::Worker, format!("the worker died: {reason}"), true)))
}

fn unfinished(reason: &str) -> Finding {
    Finding::Ended(Err(format!("the worker died: {reason}")))
}

fn backoff(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => FIRST_BACKOFF.saturating_mul(1 << (n - 2).min(20)).min(LONGEST_BACKOFF),
    }
}

fn wire_error(error: FrameError) -> String {
    match error {
        FrameError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            "it closed its socket".to_owned()
        }
        error => format!("it is not understood: {error}"),
    }
}

/// The better of two reasons: how the process ended, if it just did.
async fn why(seen: String, life: &mut Life) -> String {
    timeout(EXIT_GRACE, life.ended()).await.unwrap_or(seen)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{io::duplex, time::sleep};

    use super::*;
    use crate::{ModelState, Outcome, Running, Worker};

    /// What a worker of a test does with the messages that it gets, until it dies.
    type Behaviour = fn(ToWorker) -> Option<Vec<FromWorker>>;

    struct Play {
        behaviour: Behaviour,
        starts: Arc<Mutex<Vec<Instant>>>,
    }

    impl Launch for Play {
        fn launch(&mut self) -> io::Result<Launched> {
            self.starts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Instant::now());
            let (ours, theirs) = duplex(1 << 16);
            let behaviour = self.behaviour;
            let task = tokio::spawn(async move {
                let mut wire = Framed::new(theirs, Codec::<ToWorker, FromWorker>::default());
                let mut pulse = interval(Duration::from_millis(250));
                loop {
                    tokio::select! {
                        message = wire.next() => {
                            let Some(Ok(message)) = message else { return };
                            let Some(answers) = behaviour(message) else { return };
                            for answer in answers {
                                drop(wire.send(answer).await);
                            }
                        }
                        _ = pulse.tick() => drop(wire.send(FromWorker::Pulse).await),
                    }
                }
            });
            Ok(Launched { stream: Box::new(ours), life: Life::Task(Some(task)) })
        }
    }

    fn start(behaviour: Behaviour) -> (Worker, Arc<Mutex<Vec<Instant>>>) {
        let starts = Arc::default();
        (Worker::start(Play { behaviour, starts: Arc::clone(&starts) }), starts)
    }

    fn open() -> Open {
        let engine = EngineKind::Program("engine".into());
        Open { load: dunlin_engine_handle::Load::default(), engine }
    }

    fn obedient(message: ToWorker) -> Option<Vec<FromWorker>> {
        match message {
            ToWorker::Open { model, .. } => {
                Some(vec![FromWorker::Model { model, state: ModelState::Loading { fraction: 0.5 } }])
            }
            ToWorker::Invoke { invoke, .. } if invoke.name == "bomb" => None,
            ToWorker::Invoke { call, invoke } if invoke.name == "echo" => {
                let body = invoke.body.clone();
                let outcome = Outcome::Answer { content_type: invoke.content_type.clone(), body };
                let ended = Ended { outcome, usage: crate::Usage::default(), log: String::new() };
                let events = [Event::Started, Event::Ended(Box::new(ended))];
                Some(events.map(|event| FromWorker::Event { call, event }).to_vec())
            }
            ToWorker::Cancel(call) => {
                let ended = Ended::failed(FailureKind::Cancelled, "cancelled", false);
                Some(vec![FromWorker::Event { call, event: Event::Ended(Box::new(ended)) }])
            }
            _ => Some(Vec::new()),
        }
    }

    fn invoke(name: &str) -> Invoke {
        Invoke { name: name.to_owned(), body: b"hello".into(), ..Invoke::default() }
    }

    async fn ended(running: &mut Running) -> Outcome {
        loop {
            match running.next().await {
                Some(Event::Ended(ended)) => return ended.outcome,
                Some(_) => {}
                None => panic!("it never ended"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_whatever_becomes_of_the_worker() {
        let (worker, starts) = start(obedient);
        worker.open(ModelId("m".into()), open());
        let mut echo = worker.invoke(invoke("echo"));
        assert!(matches!(ended(&mut echo).await, Outcome::Answer { body, .. } if body == b"hello"));
        assert_eq!(echo.next().await, None);
        let mut waiting = worker.invoke(invoke("waits"));
        let mut bomb = worker.invoke(invoke("bomb"));
        for running in [&mut waiting, &mut bomb] {
            let Outcome::Failed(failed) = ended(running).await else { panic!("it did not fail") };
            assert_eq!((failed.kind, failed.may_retry), (FailureKind::Worker, true));
        }
        // The next one is at once there, and has the model.
        let mut status = worker.watch();
        let status = status.wait_for(|status| status.incarnation == 2 && !status.models.is_empty()).await;
        assert!(status.is_ok_and(|status| status.dead.is_none()));
        let mut cancelled = worker.invoke(invoke("waits"));
        cancelled.cancel();
        assert!(
            matches!(ended(&mut cancelled).await, Outcome::Failed(failed) if failed.kind == FailureKind::Cancelled)
        );
        assert_eq!(starts.lock().map(|starts| starts.len()).ok(), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_dies_at_once_is_started_ever_more_rarely() {
        let (worker, starts) = start(|_| None);
        worker.open(ModelId("m".into()), open());
        sleep(Duration::from_secs(100)).await;
        let starts = starts.lock().map(|starts| starts.clone()).unwrap_or_default();
        let pauses: Vec<u128> = starts.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert_eq!(pauses[..5], [0, 250, 500, 1000, 2000]);
        assert_eq!(pauses.iter().max(), Some(&30_000));
        let mut running = worker.invoke(invoke("echo"));
        assert!(
            matches!(ended(&mut running).await, Outcome::Failed(failed) if failed.kind == FailureKind::Worker)
        );
    }
}
