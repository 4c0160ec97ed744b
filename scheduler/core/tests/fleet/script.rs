//! A scheduler, what is said to it, and what it answers: one line for each output.

use std::{fmt::Write as _, time::Duration};

use dunlin_scheduler_core::{
    AttemptEnd, AttemptId, Config, Decision, Epoch, Failure, Fingerprint, Grants, Incarnation, Input,
    Inventory, InvocationId, Metered, NodeEvent, NodeId, Objective, Outcome, Output, Progress, Report,
    Request, Scheduler, Targets, TenantId, Terms, Time, Usage, WhenNothingFits,
};
use expect_test::Expect;

use crate::boards;

pub(crate) const EPOCH: Epoch = Epoch(3);

/// Of every attempt that ends.
const METERED: Metered = Metered {
    prompt_tokens: 100,
    cached_tokens: 10,
    output_tokens: 0,
    joules: Some(2.5),
    joules_error: None,
    emulated: false,
};

pub(crate) struct Script {
    pub(crate) scheduler: Scheduler,
    now: Time,
    trace: String,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) usages: Vec<Usage>,
}

/// A request of 100 tokens in and 32 out, on terms that anything keeps.
pub(crate) fn request(id: u128, model: &str) -> Request {
    Request {
        id: InvocationId(id),
        tenant: TenantId(1),
        model: model.into(),
        prompt_tokens: 100,
        output_tokens: 32,
        prefixes: Vec::new(),
        grants: Grants::NONE,
        terms: Terms::default(),
        time_limit: None,
        fingerprint: Fingerprint(id as u64),
    }
}

pub(crate) fn terms(objective: Objective, targets: Targets, when_nothing_fits: WhenNothingFits) -> Terms {
    Terms { objective, targets, when_nothing_fits, ..Terms::default() }
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Script {
    /// Knows models 1 and 2 (aliases `one`, `two`, `any`), and rows of three boards.
    pub(crate) fn new() -> Self {
        let mut script = Self {
            scheduler: Scheduler::new(Config { epoch: EPOCH, seed: 1 }),
            now: Time::since_epoch(Duration::from_secs(1000)),
            trace: String::new(),
            decisions: Vec::new(),
            usages: Vec::new(),
        };
        let aliases =
            vec![boards::alias("one", &[1]), boards::alias("two", &[2]), boards::alias("any", &[2, 1])];
        let known = [boards::SLOW, boards::FAST, boards::FAST_SAVING];
        script.tell(Input::CatalogChanged(aliases));
        script.tell(Input::CostsChanged(boards::rows(&known, &[1, 2])));
        script
    }

    pub(crate) fn tell(&mut self, input: Input) -> &mut Self {
        self.scheduler.handle(self.now, input);
        while let Some(output) = self.scheduler.poll_output() {
            self.note(output);
        }
        self
    }

    /// Time passes, with a call at each wakeup.
    pub(crate) fn pass(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(wakeup) = self.scheduler.next_wakeup().filter(|&at| at <= end) {
            self.now = self.now.max(wakeup);
            self.tell(Input::Tick);
        }
        self.now = end;
        self.tell(Input::Tick)
    }

    /// Time passes, and every node is heard.
    pub(crate) fn pass_alive(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while self.now < end {
            let nodes: Vec<_> = self.scheduler.nodes().filter(|node| node.connected).collect();
            for node in nodes {
                let (node, incarnation) = (node.id, node.incarnation);
                self.tell(Input::Node { node, incarnation, event: NodeEvent::PacketSeen });
            }
            let step = (end - self.now).min(ms(200));
            self.pass(step);
        }
        self
    }

    /// Time passes in which nobody calls.
    pub(crate) fn sleep(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    pub(crate) fn submit(&mut self, request: Request) -> &mut Self {
        self.tell(Input::Submit(Box::new(request)))
    }

    pub(crate) fn say(&mut self, node: u64, event: NodeEvent) -> &mut Self {
        self.say_as(node, 1, event)
    }

    pub(crate) fn say_as(&mut self, node: u64, incarnation: u64, event: NodeEvent) -> &mut Self {
        let (node, incarnation) = (NodeId(node), Incarnation(incarnation));
        self.tell(Input::Node { node, incarnation, event })
    }

    pub(crate) fn join(&mut self, node: u64, inventory: Inventory) -> &mut Self {
        self.say(node, NodeEvent::Joined(Box::new(inventory)))
    }

    pub(crate) fn report(&mut self, node: u64, report: Report) -> &mut Self {
        self.say(node, NodeEvent::Report(Box::new(report)))
    }

    pub(crate) fn started(&mut self, node: u64, id: u128, number: u32) -> &mut Self {
        self.say(node, NodeEvent::AttemptStarted(attempt(id, number)))
    }

    pub(crate) fn progress(
        &mut self,
        node: u64,
        id: u128,
        number: u32,
        offset: u64,
        length: u64,
    ) -> &mut Self {
        let attempt = attempt(id, number);
        let tokens = length as u32;
        let progress = Progress { attempt, epoch: EPOCH, offset, length, tokens };
        self.say(node, NodeEvent::AttemptProgress(progress))
    }

    pub(crate) fn ended(&mut self, node: u64, id: u128, number: u32, next_offset: u64) -> &mut Self {
        self.end(node, id, number, next_offset, None)
    }

    pub(crate) fn failed(&mut self, node: u64, id: u128, number: u32, failure: Failure) -> &mut Self {
        self.end(node, id, number, 0, Some(failure))
    }

    fn end(
        &mut self,
        node: u64,
        id: u128,
        number: u32,
        next_offset: u64,
        failure: Option<Failure>,
    ) -> &mut Self {
        let ended = AttemptEnd { next_offset, metered: METERED, failure };
        self.say(node, NodeEvent::AttemptEnded { attempt: attempt(id, number), epoch: EPOCH, ended })
    }

    /// What came out since the last time.
    pub(crate) fn check(&mut self, expected: &Expect) -> &mut Self {
        expected.assert_eq(&std::mem::take(&mut self.trace));
        self
    }

    pub(crate) fn forget(&mut self) -> &mut Self {
        self.trace.clear();
        self
    }

    fn note(&mut self, output: Output) {
        let line = match output {
            Output::Place(place) => {
                let model = place.model.as_bytes()[0];
                let point = &place.point;
                format!(
                    "place {} on {} from {}: model {model} in {} with {} threads",
                    place.attempt, place.node, place.resume_at, point.mode, point.decode_threads
                )
            }
            Output::CancelAttempt { node, attempt } => format!("cancel {attempt} on {node}"),
            Output::Resend { node, attempt, from } => format!("resend {attempt} on {node} from {from}"),
            Output::LoadModel { node, model } => format!("load {} on {node}", model.as_bytes()[0]),
            Output::Deliver { invocation, offset, skip, length } => {
                format!("deliver {invocation} at {offset}: {length}, skipping {skip}")
            }
            Output::Ended { invocation, outcome, usage, .. } => {
                self.usages.push(usage);
                format!("end {invocation}: {}", outcome_line(&outcome))
            }
            Output::Fence { node, incarnation, reason } => format!("fence {node}.{incarnation}: {reason:?}"),
            Output::Duplicate(invocation) => format!("duplicate {invocation}"),
            Output::Drained(node) => format!("drained {node}"),
            Output::Record(decision) => {
                self.decisions.push(*decision);
                return;
            }
            Output::Measured(_) => return,
        };
        writeln!(self.trace, "{line}").expect("a string");
    }
}

fn outcome_line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refusal) => match refusal.retry_after {
            Some(after) => format!("refused, {}; retry after {} s", refusal.reason, after.as_secs()),
            None => format!("refused, {}", refusal.reason),
        },
        Outcome::Failed(fault) => format!("failed, {fault}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn attempt(id: u128, number: u32) -> AttemptId {
    AttemptId { invocation: InvocationId(id), number }
}
