//! The closed form against an engine that is simulated step by step.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use dunlin_costs::{Calibration, Load, Phase, Row, Running, Situation, Steps, Table, Work};

/// A board that is slow enough for everything to matter.
const ROW: &str = r#"
[[row]]
name = "board"
key = { class = "b", firmware = "", runtime = "", backend = "cpu", model = "emulated:m", quantisation = "Q4_0", kv_type = "f16", context = 8192, mode = "m", prefill_threads = 4, decode_threads = 3, thermal = "cool" }
provenance = { origin = "measured", source = "a test" }
load = { cold_ms = 9000, warm_ms = 1000 }
prefill = { p0_ms = 30.0, p1_ms_per_token = 1.5, p2_ms_per_token2 = 0.0002, measured = [16, 4096] }
decode = { batch_ms = [20.0, 24.0, 30.0, 44.0], depth_ms_per_token = 0.002, contention = 0.5, measured_depth = 4096 }
power = { scope = "board-input", idle_w = 3.0, load_w = 5.0, prefill_w = 12.0, decode_w = 9.0 }
"#;

fn row() -> Row {
    Table::parse(ROW).unwrap().rows().next().unwrap().clone()
}

/// What an engine did.
#[derive(Default)]
struct Run {
    first_token: f64,
    last_token: f64,
    /// Above idle.
    joules: f64,
    /// Tokens of each of the others, up to now.
    others: u64,
}

const IDLE: f64 = 3.0;
const READING: f64 = 12.0;
const DECODING: f64 = 9.0;

impl Run {
    /// One step, after which the others have a token more.
    fn step(&mut self, reading: f64, decoding: f64) -> f64 {
        self.joules += reading * (READING - IDLE) + decoding * (DECODING - IDLE);
        self.others += 1;
        reading + decoding
    }
}

/// Seconds to read a chunk in a step of fewer than 64 rows: each token attends much as one that is decoded.
fn in_few_rows(tokens: f64, done: f64) -> f64 {
    1.5e-3 * tokens + 0.6 * 2e-6 * (tokens * tokens / 2.0 + done * tokens)
}

fn in_many_rows(tokens: f64, done: f64) -> f64 {
    1.5e-3 * tokens + 2e-7 * (tokens * tokens + 2.0 * done * tokens)
}

/// Steps as the engine makes them: chunks of the prompts, first come first served, beside the others' tokens. The last step
/// of a prompt has 64 rows, if the prompt has as many.
fn simulate(steps: &Steps, work: Option<&Work>, running: &Running, until: u64) -> Run {
    let mut run = Run::default();
    let mut now = 0.0;
    let decoding = steps.decode_step(running.sequences, running.context as f64);
    let mut prompts = vec![(running.backlog_tokens as f64, 0.0)];
    if let Some(work) = work {
        prompts.push((f64::from(work.prompt_tokens - work.cached_tokens), f64::from(work.cached_tokens)));
        now += 0.030;
        run.joules += 0.030 * (READING - IDLE);
    }
    for (mut left, mut done) in prompts {
        let is_large = left >= 64.0;
        while left > 0.0 {
            let budget = if running.sequences > 0 { (0.1 - decoding).max(0.0) } else { 0.4 };
            let fits = |token: f64| 16.0 * (budget / token / 16.0).floor().max(1.0);
            let (wide, narrow) = (fits(in_many_rows(1.0, done)), fits(in_few_rows(1.0, done)));
            let is_wide = is_large && (running.sequences == 0 || wide >= 64.0);
            let chunk = if is_wide { wide } else { narrow }.min(left);
            let reading = if is_wide { in_many_rows(chunk, done) } else { in_few_rows(chunk, done) };
            now += run.step(reading, decoding);
            (left, done) = (left - chunk, done + chunk);
        }
    }
    run.first_token = now;
    if let Some(work) = work {
        for token in 0..work.output_tokens - 1 {
            let depth = running.context + u64::from(work.prompt_tokens + token);
            now += run.step(0.0, steps.decode_step(running.sequences + 1, depth as f64));
        }
    }
    run.last_token = now;
    while running.sequences > 0 && run.others < until {
        run.step(0.0, decoding);
    }
    run
}

#[test]
fn the_closed_form_is_what_the_steps_add_up_to() {
    let row = row();
    let steps = row.steps();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..500 {
        let prompt_tokens = random.u32(1..4000);
        let cached_tokens = random.u32(0..prompt_tokens);
        let work = Work { prompt_tokens, cached_tokens, output_tokens: random.u32(1..600) };
        let sequences = random.u32(0..8);
        let context = u64::from(sequences) * random.u64(0..2000);
        let running = Running { sequences, context, backlog_tokens: random.u64(0..3) * random.u64(0..2000) };
        let situation = Situation { running, ..Situation::default() };
        let predicted = row.predict(&work, &situation, &Calibration::default());

        let with = simulate(steps, Some(&work), &running, 10_000);
        let without = simulate(steps, None, &running, 10_000);
        let close = |what: &str, predicted: f64, simulated: f64, slack: f64| {
            let error = (predicted - simulated).abs();
            assert!(
                error <= 0.05 * simulated + slack,
                "{what}: {predicted} {simulated} {work:?} {running:?}"
            );
        };
        // Steps are whole: one at each prompt's end may be cut short.
        close("ttft", predicted.ttft.mean, with.first_token, 0.12);
        let rest = predicted.completion.mean - predicted.ttft.mean;
        close("decode", rest, with.last_token - with.first_token, 1e-6);
        let marginal = predicted.joules.unwrap().marginal;
        close("joules", marginal, with.joules - without.joules, 0.5);
    }
}

#[test]
fn alone_it_is_the_formula() {
    let row = row();
    let work = Work { prompt_tokens: 1000, cached_tokens: 400, output_tokens: 101 };
    let check = |situation: Situation, expected: [f64; 4]| {
        let on = row.predict(&work, &situation, &Calibration::default());
        let found = [on.ttft.mean, on.tpot.mean, on.completion.mean, on.joules.unwrap().marginal];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    };
    // 30 + 1.5 * 600 + 0.0002 * (600^2 + 2 * 400 * 600) ms.
    let reading: f64 = 0.030 + 0.900 + 0.168;
    // 100 further steps at depths 1000 to 1099.
    let tpot: f64 = 0.020 + 2e-6 * 1049.5;
    let joules = reading * 9.0 + 100.0 * tpot * 6.0;
    check(Situation::default(), [reading, tpot, reading + 100.0 * tpot, joules]);
    let queued = Situation { queue: 2.0, ..Situation::default() };
    check(queued, [2.0 + reading, tpot, 2.0 + reading + 100.0 * tpot, joules]);
    let cold = Situation { load: Load::Cold, reuse: 10.0, ..Situation::default() };
    // Nine seconds at 5 W, over ten requests.
    check(cold, [9.0 + reading, tpot, 9.0 + reading + 100.0 * tpot, joules + 9.0 * 2.0 / 10.0]);
    // A neighbour slows everything down, but the work is the same.
    let beside = Situation { neighbours: 2, ..Situation::default() };
    check(beside, [2.0 * reading, 2.0 * tpot, 2.0 * (reading + 100.0 * tpot), joules]);
}

#[test]
fn a_sequence_more_costs_only_the_growth_of_the_step() {
    let row = row();
    let work = Work { prompt_tokens: 100, cached_tokens: 99, output_tokens: 2 };
    let decode = |sequences: u32| {
        let running = Running { sequences, context: 0, backlog_tokens: 0 };
        let situation = Situation { running, ..Situation::default() };
        row.predict(&work, &situation, &Calibration::default()).joules.unwrap().decode
    };
    let depth = 6.0 * 100.0 * 2e-6;
    for (beside, growth) in [(0, 20.0), (1, 4.0), (2, 3.0), (3, 3.0), (4, 3.5), (8, 3.5), (31, 3.5)] {
        let expected = 6.0 * growth / 1e3 + depth;
        assert!((decode(beside) - expected).abs() < 1e-9, "{beside}: {} {expected}", decode(beside));
    }
    assert!((row.tpot(&Running { sequences: 3, context: 1000, backlog_tokens: 5 }) - 0.029).abs() < 1e-12);
}

#[test]
fn calibration_scales_its_own_phase() {
    let row = row();
    let work = Work { prompt_tokens: 500, cached_tokens: 0, output_tokens: 50 };
    let plain = row.predict(&work, &Situation::default(), &Calibration::default());
    let mut calibration = Calibration::default();
    calibration.observe(Phase::Decode, 1.0, 1.5);
    let slow = row.predict(&work, &Situation::default(), &calibration);
    assert!((slow.tpot.mean / plain.tpot.mean - 1.5).abs() < 1e-9);
    assert!((slow.ttft.mean - plain.ttft.mean).abs() < 1e-12);
    calibration.observe(Phase::Prefill, 1.0, 0.8);
    let read = row.predict(&work, &Situation::default(), &calibration);
    assert!((read.ttft.mean / plain.ttft.mean - 0.8).abs() < 1e-9);
    let [plain, read] = [plain, read].map(|prediction| prediction.joules.unwrap());
    let expected = 0.8 * plain.prefill + 1.5 * plain.decode;
    assert!((read.marginal / expected - 1.0).abs() < 1e-9, "slow nodes draw longer");
    // Once joules are metered they are what was seen, whatever the times.
    calibration.observe(Phase::Joules, plain.marginal, 2.0 * plain.marginal);
    let metered = row.predict(&work, &Situation::default(), &calibration).joules.unwrap();
    assert!((metered.marginal / plain.marginal - 2.0).abs() < 1e-9);
    assert!((metered.total / metered.marginal - read.total / read.marginal).abs() < 1e-9);
}

#[test]
fn what_was_not_measured_is_flagged() {
    let row = row();
    let check = |prompt_tokens, output_tokens, sequences, extrapolated| {
        let work = Work { prompt_tokens, cached_tokens: 0, output_tokens };
        let running = Running { sequences, context: 0, backlog_tokens: 0 };
        let situation = Situation { running, ..Situation::default() };
        let flags = row.predict(&work, &situation, &Calibration::default()).flags;
        assert_eq!(flags.extrapolated, extrapolated, "{work:?} {running:?}");
        assert!(!flags.emulated && !flags.assumed && !flags.assumed_joules && !flags.stale);
    };
    check(4000, 50, 0, false);
    check(4000, 500, 0, true);
    check(4097, 1, 0, true);
    check(100, 100, 7, false);
    check(100, 100, 8, true);
}

#[test]
fn sizes_between_powers_of_two_are_as_they_were_measured() {
    let steps = |between: &str| {
        let text = ROW.replace("depth_ms", &format!("between_ms = {between}, depth_ms"));
        let row = Table::parse(&text).unwrap().rows().next().unwrap().clone();
        (1..=9).map(|size| (1e4 * row.steps().decode_step(size, 0.0)).round() / 10.0).collect::<Vec<_>>()
    };
    assert_eq!(steps("[]"), [20.0, 24.0, 27.0, 30.0, 33.5, 37.0, 40.5, 44.0, 47.5]);
    assert_eq!(steps("[29.0, 42.0]"), [20.0, 24.0, 29.0, 30.0, 36.0, 42.0, 43.0, 44.0, 47.5]);
    assert_eq!(steps("[33.0]")[2..4], [33.0, 30.0]);
    let text = ROW.replace("depth_ms", "between_ms = [1, 2, 3], depth_ms");
    let fault = Table::parse(&text).unwrap_err().to_string();
    assert!(fault.contains("decode.between_ms has 3 values, and there are 2"), "{fault}");
}

#[test]
fn joules_of_another_scope_are_no_joules() {
    let narrow = ROW.replace("board-input", "cpu-gpu-rail");
    let table = Table::parse(&narrow).unwrap();
    let row = table.rows().next().unwrap();
    let work = Work { prompt_tokens: 10, cached_tokens: 0, output_tokens: 10 };
    let on = row.predict(&work, &Situation::default(), &Calibration::default());
    assert_eq!(on.joules, None);
    assert!(row.reading(&work).unwrap() > 0.0);
    let fault = row.power.as_ref().unwrap().board(dunlin_costs::Bound::Nominal).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "these watts are of CpuGpuRail, and no correction to the board's input is named"
    );
}
