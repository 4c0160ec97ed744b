//! Makes code of components: in a child process with little priority, one thread and limits. Compiling may
//! take half a minute and half a gigabyte, and hostile input may take as much as there is.

mod child;

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::Bytes;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{ChildStdin, Command},
    time::timeout,
};
use wasmtime::Engine;

pub use self::child::compile_child_main;
use crate::load::artifact::Artifact;

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// The child may wait for the CPU this many times as long as it may use it, and then some: at the lowest priority it gets
/// one part in 70 of a core that is never idle.
const PATIENCE_FACTOR: u32 = 16;
const PATIENCE: Duration = Duration::from_mins(1);

/// Of what the child says on stderr, this much is kept.
const MAX_WORDS: u64 = 64 << 10;

/// Where components are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compile {
    Child(CompileChild),
    /// On a thread of this process, without limits: for components that one trusts.
    InProcess,
}

/// Components of more bytes carry an interpreter: compiling them takes half a minute of a core, and a model that decodes
/// beside it would lose a tenth of its speed for as long.
const LARGE: usize = 2 << 20;

const LOWEST: u8 = 19;

/// A program that calls [`compile_child_main`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileChild {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Address space that it may use.
    pub memory_bytes: u64,
    pub cpu_time: Duration,
    /// What its priority is lowered by, at most 19. Unless it is 0, a component of more than 2 MiB gets the lowest.
    pub niceness: u8,
}

impl CompileChild {
    /// With 2 GiB and two minutes, at a priority that is lower by 10.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            memory_bytes: 2 << 30,
            cpu_time: Duration::from_mins(2),
            niceness: 10,
        }
    }

    /// The program that is running, which must act on these arguments. It is found even after it was replaced
    /// on disk.
    pub fn this_program(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self::new("/proc/self/exe", arguments)
    }
}

#[derive(Debug, Error)]
pub(crate) enum CompileError {
    #[error("{0}")]
    Refused(String),
    /// What was exceeded.
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Failed(String),
}

impl Compile {
    /// The future may be dropped; a child then ends.
    pub(crate) async fn run(&self, engine: &Engine, component: Bytes) -> Result<Artifact, CompileError> {
        match self {
            Self::Child(child) => child.run(&component).await,
            Self::InProcess => {
                let engine = engine.clone();
                let compiling = tokio::task::spawn_blocking(move || Artifact::compile(&engine, &component));
                let compiled = compiling.await.map_err(|lost| CompileError::Failed(lost.to_string()))?;
                compiled.map_err(|error| CompileError::Refused(format!("{error:#}")))
            }
        }
    }
}

impl CompileChild {
    async fn run(&self, component: &[u8]) -> Result<Artifact, CompileError> {
        let patience = PATIENCE + self.cpu_time * PATIENCE_FACTOR;
        match timeout(patience, self.converse(component)).await {
            Ok(Ok(said)) => self.understand(said),
            Ok(Err(error)) => Err(CompileError::Failed(format!("{}: {error}", self.program.display()))),
            Err(_) => Err(CompileError::Limit(format!("took more than {} s", patience.as_secs()))),
        }
    }

    const fn niceness_for(&self, component: &[u8]) -> u8 {
        if self.niceness > 0 && component.len() > LARGE { LOWEST } else { self.niceness }
    }

    async fn converse(&self, component: &[u8]) -> io::Result<Said> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for the front end to act on.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(io::Error::other("its pipes are missing"));
        };
        let limits = child::Limits {
            memory_bytes: self.memory_bytes,
            cpu_seconds: self.cpu_time.as_secs(),
            niceness: self.niceness_for(component).into(),
        };
        let (_, sealed, words) = tokio::join!(
            // One that ends early does not read on; why it ended says more.
            send(stdin, &limits, component),
            read(stdout, u64::MAX),
            read(stderr, MAX_WORDS),
        );
        let words = String::from_utf8_lossy(&words?).trim().to_owned();
        Ok(Said { status: child.wait().await?, sealed: sealed?, words })
    }

    fn understand(&self, said: Said) -> Result<Artifact, CompileError> {
        let Said { status, sealed, words } = said;
        let last_word = words.lines().last().unwrap_or_default();
        let memory = || format!("took more than {} MiB of memory", self.memory_bytes >> 20);
        match (status.code(), status.signal()) {
            (Some(0), _) => Artifact::open(sealed)
                .ok_or_else(|| CompileError::Failed(format!("{} does not compile", self.program.display()))),
            (Some(code), _) if code == i32::from(child::REFUSED) => Err(CompileError::Refused(words)),
            (_, Some(SIGXCPU)) => {
                Err(CompileError::Limit(format!("took more than {} s of CPU time", self.cpu_time.as_secs())))
            }
            (_, Some(SIGKILL)) => Err(CompileError::Limit("was killed: out of memory?".into())),
            _ if words.contains("memory allocation of") => Err(CompileError::Limit(memory())),
            _ => Err(CompileError::Failed(format!(
                "{} ended with {status}: {last_word}",
                self.program.display()
            ))),
        }
    }
}

/// What came of one child.
struct Said {
    status: ExitStatus,
    sealed: Vec<u8>,
    words: String,
}

async fn send(mut stdin: ChildStdin, limits: &child::Limits, component: &[u8]) -> io::Result<()> {
    stdin.write_all(&limits.to_bytes()).await?;
    stdin.write_all(component).await?;
    stdin.shutdown().await
}

/// Everything, of which at most `kept` bytes are kept.
async fn read(mut from: impl AsyncRead + Unpin, kept: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut from).take(kept).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}
