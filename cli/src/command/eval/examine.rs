//! One model before all items.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use dunlin_engine_handle::Engine;
use dunlin_gguf::Grouped;
use dunlin_host::{Grants, Host, Invocation, InvokeError, ModelGrant, Outcome, Pipeline};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use super::{item::Item, score::Scores};
use crate::{
    engine::{self, DeathWatch, EngineOptions},
    failure::{Failure, warn},
    host, pipelines,
    store::Model,
    terminal::{self, progress::Progress},
};

/// One answer may take this long.
const PATIENCE: Duration = Duration::from_mins(10);

/// What became of a model.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) model: Model,
    pub(super) scores: Scores,
    /// Errors, each with how often it came.
    errors: BTreeMap<String, u32>,
    took: Duration,
    output_tokens: u64,
}

/// Loads a model, and asks it everything.
pub(super) async fn examine(
    host: &Host,
    model: Model,
    items: &[Item],
    options: &EngineOptions,
    at_once: u32,
    progress: &Progress,
) -> anyhow::Result<Examined> {
    let engine = engine::start(&model, options)?;
    let pipelines = load_pipelines(host, items, progress).await?;
    engine::ready(&engine, &model, progress).await?;
    let watch = DeathWatch::new(&engine);
    let began = Instant::now();
    let bar = progress.count(&model.name, items.len());
    let mut examined = Examined {
        scores: Scores::default(),
        errors: BTreeMap::new(),
        took: Duration::ZERO,
        output_tokens: 0,
        model,
    };
    let mut running = JoinSet::new();
    for (index, item) in items.iter().enumerate() {
        if running.len() >= at_once as usize {
            finish(&mut running, items, &mut examined).await?;
            bar.advance(1);
        }
        let pipeline = pipelines[item.task.pipeline()].clone();
        running.spawn(ask(host.clone(), pipeline, invocation(item, &examined.model, &engine), index));
    }
    while !running.is_empty() {
        finish(&mut running, items, &mut examined).await?;
        bar.advance(1);
    }
    if let Some(death) = watch.death() {
        warn(&format!("{}: {death}; the answers that it was at are counted as wrong", examined.model.name));
    }
    examined.took = began.elapsed();
    Ok(examined)
}

async fn load_pipelines(
    host: &Host,
    items: &[Item],
    progress: &Progress,
) -> Result<BTreeMap<&'static str, Pipeline>, Failure> {
    let names: BTreeSet<&str> = items.iter().map(|item| item.task.pipeline()).collect();
    let mut loaded = BTreeMap::new();
    for name in names {
        loaded.insert(name, host::load(host, pipelines::find(name)?, progress).await?.pipeline);
    }
    Ok(loaded)
}

fn invocation(item: &Item, model: &Model, engine: &Engine) -> Invocation {
    // Nobody listens to chunks: what is marked is the answer.
    let (output, mut chunks) = mpsc::channel(1);
    tokio::spawn(async move { while chunks.recv().await.is_some() {} });
    let mut invocation = Invocation::new(item.request(), output);
    let grant = ModelGrant::new(model.short_name(), model.sha256.clone().unwrap_or_default(), engine.clone());
    invocation.grants = Grants::default().model(grant);
    invocation.limits.wall_time = PATIENCE;
    invocation
}

async fn ask(host: Host, pipeline: Pipeline, invocation: Invocation, index: usize) -> (usize, Outcome) {
    (index, host.invoke(&pipeline, invocation).await)
}

/// Waits for one answer, and marks it.
async fn finish(
    running: &mut JoinSet<(usize, Outcome)>,
    items: &[Item],
    examined: &mut Examined,
) -> anyhow::Result<()> {
    let Some(joined) = running.join_next().await else { return Ok(()) };
    let (index, outcome) = joined?;
    let item = &items[index];
    examined.output_tokens += u64::from(outcome.usage.output_tokens);
    let mark = match &outcome.result {
        Ok(response) => Some(item.mark(&response.body)),
        Err(error) => {
            examined.note(item, error);
            None
        }
    };
    examined.scores.add(item, mark);
    Ok(())
}

impl Examined {
    fn note(&mut self, item: &Item, error: &InvokeError) {
        tracing::info!(id = %item.id, %error, "an item failed");
        *self.errors.entry(format!("{}: {error}", item.task.pipeline())).or_default() += 1;
    }

    /// What the table does not show.
    pub(super) fn tell(&self) {
        let answers: u32 = self.scores.0.values().map(|score| score.items).sum();
        let seconds = self.took.as_secs_f64();
        let name = self.model.variant.as_ref().map_or(self.model.short_name(), ToString::to_string);
        terminal::tell(format_args!(
            "{name}: {} answers in {seconds:.1} s, {:.0} a second, {} output tokens",
            Grouped(answers.into()),
            f64::from(answers) / seconds.max(1e-9),
            Grouped(self.output_tokens)
        ));
        for (error, count) in &self.errors {
            warn(&format!("{name}: {count} failed with `{error}`"));
        }
    }

    pub(super) fn json(&self) -> Value {
        let scores: Vec<_> = self.scores.0.iter().map(|(kind, score)| score.json(kind)).collect();
        json!({
            "name": self.model.name,
            "variant": self.model.variant,
            "sha256": self.model.sha256,
            "scores": scores,
            "seconds": self.took.as_secs_f64(),
            "output_tokens": self.output_tokens,
            "errors": self.errors,
        })
    }
}
