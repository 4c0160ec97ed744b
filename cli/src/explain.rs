//! Errors of the host, in words and with a next step.

use dunlin_host::{Budget, InvokeError, LoadError, PipelineError};

use crate::{
    duration, engine,
    failure::{Exit, Failure},
};

/// Functions of a guest's own that are named where it trapped.
const MAX_PLACES: usize = 3;

/// Beginnings of the names of functions that are the language's or of generated bindings, not the pipeline's.
const RUNTIME: [&str; 6] = ["std[", "core[", "alloc[", "__rustc", "<", "dunlin_guest::bindings"];

/// What is known where an invocation failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) deadline: std::time::Duration,
    /// Tokens that the engine serves, and tokens that the model was trained on.
    pub(crate) context: (u32, u32),
    /// Why the engine is gone, if it is.
    pub(crate) engine_death: Option<&'a str>,
}

/// Why a pipeline cannot be run.
pub(crate) fn not_loaded(error: &LoadError) -> Failure {
    let sentence = error.to_string();
    match error {
        LoadError::Read { .. } => Failure::usage(sentence),
        LoadError::NotAComponent { .. } | LoadError::WrongWorld { .. } => Failure::new(Exit::Component, sentence)
            .hint("a pipeline is a component of the world dunlin:llm/pipeline (in Rust, the crate dunlin-guest built for wasm32-wasip2); programs for wasm32-wasip2 and wasm32-wasip1 run, too"),
        LoadError::Invalid { .. } => {
            Failure::new(Exit::Component, sentence).hint("build it again, or fetch it again")
        }
        LoadError::Manifest { .. } => Failure::usage(sentence),
        LoadError::TooLarge { .. } | LoadError::TooDemanding { .. } => Failure::new(Exit::Component, sentence),
        LoadError::CompileLimit { .. } => Failure::new(Exit::Component, sentence)
            .hint("make it smaller (wasm-opt, or another optimisation level), or free some memory"),
        LoadError::Compiler { .. } => Failure::new(Exit::Failed, sentence).hint("this is a fault of Dunlin: please report it"),
    }
}

/// Why a run has no response.
pub(crate) fn not_run(error: &InvokeError, at: &Circumstances<'_>) -> Failure {
    let name = at.pipeline;
    let failed = |sentence: String| Failure::new(Exit::Failed, sentence);
    if let (Some(reason), false) = (at.engine_death, is_stop(error)) {
        return engine::died(reason);
    }
    match error {
        InvokeError::Pipeline(error) => answered(error, at),
        InvokeError::Cancelled => Failure::new(Exit::Interrupted, "interrupted"),
        InvokeError::Deadline => Failure::new(
            Exit::Deadline,
            format!("{name} was not done within {}", duration::show(at.deadline)),
        )
        .hint("--deadline gives it longer"),
        InvokeError::Exhausted(budget) => exhausted(name, *budget),
        InvokeError::Memory { limit_bytes } => {
            failed(format!("{name} wanted more than its {} MiB of memory", limit_bytes >> 20))
                .hint("give it less to do at once, or more memory if it was limited by --limit memory=")
        }
        InvokeError::Trap { reason, backtrace } => {
            tracing::info!(%backtrace, "a trap");
            let failure = failed(format!("{name} trapped: {reason}"));
            let places = places(backtrace);
            if places.is_empty() {
                failure
            } else {
                failure.hint(format!("it was in {}", places.join(", called by ")))
            }
        }
        InvokeError::NotGranted(what) => Failure::usage(format!("{name} needs {what}, which it was not granted"))
            .hint("--grant http=HOST names where it may send requests; --grant http grants what its manifest asks for"),
        InvokeError::Table { .. } | InvokeError::Handles | InvokeError::Exited(_) => {
            failed(format!("{name}: {error}"))
        }
        InvokeError::Host(_) => failed(error.to_string()).hint("this is a fault of Dunlin: please report it"),
    }
}

/// The ends that a caller asked for; they say nothing of the engine.
fn is_stop(error: &InvokeError) -> bool {
    matches!(error, InvokeError::Cancelled | InvokeError::Deadline)
}

fn answered(error: &PipelineError, at: &Circumstances<'_>) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("{}: {error}", at.pipeline));
    let (served, trained) = at.context;
    let failure = match error {
        PipelineError::InvalidArgument(_)
        | PipelineError::PromptTooLong { .. }
        | PipelineError::Constraint(_) => Failure { exit: Exit::Usage, ..failure },
        _ => failure,
    };
    match error {
        PipelineError::InvalidArgument(reason) if reason.contains("not UTF-8") => {
            failure.hint("`iconv -c -t utf-8` leaves out what is not text, -f says what it was before")
        }
        PipelineError::InvalidArgument(_) if dunlin_plugins::find(at.pipeline).is_some() => {
            failure.hint(format!("`dunlin pipelines {}` says what it takes", at.pipeline))
        }
        PipelineError::PromptTooLong { tokens, .. } if served < trained && *tokens < trained => failure
            .hint(format!("--context N gives it more: this model was trained on up to {trained} tokens")),
        PipelineError::PromptTooLong { .. } => {
            failure.hint("shorten the input, or take a model with a longer context; `summarize` reads long texts in pieces")
        }
        PipelineError::ModelNotFound(_) | PipelineError::NotPermitted(_) => {
            failure.hint("a pipeline gets the model of --model, and what --grant gives it")
        }
        PipelineError::Unsupported(_) => failure.hint("`dunlin model show` says what a model can do"),
        PipelineError::Unavailable { reason, .. } => engine::died(reason),
        PipelineError::Deadline => Failure { exit: Exit::Deadline, ..failure },
        _ => failure,
    }
}

/// The innermost functions of a pipeline's own in a backtrace of wasmtime, whose lines are `3: 0x1a2b - MODULE!FUNCTION`.
fn places(backtrace: &str) -> Vec<&str> {
    let mut functions: Vec<&str> = backtrace.lines().filter_map(function).collect();
    let is_runtime = |function: &str| RUNTIME.iter().any(|prefix| function.starts_with(prefix));
    functions.retain(|function| function.contains("::") && !is_runtime(function));
    functions.dedup();
    functions.truncate(MAX_PLACES);
    functions
}

/// Without the hash that rustc puts after names.
fn function(line: &str) -> Option<&str> {
    let (_, name) = line.split_once(" - ")?.1.split_once('!')?;
    match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 => Some(name),
        _ => Some(name),
    }
}

fn exhausted(name: &str, budget: Budget) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("{name} used up its budget of {budget}"));
    match budget {
        Budget::WallTime => Failure { exit: Exit::Deadline, ..failure }.hint("--deadline gives it longer"),
        Budget::Energy => failure,
        _ => failure.hint(format!("--limit {budget}=N gives it more")),
    }
}
