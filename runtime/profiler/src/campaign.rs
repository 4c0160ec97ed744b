//! What is measured next. Pure: time is what the caller says was spent.
//!
//! A campaign goes in rounds, each on engines that were started anew, since two engines of a kind differ for as long as
//! they live. In a round every cell that still needs runs has one, in an order drawn from the seed.

use std::{collections::VecDeque, time::Duration};

use crate::{
    Cell, Plan, Sample, State,
    halving::{Seen, rounds, survivors},
    summarize,
};

/// Runs of a cell for each that counts: others were spoilt.
const ATTEMPTS: u32 = 3;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// End the engine that runs, if any, and start one: a run of `Cell::Load`.
    Start {
        cold: bool,
    },
    /// Something short that does not count, on an engine that was just started.
    WarmUp,
    Run {
        cell: Cell,
        warm_up: bool,
    },
}

/// How far a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u32,
    /// As far as it is known: it shrinks when cells are left out.
    pub total: u32,
}

/// The course of a profile.
#[derive(Debug)]
pub struct Campaign {
    plan: Plan,
    state: State,
    metered: bool,
    prefill_threads: Vec<u16>,
    decode_threads: Vec<u16>,
    /// Rounds of scouting that are left; 0: the whole plan is measured.
    scouting: u32,
    round: u32,
    queue: VecDeque<Task>,
    /// What a run of each cell took last, prompts of answers included.
    took: Vec<(Cell, Duration)>,
    skipped: u32,
    budget: Option<Duration>,
}

impl Campaign {
    /// Goes on where `state` ended. `metered`: a sensor counts joules, so that idle draw is worth a look.
    pub fn new(plan: Plan, state: State, budget: Option<Duration>, metered: bool) -> Self {
        let (prefill_threads, decode_threads) = (plan.prefill_threads.clone(), plan.decode_threads.clone());
        let scouting = if plan.prunes { rounds(prefill_threads.len().max(decode_threads.len())) } else { 0 };
        Self {
            plan,
            state,
            metered,
            prefill_threads,
            decode_threads,
            scouting,
            round: 0,
            queue: VecDeque::new(),
            took: Vec::new(),
            skipped: 0,
            budget,
        }
    }

    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    pub const fn state(&self) -> &State {
        &self.state
    }

    pub fn into_state(self) -> State {
        self.state
    }

    /// Cells that the budget did not suffice for.
    pub const fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Thread counts that are still measured, for reading and for writing.
    pub fn threads(&self) -> (&[u16], &[u16]) {
        (&self.prefill_threads, &self.decode_threads)
    }

    /// The next task; `None` if all is measured, or the budget is used up. `spent`: since the campaign began.
    pub fn next(&mut self, spent: Duration) -> Option<Task> {
        loop {
            if self.budget.is_some_and(|budget| spent >= budget) {
                self.skipped +=
                    self.queue.iter().filter(|task| matches!(task, Task::Run { .. })).count() as u32;
                self.queue.clear();
                return None;
            }
            match self.queue.pop_front() {
                Some(Task::Run { cell, .. }) if !self.fits(cell, spent) => self.skipped += 1,
                Some(task) => return Some(task),
                None if self.begin_round() => {}
                None => return None,
            }
        }
    }

    /// A task is done. `took`: all of it, as the caller's clock has it.
    pub fn record(&mut self, sample: Sample, took: Duration) {
        self.took.retain(|(cell, _)| *cell != sample.cell);
        self.took.push((sample.cell, took));
        self.state.samples.push(sample);
    }

    pub fn progress(&self) -> Progress {
        let cells = self.plan.cells(&self.prefill_threads, &self.decode_threads);
        let done = |cell: &Cell| self.state.counted(*cell).min(self.plan.repeats);
        Progress { done: cells.iter().map(done).sum(), total: cells.len() as u32 * self.plan.repeats }
    }

    /// A run that would end after the budget is not begun. What was never run is tried.
    fn fits(&self, cell: Cell, spent: Duration) -> bool {
        let last = self.took.iter().find(|(of, _)| *of == cell).map_or(Duration::ZERO, |(_, took)| *took);
        self.budget.is_none_or(|budget| spent + last <= budget)
    }

    fn begin_round(&mut self) -> bool {
        loop {
            let wanted = self.wanted();
            if !wanted.is_empty() {
                self.fill(wanted);
                return true;
            }
            if self.scouting == 0 {
                return false;
            }
            self.prune();
        }
    }

    /// Cells that need a run in this round.
    fn wanted(&self) -> Vec<Cell> {
        let (cells, runs) = match self.scouting {
            0 => (self.plan.cells(&self.prefill_threads, &self.decode_threads), self.plan.repeats),
            _ => (self.plan.scouts(&self.prefill_threads, &self.decode_threads), self.scouted() + 1),
        };
        let needs = |cell: &Cell| {
            self.state.counted(*cell) < runs && self.state.tried(*cell) < ATTEMPTS * self.plan.repeats
        };
        cells.into_iter().filter(needs).collect()
    }

    /// Rounds of scouting that are over.
    fn scouted(&self) -> u32 {
        rounds(self.plan.prefill_threads.len().max(self.plan.decode_threads.len())) - self.scouting
    }

    fn fill(&mut self, mut wanted: Vec<Cell>) {
        fastrand::Rng::with_seed(self.state.seed ^ u64::from(self.round)).shuffle(&mut wanted);
        self.round += 1;
        let needs_load = |cold| self.state.counted(Cell::Load { cold }) < self.plan.repeats;
        if self.plan.loads && needs_load(true) {
            self.queue.push_back(Task::Start { cold: true });
        }
        self.queue.extend([Task::Start { cold: false }, Task::WarmUp]);
        if self.metered && self.state.counted(Cell::Idle) < self.plan.repeats {
            self.queue.push_back(Task::Run { cell: Cell::Idle, warm_up: false });
        }
        // The first run of each is dropped, unless it is all to be over in seconds.
        let drops_first = self.plan.repeats > 2;
        for cell in wanted {
            if drops_first && self.state.tried(cell) == 0 {
                self.queue.push_back(Task::Run { cell, warm_up: true });
            }
            self.queue.push_back(Task::Run { cell, warm_up: false });
        }
    }

    fn prune(&mut self) {
        self.scouting -= 1;
        let scouts = self.plan.scouts(&self.prefill_threads, &self.decode_threads);
        let seen = |is_prefill: bool| {
            let of_phase = scouts.iter().filter(|cell| matches!(cell, Cell::Prefill { .. }) == is_prefill);
            let seen = of_phase.filter_map(|cell| {
                let summary = summarize(&self.state.seconds(*cell))?;
                let watts = self.state.watts(*cell);
                let joules = watts.map(|watts| watts * summary.median);
                Some(Seen { threads: cell.threads()?, seconds: summary.median, joules })
            });
            survivors(&seen.collect::<Vec<_>>())
        };
        let (prefill, decode) = (seen(true), seen(false));
        if !prefill.is_empty() {
            self.prefill_threads = prefill;
        }
        if !decode.is_empty() {
            self.decode_threads = decode;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Depth, Measured, Points, Spoilt};

    /// Runs a campaign on a machine whose times are `seconds`; returns what was run.
    fn run(campaign: &mut Campaign, seconds: impl Fn(Cell) -> f64) -> Vec<Task> {
        let (mut spent, mut tasks) = (Duration::ZERO, Vec::new());
        while let Some(task) = campaign.next(spent) {
            tasks.push(task);
            assert!(tasks.len() < 10_000, "it does not end");
            let (cell, warm_up) = match task {
                Task::Start { cold } => (Cell::Load { cold }, false),
                Task::Run { cell, warm_up } => (cell, warm_up),
                Task::WarmUp => continue,
            };
            let took = Duration::from_secs_f64(seconds(cell));
            spent += took;
            let measured = Measured { seconds: seconds(cell), ..Measured::default() };
            campaign.record(Sample { cell, measured, spoilt: None, warm_up }, took);
        }
        tasks
    }

    fn flat(cell: Cell) -> f64 {
        if matches!(cell, Cell::Load { .. }) { 0.5 } else { 1.0 }
    }

    fn campaign(points: &Points, budget: Option<u64>) -> Campaign {
        let plan = Plan::new(Depth::Standard, points, 4096);
        Campaign::new(plan, State::new("m", 7), budget.map(Duration::from_secs), false)
    }

    #[test]
    fn every_cell_gets_its_runs_after_one_that_does_not_count() {
        let mut campaign = campaign(&Points::Only(vec![2]), None);
        let tasks = run(&mut campaign, flat);
        let cells = campaign.plan().cells(&[2], &[2]);
        for cell in &cells {
            let runs =
                |warm_up| tasks.iter().filter(|task| **task == Task::Run { cell: *cell, warm_up }).count();
            assert_eq!((runs(true), runs(false)), (1, 3), "{cell}");
        }
        let starts = |cold| tasks.iter().filter(|task| **task == Task::Start { cold }).count();
        assert_eq!((starts(true), starts(false)), (3, 3));
        assert_eq!(campaign.progress(), Progress { done: 39, total: 39 });
        // Another order in each round.
        let order = |round: usize| {
            let rounds: Vec<&[Task]> = tasks.split(|task| *task == Task::WarmUp).collect();
            rounds[round]
                .iter()
                .filter(|task| matches!(task, Task::Run { warm_up: false, .. }))
                .collect::<Vec<_>>()
        };
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn the_order_is_that_of_the_seed() {
        let tasks = |seed| {
            let plan = Plan::new(Depth::Quick, &Points::All { cores: 2 }, 4096);
            run(&mut Campaign::new(plan, State::new("m", seed), None, false), flat)
        };
        assert_eq!(tasks(1), tasks(1));
        assert_ne!(tasks(1), tasks(2));
    }

    #[test]
    fn beaten_thread_counts_are_left_out_early() {
        let mut campaign = campaign(&Points::Auto { cores: 8 }, None);
        let best = |threads: u16, best: u16| 1.0 + 0.1 * f64::from(threads.abs_diff(best));
        let tasks = run(&mut campaign, |cell| match cell {
            Cell::Prefill { threads, .. } => best(threads, 8),
            Cell::Decode { threads, .. } => best(threads, 3),
            _ => 0.5,
        });
        assert_eq!(campaign.threads(), (&[7, 8][..], &[2, 3][..]));
        let on = |count: u16| {
            tasks
                .iter()
                .filter(|task| matches!(task, Task::Run { cell, .. } if cell.threads() == Some(count)))
                .count()
        };
        assert!(on(1) <= 6 && on(3) > 20, "{} {}", on(1), on(3));
    }

    #[test]
    fn a_budget_is_kept_and_everything_has_a_run_before_anything_has_two() {
        let mut tight = campaign(&Points::Only(vec![1]), Some(20));
        let tasks = run(&mut tight, flat);
        assert!((19..=24).contains(&tasks.len()), "{}", tasks.len());
        // 11 cells with a dropped run each do not fit into 20 s; nothing has two runs that count.
        assert!(tight.plan().cells(&[1], &[1]).iter().all(|cell| tight.state().counted(*cell) <= 1));
        assert!(tight.skipped() > 0);
    }

    #[test]
    fn it_goes_on_where_it_ended() {
        let mut first = campaign(&Points::Only(vec![1]), Some(12));
        let before = run(&mut first, flat).len();
        let plan = first.plan().clone();
        let mut second = Campaign::new(plan, first.into_state(), None, false);
        let after = run(&mut second, flat);
        let whole = run(&mut campaign(&Points::Only(vec![1]), None), flat).len();
        let repeated = after.iter().filter(|task| matches!(task, Task::Start { .. } | Task::WarmUp)).count();
        assert!(before + after.len() - repeated <= whole, "{before} {} {whole}", after.len());
        assert_eq!(second.progress().done, second.progress().total);
    }

    #[test]
    fn what_is_always_spoilt_is_given_up() {
        let mut campaign = campaign(&Points::Only(vec![1]), None);
        let mut runs = 0;
        while let Some(task) = campaign.next(Duration::ZERO) {
            runs += 1;
            let (cell, warm_up) = match task {
                Task::Start { cold } => (Cell::Load { cold }, false),
                Task::Run { cell, warm_up } => (cell, warm_up),
                Task::WarmUp => continue,
            };
            let spoilt = Some(Spoilt::Throttled);
            campaign.record(Sample { cell, measured: Measured::default(), spoilt, warm_up }, Duration::ZERO);
            assert!(runs < 1000, "it does not end");
        }
        assert_eq!(campaign.progress().done, 0);
    }
}
