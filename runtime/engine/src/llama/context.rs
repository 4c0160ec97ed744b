//! The working memory of a model: its KV cache, its compute buffers, its threads.

use std::{
    ffi::c_void,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dunlin_engine_handle::{KvType, OperatorTimes, StepKind, Threads};
use llama_cpp_sys_2 as sys;
use thiserror::Error;

use super::{
    Batch, Model,
    operators::{OperatorTimer, observe},
    threads::ThreadPool,
};

/// Index of a sequence in the context, below [`ContextOptions::sequences`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqId(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// A causal model that gives logits.
    Off,
    /// One embedding per sequence: the mean over its tokens, or what the model itself prescribes.
    Mean,
}

#[derive(Debug, Clone, Copy)]
pub struct ContextOptions {
    /// Cells of the KV cache, shared by all sequences.
    pub cells: u32,
    pub sequences: u32,
    /// Most rows in one step.
    pub batch: u32,
    /// Most rows with an output in one step.
    pub outputs: u32,
    pub kv_type: KvType,
    pub pooling: Pooling,
    /// Most threads that a step will use.
    pub threads: u32,
    /// Time every operator by itself.
    pub times_operators: bool,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Nothing was computed; with fewer rows or more free cells the step may succeed.
    #[error("no room in the KV cache")]
    NoRoom,
    #[error("refused by us: {0}")]
    Precondition(&'static str),
    /// llama.cpp gave up; its memory may hold part of the step.
    #[error("llama.cpp returned {0}")]
    Failed(i32),
}

#[derive(Debug)]
pub struct Context {
    context: NonNull<sys::llama_context>,
    options: ContextOptions,
    vocabulary: usize,
    embedding: usize,
    /// Outputs of the last step by row; llama.cpp aborts on others.
    output_rows: Vec<bool>,
    threads: Threads,
    // Dropped in this order, after the context itself.
    _pool: ThreadPool,
    _ticks: Arc<AtomicU64>,
    operators: Option<Arc<OperatorTimer>>,
    model: Arc<Model>,
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ThreadPool")
    }
}

// SAFETY: a context may move between threads; `&mut` keeps two from using it at once.
unsafe impl Send for Context {}

impl Context {
    /// `ticks` grows with every operator that is computed.
    pub fn new(model: Arc<Model>, options: ContextOptions, ticks: Arc<AtomicU64>) -> Option<Self> {
        // SAFETY: takes nothing.
        if u64::from(options.sequences) > unsafe { sys::llama_max_parallel_sequences() } as u64 {
            return None;
        }
        let pool = ThreadPool::new(options.threads)?;
        // SAFETY: a plain struct, filled by value.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = options.cells;
        params.n_batch = options.batch;
        params.n_ubatch = options.batch;
        params.n_seq_max = options.sequences;
        params.n_outputs_max = options.outputs;
        params.n_threads = options.threads as i32;
        params.n_threads_batch = options.threads as i32;
        params.type_k = kv_type(options.kv_type);
        params.type_v = kv_type(options.kv_type);
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
        params.kv_unified = true;
        params.swa_full = true;
        params.no_perf = true;
        params.embeddings = options.pooling == Pooling::Mean;
        params.pooling_type = match options.pooling {
            Pooling::Off => sys::LLAMA_POOLING_TYPE_NONE,
            Pooling::Mean => sys::LLAMA_POOLING_TYPE_MEAN,
        };
        params.abort_callback = Some(tick);
        params.abort_callback_data = Arc::as_ptr(&ticks).cast_mut().cast();
        let operators = options.times_operators.then(Arc::<OperatorTimer>::default);
        if let Some(timer) = &operators {
            params.cb_eval = Some(observe);
            params.cb_eval_user_data = Arc::as_ptr(timer).cast_mut().cast();
        }
        // SAFETY: the model is loaded and held by this context; counter and timer likewise.
        let context = NonNull::new(unsafe { sys::llama_init_from_model(model.as_ptr(), params) })?;
        // SAFETY: both live; the pool is freed after the context.
        unsafe { sys::llama_attach_threadpool(context.as_ptr(), pool.as_ptr(), pool.as_ptr()) };
        Some(Self {
            context,
            options,
            vocabulary: model.vocab().len() as usize,
            embedding: model.embedding_length(),
            output_rows: Vec::new(),
            threads: Threads { prefill: options.threads, decode: options.threads },
            _pool: pool,
            _ticks: ticks,
            operators,
            model,
        })
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    pub fn options(&self) -> &ContextOptions {
        &self.options
    }

    /// The step point of the steps that follow.
    pub fn set_threads(&mut self, threads: Threads) {
        let most = self.options.threads;
        self.threads =
            Threads { prefill: threads.prefill.clamp(1, most), decode: threads.decode.clamp(1, most) };
    }

    pub fn threads(&self) -> Threads {
        self.threads
    }

    /// Computes a step; `prefill` says which of the two thread counts it takes.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(&mut self, batch: &mut Batch, prefill: bool) -> Result<(), DecodeError> {
        self.check(batch)?;
        let threads = if prefill { self.threads.prefill } else { self.threads.decode } as i32;
        if let Some(timer) = &self.operators {
            timer.begin(if prefill { StepKind::Prefill } else { StepKind::Decode });
        }
        self.output_rows.clear();
        // SAFETY: a live context; llama.cpp takes the one count or the other by the number of rows, so both are set.
        unsafe { sys::llama_set_n_threads(self.context.as_ptr(), threads, threads) };
        // SAFETY: the batch was checked; its arrays live through the call.
        match unsafe { sys::llama_decode(self.context.as_ptr(), batch.raw()) } {
            0 => {
                self.output_rows.extend(batch.rows().iter().map(|row| row.output));
                Ok(())
            }
            1 => Err(DecodeError::NoRoom),
            code => Err(DecodeError::Failed(code)),
        }
    }

    /// What operators took so far, if they are timed.
    pub fn operators(&self) -> Option<OperatorTimes> {
        self.operators.as_ref().map(|timer| timer.times())
    }

    fn check(&self, batch: &Batch) -> Result<(), DecodeError> {
        let rows = batch.rows();
        let outputs = rows.iter().filter(|row| row.output).count();
        let complaint = if rows.is_empty() {
            "an empty step"
        } else if rows.len() > self.options.batch as usize {
            "more rows than a step may have"
        } else if outputs > self.options.outputs as usize {
            "more outputs than a step may have"
        } else if rows.iter().any(|row| row.seq.0 >= self.options.sequences) {
            "a sequence that does not exist"
        } else if rows.iter().any(|row| row.token as usize >= self.vocabulary) {
            "a token outside of the vocabulary"
        } else if rows.iter().any(|row| i32::try_from(row.position).is_err()) {
            "a position past the end"
        } else {
            return Ok(());
        };
        Err(DecodeError::Precondition(complaint))
    }

    /// The logits of a row of the last step, one per token of the vocabulary; `None` unless its output was wanted.
    pub fn logits(&mut self, row: usize) -> Option<&mut [f32]> {
        if self.options.pooling != Pooling::Off || !*self.output_rows.get(row)? {
            return None;
        }
        // SAFETY: the row had an output in the last step, so llama.cpp holds `vocabulary` floats for it; they are
        // ours until the next step, which needs `&mut self`.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.context.as_ptr(), row as i32);
            (!logits.is_null()).then(|| std::slice::from_raw_parts_mut(logits, self.vocabulary))
        }
    }

    /// The pooled embedding of a sequence of the last step.
    pub fn embedding(&mut self, seq: SeqId) -> Option<&[f32]> {
        if self.options.pooling == Pooling::Off || seq.0 >= self.options.sequences {
            return None;
        }
        // SAFETY: llama.cpp answers null for a sequence without an embedding; else `embedding` floats, ours until the
        // next step.
        unsafe {
            let floats = sys::llama_get_embeddings_seq(self.context.as_ptr(), seq.0 as i32);
            (!floats.is_null()).then(|| std::slice::from_raw_parts(floats, self.embedding))
        }
    }

    /// Lets `to`, which must be empty, share the first `length` positions of `from`. Costs no memory.
    pub fn copy(&mut self, from: SeqId, to: SeqId, length: u32) {
        if from != to && self.is_sequence(from) && self.is_sequence(to) {
            // SAFETY: both ids exist; in a unified cache any range may be shared.
            unsafe { sys::llama_memory_seq_cp(self.memory(), from.0 as i32, to.0 as i32, 0, length as i32) };
        }
    }

    /// Forgets `seq` from position `from` on. False where the model cannot forget a part; then nothing is forgotten.
    pub fn forget(&mut self, seq: SeqId, from: u32) -> bool {
        // SAFETY: the id exists.
        self.is_sequence(seq)
            && unsafe { sys::llama_memory_seq_rm(self.memory(), seq.0 as i32, from as i32, -1) }
    }

    /// Positions that `seq` holds.
    pub fn length(&self, seq: SeqId) -> u32 {
        if !self.is_sequence(seq) {
            return 0;
        }
        // SAFETY: the id exists; -1 stands for an empty sequence.
        (unsafe { sys::llama_memory_seq_pos_max(self.memory(), seq.0 as i32) } + 1).unsigned_abs()
    }

    /// The state of a sequence as bytes that only this build of llama.cpp and this model can read.
    pub fn save(&mut self, seq: SeqId) -> Option<Vec<u8>> {
        if !self.is_sequence(seq) {
            return None;
        }
        // SAFETY: the id exists; the buffer is passed with its length.
        unsafe {
            let size = sys::llama_state_seq_get_size(self.context.as_ptr(), seq.0 as i32);
            let mut state = vec![0; size];
            let got =
                sys::llama_state_seq_get_data(self.context.as_ptr(), state.as_mut_ptr(), size, seq.0 as i32);
            (got == size && size > 0).then_some(state)
        }
    }

    /// Makes `seq` what was saved. The bytes must come from [`Self::save`] of this very context: llama.cpp trusts them.
    pub fn restore(&mut self, seq: SeqId, state: &[u8]) -> bool {
        // SAFETY: the id exists; the bytes are our own and passed with their length.
        self.is_sequence(seq)
            && unsafe {
                sys::llama_state_seq_set_data(
                    self.context.as_ptr(),
                    state.as_ptr(),
                    state.len(),
                    seq.0 as i32,
                ) > 0
            }
    }

    fn is_sequence(&self, seq: SeqId) -> bool {
        seq.0 < self.options.sequences
    }

    fn memory(&self) -> sys::llama_memory_t {
        // SAFETY: a live context; decoder models always have a memory.
        unsafe { sys::llama_get_memory(self.context.as_ptr()) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made once, freed once, before the pool that it computes on.
        unsafe { sys::llama_free(self.context.as_ptr()) };
    }
}

/// Called by the CPU backend before every operator. Never stops one: that would fail the step for all sequences.
unsafe extern "C" fn tick(ticks: *mut c_void) -> bool {
    // SAFETY: `Context::new` passes a counter that the context keeps alive.
    unsafe { &*ticks.cast::<AtomicU64>() }.fetch_add(1, Ordering::Relaxed);
    false
}

fn kv_type(kv_type: KvType) -> sys::ggml_type {
    match kv_type {
        KvType::F32 => sys::GGML_TYPE_F32,
        KvType::F16 => sys::GGML_TYPE_F16,
        KvType::Q8_0 => sys::GGML_TYPE_Q8_0,
        KvType::Q4_0 => sys::GGML_TYPE_Q4_0,
    }
}
