//! Attribution against a board whose truth does not know of shares of time.
//!
//! The board draws by bytes moved and operations done, in steps of a roofline; what each request owes is the Shapley value of
//! every step (the mean of what it adds, over all orders in which the requests of the step could have come). The ledger sees
//! the length of steps, and a meter that averages over 20 ms, ten times a second, with noise.

use std::collections::BTreeMap;

use dunlin_engine_handle::{Division, Part as EnginePart};
use dunlin_meters::{Reading, Trace, Value};

use super::{
    book::Book,
    ledger::{Joules, Work},
};

const WEIGHTS_GB: f64 = 0.77;
const KV_GB_PER_TOKEN: f64 = 32e-6;
const IDLE_W: f64 = 3.2;
const CHUNK: u32 = 128;
const CONCURRENCY: usize = 4;

/// What a request is in one step.
#[derive(Debug, Clone, Copy)]
struct Part {
    rows: f64,
    context: f64,
}

/// Seconds, and joules above idle, of a step with these parts.
fn step(parts: &[Part]) -> (f64, f64) {
    if parts.is_empty() {
        return (0.0, 0.0);
    }
    let rows: f64 = parts.iter().map(|part| part.rows).sum();
    let gigabytes = WEIGHTS_GB + KV_GB_PER_TOKEN * parts.iter().map(|part| part.context).sum::<f64>();
    let (memory, arithmetic) = (gigabytes / 38.0, rows * 7.5e-4);
    let seconds = (memory.powi(3) + arithmetic.powi(3)).cbrt();
    (seconds, 1.3 * seconds + 0.09 * gigabytes + 2.7e-3 * rows)
}

/// What each part owes of the joules of a step.
fn shapley(parts: &[Part]) -> Vec<f64> {
    let n = parts.len();
    let of = |set: usize| {
        let members: Vec<Part> = (0..n).filter(|at| set >> at & 1 == 1).map(|at| parts[at]).collect();
        step(&members).1
    };
    let factorial = |n: usize| (1..=n).product::<usize>() as f64;
    let owed = |at: usize| {
        let without = (0..1usize << n).filter(|set| set >> at & 1 == 0);
        let added = without.map(|set| {
            let size = set.count_ones() as usize;
            factorial(size) * factorial(n - 1 - size) / factorial(n) * (of(set | 1 << at) - of(set))
        });
        added.sum()
    };
    (0..n).map(owed).collect()
}

#[derive(Debug, Default)]
struct Request {
    unread: u32,
    output: u32,
    context: u32,
    work: Work,
    truth: f64,
}

/// A board, its engine and its meter; all time is made up.
struct World {
    random: fastrand::Rng,
    start: std::time::Instant,
    now: f64,
    /// Joules of the board, idle included, until `now`.
    drawn: f64,
    next_sample: f64,
    /// The engine's.
    division: Division,
    trace: Trace,
    book: Book<u32>,
    told: f64,
    running: BTreeMap<u32, Request>,
    done: Vec<(u32, f64, Joules)>,
}

const SAMPLE_EVERY: f64 = 0.1;
const TELL_EVERY: f64 = 0.05;

impl World {
    fn new(seed: u64) -> Self {
        let description = super::tests::description();
        Self {
            random: fastrand::Rng::with_seed(seed),
            start: std::time::Instant::now(),
            now: 0.0,
            drawn: 0.0,
            next_sample: 0.0,
            division: Division::default(),
            trace: Trace::new(description),
            book: Book::new(),
            told: 0.0,
            running: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    fn at(&self, seconds: f64) -> std::time::Instant {
        self.start + std::time::Duration::from_secs_f64(seconds)
    }

    /// Time passes at so many watts; the meter looks whenever it is due.
    fn pass(&mut self, seconds: f64, watts: f64) {
        let end = self.now + seconds;
        while self.next_sample <= end {
            // What it shows is the mean of the step that it looks into.
            let noise = 1.0 + 0.01 * (self.random.f64() - 0.5);
            let reading = Reading { at: self.at(self.next_sample), value: Value::Watts(watts * noise) };
            self.trace.push(reading);
            self.settle();
            self.next_sample += SAMPLE_EVERY;
        }
        self.drawn += watts * seconds;
        self.now = end;
    }

    fn settle(&mut self) {
        let Some(span) = self.trace.span() else { return };
        let window = |from, to| self.trace.window(from, to).map(|window| window.joules);
        self.book.settle(span, window).expect("every window is sampled");
    }

    /// Those that run tell how far they are, at the end of a step, if they have not for a while.
    fn tell(&mut self) {
        if self.now - self.told >= TELL_EVERY {
            self.told = self.now;
            let now = self.at(self.now);
            for (id, of) in &self.running {
                self.book.note(*id, of.work, now);
            }
        }
    }

    /// One has ended, and is told what it took: the meter may not have looked since.
    fn end(&mut self, id: u32) {
        let Some(of) = self.running.remove(&id) else { return };
        if self.running.is_empty() {
            self.trace.note_change(self.at(self.now));
        }
        self.book.end(id, of.work, self.at(self.now));
        self.settle();
        if let Some(joules) = self.book.close(id, of.work) {
            self.done.push((id, of.truth, joules));
        }
    }

    fn arrive(&mut self, id: u32) {
        let (unread, output) = (self.random.u32(64..700), self.random.u32(96..320));
        self.begin(id, unread, output);
    }

    fn begin(&mut self, id: u32, unread: u32, output: u32) {
        if self.running.is_empty() {
            self.trace.note_change(self.at(self.now));
        }
        self.running.insert(id, Request { unread, output, ..Request::default() });
        self.book.open(id, self.at(self.now));
    }

    /// A model is loaded, and somebody waits for it.
    fn load(&mut self, seconds: f64, watts: f64) {
        self.trace.note_change(self.at(self.now));
        self.book.loads(true);
        self.pass(seconds, watts);
        self.trace.note_change(self.at(self.now));
        self.book.loads(false);
    }

    /// One step of all that run, as an engine would take it and account for it.
    fn step(&mut self) {
        let reader = self.running.iter().find(|(_, of)| of.unread > 0).map(|(id, _)| *id);
        let mut ids = Vec::new();
        let mut parts = Vec::new();
        for (id, of) in &self.running {
            let rows = match (of.unread, reader == Some(*id)) {
                (0, _) => 1,
                (unread, true) => unread.min(CHUNK),
                _ => continue,
            };
            ids.push(*id);
            parts.push(Part { rows: f64::from(rows), context: f64::from(of.context + rows / 2) });
        }
        let (seconds, joules) = step(&parts);
        let owed = shapley(&parts);
        let is_reader = |id: &u32| reader == Some(*id);
        let engine_parts: Vec<EnginePart> = ids
            .iter()
            .zip(&parts)
            .map(|(id, part)| EnginePart {
                rows: if is_reader(id) { part.rows as usize } else { 0 },
                context: part.context as usize,
            })
            .collect();
        let shares = self.division.divide(seconds, &engine_parts);
        let watts = IDLE_W + joules / seconds;
        self.pass(seconds, watts);
        for (((id, part), owed), share) in ids.iter().zip(&parts).zip(owed).zip(shares) {
            let Some(of) = self.running.get_mut(id) else { continue };
            of.truth += owed;
            let reads = reader == Some(*id);
            of.context += part.rows as u32;
            if reads {
                of.work.prefill += share;
                of.unread -= part.rows as u32;
            } else {
                of.work.decode += share;
                of.output -= 1;
            }
        }
        self.tell();
        self.settle();
        let over: Vec<u32> =
            self.running.iter().filter(|(_, of)| of.output == 0).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end(id));
    }
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    world.pass(3.0, IDLE_W);
    let mut arrived = 0;
    while world.done.len() < 60 {
        let wanted = arrived < 60 && world.random.f64() < 0.06;
        if wanted && world.running.len() < CONCURRENCY {
            world.arrive(arrived);
            arrived += 1;
        }
        if world.running.is_empty() {
            world.pass(0.02, IDLE_W);
        } else {
            world.step();
        }
    }
    world.pass(0.5, IDLE_W);
    world
}

#[test]
fn requests_pay_what_they_owe_under_concurrency() {
    let mut errors = Vec::new();
    for seed in 0..8 {
        let world = run(seed);
        let of = |(_, truth, joules): &(u32, f64, Joules)| (joules.marginal() / truth - 1.0).abs();
        errors.extend(world.done.iter().map(of));
    }
    errors.sort_by(f64::total_cmp);
    let quantile = |part: f64| errors[((errors.len() - 1) as f64 * part) as usize];
    println!(
        "error per request: median {:.4}, 90 % {:.4}, most {:.4}",
        quantile(0.5),
        quantile(0.9),
        quantile(1.0)
    );
    assert!(quantile(0.5) <= 0.01 && quantile(0.9) <= 0.02, "{} {}", quantile(0.5), quantile(0.9));
}

/// Nine tokens, and nothing before them but idle time and a load that draws much: at any phase of the meter.
#[test]
fn a_short_request_does_not_pay_for_the_load_that_it_waited_for() {
    let mut errors = Vec::new();
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.pass(3.0025 + 0.005 * seed as f64, IDLE_W);
        world.load(2.0, IDLE_W + 25.0);
        world.begin(0, 24, 9);
        while world.done.is_empty() {
            world.step();
        }
        let [(_, truth, joules)] = world.done[..] else { panic!("one request") };
        errors.push((joules.marginal() - truth).abs());
        world.pass(1.0, IDLE_W);
        // What the load drew is not the request's, nor what the board draws when it is idle.
        let totals = world.book.totals();
        assert!((totals.idle - IDLE_W * world.now - 50.0).abs() < 0.7, "{} {}", totals.idle, world.now);
    }
    errors.sort_by(f64::total_cmp);
    println!(
        "joules of a load with a request of one joule: median {:.2}, most {:.2}",
        errors[10], errors[19]
    );
    // Evenly spread they were 0.28 in the median, and 0.93 at most.
    assert!(errors[10] < 0.1 && errors[19] < 0.35, "{errors:?}");
}

#[test]
fn requests_and_idle_are_what_the_meter_showed() {
    for seed in 10..16 {
        let world = run(seed);
        let requests: f64 = world.done.iter().map(|(_, _, joules)| joules.marginal()).sum();
        let totals = world.book.totals();
        let all = requests + totals.idle;
        assert!((all / totals.metered - 1.0).abs() < 0.01, "{all} of {}", totals.metered);
        // And the meter's joules are the board's.
        assert!((totals.metered / world.drawn - 1.0).abs() < 0.01, "{} of {}", totals.metered, world.drawn);
        let idle = IDLE_W * world.now;
        assert!((totals.idle / idle - 1.0).abs() < 0.02, "{} of {idle}", totals.idle);
    }
}
