//! Embeddings: a second, small context of the same weights, made when the first text comes.

use std::{collections::VecDeque, sync::Arc};

use dunlin_engine_handle::{CallId, EngineError, KvType, Threads, Token};

use crate::{
    Vitals,
    llama::{Batch, Context, ContextOptions, Model, Pooling, Row, SeqId},
    load::BATCH,
};

/// Texts of one call.
const MAX_TEXTS: usize = 2048;
/// Texts of one step.
const SEQUENCES: u32 = 32;

#[derive(Debug)]
pub(crate) struct Embedder {
    model: Arc<Model>,
    vitals: Arc<Vitals>,
    threads: Threads,
    context: Option<Context>,
    jobs: VecDeque<Job>,
    batch: Batch,
}

#[derive(Debug)]
struct Job {
    id: CallId,
    texts: Vec<Vec<Token>>,
    vectors: Vec<Vec<f32>>,
}

/// A call that is answered.
pub(crate) type Embedded = (CallId, Result<Vec<Vec<f32>>, EngineError>);

impl Embedder {
    pub(crate) fn new(model: Arc<Model>, vitals: Arc<Vitals>, threads: Threads) -> Self {
        Self { model, vitals, threads, context: None, jobs: VecDeque::new(), batch: Batch::default() }
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub(crate) fn set_threads(&mut self, threads: Threads) {
        self.threads = threads;
        if let Some(context) = &mut self.context {
            context.set_threads(threads);
        }
    }

    /// Takes a call up.
    ///
    /// # Errors
    /// A text of more tokens than a step can take, or too many of them.
    pub(crate) fn push(&mut self, id: CallId, texts: &[String]) -> Result<(), EngineError> {
        if texts.is_empty() || texts.len() > MAX_TEXTS {
            let complaint = format!("{} texts; 1 to {MAX_TEXTS} can be embedded in one call", texts.len());
            return Err(EngineError::InvalidArgument(complaint));
        }
        let texts = texts.iter().map(|text| self.tokenize(text)).collect::<Result<Vec<_>, _>>()?;
        self.jobs.push_back(Job { id, texts, vectors: Vec::new() });
        Ok(())
    }

    pub(crate) fn cancel(&mut self, id: CallId) -> bool {
        let before = self.jobs.len();
        self.jobs.retain(|job| job.id != id);
        self.jobs.len() < before
    }

    /// Computes some texts of the first call; its answer once all are done.
    pub(crate) fn step(&mut self) -> Option<Embedded> {
        let mut job = self.jobs.pop_front()?;
        match self.compute(&mut job) {
            Err(error) => Some((job.id, Err(error))),
            Ok(()) if job.vectors.len() == job.texts.len() => Some((job.id, Ok(job.vectors))),
            Ok(()) => {
                self.jobs.push_front(job);
                None
            }
        }
    }

    fn tokenize(&self, text: &str) -> Result<Vec<Token>, EngineError> {
        let tokens = self.model.vocab().tokenize(text, true, false).unwrap_or_default();
        match tokens.len() as u32 {
            0 => Err(EngineError::InvalidArgument("an empty text has no embedding".to_owned())),
            tokens if tokens > BATCH => Err(EngineError::PromptTooLong { tokens, possible: BATCH }),
            _ => Ok(tokens),
        }
    }

    fn compute(&mut self, job: &mut Job) -> Result<(), EngineError> {
        let mut count = 0;
        let mut rows = 0;
        self.batch.clear();
        for text in job.texts[job.vectors.len()..].iter().take(SEQUENCES as usize) {
            if rows + text.len() > BATCH as usize {
                break;
            }
            let seq = SeqId(count);
            let row = |(position, &token)| Row { seq, token, position, output: true };
            (0..).zip(text).map(row).for_each(|row| self.batch.push(row));
            rows += text.len();
            count += 1;
        }
        let context = context(&mut self.context, &self.model, &self.vitals, self.threads)?;
        context.decode(&mut self.batch, true).map_err(|error| EngineError::Backend(error.to_string()))?;
        for seq in (0..count).map(SeqId) {
            let vector = context.embedding(seq).map(unit_length).ok_or_else(no_embedding)?;
            context.forget(seq, 0);
            job.vectors.push(vector);
        }
        Ok(())
    }
}

fn context<'a>(
    slot: &'a mut Option<Context>,
    model: &Arc<Model>,
    vitals: &Vitals,
    threads: Threads,
) -> Result<&'a mut Context, EngineError> {
    if slot.is_none() {
        let options = ContextOptions {
            cells: BATCH,
            sequences: SEQUENCES,
            batch: BATCH,
            outputs: BATCH,
            kv_type: KvType::F16,
            pooling: Pooling::Mean,
            threads: threads.prefill.max(threads.decode),
            times_operators: false,
        };
        *slot = Context::new(model.clone(), options, vitals.ticks());
    }
    let context = slot.as_mut().ok_or_else(no_embedding)?;
    context.set_threads(threads);
    Ok(context)
}

fn no_embedding() -> EngineError {
    EngineError::Unsupported("this model gives no embeddings".to_owned())
}

fn unit_length(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| if length > 0.0 { x / length } else { 0.0 }).collect()
}
