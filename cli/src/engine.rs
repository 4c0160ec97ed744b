//! Engines, as the command starts them: where the executable is, how far a load is, what went wrong.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use dunlin_engine_handle::{Engine, EngineError, Load, ModelInfo, Patience, Program, State, Status, Threads};
use dunlin_host::StartEngine;
use tokio::task::AbortHandle;

use crate::{
    failure::{Exit, Failure},
    store::Model,
    terminal::progress::Progress,
};

pub(crate) const VARIABLE: &str = "DUNLIN_ENGINE";
const NAME: &str = "dunlin-engine";

/// How a model is loaded, as far as a person says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineOptions {
    /// Threads for both phases, or for reading prompts and for writing answers [default: all cores; one for models below 32 MB]
    #[arg(long, value_name = "N|PREFILL,DECODE", value_parser = threads)]
    pub(crate) threads: Option<Threads>,
    /// Longest conversation in tokens [default: what the model was trained on, at most 4096]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,
}

/// `N`, or `PREFILL,DECODE`.
pub(crate) fn threads(text: &str) -> Result<Threads, String> {
    let count = |text: &str| match text.trim().parse::<u32>() {
        Ok(count) if (1..=512).contains(&count) => Ok(count),
        _ => Err("a number of threads is 1 to 512; two are separated by a comma".to_owned()),
    };
    match text.split_once(',') {
        Some((prefill, decode)) => Ok(Threads { prefill: count(prefill)?, decode: count(decode)? }),
        None => count(text).map(|both| Threads { prefill: both, decode: both }),
    }
}

/// Starts to load a model; must be called on a tokio runtime.
///
/// # Errors
/// If there is no engine executable.
pub(crate) fn start(model: &Model, options: &EngineOptions) -> Result<Engine, Failure> {
    Ok(start_file(executable()?, &model.path, options))
}

/// The same for files that are not known yet.
///
/// # Errors
/// As [`start`].
pub(crate) fn starter(options: &EngineOptions) -> Result<StartEngine, Failure> {
    let (program, options) = (executable()?, *options);
    Ok(Arc::new(move |model| Ok(start_file(program.clone(), model, &options))))
}

fn start_file(program: PathBuf, model: &Path, options: &EngineOptions) -> Engine {
    let load = Load {
        model: model.to_owned(),
        context: options.context.unwrap_or(0),
        threads: options.threads.unwrap_or_default(),
        ..Load::default()
    };
    Engine::start(Program::new(program), load, Patience::default())
}

/// Waits as long as an engine that died is about to be started again.
pub(crate) async fn restarted(engine: &Engine) {
    let mut status = engine.watch();
    let waits = |status: &Status| matches!(status.state, State::Dead { restart: Some(_), .. });
    // One that ended for good says why when it is asked.
    drop(status.wait_for(|status| !waits(status)).await);
}

/// Waits until the model is loaded, and shows how far it is.
///
/// # Errors
/// Why it is not loaded.
pub(crate) async fn ready(
    engine: &Engine,
    model: &Model,
    progress: &Progress,
) -> Result<Arc<ModelInfo>, Failure> {
    let bar = progress.share(&format!("loading {}", model.name));
    let mut status = engine.watch();
    let shown = async {
        loop {
            if let State::Loading { fraction } = status.borrow_and_update().state {
                bar.set(fraction);
            }
            if status.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let loaded = tokio::select! {
        loaded = engine.ready() => loaded,
        () = shown => unreachable!("it only ends with the other"),
    };
    drop(bar);
    loaded.map_err(|error| not_loaded(error, model))
}

fn not_loaded(error: EngineError, model: &Model) -> Failure {
    match error {
        EngineError::Model(sentence) => Failure::new(Exit::Model, sentence),
        EngineError::Unsupported(what) => {
            Failure::new(Exit::Model, format!("{} is not supported: {what}", model.name))
        }
        EngineError::Memory(sentence) => {
            Failure::new(Exit::Memory, format!("{} does not fit: {sentence}", model.name))
                .hint("--context N takes less; `dunlin doctor` shows what is free")
        }
        other => died(&other.to_string()),
    }
}

/// Remembers what an engine died of, from now on; it may be started again before anybody asks.
#[derive(Debug)]
pub(crate) struct DeathWatch {
    engine: Engine,
    incarnation: u32,
    reason: Arc<OnceLock<Arc<str>>>,
    watching: AbortHandle,
}

impl DeathWatch {
    /// Must be called on a tokio runtime.
    pub(crate) fn new(engine: &Engine) -> Self {
        let mut status = engine.watch();
        let incarnation = status.borrow_and_update().incarnation;
        let reason = Arc::new(OnceLock::new());
        let told = reason.clone();
        let watching = tokio::spawn(async move {
            while status.changed().await.is_ok() {
                if let State::Dead { reason, .. } = &status.borrow_and_update().state {
                    told.get_or_init(|| reason.clone());
                }
            }
        });
        Self { engine: engine.clone(), incarnation, reason, watching: watching.abort_handle() }
    }

    /// What became of the engine, if it is not what it was.
    pub(crate) fn death(&self) -> Option<String> {
        let status = self.engine.status();
        let now = match &status.state {
            State::Dead { reason, .. } => Some(reason),
            _ => None,
        };
        match self.reason.get().or(now) {
            Some(reason) => Some(format!("the engine died: {reason}")),
            None if status.incarnation > self.incarnation => {
                Some("the engine died, and was started again".to_owned())
            }
            None => None,
        }
    }
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// An engine that is gone.
pub(crate) fn died(reason: &str) -> Failure {
    Failure::new(Exit::Engine, reason.to_owned())
        .hint("try again; with DUNLIN_LOG=debug it is shown what the engine says")
}

/// The engine executable.
///
/// # Errors
/// Says where it was looked for.
pub(crate) fn executable() -> Result<PathBuf, Failure> {
    if let Some(named) = env::var_os(VARIABLE) {
        let path = PathBuf::from(named);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Failure::new(Exit::Engine, format!("{VARIABLE} names {}, which is no file", path.display()))
                .hint(format!("name the executable {NAME}, or unset {VARIABLE}")))
        };
    }
    let here = env::current_exe().and_then(fs::canonicalize).unwrap_or_default();
    let folder = here.parent().unwrap_or(Path::new(""));
    let candidates = [folder.join(NAME), folder.join("../lib/dunlin").join(NAME)];
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(
            Exit::Engine,
            format!("{NAME}, which runs the models, is not beside this command in {}", folder.display()),
        )
        .hint(format!("build it (cargo build --release -p {NAME}), or name it: {VARIABLE}=/path/to/{NAME}"))
    })
}
