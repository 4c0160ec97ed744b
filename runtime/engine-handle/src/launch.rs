//! How an engine comes to life: as a child process, or as whatever a test puts in its place.

use std::{
    collections::VecDeque,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader},
    net::UnixStream,
    process::{Child, ChildStderr, Command},
    task::JoinHandle,
};

/// Lines of an engine's stderr that are kept for the report of its death.
const LAST_WORDS: usize = 20;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Starts incarnations of one engine.
pub trait Launch: Send + 'static {
    /// # Errors
    /// Of the operating system: no such program, too many processes.
    fn launch(&mut self) -> io::Result<Launched>;
}

/// One incarnation, just started.
pub struct Launched {
    pub stream: Box<dyn Stream>,
    pub life: Life,
}

impl std::fmt::Debug for Launched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launched").field("life", &self.life).finish_non_exhaustive()
    }
}

/// What can be waited for and killed.
#[derive(Debug)]
pub enum Life {
    Process {
        child: Box<Child>,
        last_words: LastWords,
    },
    /// Something of this process that plays an engine; `None` once it has ended.
    Task(Option<JoinHandle<()>>),
}

impl Life {
    /// Of the process, if it is one.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Process { child, .. } => child.id(),
            Self::Task(_) => None,
        }
    }

    /// Waits for the end and says in words what it was.
    pub async fn ended(&mut self) -> String {
        match self {
            Self::Process { child, last_words } => match child.wait().await {
                Ok(status) => obituary(status, last_words),
                Err(error) => format!("could not be waited for: {error}"),
            },
            Self::Task(slot) => {
                let outcome = match slot {
                    Some(task) => task.await,
                    None => Ok(()),
                };
                *slot = None;
                outcome.map_or_else(|error| error.to_string(), |()| "it ended".to_owned())
            }
        }
    }

    /// Ends it without asking.
    pub fn kill(&mut self) {
        match self {
            // The only failure is that it is dead already.
            Self::Process { child, .. } => drop(child.start_kill()),
            Self::Task(task) => task.iter().for_each(JoinHandle::abort),
        }
    }
}

fn obituary(status: ExitStatus, last_words: &LastWords) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(6), _) => "aborted (SIGABRT)".to_owned(),
        (Some(7), _) => "hit a bus error (SIGBUS): was the model file truncated while mapped?".to_owned(),
        (Some(9), _) => "was killed (SIGKILL): out of memory?".to_owned(),
        (Some(11), _) => "hit a segmentation fault (SIGSEGV)".to_owned(),
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    };
    // Whoever is killed did not know: the last line says something else.
    match last_words.last().filter(|_| status.signal() != Some(9)) {
        Some(line) => format!("it {how}; it last said: {line}"),
        None => format!("it {how}"),
    }
}

/// The last lines that an engine wrote to stderr.
#[derive(Debug, Clone, Default)]
pub struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_WORDS {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The line that says most: the last assertion, or else the last line.
    fn last(&self) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().rev().find(|line| line.contains("GGML_ASSERT")).or_else(|| lines.back()).cloned()
    }
}

/// The engine executable. Its socket is its standard input; what it writes to stderr goes to the log.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), arguments: Vec::new() }
    }

    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

impl Launch for Program {
    fn launch(&mut self) -> io::Result<Launched> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for the front end to act on, not for the engine.
            .process_group(0)
            .env("GGML_NO_BACKTRACE", "1")
            .env(TUNABLES, large_pages(std::env::var(TUNABLES).ok()))
            .kill_on_drop(true)
            .spawn()?;
        let last_words = LastWords::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(listen(stderr, last_words.clone()));
        }
        Ok(Launched {
            stream: Box::new(UnixStream::from_std(ours)?),
            life: Life::Process { child: Box::new(child), last_words },
        })
    }
}

/// What glibc's allocator of a new process is told.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Large blocks are to lie on large pages, where the kernel has them for those who ask: each step reads all weights, and takes
/// some 2 % longer on small ones.
fn large_pages(inherited: Option<String>) -> String {
    match inherited {
        Some(tunables) if tunables.contains("glibc.malloc.hugetlb") => tunables,
        Some(tunables) if !tunables.is_empty() => format!("{tunables}:glibc.malloc.hugetlb=1"),
        _ => "glibc.malloc.hugetlb=1".to_owned(),
    }
}

async fn listen(stderr: ChildStderr, last_words: LastWords) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(target: "dunlin_engine", "{line}");
        last_words.push(line);
    }
}
