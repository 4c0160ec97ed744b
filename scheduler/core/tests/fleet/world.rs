//! A fleet that answers, on virtual time: nodes take their time, die, stall, lose their connections and come back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use dunlin_scheduler_core::{
    AttemptEnd, AttemptId, AttemptReport, Config, Epoch, Failure, Incarnation, Input, Inventory,
    InvocationId, Metered, NodeEvent, NodeId, Output, Place, Progress, Report, Request, Scheduler, Time,
};
use fastrand::Rng;

use crate::{boards, checker::Checker};

const EPOCH: Epoch = Epoch(1);
const SLOTS: usize = 8;

pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    pub(crate) checker: Checker,
    pub(crate) now: Time,
    rng: Rng,
    nodes: BTreeMap<NodeId, Board>,
    lengths: BTreeMap<InvocationId, u64>,
    killers: BTreeSet<InvocationId>,
    events: BTreeMap<(Time, u64), Event>,
    next_event: u64,
    pub(crate) trace: String,
}

/// A node as it really is.
struct Board {
    inventory: Inventory,
    incarnation: u64,
    power: bool,
    connected: bool,
    /// It hangs: packets flow, nothing else happens.
    wedged: bool,
    attempts: BTreeMap<AttemptId, Running>,
}

struct Running {
    from: u64,
    next: u64,
    ended: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Submit(Box<Request>, u64),
    Cancel(InvocationId),
    Kill(NodeId),
    Boot(NodeId),
    Cut(NodeId),
    Connect(NodeId),
    Wedge(NodeId),
    Cordon(NodeId),
    Drain(NodeId),
    Uncordon(NodeId),
    /// The scheduler's whole process is away for a while.
    Absence(Duration),
    Packet(NodeId, u64),
    Heartbeat(NodeId, u64),
    Begin(Box<Place>),
    Generate(NodeId, u64, AttemptId),
    /// A message of a connection on its way.
    Arrive(NodeId, u64, NodeEvent),
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut scheduler = Scheduler::new(Config { epoch: EPOCH, seed });
        let known = [boards::SLOW, boards::FAST, boards::FAST_SAVING];
        let aliases = vec![boards::alias("one", &[1]), boards::alias("any", &[2, 1])];
        scheduler.handle(Time::ZERO, Input::CatalogChanged(aliases));
        scheduler.handle(Time::ZERO, Input::CostsChanged(boards::rows(&known, &[1, 2])));
        Self {
            scheduler,
            checker: Checker::default(),
            now: Time::ZERO,
            rng: Rng::with_seed(seed),
            nodes: BTreeMap::new(),
            lengths: BTreeMap::new(),
            killers: BTreeSet::new(),
            events: BTreeMap::new(),
            next_event: 0,
            trace: String::new(),
        }
    }

    pub(crate) fn add(&mut self, id: u64, inventory: Inventory) {
        let board = Board {
            inventory,
            incarnation: 0,
            power: false,
            connected: false,
            wedged: false,
            attempts: BTreeMap::new(),
        };
        self.nodes.insert(NodeId(id), board);
        self.at(Duration::ZERO, Event::Boot(NodeId(id)));
    }

    /// Engines die under it.
    pub(crate) fn is_killer(&mut self, id: InvocationId) {
        self.killers.insert(id);
    }

    pub(crate) fn at(&mut self, since_start: Duration, event: Event) {
        self.next_event += 1;
        self.events.insert((Time::since_epoch(since_start), self.next_event), event);
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now + wait, self.next_event), event);
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(200..4000))
    }

    pub(crate) fn run_until(&mut self, end: Duration) {
        let end = Time::since_epoch(end);
        loop {
            let event = self.events.first_key_value().map(|(&(at, _), _)| at);
            let wakeup = self.scheduler.next_wakeup();
            let Some(next) = [event, wakeup].into_iter().flatten().min().filter(|&at| at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now) {
                if let Some((_, event)) = self.events.pop_first() {
                    self.happen(event);
                }
            } else {
                self.tell(Input::Tick, None);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Submit(request, length) => {
                self.lengths.insert(request.id, length);
                self.checker.submitted(request.id);
                self.tell(Input::Submit(request), None);
            }
            Event::Cancel(id) => self.tell(Input::Cancel(id), None),
            Event::Kill(node) => self.kill(node),
            Event::Boot(node) => self.boot(node),
            Event::Cut(node) => self.cut(node),
            Event::Connect(node) => self.connect(node),
            Event::Wedge(node) => self.board(node).wedged = true,
            Event::Cordon(node) => self.order(node, Input::Cordon(node)),
            Event::Drain(node) => self.order(node, Input::Drain { node, within: Duration::from_secs(30) }),
            Event::Uncordon(node) => {
                self.checker.works(node);
                self.tell(Input::Uncordon(node), None);
            }
            Event::Absence(long) => self.now += long,
            Event::Packet(node, incarnation) => self.packet(node, incarnation),
            Event::Heartbeat(node, incarnation) => self.heartbeat(node, incarnation),
            Event::Begin(place) => self.begin(&place),
            Event::Generate(node, incarnation, attempt) => self.generate(node, incarnation, attempt),
            Event::Arrive(node, incarnation, event) => self.arrive(node, incarnation, event),
        }
    }

    fn board(&mut self, node: NodeId) -> &mut Board {
        self.nodes.get_mut(&node).expect("a board")
    }

    /// It lives this life, and does something.
    fn is_up(&self, node: NodeId, incarnation: u64) -> bool {
        let board = &self.nodes[&node];
        board.power && !board.wedged && board.incarnation == incarnation
    }

    fn kill(&mut self, node: NodeId) {
        let board = self.board(node);
        (board.power, board.connected) = (false, false);
        board.attempts.clear();
    }

    fn boot(&mut self, node: NodeId) {
        let board = self.board(node);
        board.incarnation += 1;
        (board.power, board.wedged) = (true, false);
        board.attempts.clear();
        let incarnation = board.incarnation;
        self.connect(node);
        self.after(Duration::from_secs(1), Event::Heartbeat(node, incarnation));
        self.after(Duration::from_millis(250), Event::Packet(node, incarnation));
    }

    fn cut(&mut self, node: NodeId) {
        let board = self.board(node);
        let (was, incarnation) = (board.connected, board.incarnation);
        board.connected = false;
        if was && self.rng.bool() {
            self.told_by(node, incarnation, NodeEvent::Disconnected, None);
        }
    }

    fn connect(&mut self, node: NodeId) {
        let board = self.board(node);
        if !board.power || board.wedged {
            return;
        }
        board.connected = true;
        let incarnation = board.incarnation;
        let inventory = Inventory { report: self.report(node), ..self.nodes[&node].inventory.clone() };
        self.send(node, NodeEvent::Joined(Box::new(inventory)), incarnation);
    }

    fn report(&self, node: NodeId) -> Report {
        let board = &self.nodes[&node];
        let attempts = board.attempts.iter();
        let attempts = attempts
            .map(|(&attempt, of)| AttemptReport { attempt, epoch: EPOCH, next_offset: of.next })
            .collect();
        Report { attempts, ..board.inventory.report.clone() }
    }

    fn packet(&mut self, node: NodeId, incarnation: u64) {
        let board = &self.nodes[&node];
        if board.power && board.incarnation == incarnation {
            if board.connected {
                self.told_by(node, incarnation, NodeEvent::PacketSeen, None);
            }
            self.after(Duration::from_millis(250), Event::Packet(node, incarnation));
        }
    }

    fn heartbeat(&mut self, node: NodeId, incarnation: u64) {
        if self.is_up(node, incarnation) {
            let report = self.report(node);
            self.send(node, NodeEvent::Report(Box::new(report)), incarnation);
            self.after(Duration::from_secs(1), Event::Heartbeat(node, incarnation));
        }
    }

    /// On its way over the connection, in order since latencies are of one stream... or lost with it.
    fn send(&mut self, node: NodeId, event: NodeEvent, incarnation: u64) {
        let latency = self.latency();
        self.after(latency, Event::Arrive(node, incarnation, event));
    }

    fn arrive(&mut self, node: NodeId, incarnation: u64, event: NodeEvent) {
        let board = &self.nodes[&node];
        if !board.connected || board.incarnation != incarnation {
            return;
        }
        if matches!(event, NodeEvent::Joined(_)) {
            self.checker.joined(node, Incarnation(incarnation));
        }
        let from = match &event {
            NodeEvent::AttemptProgress(progress) => Some(*progress),
            _ => None,
        };
        self.told_by(node, incarnation, event, from);
    }

    fn told_by(&mut self, node: NodeId, incarnation: u64, event: NodeEvent, from: Option<Progress>) {
        self.tell(Input::Node { node, incarnation: Incarnation(incarnation), event }, from);
    }

    /// Work that goes there before the order is fine, after it is not.
    fn order(&mut self, node: NodeId, order: Input) {
        self.checker.rests(node);
        self.tell(order, None);
    }

    fn begin(&mut self, place: &Place) {
        let node = place.node;
        if !self.is_up(node, place.incarnation.0) || !self.nodes[&node].connected {
            return;
        }
        let from = place.resume_at;
        self.board(node).attempts.insert(place.attempt, Running { from, next: from, ended: false });
        self.send(node, NodeEvent::AttemptStarted(place.attempt), place.incarnation.0);
        let wait = Duration::from_millis(self.rng.u64(50..400));
        self.after(wait, Event::Generate(node, place.incarnation.0, place.attempt));
    }

    fn generate(&mut self, node: NodeId, incarnation: u64, attempt: AttemptId) {
        if !self.is_up(node, incarnation) {
            return;
        }
        if self.killers.contains(&attempt.invocation) && self.rng.u8(..) < 128 {
            return self.engine_dies(node, incarnation);
        }
        let whole = self.lengths[&attempt.invocation];
        let tokens = self.rng.u64(1..=16);
        let Some(running) = self.board(node).attempts.get_mut(&attempt).filter(|running| !running.ended)
        else {
            return;
        };
        let offset = running.next;
        running.next = (offset + tokens).min(whole);
        running.ended = running.next == whole;
        let (length, ended) = (running.next - offset, running.ended);
        // Now and then a message is lost, though no transport does that.
        if self.rng.u8(..) > 3 {
            self.give_out(node, incarnation, attempt, offset, length);
        }
        if ended {
            self.end(node, incarnation, attempt, None);
        } else {
            let wait = Duration::from_millis(self.rng.u64(20..600));
            self.after(wait, Event::Generate(node, incarnation, attempt));
        }
    }

    fn give_out(&mut self, node: NodeId, incarnation: u64, attempt: AttemptId, offset: u64, length: u64) {
        let progress = Progress { attempt, epoch: EPOCH, offset, length, tokens: length as u32 };
        self.send(node, NodeEvent::AttemptProgress(progress), incarnation);
    }

    fn end(&mut self, node: NodeId, incarnation: u64, attempt: AttemptId, failure: Option<Failure>) {
        let next_offset = self.board(node).attempts.get(&attempt).map_or(0, |running| running.next);
        let metered = Metered { joules: Some(12.0), joules_error: Some(0.0), ..Metered::default() };
        let ended = AttemptEnd { next_offset, metered, failure };
        self.send(node, NodeEvent::AttemptEnded { attempt, epoch: EPOCH, ended }, incarnation);
    }

    fn engine_dies(&mut self, node: NodeId, incarnation: u64) {
        for attempt in std::mem::take(&mut self.board(node).attempts).into_keys() {
            self.end(node, incarnation, attempt, Some(Failure::EngineDied));
        }
    }

    fn tell(&mut self, input: Input, from: Option<Progress>) {
        self.scheduler.handle(self.now, input);
        while let Some(output) = self.scheduler.poll_output() {
            let lengths = &self.lengths;
            self.checker.watch(&output, from, |id| lengths[&id], SLOTS);
            self.note(&output);
            self.carry_out(output);
        }
    }

    fn note(&mut self, output: &Output) {
        let line = match output {
            Output::Place(place) => format!("{} {:?}", place.attempt, (place.node, &place.point)),
            Output::Record(_) => return,
            other => format!("{other:?}"),
        };
        writeln!(self.trace, "{:?} {line}", self.now).expect("a string");
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Place(place) => {
                let latency = self.latency();
                self.after(latency, Event::Begin(Box::new(place)));
            }
            Output::CancelAttempt { node, attempt } => {
                self.board(node).attempts.remove(&attempt);
            }
            Output::Resend { node, attempt, from } => self.resend(node, attempt, from),
            Output::Fence { node, incarnation, .. } if self.nodes[&node].incarnation == incarnation.0 => {
                self.board(node).connected = false;
                let wait = Duration::from_millis(self.rng.u64(100..2000));
                self.after(wait, Event::Connect(node));
            }
            _ => {}
        }
    }

    fn resend(&mut self, node: NodeId, attempt: AttemptId, from: u64) {
        let incarnation = self.nodes[&node].incarnation;
        if !self.is_up(node, incarnation) {
            return;
        }
        let Some(running) = self.nodes[&node].attempts.get(&attempt) else { return };
        let (next, ended) = (running.next, running.ended);
        assert!(from >= running.from, "what was delivered before it began is asked for");
        if next > from {
            self.give_out(node, incarnation, attempt, from, next - from);
        }
        if ended {
            self.end(node, incarnation, attempt, None);
        }
    }
}
