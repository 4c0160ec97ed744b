//! From a path to a model that can serve: checked, weighed, loaded.

use std::{ffi::CString, os::fd::AsRawFd, path::Path, sync::Arc, thread, time::Instant};

use dunlin_engine_handle::{
    DEFAULT_CONTEXT, EngineError, Features, KvType, Load, MemoryKind, ModelInfo, Threads,
};
use dunlin_gguf::{Estimate, Gguf, LoadPoint, MemoryAvailable, Processor, WindowCache, admit};

use crate::{
    Vitals, constraint,
    llama::{self, Context, ContextOptions, Model, ModelOptions, Pooling},
    template::ChatTemplate,
};

/// Most rows of one step: prompt tokens and decoded tokens together.
pub(crate) const BATCH: u32 = 512;

/// Most rows of one step whose logits are read.
pub(crate) const OUTPUTS: u32 = 64;

/// Sequences beside the running ones: prefixes that are kept in the cache, branches that are being scored.
const SPARE_SEQUENCES: u32 = 32;

/// Cells where the caller names none: room for a few conversations of full length, but not for a board's memory.
const DEFAULT_CELLS: u32 = 8192;

/// llama.cpp wants room for an output of every sequence.
fn outputs(load: &Load) -> u32 {
    OUTPUTS.max(load.sequences + SPARE_SEQUENCES)
}

/// A model that is ready to serve.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) info: ModelInfo,
    pub(crate) model: Arc<Model>,
    /// `None` for models that only give embeddings.
    pub(crate) context: Option<Context>,
    pub(crate) template: Result<ChatTemplate, String>,
    pub(crate) load: Load,
    pub(crate) vitals: Arc<Vitals>,
}

impl Loaded {
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }
}

/// Loads a model. `progress` gets the share that is loaded.
///
/// # Errors
/// [`EngineError::Model`] for a file that is refused, [`EngineError::Memory`] where it does not fit: both within
/// milliseconds. [`EngineError::Backend`] where llama.cpp itself gives up.
pub fn load(load: &Load, vitals: &Arc<Vitals>, mut progress: impl FnMut(f32)) -> Result<Loaded, EngineError> {
    let start = Instant::now();
    let gguf = Gguf::open(&load.model).map_err(|error| EngineError::Model(error.to_string()))?;
    let load = settle(load, gguf.model());
    let memory = memory_kind(gguf.model());
    let estimate = check_memory(&load, gguf.model())?;
    llama::init();
    let mut on_progress = |fraction| {
        vitals.tick();
        progress(fraction);
        true
    };
    let options = ModelOptions { gpu_layers: load.gpu_layers, mmap: load.mmap };
    let model = Model::load(&part_paths(&gguf)?, options, &mut on_progress)
        .ok_or_else(|| refused_by_backend(&load.model, "could not load the weights"))?;
    let model = Arc::new(model);
    let context = match memory {
        Some(_) => Some(context(&model, &load, vitals)?),
        None if is_encoder_decoder(&model) => {
            return Err(EngineError::Unsupported("models with an encoder and a decoder".to_owned()));
        }
        None => None,
    };
    let template = chat_template(&gguf, &model);
    let mut info = info(&gguf, &model, &load, memory, template.as_ref().ok());
    info.kv_bytes_per_token = estimate.kv_per_token;
    info.load_ms = start.elapsed().as_millis() as u64;
    Ok(Loaded { info, model, context, template, load, vitals: vitals.clone() })
}

/// With less weights, the operators of a step are so short that threads mostly wait for each other: beside a busy neighbour on
/// two cores, a model of 2.5 MB answers 30 times faster with one thread than with two.
const ONE_THREAD_BYTES: u64 = 32 << 20;

/// Fills in what the caller left open.
fn settle(load: &Load, model: &dunlin_gguf::Model) -> Load {
    let is_small = model.weights.bytes < ONE_THREAD_BYTES;
    let cores =
        thread::available_parallelism().map_or(1, |cores| if is_small { 1 } else { cores.get() as u32 });
    // Positions that were learned end where they end; rotations go on.
    let learned =
        model.learned_positions.map_or(u32::MAX, |positions| u32::try_from(positions).unwrap_or(u32::MAX));
    let trained = model.context_length.min(learned);
    let context = if load.context == 0 { trained.min(DEFAULT_CONTEXT) } else { load.context.min(trained) };
    let cells = if load.cells == 0 { context.max(DEFAULT_CELLS) } else { load.cells.max(context) };
    let or_cores = |threads: u32| if threads == 0 { cores } else { threads };
    Load {
        context,
        cells: cells.next_multiple_of(256),
        sequences: load.sequences.clamp(1, 128),
        threads: Threads { prefill: or_cores(load.threads.prefill), decode: or_cores(load.threads.decode) },
        ..load.clone()
    }
}

/// `None` for models that remember nothing between steps.
fn memory_kind(model: &dunlin_gguf::Model) -> Option<MemoryKind> {
    match model.memory {
        dunlin_gguf::MemoryKind::Attention => Some(MemoryKind::Attention),
        dunlin_gguf::MemoryKind::SlidingWindow => Some(MemoryKind::SlidingWindow),
        dunlin_gguf::MemoryKind::Recurrent => Some(MemoryKind::Recurrent),
        dunlin_gguf::MemoryKind::Hybrid => Some(MemoryKind::Hybrid),
        dunlin_gguf::MemoryKind::None => None,
    }
}

fn check_memory(load: &Load, model: &dunlin_gguf::Model) -> Result<Estimate, EngineError> {
    let point = LoadPoint {
        context: load.cells,
        sequences: load.sequences + SPARE_SEQUENCES,
        micro_batch: BATCH,
        outputs: outputs(load),
        kv_type: match load.kv_type {
            KvType::F32 => dunlin_gguf::KvType::F32,
            KvType::F16 => dunlin_gguf::KvType::F16,
            KvType::Q8_0 => dunlin_gguf::KvType::Q8_0,
            KvType::Q4_0 => dunlin_gguf::KvType::Q4_0,
        },
        window_cache: WindowCache::Full,
        processor: Processor::here(),
    };
    let estimate = Estimate::new(model, &point);
    // A machine that does not tell how much is free is asked the hard way.
    let Ok(mut available) = MemoryAvailable::read() else { return Ok(estimate) };
    available.bytes = available.bytes.saturating_sub(load.reserve_bytes);
    admit(&estimate, available).map_err(|refusal| EngineError::Memory(refusal.to_string()))?;
    Ok(estimate)
}

/// Paths to the very files that were checked, whatever has become of their names since.
fn part_paths(gguf: &Gguf) -> Result<Vec<CString>, EngineError> {
    let path = |part: &dunlin_gguf::Part| CString::new(format!("/proc/self/fd/{}", part.file.as_raw_fd()));
    gguf.parts()
        .iter()
        .map(path)
        .collect::<Result<_, _>>()
        .map_err(|error| EngineError::Backend(error.to_string()))
}

fn context(model: &Arc<Model>, load: &Load, vitals: &Vitals) -> Result<Context, EngineError> {
    let options = ContextOptions {
        cells: load.cells,
        sequences: load.sequences + SPARE_SEQUENCES,
        batch: BATCH,
        outputs: outputs(load),
        kv_type: load.kv_type,
        pooling: Pooling::Off,
        threads: load.threads.prefill.max(load.threads.decode),
        times_operators: load.times_operators,
    };
    let mut context = Context::new(model.clone(), options, vitals.ticks())
        .ok_or_else(|| refused_by_backend(&load.model, "could not set up its working memory"))?;
    context.set_threads(load.threads);
    Ok(context)
}

fn is_encoder_decoder(model: &Model) -> bool {
    !model.has_decoder()
}

fn refused_by_backend(path: &Path, what: &str) -> EngineError {
    EngineError::Backend(format!(
        "llama.cpp {what} of {}; what it wrote to stderr says more (DUNLIN_ENGINE_LOG=1 for all of it)",
        path.display()
    ))
}

/// # Errors
/// Why the model renders no messages.
fn chat_template(gguf: &Gguf, model: &Model) -> Result<ChatTemplate, String> {
    let templates = &gguf.model().chat_templates;
    let source = templates.default.as_ref().or_else(|| templates.named.values().next());
    let source = source.ok_or("the model has no chat template")?;
    let vocab = model.vocab();
    let spelling = |token| {
        let mut bytes = Vec::new();
        vocab.piece(token, true, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let control: Vec<String> =
        (0..vocab.len()).filter(|&token| vocab.is_control(token)).map(spelling).collect();
    let spelled = |token: Option<u32>| token.map(spelling).unwrap_or_default();
    ChatTemplate::new(source, spelled(vocab.bos()), spelled(vocab.eos()), &control)
}

fn info(
    gguf: &Gguf,
    model: &Model,
    load: &Load,
    memory: Option<MemoryKind>,
    template: Option<&ChatTemplate>,
) -> ModelInfo {
    let file = gguf.model();
    let vocab = model.vocab();
    // Sliding windows are cached whole (`swa_full`), so a part of a sequence can be shared and forgotten there too.
    let attends = matches!(memory, Some(MemoryKind::Attention | MemoryKind::SlidingWindow));
    let generates = memory.is_some();
    let file_name =
        || load.model.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    ModelInfo {
        name: file.name.clone().unwrap_or_else(file_name),
        architecture: file.architecture.clone(),
        quantization: file.quantization.name().to_owned(),
        parameters: model.parameters(),
        vocabulary: vocab.len(),
        context_length: load.context,
        trained_context: file.context_length,
        memory: memory.unwrap_or(MemoryKind::Attention),
        features: Features {
            fork: generates,
            truncate: attends,
            snapshot: false,
            logprobs: generates,
            constraints: generates,
            forced_tokens: generates && constraint::forces_tokens(model),
            tools: template.is_some_and(ChatTemplate::knows_tools),
            reasoning: false,
            embeddings: true,
            rerank: false,
        },
        bos: vocab.bos(),
        end_of_turn: (0..vocab.len()).filter(|&token| vocab.is_end(token)).collect(),
        sequences: load.sequences,
        cells: load.cells,
        kv_bytes_per_token: 0,
        weights_bytes: model.size(),
        threads: load.threads,
        backend: llama::backend_description(),
        load_ms: 0,
    }
}
