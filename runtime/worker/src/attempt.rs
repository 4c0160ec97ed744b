//! One attempt: its models are waited for, its component is loaded, it runs, and all that it says goes to the agent.

use std::time::{Duration, Instant};

use dunlin_engine_handle::{Engine, EngineError, Share, Work};
use dunlin_host::{
    Chunk, Grants, Host, Invocation, InvokeError, Limits, LoadError, ModelGrant, Node, Outcome, Pipeline,
    PipelineError, Recorded, Request, Resume,
};
use dunlin_worker_handle::{
    CallId, Ended, Event, Failed, FailureKind, FromWorker, Invoke, Outcome as Told, Usage,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{models::BoardMeter, pipelines::Pipelines};

/// Chunks on their way to the agent; the pipeline waits when there are more.
const CHUNKS: usize = 64;

/// Between two words about what engines did for it, at least. Engines tell every 50 ms, at the end of a step and of all at once:
/// these words come right after, so that those of several attempts are of one moment.
const SHARE_INTERVAL: Duration = Duration::from_millis(25);

/// Says what one attempt has to say; that it ended, in any case.
#[derive(Debug)]
pub(crate) struct Attempt {
    call: CallId,
    out: mpsc::UnboundedSender<FromWorker>,
    began: Instant,
    has_ended: bool,
    /// What engines did for it.
    work: Work,
    /// Of the emulated board, if it is one.
    meter: Option<BoardMeter>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            let ended = Ended::failed(FailureKind::Worker, "the worker lost it: a bug of Dunlin", true);
            self.tell(Event::Ended(Box::new(ended)));
        }
    }
}

impl Attempt {
    pub(crate) fn new(
        call: CallId,
        out: mpsc::UnboundedSender<FromWorker>,
        meter: Option<BoardMeter>,
    ) -> Self {
        Self { call, out, began: Instant::now(), has_ended: false, work: Work::default(), meter }
    }

    fn tell(&self, event: Event) {
        // An agent that is gone closes the socket.
        drop(self.out.send(FromWorker::Event { call: self.call, event }));
    }

    /// `engines`: of the models of `invoke`, in their order.
    pub(crate) async fn run(
        mut self,
        host: &Host,
        pipelines: &Pipelines,
        invoke: Invoke,
        engines: Vec<Option<Engine>>,
        cancel: CancellationToken,
    ) {
        let prepared = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Ended::failed(FailureKind::Cancelled, "cancelled", false)),
            prepared = prepare(host, pipelines, &invoke, engines, &self.work) => prepared,
        };
        let mut ended = match prepared {
            Ok((pipeline, grants)) => {
                self.tell(Event::Started);
                self.invoke(host, &pipeline, grants, invoke, cancel).await
            }
            Err(ended) => ended,
        };
        ended.usage.total_us = micros(self.began.elapsed());
        ended.usage.share = self.work.share();
        self.meter.iter().for_each(BoardMeter::tell);
        self.has_ended = true;
        self.tell(Event::Ended(Box::new(ended)));
    }

    async fn invoke(
        &self,
        host: &Host,
        pipeline: &Pipeline,
        grants: Grants,
        invoke: Invoke,
        cancel: CancellationToken,
    ) -> Ended {
        let (output, mut chunks) = mpsc::channel(CHUNKS);
        let (record, mut recorded) = mpsc::unbounded_channel();
        let request = Request { content_type: invoke.content_type, body: invoke.body, params: invoke.params };
        let invocation = Invocation {
            grants,
            limits: limits(&invoke.budgets, self.began.elapsed()),
            seed: invoke.seed,
            tenant: invoke.tenant,
            attempt: invoke.attempt,
            resume: Resume { generations: invoke.known, delivered_bytes: invoke.delivered_bytes },
            record: Some(record),
            node: Node { id: invoke.node, class: invoke.class, on_battery: invoke.on_battery },
            cancel,
            ..Invocation::new(request, output)
        };
        let invoking = host.invoke(pipeline, invocation);
        tokio::pin!(invoking);
        let mut last_told = tokio::time::Instant::now();
        let mut told_share = Share::default();
        let outcome = loop {
            tokio::select! {
                // What a generation says is known before any text that was made of it.
                biased;
                Some(recorded) = recorded.recv() => self.record(recorded),
                Some(chunk) = chunks.recv() => {
                    while let Ok(earlier) = recorded.try_recv() {
                        self.record(earlier);
                    }
                    self.pass(chunk);
                }
                outcome = &mut invoking => break outcome,
                () = worked(&self.work, last_told + SHARE_INTERVAL) => {
                    last_told = tokio::time::Instant::now();
                    let share = self.work.share();
                    if std::mem::replace(&mut told_share, share) != share {
                        self.tell(Event::Share(share));
                    }
                }
            }
        };
        while let Ok(recorded) = recorded.try_recv() {
            self.record(recorded);
        }
        while let Ok(chunk) = chunks.try_recv() {
            self.pass(chunk);
        }
        told(outcome)
    }

    fn record(&self, Recorded { generation, offset, tokens }: Recorded) {
        self.tell(Event::Tokens { generation, offset, tokens });
    }

    fn pass(&self, chunk: Chunk) {
        self.tell(match chunk {
            Chunk::Text(text) => Event::Text(text),
            Chunk::Json(json) => Event::Json(json),
            Chunk::Progress(share) => Event::Progress(share),
        });
    }
}

/// Engines did something for it, and it is time to tell.
async fn worked(work: &Work, due: tokio::time::Instant) {
    tokio::time::sleep_until(due).await;
    work.changed().await;
}

async fn prepare(
    host: &Host,
    pipelines: &Pipelines,
    invoke: &Invoke,
    engines: Vec<Option<Engine>>,
    work: &Work,
) -> Result<(Pipeline, Grants), Ended> {
    let loading = async { pipelines.load(host, &invoke.component).await.map_err(|error| not_loaded(&error)) };
    let models = async {
        let mut models = Vec::new();
        for (bound, engine) in invoke.models.iter().zip(engines) {
            let no_model = || {
                let reason = format!("the model {:?} is not open on this node", bound.alias);
                Ended::failed(FailureKind::Model, reason, true)
            };
            let engine = engine.ok_or_else(no_model)?;
            engine.ready().await.map_err(|error| not_served(&error))?;
            let mut grant = ModelGrant::new(&bound.alias, &bound.model.0, engine.metered(work));
            grant.operating_point.clone_from(&bound.operating_point);
            models.push(grant);
        }
        Ok(models)
    };
    let (pipeline, models) = tokio::try_join!(loading, models)?;
    let grants = Grants {
        models,
        environment: invoke.environment.clone(),
        public_prefixes: invoke.public_prefixes.clone(),
        ..Grants::default()
    };
    Ok((pipeline, grants))
}

fn not_loaded(error: &LoadError) -> Ended {
    // The same component is as bad elsewhere, but not what this machine does with it.
    let may_retry =
        matches!(error, LoadError::Read { .. } | LoadError::CompileLimit { .. } | LoadError::Compiler { .. });
    Ended::failed(FailureKind::Component, error.to_string(), may_retry)
}

fn not_served(error: &EngineError) -> Ended {
    let may_retry = !matches!(error, EngineError::Model(_) | EngineError::Unsupported(_));
    Ended::failed(FailureKind::Model, error.to_string(), may_retry)
}

/// What is asked, where it is asked; the time that was waited is gone.
fn limits(budgets: &dunlin_worker_handle::Budgets, waited: Duration) -> Limits {
    let mut limits = Limits::default();
    if let Some(time_ms) = budgets.time_ms {
        limits.wall_time = Duration::from_millis(time_ms).saturating_sub(waited);
    }
    let set = |limit: &mut u64, asked: Option<u64>| *limit = asked.unwrap_or(*limit);
    set(&mut limits.tokens, budgets.tokens);
    set(&mut limits.memory_bytes, budgets.memory_bytes);
    set(&mut limits.emitted_bytes, budgets.emitted_bytes);
    limits
}

fn told(outcome: Outcome) -> Ended {
    let told = match outcome.result {
        Ok(response) => Told::Answer { content_type: response.content_type, body: response.body },
        Err(error) => Told::Failed(Failed {
            kind: kind(&error),
            reason: error.to_string(),
            may_retry: error.may_retry(),
        }),
    };
    let used = outcome.usage;
    let usage = Usage {
        generations: used.generations,
        prompt_tokens: used.prompt_tokens,
        cached_tokens: used.cached_tokens,
        output_tokens: used.output_tokens,
        forced_tokens: used.forced_tokens,
        scored_tokens: used.scored_tokens,
        queue_us: used.queue_us,
        ttft_us: used.ttft_us,
        tpot_p50_us: used.tpot_p50_us,
        tpot_p99_us: used.tpot_p99_us,
        total_us: 0,
        share: Share::default(),
    };
    Ended { outcome: told, usage, log: outcome.log.text }
}

fn kind(error: &InvokeError) -> FailureKind {
    match error {
        InvokeError::Pipeline(PipelineError::Unavailable { .. }) => FailureKind::Engine,
        InvokeError::Pipeline(PipelineError::Busy { .. } | PipelineError::Backend(_)) => FailureKind::Model,
        InvokeError::Pipeline(PipelineError::Deadline) | InvokeError::Deadline => FailureKind::Deadline,
        InvokeError::Pipeline(PipelineError::Cancelled) | InvokeError::Cancelled => FailureKind::Cancelled,
        InvokeError::Pipeline(PipelineError::Exhausted(_))
        | InvokeError::Exhausted(_)
        | InvokeError::Memory { .. }
        | InvokeError::Table { .. }
        | InvokeError::Handles => FailureKind::Exhausted,
        InvokeError::Pipeline(_) => FailureKind::Pipeline,
        InvokeError::NotGranted(_) => FailureKind::NotGranted,
        InvokeError::Trap { .. } | InvokeError::Exited(_) => FailureKind::Trap,
        InvokeError::Host(_) => FailureKind::Worker,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
