//! Predictions follow nodes that change, on virtual time: requests one after another on one node.

use std::time::Duration;

use dunlin_costs::Thermal;
use dunlin_scheduler_core::Report;

use crate::{
    boards::{FAST, inventory, resident},
    script::{Script, request},
};

const NODE: u64 = 1;
const OUTPUT: u64 = 32;

/// A node, and how much slower than its row it is.
struct Bench {
    script: Script,
    next: u128,
    random: fastrand::Rng,
    thermal: Thermal,
    /// To the first token, and of a further one, as the row says.
    row: (f64, f64),
}

/// What was predicted of one request, by what it took.
struct Served {
    ttft: f64,
    tpot: f64,
    stale: bool,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut script = Script::new();
        script.join(NODE, inventory(&FAST, vec![resident(1, 4)]));
        let mut bench = Self {
            script,
            next: 1,
            random: fastrand::Rng::with_seed(seed),
            thermal: Thermal::Cool,
            row: (0.0, 0.0),
        };
        let (ttft, tpot, _) = bench.submit();
        bench.row = (ttft, tpot);
        bench.run((1.0, 1.0));
        bench
    }

    fn submit(&mut self) -> (f64, f64, bool) {
        self.script.submit(request(self.next, "one"));
        let decision = self.script.decisions.last().expect("it was placed");
        let prediction = decision.chosen().expect("one was chosen").prediction;
        (prediction.ttft.mean, prediction.tpot.mean, prediction.flags.stale)
    }

    /// Runs what was submitted, with 5 % of noise. Gives what it took.
    fn run(&mut self, factor: (f64, f64)) -> (f64, f64) {
        let mut noise = || 1.0 + 0.1 * (self.random.f64() - 0.5);
        let (ttft, tpot) = (self.row.0 * factor.0 * noise(), self.row.1 * factor.1 * noise());
        let (script, id) = (&mut self.script, self.next);
        script.started(NODE, id, 0).pass_alive(Duration::from_secs_f64(ttft)).progress(NODE, id, 0, 0, 1);
        for offset in (1..OUTPUT).step_by(8) {
            let length = 8.min(OUTPUT - offset);
            script.pass_alive(Duration::from_secs_f64(tpot * length as f64));
            script.progress(NODE, id, 0, offset, length);
        }
        script.ended(NODE, id, 0, OUTPUT).forget();
        self.next += 1;
        self.report();
        (ttft, tpot)
    }

    fn serve(&mut self, factor: (f64, f64)) -> Served {
        let predicted = self.submit();
        let (ttft, tpot) = self.run(factor);
        Served { ttft: predicted.0 / ttft, tpot: predicted.1 / tpot, stale: predicted.2 }
    }

    /// Requests until three in a row are predicted within 10 %, but for the noise of each.
    fn until_it_follows(&mut self, factor: (f64, f64)) -> usize {
        let is_near = |ratio: f64| (ratio - 1.0).abs() <= 0.15;
        let mut near = 0;
        (1..=60)
            .find(|_| {
                let served = self.serve(factor);
                near = if is_near(served.ttft) && is_near(served.tpot) { near + 1 } else { 0 };
                near == 3
            })
            .expect("it follows")
    }

    fn heat(&mut self, thermal: Thermal) {
        self.thermal = thermal;
        self.report();
    }

    fn report(&mut self) {
        let board = inventory(&FAST, vec![resident(1, 4)]);
        self.script.report(NODE, Report { thermal: self.thermal, ..board.report });
    }
}

#[test]
fn a_node_that_changes_its_speed_is_followed_within_twenty_requests() {
    for seed in 0..5 {
        let mut bench = Bench::new(seed);
        for _ in 0..30 {
            bench.serve((1.0, 1.0));
        }
        let needed = bench.until_it_follows((2.0, 2.0));
        assert!(needed <= 20, "{needed} requests until twice the time is followed");
        let needed = bench.until_it_follows((1.0, 1.0));
        assert!(needed <= 20, "{needed} requests until it is quick again");
    }
}

#[test]
fn a_node_that_is_five_times_as_slow_as_it_says_is_marked_within_twenty_requests() {
    let mut bench = Bench::new(1);
    let marked = (1..=40).find(|_| bench.serve((5.0, 5.0)).stale);
    assert!(marked.is_some_and(|requests| requests <= 20), "{marked:?}");
    let stale = bench.script.scheduler.nodes().next().expect("a node").stale;
    assert_eq!(stale, [crate::boards::digest(1)]);
}

/// What is learned of a hot board says nothing of a cool one, and the other way round.
#[test]
fn each_thermal_state_has_what_was_learned_in_it() {
    let mut bench = Bench::new(2);
    for _ in 0..10 {
        bench.serve((1.3, 1.3));
    }
    bench.heat(Thermal::Throttled);
    let first = bench.serve((2.0, 2.0));
    assert!((first.tpot - 0.5).abs() < 0.05, "nothing is known of it hot: {}", first.tpot);
    for _ in 0..10 {
        bench.serve((2.0, 2.0));
    }
    let hot = bench.serve((2.0, 2.0));
    assert!((hot.tpot - 1.0).abs() < 0.1, "{}", hot.tpot);
    bench.heat(Thermal::Cool);
    let cool = bench.serve((1.3, 1.3));
    assert!((cool.tpot - 1.0).abs() < 0.1, "what was learned before is still there: {}", cool.tpot);
}
