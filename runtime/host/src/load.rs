//! From a file to a pipeline that can be run: read, checked, compiled or found in the cache, linked.

pub(crate) mod artifact;
pub(crate) mod cache;
pub(crate) mod compile;
pub(crate) mod component;
mod module;

use std::{
    collections::HashMap,
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use thiserror::Error;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, timeout},
};
use wasmtime::{InstancePre, component::Linker};
use wasmtime_wasi::p2::bindings::CommandPre;

use self::{
    artifact::{Artifact, Code},
    compile::CompileError,
    component::{Export, Inspection, Refusal},
};
use crate::{
    Digest, Host, Manifest, ManifestError, bindings::PipelinePre, calls::ephemeral::CoreState, host::Inner,
    invoke::state::State,
};

/// A component may have this many bytes. (Those of Python have 20 MB.)
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;

/// How often a watcher hears of a compilation that goes on.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Where a pipeline comes from, and what it is called.
#[derive(Debug, Clone)]
pub struct PipelineSource {
    name: String,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    File(PathBuf),
    Bytes(Bytes),
}

impl PipelineSource {
    /// Called as its file is, without the extension.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, content: Content::File(path) }
    }

    pub fn bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { name: name.into(), content: Content::Bytes(bytes.into()) }
    }

    /// What it asks for: by the file beside it, or else by what the component carries.
    ///
    /// # Errors
    /// If there is a manifest that cannot be read or understood.
    pub async fn manifest(&self) -> Result<Option<Manifest>, LoadError> {
        if let Content::File(path) = &self.content {
            let path = path.with_extension("toml");
            match tokio::fs::read(&path).await {
                Ok(text) => {
                    let fault = |error| LoadError::Manifest { of: path.display().to_string(), error };
                    return Manifest::parse(&text).map(Some).map_err(fault);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(LoadError::Read { path, error }),
            }
        }
        let of = format!("the manifest that {} carries", self.name);
        Manifest::of_component(&self.read().await?).map_err(|error| LoadError::Manifest { of, error })
    }

    async fn read(&self) -> Result<Bytes, LoadError> {
        match &self.content {
            Content::Bytes(bytes) => {
                self.check_size(bytes.len() as u64)?;
                Ok(bytes.clone())
            }
            Content::File(path) => {
                let unreadable = |error| LoadError::Read { path: path.clone(), error };
                self.check_size(tokio::fs::metadata(path).await.map_err(unreadable)?.len())?;
                Ok(tokio::fs::read(path).await.map_err(unreadable)?.into())
            }
        }
    }

    fn check_size(&self, bytes: u64) -> Result<(), LoadError> {
        if bytes > MAX_COMPONENT_BYTES {
            return Err(LoadError::TooLarge { name: self.name.clone(), bytes });
        }
        Ok(())
    }
}

/// A pipeline that is ready to run. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    name: Arc<str>,
    loaded: Arc<Loaded>,
}

/// One guest, whatever it is called.
pub(crate) struct Loaded {
    kind: Kind,
    digest: Digest,
    imports: Vec<String>,
    slots: u32,
    notes: Vec<String>,
}

/// The kinds of guests, each ready to be instantiated.
pub(crate) enum Kind {
    /// A component that exports `dunlin:llm/handler`.
    Pipeline(PipelinePre<State>),
    /// A component that exports `wasi:cli/run`.
    Command(CommandPre<State>),
    /// A core module of WASI preview 1.
    Module(InstancePre<CoreState>),
}

/// What was found out about a guest before it was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    imports: Vec<String>,
    /// `None` for a core module.
    export: Option<Export>,
}

impl Pipeline {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of the component.
    pub fn digest(&self) -> Digest {
        self.loaded.digest
    }

    /// The interfaces that it imports, as in `dunlin:llm/models@0.1.0`.
    pub fn imports(&self) -> &[String] {
        &self.loaded.imports
    }

    /// It cannot run without the grant of outbound HTTP.
    pub fn sends_http(&self) -> bool {
        imports_http(&self.loaded.imports)
    }

    /// What did not go as it should when it was loaded, and did not matter enough to fail.
    pub fn notes(&self) -> &[String] {
        &self.loaded.notes
    }

    /// Whether it is a program as for a command line: it takes arguments and stdin, and answers by its stdout.
    pub fn is_command(&self) -> bool {
        !matches!(self.loaded.kind, Kind::Pipeline(_))
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.loaded.kind
    }

    /// Slots of the pool that one instance takes: one for each of its memories.
    pub(crate) fn slots(&self) -> u32 {
        self.loaded.slots
    }
}

fn imports_http(imports: &[String]) -> bool {
    imports.iter().any(|import| import.starts_with("wasi:http/"))
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("name", &self.name).field("digest", &self.digest()).finish()
    }
}

/// A component that is being compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compiling {
    pub elapsed: Duration,
    pub component_bytes: u64,
}

/// Why a pipeline cannot be run.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{name} has {bytes} bytes; a pipeline has at most {MAX_COMPONENT_BYTES}")]
    TooLarge { name: String, bytes: u64 },
    #[error("{name} is not a WebAssembly component: {what}")]
    NotAComponent { name: String, what: String },
    #[error("{name} is damaged, or not a valid component: {reason}")]
    Invalid { name: String, reason: String },
    #[error("{name} is not a pipeline for this host: {reason}")]
    WrongWorld { name: String, reason: String },
    #[error("{of} is not understood: {error}")]
    Manifest { of: String, error: ManifestError },
    #[error("{name} is too large for this host: {reason}")]
    TooDemanding { name: String, reason: String },
    #[error("{name} was not compiled, because that {reason}")]
    CompileLimit { name: String, reason: String },
    /// A fault of ours.
    #[error("{name} could not be compiled: {reason}")]
    Compiler { name: String, reason: String },
}

impl LoadError {
    /// Why this host would not load what was inspected, if so.
    pub fn inspected(name: impl Into<String>, inspected: &Inspection) -> Option<Self> {
        let name = name.into();
        if inspected.bytes > MAX_COMPONENT_BYTES {
            return Some(Self::TooLarge { name, bytes: inspected.bytes });
        }
        inspected.refusal.clone().map(|refusal| Self::refused(name, refusal))
    }

    fn refused(name: String, refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAComponent(what) => Self::NotAComponent { name, what },
            Refusal::Damaged(reason) => Self::Invalid { name, reason },
            Refusal::WrongWorld(reason) => Self::WrongWorld { name, reason },
            Refusal::TooDemanding(reason) => Self::TooDemanding { name, reason },
        }
    }

    fn not_compiled(name: String, error: CompileError) -> Self {
        match error {
            CompileError::Refused(reason) => Self::Invalid { name, reason },
            CompileError::Limit(reason) => Self::CompileLimit { name, reason },
            CompileError::Failed(reason) => Self::Compiler { name, reason },
        }
    }
}

/// What is loaded already, and what is being loaded: whoever comes second waits for the first.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<Digest, Gate>>);

type Gate = Arc<AsyncMutex<Weak<Loaded>>>;

impl Registry {
    fn gate(&self, digest: Digest) -> Gate {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| {
            Arc::strong_count(gate) > 1 || gate.try_lock().is_ok_and(|loaded| loaded.strong_count() > 0)
        });
        gates.entry(digest).or_default().clone()
    }
}

/// What some bytes are, and what they ask for.
fn check(bytes: &[u8]) -> Result<Checked, Refusal> {
    if bytes.starts_with(&artifact::MODULE) {
        let imports = module::check(bytes)?;
        return Ok(Checked { imports, export: None });
    }
    let (imports, export) = component::check(bytes)?;
    Ok(Checked { imports, export: Some(export) })
}

impl Host {
    /// Makes a pipeline ready to run. What was compiled before, here or by an earlier host with the same
    /// cache, is not compiled again.
    ///
    /// # Errors
    /// See [`LoadError`]; each names the pipeline, the reason, and what to do where there is something to do.
    pub async fn load(&self, source: PipelineSource) -> Result<Pipeline, LoadError> {
        self.load_watched(source, |_| {}).await
    }

    /// The same, and tells of a compilation when it begins and while it goes on.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn load_watched(
        &self,
        source: PipelineSource,
        mut watch: impl FnMut(Compiling) + Send,
    ) -> Result<Pipeline, LoadError> {
        let bytes = source.read().await?;
        let name = source.name;
        let checked = {
            let bytes = bytes.clone();
            let checking = move || check(&bytes).map(|checked| (checked, Digest::of_bytes(&bytes)));
            tokio::task::spawn_blocking(checking).await
        };
        let checked =
            checked.map_err(|lost| LoadError::Compiler { name: name.clone(), reason: lost.to_string() })?;
        let (checked, digest) = checked.map_err(|refusal| LoadError::refused(name.clone(), refusal))?;
        let gate = self.inner().registry.gate(digest);
        let mut known = gate.lock().await;
        let loaded = match known.upgrade() {
            Some(loaded) => loaded,
            None => {
                let loaded = Arc::new(self.inner().prepare(&name, bytes, digest, checked, &mut watch).await?);
                *known = Arc::downgrade(&loaded);
                loaded
            }
        };
        Ok(Pipeline { name: name.into(), loaded })
    }
}

impl Inner {
    async fn prepare(
        self: &Arc<Self>,
        name: &str,
        bytes: Bytes,
        digest: Digest,
        checked: Checked,
        watch: &mut (impl FnMut(Compiling) + Send),
    ) -> Result<Loaded, LoadError> {
        let mut notes: Vec<String> = self.cache_problem.iter().cloned().collect();
        let key = format!("{digest}-{}", self.code_version);
        let code = match self.cached(key.clone()).await {
            Some(code) => code,
            None => {
                let compiled = self.compile_watched(bytes, watch).await;
                let artifact = compiled.map_err(|error| LoadError::not_compiled(name.to_owned(), error))?;
                let code = artifact.load(&self.engine);
                notes.extend(self.keep(key, artifact).await);
                let fault =
                    |error| LoadError::Compiler { name: name.to_owned(), reason: format!("{error:#}") };
                code.map_err(fault)?
            }
        };
        let slots = self
            .slots_for(&code)
            .map_err(|reason| LoadError::TooDemanding { name: name.to_owned(), reason })?;
        let linker = if imports_http(&checked.imports) { &self.http_linker } else { &self.linker };
        let kind = self
            .link(&code, checked.export, linker)
            .map_err(|error| LoadError::WrongWorld { name: name.to_owned(), reason: format!("{error:#}") })?;
        Ok(Loaded { kind, digest, imports: checked.imports, slots, notes })
    }

    fn link(&self, code: &Code, export: Option<Export>, linker: &Linker<State>) -> wasmtime::Result<Kind> {
        match (code, export) {
            (Code::Module(module), _) => self.core_linker.instantiate_pre(module).map(Kind::Module),
            (Code::Component(component), Some(Export::Run)) => {
                linker.instantiate_pre(component).and_then(CommandPre::new).map(Kind::Command)
            }
            (Code::Component(component), _) => {
                linker.instantiate_pre(component).and_then(PipelinePre::new).map(Kind::Pipeline)
            }
        }
    }

    async fn cached(self: &Arc<Self>, key: String) -> Option<Code> {
        let inner = self.clone();
        let finding = move || {
            let artifact = inner.cache.as_ref()?.find(&key)?;
            let loaded = artifact.load(&inner.engine);
            loaded
                .inspect_err(|error| tracing::warn!(key, %error, "compiled code in the cache does not fit"))
                .ok()
        };
        tokio::task::spawn_blocking(finding).await.ok().flatten()
    }

    /// One at a time: the machine has other things to do.
    async fn compile_watched(
        &self,
        bytes: Bytes,
        watch: &mut (impl FnMut(Compiling) + Send),
    ) -> Result<Artifact, CompileError> {
        let component_bytes = bytes.len() as u64;
        let compiling = async {
            let _turn = self.compile_turn.lock().await;
            self.compile.run(&self.engine, bytes).await
        };
        tokio::pin!(compiling);
        let began = Instant::now();
        loop {
            watch(Compiling { elapsed: began.elapsed(), component_bytes });
            if let Ok(compiled) = timeout(WATCH_INTERVAL, &mut compiling).await {
                return compiled;
            }
        }
    }

    /// A note if it could not be kept: then it is compiled again next time.
    async fn keep(self: &Arc<Self>, key: String, artifact: Artifact) -> Option<String> {
        let inner = self.clone();
        let storing = move || inner.cache.as_ref().map_or(Ok(()), |cache| cache.store(&key, &artifact));
        let stored =
            tokio::task::spawn_blocking(storing).await.unwrap_or_else(|lost| Err(io::Error::other(lost)));
        let error = stored.err()?;
        let note = self.cache_note(&error);
        tracing::warn!("{note}");
        Some(note)
    }
}
