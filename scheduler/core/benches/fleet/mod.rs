//! A large fleet, half busy.

use std::time::Duration;

use dunlin_costs::Thermal;
use dunlin_scheduler_core::{
    Alias, AttemptEnd, AttemptId, Config, Epoch, Fingerprint, Grants, Incarnation, Input, InvocationId,
    Metered, NodeEvent, NodeId, Objective, Output, Progress, Report, Request, Scheduler, Targets, TenantId,
    Terms, Time, WhenNothingFits,
};
use fastrand::Rng;

use super::boards::{self, Board};

const EPOCH: Epoch = Epoch(1);
const MODELS: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// Four classes of two modes: the low ones are slower, and take less for a token.
const BOARDS: [Board; 8] = [
    board("a", "high", 1.0, 5.0),
    board("a", "low", 1.5, 3.0),
    board("b", "high", 0.4, 9.0),
    board("b", "low", 0.6, 5.5),
    board("c", "high", 2.0, 4.0),
    board("c", "low", 3.0, 2.5),
    board("d", "high", 0.2, 25.0),
    board("d", "low", 0.3, 14.0),
];

const fn board(class: &'static str, mode: &'static str, slow: f64, watts: f64) -> Board {
    Board { class, mode, read_ms: 2.0 * slow, token_ms: 20.0 * slow, watts }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) alias: &'static str,
    pub(crate) objective: Objective,
    pub(crate) targets: bool,
}

pub(crate) struct Bench {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Time,
    rng: Rng,
    next: u128,
    /// What was placed last: the attempt and its node.
    pub(crate) placed: Vec<(AttemptId, NodeId)>,
}

impl Bench {
    /// Every node has three of eight models resident and the others on disk; a tenth of them is throttled. Four operating
    /// points of each model in each mode.
    pub(crate) fn new(nodes: u64, seed: u64) -> Self {
        let scheduler = Scheduler::new(Config { epoch: EPOCH, seed });
        let (now, rng) = (Time::since_epoch(Duration::from_secs(1)), Rng::with_seed(seed));
        let mut bench = Self { scheduler, now, rng, next: 0, placed: Vec::new() };
        let mut aliases: Vec<Alias> =
            MODELS.iter().map(|&model| boards::alias(&format!("model-{model}"), &[model])).collect();
        aliases.push(boards::alias("any", &MODELS));
        bench.tell(Input::CatalogChanged(aliases));
        let threads = [1, 2, 3, 4];
        let rows = BOARDS.iter().flat_map(|board| {
            MODELS.iter().flat_map(move |&model| threads.map(|threads| boards::row(board, model, threads)))
        });
        bench.tell(Input::CostsChanged(rows.collect()));
        (1..=nodes).for_each(|node| bench.join(node));
        bench
    }

    fn join(&mut self, node: u64) {
        let board = BOARDS[self.rng.usize(..BOARDS.len())];
        let first = self.rng.usize(..MODELS.len());
        let models = MODELS.iter().enumerate().map(|(at, &model)| {
            let resident = (at + MODELS.len() - first) % MODELS.len() < 3;
            if resident { boards::resident(model, 8) } else { boards::on_disk(model) }
        });
        let mut inventory = boards::inventory(&board, models.collect());
        let thermal = if self.rng.u8(..10) == 0 { Thermal::Throttled } else { Thermal::Cool };
        inventory.report = Report { thermal, ..inventory.report };
        self.say(NodeId(node), NodeEvent::Joined(Box::new(inventory)));
    }

    pub(crate) fn say(&mut self, node: NodeId, event: NodeEvent) {
        self.tell(Input::Node { node, incarnation: Incarnation(1), event });
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.placed.clear();
        self.scheduler.handle(self.now, input);
        while let Some(output) = self.scheduler.poll_output() {
            if let Output::Place(place) = output {
                self.placed.push((place.attempt, place.node));
            }
        }
    }

    pub(crate) fn request(&mut self, mix: Mix) -> Box<Request> {
        self.next += 1;
        let rng = &mut self.rng;
        let targets = Targets {
            ttft: Some(Duration::from_secs(5)),
            tpot: Some(Duration::from_millis(300)),
            ..Targets::default()
        };
        let terms = Terms {
            objective: mix.objective,
            targets: if mix.targets { targets } else { Targets::default() },
            when_nothing_fits: WhenNothingFits::BestEffort,
            ..Terms::default()
        };
        Box::new(Request {
            id: InvocationId(self.next),
            tenant: TenantId(rng.u64(1..20)),
            model: mix.alias.into(),
            prompt_tokens: rng.u32(10..1000),
            output_tokens: rng.u32(10..200),
            prefixes: Vec::new(),
            grants: Grants::NONE,
            terms,
            time_limit: Some(Duration::from_secs(60)),
            fingerprint: Fingerprint(self.next as u64),
        })
    }

    /// Places so many requests that stay.
    pub(crate) fn occupy(&mut self, requests: usize) {
        for at in 0..requests {
            let alias =
                ["model-1", "model-2", "model-3", "model-4", "model-5", "model-6", "model-7", "model-8"]
                    [at % 8];
            let request = self.request(Mix { alias, objective: Objective::Latency, targets: at % 2 == 0 });
            self.tell(Input::Submit(request));
        }
    }

    pub(crate) fn is_placed(&self, id: InvocationId) -> bool {
        self.placed.iter().any(|(attempt, _)| attempt.invocation == id)
    }

    pub(crate) fn progress(&mut self, (attempt, node): (AttemptId, NodeId), offset: u64, length: u64) {
        let tokens = length as u32;
        let progress = Progress { attempt, epoch: EPOCH, offset, length, tokens };
        self.say(node, NodeEvent::AttemptProgress(progress));
    }

    pub(crate) fn end(&mut self, (attempt, node): (AttemptId, NodeId), next_offset: u64) {
        let ended = AttemptEnd { next_offset, metered: Metered::default(), failure: None };
        self.say(node, NodeEvent::AttemptEnded { attempt, epoch: EPOCH, ended });
    }
}
