//! Between one token and the next, at the client of the door, by what it is at the handle of an engine that is alone.

use anyhow::Context as _;
use dunlin_bench_stand::{Figure, Programs, Stand, pairs::Pairs, process::children};
use dunlin_load::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::{
    http::{chat, client},
    model::{Alone, Model, THREADS},
};

const TOKENS: u32 = 64;
/// In ten rounds: engines are started anew for each, since two of a kind differ for as long as they live.
const PAIRS: usize = 20;
const NODE: &str = "ada";

pub(super) fn added(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let model = Model::new()?;
    let mut stand = Stand::with_http(programs)?;
    stand.push(&model.path, "m135")?;
    stand.join(NODE, true, &["--threads", &THREADS.to_string(), "--no-probe"])?;
    // As `dunlin bench` and the worker of a node have it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bias: Map<String, Value> = model.ends.iter().map(|end| (end.to_string(), json!(-100))).collect();
    let extra = Map::from_iter([("logit_bias".to_owned(), Value::Object(bias))]);
    let client = client(&stand, "m135", extra)?;
    let pairs = Pairs::in_rounds(PAIRS, |count| {
        end_engine(&stand)?;
        let alone = runtime.block_on(Alone::start(programs, &model))?;
        runtime.block_on(alone.gap_ms(TOKENS))?;
        through(&runtime, &client)?;
        Pairs::interleave(count, || through(&runtime, &client), || runtime.block_on(alone.gap_ms(TOKENS)))
    })?;
    let ratio = pairs.ratio();
    let note = format!(
        "x {ratio:.3} pairs in ten rounds; a real engine on random weights in the shape of SmolLM2-135M, {THREADS} threads, \
         beside all processes of the fleet"
    );
    Ok(vec![Figure::at_most("itl: through the door by the engine alone", 1.02, ratio.value, "x").note(note)])
}

/// Milliseconds between two tokens at the client.
fn through(runtime: &Runtime, client: &Client) -> anyhow::Result<f64> {
    let sample = runtime.block_on(chat(client, "Say something.", TOKENS.into()))?;
    Ok(sample.tpot().context("an answer of one token")?.as_secs_f64() * 1e3)
}

/// The next request has another process.
fn end_engine(stand: &Stand) -> anyhow::Result<()> {
    for worker in children(stand.pid_of(NODE)?) {
        for engine in children(worker) {
            let engine = Pid::from_raw(engine as i32).context("a process without a number")?;
            kill_process(engine, Signal::KILL)?;
        }
    }
    Ok(())
}
