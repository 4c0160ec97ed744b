//! Guests that make any calls with any numbers. Whatever they do, the host answers with a number or ends the guest.

use std::env;

use dunlin_engine_handle::fake::{Fake, Script};
use dunlin_host::{InvokeError, Outcome, PipelineSource};

use crate::{program::Program, scene::host};

/// Guests of one run; more of them where this variable says so.
const ROUNDS: u64 = 300;
const ROUNDS_VARIABLE: &str = "DUNLIN_ARBITRARY_ROUNDS";

const RECORDS: usize = 60;

/// Numbers that calls go wrong by, and some that they go right by.
const NUMBERS: [u32; 18] = [
    0,
    1,
    2,
    3,
    7,
    12,
    27,
    256,
    272,
    512,
    544,
    1024,
    65_535,
    65_536,
    131_071,
    131_072,
    0x7fff_ffff,
    u32::MAX,
];

async fn outcome(input: Vec<u8>) -> Outcome {
    let module = wat::parse_str(include_str!("calls.wat")).unwrap();
    let pipeline = host().load(PipelineSource::bytes("calls", module)).await.unwrap();
    let fake =
        Fake::default().answering(|generate| Script::say(if generate.seed % 2 == 0 { "é ok" } else { "" }));
    let mut program = Program::new(&fake.start(), &[]);
    program.invocation.request.body = input;
    program.outcome(pipeline).await
}

#[track_caller]
fn stands(outcome: &Outcome, round: u64) {
    match &outcome.result {
        Ok(_) | Err(InvokeError::Exhausted(_) | InvokeError::Memory { .. }) => {}
        Err(error) => panic!("round {round}: {error}\n{}", outcome.log.text),
    }
}

/// A record that is likely to get somewhere: half of its numbers are ones that mean something.
fn record(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut words = [random.u32(..13), 0, 0, 0, 0, 0];
    for word in &mut words[1..] {
        *word = if random.u8(..) < 230 { NUMBERS[random.usize(..NUMBERS.len())] } else { random.u32(..) };
    }
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// What a guest does that means well, so that the calls after it find a model and a context.
fn opening() -> Vec<u8> {
    let words: [[u32; 6]; 4] =
        [[1, 256, 7, 8, 0, 0], [3, 1, 12, 0, 0, 0], [4, 2, 1, 544, 0, 0], [4, 2, 0, 512, 0, 0]];
    words.into_iter().flatten().flat_map(u32::to_le_bytes).collect()
}

#[tokio::test(start_paused = true)]
async fn any_calls_with_any_numbers_are_answered() {
    let rounds = env::var(ROUNDS_VARIABLE).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut generations = 0;
    for round in 0..rounds {
        let mut random = fastrand::Rng::with_seed(round);
        let mut input = if random.bool() { opening() } else { Vec::new() };
        for _ in 0..RECORDS {
            input.extend(record(&mut random));
        }
        let outcome = outcome(input).await;
        stands(&outcome, round);
        generations += outcome.usage.generations;
    }
    assert!(generations > 0, "none of them got as far as a text");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_means_well_gets_a_text() {
    let mut input = opening();
    for words in [
        [5, 2, 0, 0, 0, 0],
        [6, 2, 0, 2048, 512, 16],
        [7, 2, 0, 0, 0, 0],
        [9, 2, 0, 0, 0, 0],
        [10, 1, 0, 0, 0, 0],
    ] {
        input.extend(words.into_iter().flat_map(u32::to_le_bytes));
    }
    let outcome = outcome(input).await;
    stands(&outcome, 0);
    assert_eq!((outcome.usage.generations, outcome.log.text.as_str()), (2, ""));
}
