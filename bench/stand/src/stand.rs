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
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::client::Client;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what takes its time.
const LOOK: Duration = Duration::from_millis(50);

/// Where the executables are.
#[derive(Debug, Clone)]
pub struct Programs {
    pub dunlin: PathBuf,
    /// The engine that computes nothing.
    pub fake: PathBuf,
    pub engine: PathBuf,
}

impl Programs {
    /// Beside this one.
    ///
    /// # Errors
    /// If one is missing.
    pub fn find() -> anyhow::Result<Self> {
        let here = std::env::current_exe()?;
        let beside = |name: &str| {
            let path = here.with_file_name(name);
            anyhow::ensure!(path.is_file(), "{} is not built: ./x bench builds it", path.display());
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
pub struct Running {
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

    /// The line with these words.
    fn says(&self, words: &str) -> anyhow::Result<String> {
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return Ok(line),
                Ok(line) => said += &(line + "\n"),
                Err(_) => anyhow::bail!("it never said {words:?}, but:\n{said}"),
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As a power cut would end it.
    pub fn kill(&mut self) {
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
pub struct Stand {
    // In the order in which they are dropped.
    pub agents: BTreeMap<String, Running>,
    pub scheduler: Running,
    programs: Programs,
    home: TempDir,
    port: u16,
    /// Where its scheduler speaks HTTP.
    http: Option<String>,
}

impl Stand {
    /// # Errors
    /// If its scheduler does not come up.
    pub fn found(programs: &Programs) -> anyhow::Result<Self> {
        Self::begin(programs, &[], "you are logged in").map(|(stand, _)| stand)
    }

    /// As [`Self::found`], with HTTP for whoever is on this machine.
    ///
    /// # Errors
    /// If its scheduler does not come up.
    pub fn with_http(programs: &Programs) -> anyhow::Result<Self> {
        let (mut stand, line) = Self::begin(programs, &["--http", "127.0.0.1:0"], "speaks OpenAI's API")?;
        stand.http = line.split_once("/v1 speaks").map(|(url, _)| url.trim().to_owned());
        Ok(stand)
    }

    /// And the line that says that it is ready.
    fn begin(programs: &Programs, more: &[&str], ready: &str) -> anyhow::Result<(Self, String)> {
        let home = tempfile::tempdir()?;
        let port = two_ports()?;
        let mut command = command(programs, home.path());
        let scheduler = Running::start(scheduler(&mut command, port).args(more))?;
        let line = scheduler.says(ready)?;
        let agents = BTreeMap::new();
        Ok((Self { agents, scheduler, programs: programs.clone(), home, port, http: None }, line))
    }

    /// `http://HOST:PORT`.
    ///
    /// # Errors
    /// If it was founded without HTTP.
    pub fn url(&self) -> anyhow::Result<&str> {
        self.http.as_deref().context("this fleet speaks no HTTP")
    }

    /// Starts the scheduler again where it was killed, without HTTP.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let mut command = command(&self.programs, self.home.path());
        self.scheduler = Running::start(scheduler(&mut command, self.port))?;
        self.http = None;
        Ok(())
    }

    /// An agent whose engines compute nothing, or with the real engine.
    pub fn join(&mut self, name: &str, real_engine: bool, more: &[&str]) -> anyhow::Result<()> {
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
    pub fn push_tiny(&self) -> anyhow::Result<()> {
        let path = self.home.path().join("tiny.gguf");
        synth(&SynthShape::TINY, Mix::Q8_0, 1, &path, |_| ())?;
        self.push(&path, "tiny")
    }

    /// # Errors
    /// If the scheduler does not take it.
    pub fn push(&self, path: &Path, alias: &str) -> anyhow::Result<()> {
        self.said([OsStr::new("models"), "push".as_ref(), path.as_ref(), "--alias".as_ref(), alias.as_ref()])
            .map(drop)
    }

    /// Has so many nodes keep a model in memory, and returns once they do.
    ///
    /// # Errors
    /// If they do not.
    pub async fn resident_on(&self, alias: &str, nodes: u32) -> anyhow::Result<()> {
        let models: Vec<Value> = serde_json::from_str(&self.said(["models", "ls", "--json"])?)?;
        let known = models.iter().find(|model| model["alias"] == alias).context("no such model")?;
        let digest = known["variants"][0]["digest"].as_str().context("a model without a digest")?;
        self.said(["models", "alias", alias, digest, "--resident-on", &nodes.to_string()])?;
        let (client, began) = (self.client().await?, Instant::now());
        while client.resident(alias).await? < nodes {
            anyhow::ensure!(began.elapsed() < PATIENCE, "{alias} did not become resident on {nodes} nodes");
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// What a command says that works.
    pub fn said<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> anyhow::Result<String> {
        let output = command(&self.programs, self.home.path()).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    /// A command that works without the fleet, with the real engine.
    pub fn said_alone<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<String> {
        let mut command = command(&self.programs, self.home.path());
        let output = command.env("DUNLIN_ENGINE", &self.programs.engine).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    pub async fn client(&self) -> anyhow::Result<Client> {
        let login = self.home.path().join("data/dunlin/fleet/login");
        Client::connect(&login, SocketAddr::from(([127, 0, 0, 1], self.port))).await
    }

    /// Returns once so many nodes are connected.
    pub async fn connected(&self, nodes: u32) -> anyhow::Result<()> {
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

    pub fn pid_of(&self, agent: &str) -> anyhow::Result<u32> {
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
