//! `dunlin:llm/contexts`: sequences of tokens. The host holds them; engines are sent the whole sequence with
//! each call and find what they hold of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_engine_handle as engine;
use wasmtime::component::Resource;

use crate::{
    bindings::dunlin::llm::{
        contexts::{Host, HostContext, Normalize, Options, Scored},
        types::{Error, Message, ToolDef},
    },
    calls::{
        cells::Cells,
        constraints::Constraint,
        generations::Generation,
        models::{Model, to_messages, to_tools},
        sequence::{Sequence, Start},
    },
    invoke::{
        budget::Held,
        failure::{Failure, invalid},
        state::State,
    },
};

/// A prefix shorter than this is not announced before a fan-out: reading it again costs less than the
/// announcement.
const MIN_ANNOUNCED_TOKENS: usize = 32;

/// Candidates of one scoring.
const MAX_CANDIDATES: usize = 1024;

/// A sequence of one model. Its generation shares the sequence and may outlive the resource.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings export it, though they are private themselves")]
pub struct Context {
    model: Model,
    sequence: SharedSequence,
    /// Its place among the contexts alive.
    _place: Held,
}

#[derive(Debug, Clone)]
pub(crate) struct SharedSequence(Arc<Mutex<Sequence>>);

impl SharedSequence {
    fn new(sequence: Sequence) -> Self {
        Self(Arc::new(Mutex::new(sequence)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Sequence> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn context(&self, context: &Resource<Context>) -> wasmtime::Result<(Model, SharedSequence)> {
        let context = self.table.get(context)?;
        Ok((context.model.clone(), context.sequence.clone()))
    }

    /// The time that a call has from now, in ms; the job's or its own, whichever is less.
    fn deadline_ms(&self, own_ms: Option<u32>) -> u64 {
        let left = self.job.interrupt.time_left_ms();
        own_ms.map_or(left, |own| left.min(own.into()))
    }
}

impl Host for State {}

impl HostContext for State {
    fn create(&mut self, model: Resource<Model>) -> Result<Resource<Context>, Failure> {
        self.job.count_call()?;
        let model = self.model(&model)?;
        let place = self.job.meters.contexts.hold(1)?;
        let cells = Cells::new(self.job.meters.kv.clone())?;
        let seed = self.job.seed.context(self.job.contexts);
        self.job.contexts += 1;
        let sequence = SharedSequence::new(Sequence::new(cells, model.info.context_length, seed));
        Ok(self.table.push(Context { model, sequence, _place: place })?)
    }

    fn restore(&mut self, _: Resource<Model>, _: String) -> Result<Resource<Context>, Failure> {
        self.job.count_call()?;
        Err(unsupported_snapshot())
    }

    async fn append(
        &mut self,
        context: Resource<Context>,
        text: String,
        parse_special: bool,
    ) -> Result<u32, Failure> {
        self.job.count_call()?;
        let (model, sequence) = self.context(&context)?;
        let add_special = sequence.lock().before_text()? == Start::Begins;
        let tokenize = |text: &str| {
            let tokenize = engine::Tokenize { text: text.to_owned(), add_special, parse_special };
            model.engine().tokenize(tokenize)
        };
        let tokens = self.job.interrupt.unless_stopped(tokenize(&text)).await??;
        let added = sequence.lock().append_text(&text, &tokens)?;
        if add_special && let Some(public) = self.job.public_prefix(|public| text.starts_with(public)) {
            let public = self.job.interrupt.unless_stopped(tokenize(public)).await??;
            sequence.lock().publish(&public);
        }
        Ok(added)
    }

    fn append_tokens(&mut self, context: Resource<Context>, tokens: Vec<u32>) -> Result<u32, Failure> {
        self.job.count_call()?;
        let (model, sequence) = self.context(&context)?;
        if let Some(token) = tokens.iter().find(|&&token| token >= model.info.vocabulary) {
            return Err(invalid(format!("{token} is not a token of {:?}", model.grant.alias)).into());
        }
        Ok(sequence.lock().append_tokens(&tokens)?)
    }

    async fn append_messages(
        &mut self,
        context: Resource<Context>,
        messages: Vec<Message>,
        tools: Vec<ToolDef>,
        cue: bool,
    ) -> Result<u32, Failure> {
        self.job.count_call()?;
        let (model, sequence) = self.context(&context)?;
        let draft = sequence.lock().draft(to_messages(messages), to_tools(tools), cue)?;
        let rendering = model.engine().render(draft.messages.clone(), draft.tools.clone(), cue);
        let rendered = self.job.interrupt.unless_stopped(rendering).await??;
        let system = draft.messages.first().filter(|first| first.role == engine::Role::System).cloned();
        let (begins, added) = {
            let mut sequence = sequence.lock();
            (sequence.tokens().is_empty(), sequence.adopt(draft, rendered.tokens)?)
        };
        if begins
            && let Some(system) = system
            && self.job.public_prefix(|public| system.content == public).is_some()
        {
            // A template that needs more than a system message has no beginning that could be public.
            let alone = model.engine().render(vec![system], Vec::new(), false);
            if let Ok(alone) = self.job.interrupt.unless_stopped(alone).await? {
                sequence.lock().publish(&alone.tokens);
            }
        }
        Ok(added)
    }

    fn length(&mut self, context: Resource<Context>) -> wasmtime::Result<u32> {
        self.job.count_call()?;
        let length = self.table.get(&context)?.sequence.lock().tokens().len();
        Ok(length as u32)
    }

    fn truncate(&mut self, context: Resource<Context>, to: u32) -> Result<(), Failure> {
        self.job.count_call()?;
        let (_, sequence) = self.context(&context)?;
        Ok(sequence.lock().truncate(to)?)
    }

    fn fork(&mut self, context: Resource<Context>, n: u32) -> Result<Vec<Resource<Context>>, Failure> {
        self.job.count_call()?;
        let (model, sequence) = self.context(&context)?;
        // All places before the first branch, so that too many branches are none.
        let mut places = self.job.meters.contexts.hold(n.into())?;
        let mut branches = Vec::with_capacity(n as usize);
        for _ in 0..n {
            let place = places.split(1);
            let sequence = SharedSequence::new(sequence.lock().fork()?);
            branches.push(self.table.push(Context { model: model.clone(), sequence, _place: place })?);
        }
        self.announce_fan_out(&model, &sequence, n);
        Ok(branches)
    }

    fn snapshot(&mut self, _: Resource<Context>, _: String, _: u32) -> Result<String, Failure> {
        self.job.count_call()?;
        Err(unsupported_snapshot())
    }

    fn generate(
        &mut self,
        context: Resource<Context>,
        options: Options,
        constraint: Option<Resource<Constraint>>,
    ) -> Result<Resource<Generation>, Failure> {
        self.job.count_call()?;
        self.job.interrupt.check()?;
        let (model, sequence) = self.context(&context)?;
        let constraint = match constraint {
            Some(constraint) => Some(self.table.get(&constraint)?.for_model(&model)?),
            None => None,
        };
        let deadline_ms = self.deadline_ms(options.deadline_ms);
        let generation = Generation::start(&self.job, &model, sequence, options, constraint, deadline_ms)?;
        Ok(self.table.push(generation)?)
    }

    async fn score(
        &mut self,
        context: Resource<Context>,
        candidates: Vec<String>,
        how: Normalize,
    ) -> Result<Vec<Scored>, Failure> {
        self.job.count_call()?;
        let (model, sequence) = self.context(&context)?;
        if candidates.len() > MAX_CANDIDATES {
            return Err(invalid(format!("{} candidates, at most {MAX_CANDIDATES}", candidates.len())).into());
        }
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let (prompt, public) = {
            let sequence = sequence.lock();
            sequence.idle()?;
            (sequence.tokens().to_vec(), sequence.public())
        };
        let prompt_tokens = prompt.len();
        let score = engine::Score {
            prompt,
            tenant: self.job.tenant.clone(),
            public,
            candidates,
            tokens: Vec::new(),
            normalize: normalize(how),
            deadline_ms: Some(self.deadline_ms(None)),
        };
        let scores = self.job.interrupt.unless_stopped(model.engine().score(score)).await??;
        let candidates: usize = scores.iter().map(|scored| scored.token_logprobs.len()).sum();
        self.job.totals.add_scored(prompt_tokens + candidates);
        Ok(scores.into_iter().map(scored).collect())
    }

    fn drop(&mut self, context: Resource<Context>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl State {
    /// The engine reads the shared prefix once, while the guest still sets its branches up.
    fn announce_fan_out(&mut self, model: &Model, sequence: &SharedSequence, branches: u32) {
        let (prompt, public) = {
            let sequence = sequence.lock();
            (sequence.tokens().to_vec(), sequence.public())
        };
        if branches < 2 || prompt.len() < MIN_ANNOUNCED_TOKENS {
            return;
        }
        let prepare = engine::Prepare { prompt, tenant: self.job.tenant.clone(), public, branches };
        let engine = model.engine().clone();
        self.job.announce(async move {
            if let Err(error) = engine.prepare(prepare).await {
                tracing::debug!(%error, "a fan-out was not prepared");
            }
        });
    }
}

fn unsupported_snapshot() -> Failure {
    Error::Unsupported("snapshots of contexts: append again, the engine keeps prefixes by itself".into())
        .into()
}

fn normalize(how: Normalize) -> engine::Normalize {
    match how {
        Normalize::Total => engine::Normalize::Total,
        Normalize::PerToken => engine::Normalize::PerToken,
        Normalize::Unconditional => engine::Normalize::Unconditional,
    }
}

fn scored(scored: engine::Scored) -> Scored {
    Scored { index: scored.index, score: scored.score, token_logprobs: scored.token_logprobs }
}
