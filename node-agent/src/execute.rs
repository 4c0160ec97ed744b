//! One attempt, from its order to its end.

use std::{path::PathBuf, sync::Arc};

use dunlin_protocol::{
    BlobDigest, Emission, Ended, Failure, FailureCode, Invoke, Outcome, PipelineRef, Usage,
};
use dunlin_worker_handle::{
    self as worker, Binding, Budgets, Event, FailureKind, Invoke as WorkerInvoke, Outcome as WorkerOutcome,
};
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    attempt::{AttemptLog, End, Next},
    node::Node,
    residents::{InUse, id},
    trace::Traced,
};

/// Runs to the end, which the log then tells.
pub(crate) async fn execute(node: Arc<Node>, invoke: Invoke, log: Arc<AttemptLog>) {
    let (traced, model) = (Traced::begin(&invoke), invoke.models.first().map(|binding| binding.model));
    attempt(&node, invoke, &log).instrument(traced.log(&node)).await;
    if let Next::End(end) = log.next(u64::MAX) {
        node.metrics.ended(&model.map(|model| node.model_name(&model)).unwrap_or_default(), &end);
        traced.tell(&node, &end);
    }
    node.tell();
}

async fn attempt(node: &Arc<Node>, invoke: Invoke, log: &Arc<AttemptLog>) {
    let _ends = EndsAnyway(log.clone());
    let arrived = Instant::now();
    let prepared = tokio::select! {
        biased;
        () = log.cancel.cancelled() => Err(Failure::new(FailureCode::Cancelled, "cancelled")),
        prepared = prepare(node, &invoke, log) => prepared,
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            log.end(|_| End::Refused(failure));
            return;
        }
    };
    let load_us = arrived.elapsed().as_micros() as u64;
    let (model, point) = invoke
        .models
        .first()
        .map_or_else(|| (None, node.point()), |binding| (Some(binding.model), node.point_of(&binding.point)));
    let mut usage = Usage::of(node.name.clone());
    (usage.model, usage.point, usage.load_us) = (model, point, load_us);
    usage.emulated = node.options.emulation.is_some();
    run(node, invoke, log, prepared, usage).await;
}

/// An attempt whose task was lost in the middle ends all the same, and another node may try.
struct EndsAnyway(Arc<AttemptLog>);

impl Drop for EndsAnyway {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            let failure = Failure::new(FailureCode::Internal, "the agent lost the attempt: a bug of Dunlin");
            self.0.end(|_| End::Refused(failure));
        }
    }
}

/// What an attempt needs before it can run.
struct Prepared {
    component: PathBuf,
    models: Vec<Binding>,
    _in_use: Vec<InUse>,
}

async fn prepare(node: &Arc<Node>, invoke: &Invoke, log: &AttemptLog) -> Result<Prepared, Failure> {
    if invoke.models.iter().any(|binding| !node.residents.is_loaded(&binding.model)) {
        log.started(true);
    }
    let component = component(node, &invoke.pipeline).await?;
    let (mut models, mut in_use) = (Vec::new(), Vec::new());
    for binding in &invoke.models {
        let model = match node.model(&binding.model) {
            Some(model) => model,
            None => node.fetch_model(binding.model).await?,
        };
        let threads = node.threads(&binding.point);
        let point = node.point_of(&binding.point);
        in_use.push(node.residents.hold(&model, node.engine(&model), &point, threads).await?);
        models.push(Binding {
            alias: binding.alias.clone(),
            model: id(&binding.model),
            operating_point: describe(&point),
        });
    }
    Ok(Prepared { component, models, _in_use: in_use })
}

async fn component(node: &Arc<Node>, pipeline: &PipelineRef) -> Result<PathBuf, Failure> {
    let digest = match pipeline {
        PipelineRef::Component(digest) => *digest,
        PipelineRef::Builtin(name) => node.builtin(name).ok_or_else(|| {
            Failure::new(FailureCode::NotFound, format!("no pipeline {name:?} comes with this build"))
        })?,
    };
    match node.component(&digest) {
        Some(path) => Ok(path),
        None => node.fetch(BlobDigest::from(digest)).await,
    }
}

async fn run(node: &Node, invoke: Invoke, log: &AttemptLog, prepared: Prepared, usage: Usage) {
    let deadline_ms = invoke.deadline_ms.or(invoke.limits.time_ms);
    let (mut body_bytes, name) = (invoke.resume.body_bytes, name(&invoke.pipeline));
    // What an emulated board showed when the model was loaded comes before.
    node.meter_board();
    let account = node.metering.begin(log.id);
    let mut running = node.worker.invoke(WorkerInvoke {
        component: prepared.component,
        name,
        content_type: invoke.request.content_type,
        body: invoke.request.body.into_vec(),
        params: invoke.request.params.into_iter().map(|param| (param.name, param.value)).collect(),
        models: prepared.models,
        environment: invoke.grants.environment.into_iter().map(|var| (var.name, var.value)).collect(),
        public_prefixes: invoke.grants.public_prefixes.into_iter().map(|prefix| prefix.0).collect(),
        budgets: Budgets {
            time_ms: deadline_ms,
            tokens: invoke.limits.tokens,
            memory_bytes: invoke.limits.memory_bytes,
            emitted_bytes: invoke.limits.emitted_bytes,
        },
        seed: invoke.seed,
        tenant: invoke.tenant,
        attempt: invoke.attempt.number,
        known: invoke.resume.generations.into_iter().map(|tokens| tokens.0).collect(),
        delivered_bytes: invoke.resume.text_bytes,
        node: node.name.to_string(),
        class: node.options.class.clone(),
        on_battery: false,
    });
    let mut is_cancelled = false;
    loop {
        let event = tokio::select! {
            biased;
            event = running.next() => event,
            () = log.cancel.cancelled(), if !is_cancelled => {
                is_cancelled = true;
                running.cancel();
                continue;
            }
        };
        match event {
            Some(Event::Started) => log.started(false),
            Some(Event::Tokens { generation, tokens, .. }) => {
                Emission::tokens(generation, &tokens).for_each(|emission| log.say(emission));
            }
            Some(Event::Text(text)) => Emission::text(&text).for_each(|emission| log.say(emission)),
            Some(Event::Json(json)) => {
                Emission::json(&json).into_iter().for_each(|emission| log.say(emission));
            }
            Some(Event::Progress(share)) => log.say(Emission::Progress((share * 1000.0).round() as u16)),
            Some(Event::Share(share)) => account.note(share),
            Some(Event::Ended(ended)) => {
                if let WorkerOutcome::Answer { body, .. } = &ended.outcome {
                    let rest = body.get(std::mem::take(&mut body_bytes) as usize..).unwrap_or_default();
                    Emission::body(rest).for_each(|emission| log.say(emission));
                }
                // What an emulated board shows comes before the end.
                node.meter_board();
                let energy = account.end(ended.usage.share).await;
                let usage = Usage { energy, ..usage };
                log.end(|offset| End::Ended(Box::new(told(*ended, offset, usage))));
                return;
            }
            None => {
                log.end(|offset| End::Ended(Box::new(lost(offset, usage))));
                return;
            }
        }
    }
}

fn name(pipeline: &PipelineRef) -> String {
    match pipeline {
        PipelineRef::Builtin(name) => name.clone(),
        PipelineRef::Component(digest) => digest.to_string(),
    }
}

fn lost(offset: u64, usage: Usage) -> Ended {
    let failure = Failure::new(FailureCode::Unavailable, "the agent is stopping");
    Ended { offset, outcome: Outcome::Failed(failure), usage, log: String::new() }
}

fn told(ended: worker::Ended, offset: u64, usage: Usage) -> Ended {
    let outcome = match ended.outcome {
        WorkerOutcome::Answer { content_type, .. } => Outcome::Done { content_type },
        WorkerOutcome::Failed(failed) => match failed.kind {
            FailureKind::Cancelled => Outcome::Cancelled,
            FailureKind::Deadline => Outcome::Expired,
            kind => Outcome::Failed(Failure::new(code(kind), failed.reason)),
        },
    };
    let used = ended.usage;
    let usage = Usage {
        generations: used.generations,
        prompt_tokens: used.prompt_tokens,
        cached_tokens: used.cached_tokens,
        output_tokens: used.output_tokens,
        forced_tokens: used.forced_tokens,
        scored_tokens: used.scored_tokens,
        queue_us: used.queue_us,
        ttft_us: if used.ttft_us == 0 { 0 } else { used.ttft_us + usage.load_us },
        tpot_p50_us: used.tpot_p50_us,
        tpot_p99_us: used.tpot_p99_us,
        total_us: used.total_us + usage.load_us,
        ..usage
    };
    let mut log = ended.log;
    log.truncate(log.floor_char_boundary(dunlin_protocol::limits::MAX_TEXT));
    Ended { offset, outcome, usage, log }
}

fn code(kind: FailureKind) -> FailureCode {
    match kind {
        FailureKind::Pipeline | FailureKind::Trap => FailureCode::Pipeline,
        FailureKind::Cancelled => FailureCode::Cancelled,
        FailureKind::Deadline => FailureCode::Deadline,
        FailureKind::Exhausted => FailureCode::Exhausted,
        FailureKind::NotGranted => FailureCode::Forbidden,
        FailureKind::Component => FailureCode::Invalid,
        FailureKind::Model => FailureCode::Unavailable,
        FailureKind::Engine | FailureKind::Worker => FailureCode::Engine,
    }
}

/// As usage names it: `MAXN 4/2`.
fn describe(point: &dunlin_protocol::OperatingPoint) -> String {
    format!("{} {}/{}", point.mode, point.prefill_threads, point.decode_threads)
}

impl Node {
    /// What an order leaves open is as the node does it.
    pub(crate) fn point_of(
        &self,
        asked: &dunlin_protocol::OperatingPoint,
    ) -> dunlin_protocol::OperatingPoint {
        let threads = self.threads(asked);
        dunlin_protocol::OperatingPoint {
            prefill_threads: threads.prefill as u16,
            decode_threads: threads.decode as u16,
            context: asked.context,
            ..self.point()
        }
    }
}
