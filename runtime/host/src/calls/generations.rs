//! `dunlin:llm/contexts.generation`: what an engine adds to a context, as the guest asks for it.

use std::{collections::VecDeque, sync::Arc};

use dunlin_engine_handle as engine;
use tokio::{sync::Mutex, time::timeout};
use wasmtime::component::Resource;
use wasmtime_wasi::{
    async_trait,
    p2::{DynPollable, Pollable, subscribe},
};

use crate::{
    bindings::dunlin::llm::{
        contexts::{Event, HostGeneration, Logprob, Options, Sampling, TokenInfo},
        types::{Error, StopReason},
    },
    calls::{account::Account, contexts::SharedSequence, job::Job, models::Model},
    invoke::{
        failure::{Failure, invalid, table_trap},
        interrupt::{Interrupt, SETTLE, Stop},
        state::State,
    },
};

/// Stop strings of one generation, and entries of its logit bias.
const MAX_STOPS: usize = 64;
const MAX_BIASES: usize = 4096;

/// Alternatives to a token.
const MAX_TOP_LOGPROBS: u32 = 20;

/// The guest's handle. Its pollables share what is inside, and are ready for good once it is gone.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings export it, though they are private themselves")]
pub struct Generation(Arc<Mutex<Live>>);

/// A running generation, and what it has said that the guest has not asked for yet.
#[derive(Debug)]
struct Live {
    /// `None` once the last delta or an error came.
    engine: Option<engine::Generation>,
    queue: VecDeque<Queued>,
    /// Came without anything to show; joins the context with what is shown next.
    carry: Joining,
    failed: Option<Error>,
    /// `None` once the last event was delivered: the context is free again.
    sequence: Option<SharedSequence>,
    account: Account,
    interrupt: Interrupt,
}

#[derive(Debug)]
struct Queued {
    event: Event,
    joins: Joining,
}

/// What joins the context when its event is delivered.
#[derive(Debug, Default)]
struct Joining {
    text: String,
    tokens: Vec<engine::Token>,
}

impl Generation {
    pub(crate) fn start(
        job: &Job,
        model: &Model,
        sequence: SharedSequence,
        options: Options,
        constraint: Option<engine::Constraint>,
        deadline_ms: u64,
    ) -> Result<Self, Error> {
        check(&options)?;
        let place = job.meters.generations.hold(1)?;
        let max_tokens = u64::from(options.max_tokens).min(job.meters.tokens.left());
        let tokens = job.meters.tokens.hold(max_tokens.max(1))?;
        let (seed, prompt, public) = {
            let mut sequence = sequence.lock();
            (sequence.begin_generation()?, sequence.tokens().to_vec(), sequence.public())
        };
        let own_seed = options.sampling.as_ref().and_then(|sampling| sampling.seed);
        let recording = job.recorder.begin();
        let generate = engine::Generate {
            prompt,
            replay: recording.replay.clone(),
            tenant: job.tenant.clone(),
            public,
            max_tokens: max_tokens as u32,
            sampling: options.sampling.map(sampling),
            seed: own_seed.unwrap_or(seed),
            stop: options.stop,
            top_logprobs: options.top_logprobs,
            constraint,
            deadline_ms: Some(deadline_ms),
        };
        let live = Live {
            engine: Some(model.engine().generate(generate)),
            queue: VecDeque::new(),
            carry: Joining::default(),
            failed: None,
            sequence: Some(sequence),
            account: Account::open(job, model, place, tokens, recording),
            interrupt: job.interrupt.clone(),
        };
        Ok(Self(Arc::new(Mutex::new(live))))
    }
}

impl Live {
    /// Waits until there is something to deliver, or the end.
    async fn arrive(&mut self) {
        while self.queue.is_empty() && self.failed.is_none() {
            let Some(engine) = &mut self.engine else { return };
            let stop = tokio::select! {
                biased;
                delta = engine.next() => {
                    self.take(delta);
                    continue;
                }
                stop = self.interrupt.stopped() => stop,
            };
            // The engine knows of deadlines. Its last words and its usage are waited for, but not for long.
            if stop == Stop::Cancelled {
                engine.cancel();
            }
            match timeout(SETTLE, engine.next()).await {
                Ok(delta) => self.take(delta),
                Err(_) => self.fail(stop.into()),
            }
        }
    }

    /// Takes what is there already.
    fn gather(&mut self) {
        while let Some(delta) = self.engine.as_mut().and_then(engine::Generation::try_next) {
            self.take(Some(delta));
        }
    }

    fn take(&mut self, delta: Option<Result<engine::Delta, engine::EngineError>>) {
        match delta {
            Some(Ok(delta)) => self.take_delta(delta),
            Some(Err(error)) => self.fail(error.into()),
            None => self.engine = None,
        }
    }

    fn take_delta(&mut self, delta: engine::Delta) {
        self.account.take(&delta.tokens);
        self.carry.tokens.extend(delta.tokens);
        if !delta.text.is_empty() {
            self.carry.text += &delta.text;
            self.push(Event::Text(delta.text));
        }
        if !delta.logprobs.is_empty() {
            self.push(Event::Tokens(delta.logprobs.into_iter().map(token_info).collect()));
        }
        if let Some(finish) = delta.finish {
            let usage = self.account.tell(&finish.usage);
            self.push(Event::Finish((stop_reason(finish.reason), usage)));
            self.engine = None;
        }
    }

    fn push(&mut self, event: Event) {
        self.queue.push_back(Queued { event, joins: std::mem::take(&mut self.carry) });
    }

    fn fail(&mut self, error: Error) {
        self.engine = None;
        self.failed = Some(error);
    }

    /// Up to `max` events, joined to the context; an error only when nothing is before it.
    fn deliver(&mut self, max: usize) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        while let Some(queued) = self.queue.pop_front_if(|_| events.len() < max) {
            if let Err(error) = self.join(&queued.joins) {
                self.queue.clear();
                self.fail(error);
                break;
            }
            events.push(queued.event);
        }
        if !self.queue.is_empty() {
            return Ok(events);
        }
        if let Some(error) = self.failed.take_if(|_| events.is_empty()) {
            self.end();
            return Err(error);
        }
        if self.engine.is_none() && self.failed.is_none() {
            self.end();
        }
        Ok(events)
    }

    fn join(&self, joins: &Joining) -> Result<(), Error> {
        match &self.sequence {
            Some(sequence) if !joins.tokens.is_empty() || !joins.text.is_empty() => {
                sequence.lock().join(&joins.text, &joins.tokens)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Stops the engine, if it still runs, and frees the context.
    fn end(&mut self) {
        self.gather();
        self.engine = None;
        self.queue.clear();
        self.account.close();
        if let Some(sequence) = self.sequence.take() {
            sequence.lock().end_generation();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

impl HostGeneration for State {
    async fn next(
        &mut self,
        generation: Resource<Generation>,
        max_events: u32,
    ) -> Result<Vec<Event>, Failure> {
        self.job.count_call()?;
        let live = self.table.get(&generation)?.0.clone();
        let mut live = live.lock().await;
        live.arrive().await;
        live.gather();
        Ok(live.deliver(max_events.max(1) as usize)?)
    }

    fn subscribe(&mut self, generation: Resource<Generation>) -> wasmtime::Result<Resource<DynPollable>> {
        self.job.count_call()?;
        let arrival = Arrival(self.table.get(&generation)?.0.clone());
        let arrival = self.table.push(arrival).map_err(table_trap)?;
        // Given away whole, so that it is deleted with the pollable and not with the generation.
        subscribe(&mut self.table, arrival)
    }

    fn cancel(&mut self, generation: Resource<Generation>) -> wasmtime::Result<()> {
        self.job.count_call()?;
        let live = self.table.get(&generation)?.0.clone();
        if let Ok(live) = live.try_lock()
            && let Some(engine) = &live.engine
        {
            engine.cancel();
        }
        Ok(())
    }

    fn drop(&mut self, generation: Resource<Generation>) -> wasmtime::Result<()> {
        let Generation(live) = self.table.delete(generation)?;
        // Pollables may still hold it. Nobody else does: the guest is in this call, not in a poll.
        if let Ok(mut live) = live.try_lock() {
            live.end();
        }
        Ok(())
    }
}

/// Ready when [`HostGeneration::next`] would not wait.
struct Arrival(Arc<Mutex<Live>>);

#[async_trait]
impl Pollable for Arrival {
    async fn ready(&mut self) {
        self.0.lock().await.arrive().await;
    }
}

fn check(options: &Options) -> Result<(), Error> {
    if options.max_tokens == 0 {
        return Err(invalid("max-tokens is 0"));
    }
    if options.stop.len() > MAX_STOPS || options.stop.iter().any(String::is_empty) {
        return Err(invalid(format!("at most {MAX_STOPS} stop strings, none of them empty")));
    }
    if options.sampling.as_ref().is_some_and(|sampling| sampling.logit_bias.len() > MAX_BIASES) {
        return Err(invalid(format!("at most {MAX_BIASES} biases")));
    }
    if options.top_logprobs.is_some_and(|top| top > MAX_TOP_LOGPROBS) {
        return Err(invalid(format!("at most {MAX_TOP_LOGPROBS} log-probabilities per token")));
    }
    Ok(())
}

fn sampling(sampling: Sampling) -> engine::Sampling {
    engine::Sampling {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repeat_penalty: sampling.repeat_penalty,
        repeat_last_n: sampling.repeat_last_n,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        logit_bias: sampling.logit_bias,
        ..engine::Sampling::default()
    }
}

fn stop_reason(reason: engine::StopReason) -> StopReason {
    match reason {
        engine::StopReason::EndOfTurn => StopReason::EndOfTurn,
        engine::StopReason::StopString => StopReason::StopString,
        engine::StopReason::ConstraintComplete => StopReason::ConstraintComplete,
        engine::StopReason::MaxTokens => StopReason::MaxTokens,
        engine::StopReason::ContextFull => StopReason::ContextFull,
        engine::StopReason::Cancelled => StopReason::Cancelled,
        engine::StopReason::Deadline => StopReason::Deadline,
    }
}

fn token_info(info: engine::TokenInfo) -> TokenInfo {
    TokenInfo { chosen: logprob(info.chosen), top: info.top.into_iter().map(logprob).collect() }
}

fn logprob(logprob: engine::Logprob) -> Logprob {
    Logprob { token: logprob.token, bytes: logprob.bytes, logprob: logprob.logprob }
}
