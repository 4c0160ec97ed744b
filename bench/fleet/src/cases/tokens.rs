//! What a fleet adds to a token, and to a stream.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use dunlin_bench_stand::{
    Client, Figure, Programs, Stand, block_on,
    process::{children, cpu_time},
    quantile, rounded,
};
use dunlin_gguf::synth::{Mix, SynthShape, synth};
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

const STREAMS: usize = 8;
const TOKENS: u32 = 600;
/// About the step of SmolLM2-135M on two cores.
const PACE_MS: u32 = 10;
const SHORT: usize = 400;
const PAIRS: usize = 6;

/// Processes whose time is counted.
struct Watched {
    scheduler: u32,
    agent: u32,
    worker: u32,
}

#[derive(Clone, Copy)]
struct Spent([Duration; 3]);

impl Watched {
    fn of(stand: &Stand) -> anyhow::Result<Self> {
        let agent = stand.pid_of("ada")?;
        let worker = *children(agent).first().context("the agent has no worker")?;
        Ok(Self { scheduler: stand.scheduler.pid(), agent, worker })
    }

    fn spent(&self) -> Spent {
        Spent([self.scheduler, self.agent, self.worker].map(cpu_time))
    }
}

impl Spent {
    /// Microseconds for each of `count`, less what idleness takes in that time.
    fn each(self, before: Self, idle: Self, count: f64) -> [f64; 3] {
        std::array::from_fn(|at| {
            let spent = (self.0[at] - before.0[at]).saturating_sub(idle.0[at]);
            spent.as_secs_f64() * 1e6 / count
        })
    }
}

pub(super) fn path(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::found(programs)?;
    stand.push_tiny()?;
    stand.join("ada", false, &["--threads", "1"])?;
    block_on(async {
        let client = Arc::new(stand.client().await?);
        client.invoke(1, 0).await?;
        let watched = Watched::of(&stand)?;
        let before = watched.spent();
        sleep(Duration::from_secs(3)).await;
        let idle = Spent(std::array::from_fn(|at| watched.spent().0[at] - before.0[at]));
        // As long as the streams are.
        let idle = Spent(idle.0.map(|idle| idle * (TOKENS * PACE_MS) / 3000));
        let before = watched.spent();
        speak(&client).await?;
        let token = watched.spent().each(before, idle, f64::from(TOKENS) * STREAMS as f64);
        let before = watched.spent();
        for _ in 0..SHORT {
            client.invoke(1, 0).await?;
        }
        let stream = watched.spent().each(before, Spent([Duration::ZERO; 3]), SHORT as f64);
        let text = |of: [f64; 3]| {
            let [scheduler, agent, worker] = of.map(rounded);
            format!("scheduler {scheduler}, agent {agent}, worker with its pipelines {worker}")
        };
        let step = f64::from(PACE_MS) * 1e3;
        let added: f64 = token.iter().sum();
        let note = format!("of a step of {PACE_MS} ms, about that of SmolLM2-135M on two cores");
        Ok(vec![
            Figure::plain("tokens: CPU added to a token, 8 streams", format!("{} us", rounded(added)))
                .note(format!("{}; the engine process computes nothing", text(token))),
            Figure::at_most("tokens: CPU added to a token", 2.0, 100.0 * added / step, "%").note(note),
            Figure::plain(
                "tokens: CPU added to a stream of one token",
                format!("{} us", rounded(stream.iter().sum())),
            )
            .note(text(stream)),
        ])
    })
}

async fn speak(client: &Arc<Client>) -> anyhow::Result<()> {
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let client = client.clone();
        streams.spawn(async move { client.invoke(TOKENS, PACE_MS).await });
    }
    while let Some(answered) = streams.join_next().await {
        answered??;
    }
    Ok(())
}

/// Real engines on random weights in the shape of SmolLM2-135M, by their own clocks: through the fleet, and by `dunlin run`.
pub(super) fn tpot(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::found(programs)?;
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("m135.gguf");
    synth(&SynthShape::SMOLLM2_135M, Mix::Q4_0, 1, &model, |_| ())?;
    stand.push(&model, "m135")?;
    stand.join("ada", true, &["--threads", "2"])?;
    let model = model.to_str().context("a path in UTF-8")?;
    let arguments = |name: &str, model: &str| {
        format!("{name} chat --model {model} --text hello --param max_tokens=48 --json")
    };
    let tpot = |said: &str| -> anyhow::Result<f64> {
        let said: Value = serde_json::from_str(said)?;
        let us = said["usage"]["tpot_p50_us"]
            .as_u64()
            .or_else(|| said["usage"]["tpot_p50_ms"].as_f64().map(|ms| (ms * 1e3) as u64));
        Ok(us.with_context(|| format!("no TPOT in {said}"))? as f64)
    };
    let fleet = || tpot(&stand.said(arguments("invoke", "m135").split(' '))?);
    let alone = || tpot(&stand.said_alone(arguments("run", model).split(' ').chain(["--threads", "2"]))?);
    fleet()?;
    let (mut ratios, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let (through, by_itself) = (fleet()?, alone()?);
        ratios.push(through / by_itself);
        steps.push(through / 1e3);
    }
    let spread = (quantile(&mut ratios, 0.0), quantile(&mut ratios, 1.0));
    let note = format!(
        "{PAIRS} pairs, from {:.2} to {:.2}; TPOT {} ms; both with a real engine on random weights",
        spread.0,
        spread.1,
        rounded(quantile(&mut steps, 0.5))
    );
    Ok(vec![
        Figure::at_most("tpot: through the fleet by dunlin run", 1.02, quantile(&mut ratios, 0.5), "x")
            .note(note),
    ])
}
