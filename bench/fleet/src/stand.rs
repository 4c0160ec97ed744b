//! A fleet of real processes in a folder of its own: schedulers, agents, workers and engines. All end with it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use dunlin_gguf::synth::{Mix, SynthShape, synth};
use tempfile::TempDir;

use crate::client::Client;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the executables are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) dunlin: PathBuf,
    /// The engine that computes nothing.
    pub(crate) fake: PathBuf,
    pub(crate) engine: PathBuf,
}

impl Programs {
    /// Beside this one.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let here = std::env::current_exe()?;
        let beside = |name: &str| {
            let path = here.with_file_name(name);
            anyhow::ensure!(path.is_file(), "{} is not built: ./x bench fleet builds it", path.display());
            Ok(path)
        };
        Ok(Self {
            dunlin: beside("dunlin")?,
            fake: beside("dunlin-bench-engine")?,
            engine: beside("dunlin-engine")?,
        })
    }
}

/// A process, and what it says.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("a pipe was asked for")?;
        let (to, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Who has heard enough listens no more.
                drop(to.send(line));
            }
        });
        Ok(Self { child, lines })
    }

    fn says(&self, words: &str) -> anyhow::Result<()> {
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return Ok(()),
                Ok(line) => said += &(line + "\n"),
                Err(_) => anyhow::bail!("it never said {words:?}, but:\n{said}"),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As a power cut would end it.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A scheduler and its agents.
#[derive(Debug)]
pub(crate) struct Stand {
    // In the order in which they are dropped.
    pub(crate) agents: BTreeMap<String, Running>,
    pub(crate) scheduler: Running,
    programs: Programs,
    home: TempDir,
    port: u16,
}

impl Stand {
    pub(crate) fn found(programs: &Programs) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let port = two_ports()?;
        let mut command = command(programs, home.path());
        let scheduler = Running::start(scheduler(&mut command, port))?;
        scheduler.says("you are logged in")?;
        let agents = BTreeMap::new();
        Ok(Self { agents, scheduler, programs: programs.clone(), home, port })
    }

    /// Starts the scheduler again where it was killed.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        let mut command = command(&self.programs, self.home.path());
        self.scheduler = Running::start(scheduler(&mut command, self.port))?;
        Ok(())
    }

    /// An agent whose engines compute nothing, or with the real engine.
    pub(crate) fn join(&mut self, name: &str, real_engine: bool, more: &[&str]) -> anyhow::Result<()> {
        let token = self.said(["token", "new"])?;
        let folder = self.home.path().join(name);
        let scheduler = format!("127.0.0.1:{}", self.port);
        let mut command = command(&self.programs, self.home.path());
        if real_engine {
            command.env("DUNLIN_ENGINE", &self.programs.engine);
        }
        command.args([
            "agent",
            "--join",
            token.trim(),
            "--scheduler",
            &scheduler,
            "--name",
            name,
            "--folder",
        ]);
        let agent = Running::start(command.arg(folder).args(more))?;
        agent.says("connected scheduler")?;
        self.agents.insert(name.to_owned(), agent);
        Ok(())
    }

    /// Gives the fleet a model, so small that it is nothing but a name.
    pub(crate) fn push_tiny(&self) -> anyhow::Result<()> {
        let path = self.home.path().join("tiny.gguf");
        synth(&SynthShape::TINY, Mix::Q8_0, 1, &path, |_| ())?;
        self.push(&path, "tiny")
    }

    pub(crate) fn push(&self, path: &Path, alias: &str) -> anyhow::Result<()> {
        self.said([OsStr::new("models"), "push".as_ref(), path.as_ref(), "--alias".as_ref(), alias.as_ref()])
            .map(drop)
    }

    /// What a command says that works.
    pub(crate) fn said<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<String> {
        let output = command(&self.programs, self.home.path()).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    /// A command that works without the fleet, with the real engine.
    pub(crate) fn said_alone<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<String> {
        let mut command = command(&self.programs, self.home.path());
        let output = command.env("DUNLIN_ENGINE", &self.programs.engine).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let login = self.home.path().join("data/dunlin/fleet/login");
        Client::connect(&login, SocketAddr::from(([127, 0, 0, 1], self.port))).await
    }

    /// Returns once so many nodes are connected.
    pub(crate) async fn connected(&self, nodes: u32) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            if let Ok(client) = self.client().await
                && client.fleet().await.is_ok_and(|fleet| fleet.connected >= nodes)
            {
                return Ok(());
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "{nodes} nodes did not come back");
        }
    }

    pub(crate) fn pid_of(&self, agent: &str) -> anyhow::Result<u32> {
        self.agents.get(agent).map(Running::pid).with_context(|| format!("no agent {agent}"))
    }
}

fn scheduler(command: &mut Command, port: u16) -> &mut Command {
    command.args(["scheduler", "--listen", "127.0.0.1", "--port"]).arg(port.to_string())
}

/// With nothing of this machine's own.
fn command(programs: &Programs, home: &Path) -> Command {
    let mut command = Command::new(&programs.dunlin);
    let path = |name: &str| home.join(name);
    command
        .current_dir(home)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("XDG_DATA_HOME", path("data"))
        .env("XDG_STATE_HOME", path("state"))
        .env("XDG_CACHE_HOME", path("cache"))
        .env("DUNLIN_BUNDLED_MODELS", path("none"))
        .env("DUNLIN_ENGINE", &programs.fake)
        .env("DUNLIN_LOG", "info");
    command
}

/// A port that is free, and the one above it.
fn two_ports() -> anyhow::Result<u16> {
    loop {
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        if port < u16::MAX && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
}
