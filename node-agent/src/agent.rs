//! The agent: connects, serves, connects again.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use dunlin_blobs::{Limits, Store, StoreError};
use dunlin_engine_handle::Program;
use dunlin_link::{
    Chain, Credentials, Dialer, EndpointError, Folder, FolderError, GreetError, Link, Next, Reconnect,
    certificate::Standing, clock::FlooredClock,
};
use dunlin_protocol::BlobDigest;
use dunlin_traces::{CollectorError, Exporter, Resource};
use dunlin_worker_handle::Worker;
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    AgentOptions, OwnRows,
    costs::OwnCosts,
    measuring::probe_what_is_loaded,
    metrics::Metrics,
    node::Node,
    session::{self, SessionError},
    state::Memory,
};

/// How long the last words of attempts may take to be heard.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often it is looked at whether the certificate must be renewed.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(30);

/// Why there is no agent.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(
        "this machine has not joined a fleet: dunlin agent --join TOKEN (a token is made by dunlin token new)"
    )]
    NotJoined,
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} cannot be written: {error}", path.display())]
    State { path: PathBuf, error: io::Error },
    #[error("metrics that cannot be: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error(transparent)]
    Traces(#[from] CollectorError),
}

/// How an agent that was told to stop came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything that ran has ended, or was handed over.
    Drained,
    /// Some attempts were cut off.
    CutOff(usize),
}

/// A node of a fleet.
#[derive(Debug)]
pub struct Agent {
    node: Arc<Node>,
    credentials: Arc<Credentials>,
    clock: Arc<FlooredClock>,
    folder: Folder,
}

impl Agent {
    /// Starts the worker and opens the stores; connects to nobody yet. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// If it has not joined, or its folder cannot be used.
    pub fn start(
        options: AgentOptions,
        folder: Folder,
        clock: Arc<FlooredClock>,
    ) -> Result<Self, AgentError> {
        let (trust, credential) = folder.identity()?.ok_or(AgentError::NotJoined)?;
        let name = credential.leaf.identity.name.clone();
        let credentials = Arc::new(Credentials::new(trust, credential, Chain::Leaf));
        let any = if options.scheduler.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let local = any.parse().map_err(|_| AgentError::NotJoined)?;
        let dialer = Arc::new(Dialer::new(local, credentials.clone(), clock.clone())?);
        let state = |error| AgentError::State { path: options.folder.clone(), error };
        let memory = Memory::open(&options.folder).map_err(state)?;
        let blobs = Store::open(options.folder.join("blobs"), Limits::default())?;
        for builtin in &options.builtins {
            blobs.put(BlobDigest::from(builtin.digest), builtin.bytes)?;
        }
        let worker = Worker::start(worker_program(&options, &blobs));
        let metrics = Arc::new(Metrics::new(name.as_str(), &options)?);
        let resource =
            Resource { service: "dunlin-agent", version: options.build.clone(), instance: name.to_string() };
        let traces =
            options.otlp.as_deref().map(|endpoint| Exporter::start(endpoint, resource)).transpose()?;
        let node = Node::new(options, name, memory, worker, blobs, dialer, (metrics, traces));
        let node = Arc::new(node);
        node.find_fetched_models();
        node.board().into_iter().for_each(|board| node.worker.set_board(board));
        tokio::spawn(tell_gaps(node.clone()));
        Ok(Self { node, credentials, clock, folder })
    }

    /// Who it is.
    pub fn name(&self) -> String {
        self.node.name.to_string()
    }

    /// What of the rows that were measured here is used. `None` where there are none.
    ///
    /// # Errors
    /// Which file, and why it is not used.
    pub fn own_rows(&self) -> Result<Option<OwnRows>, String> {
        let mut costs = OwnCosts::of(&self.node.options);
        let rows = costs.changed().transpose();
        rows.map_err(|error| format!("{}: {error}", costs.path().display()))
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Serves until it is told to stop; then everything that runs gets `grace` to end or to be taken over.
    pub async fn run(&self, stop: CancellationToken, grace: Duration) -> Ending {
        let (leave, leaving) = watch::channel(None);
        let serving = async {
            tokio::join!(
                self.serve(leaving),
                self.node.metering.run(|| self.node.worker.loads() || self.node.bench.is_engaged()),
                self.meter_board(),
                self.meter_loads(),
                probe_what_is_loaded(&self.node)
            )
        };
        tokio::pin!(serving);
        tokio::select! {
            _ = &mut serving => {}
            () = stop.cancelled() => {}
        }
        leave.send_replace(Some(grace));
        self.node.drain();
        let drained = async {
            let mut news = self.node.news.subscribe();
            while !self.node.running().is_empty() {
                drop(news.changed().await);
            }
        };
        let drained = async {
            tokio::select! {
                () = drained => {}
                _ = &mut serving => {}
            }
        };
        drop(timeout(grace, drained).await);
        // The scheduler says what it has got.
        let heard = async {
            let mut news = self.node.news.subscribe();
            while self.node.holds_attempts() {
                drop(news.changed().await);
            }
        };
        tokio::select! {
            _ = timeout(FAREWELL, heard) => {}
            _ = &mut serving => {}
        }
        let node = self.node.clone();
        let restored = tokio::task::spawn_blocking(move || {
            node.traces.iter().for_each(|traces| traces.flush(FAREWELL));
            node.modes.restore()
        });
        let restored = restored.await;
        if let Ok(Err(error)) = restored {
            tracing::warn!(%error, "the mode that was found is not restored; the next start tries again");
        }
        match self.node.running().len() {
            0 => Ending::Drained,
            left => Ending::CutOff(left),
        }
    }

    /// For as long as there is a worker: the meter of an emulated board shows what it tells.
    async fn meter_board(&self) {
        let mut board = self.node.worker.board();
        while board.changed().await.is_ok() {
            self.node.meter_board();
        }
    }

    /// For as long as there is a worker: the meter knows when the board begins to load a model, and when it has it.
    async fn meter_loads(&self) {
        let mut status = self.node.worker.watch();
        let mut loads = false;
        while status.changed().await.is_ok() {
            let now = self.node.worker.loads();
            if std::mem::replace(&mut loads, now) != now {
                self.node.metering.note_change();
            }
        }
    }

    /// Connects and serves for ever.
    async fn serve(&self, leaving: watch::Receiver<Option<Duration>>) {
        let began = Instant::now();
        let mut reconnect = Reconnect::new(seed(&self.name()));
        loop {
            match reconnect.poll(began.elapsed()) {
                Next::Connect => {}
                Next::WaitUntil(until) => {
                    sleep(until.saturating_sub(began.elapsed())).await;
                    continue;
                }
                Next::Idle => {
                    reconnect.lost(began.elapsed());
                    continue;
                }
            }
            let address = self.node.options.scheduler;
            let link = match self.node.dialer.dial(address).await {
                Ok(link) => link,
                Err(error) => {
                    tracing::warn!(%error, "no connection");
                    reconnect.lost(began.elapsed());
                    continue;
                }
            };
            reconnect.connected(began.elapsed());
            let ended = self.session(&link, leaving.clone()).await;
            self.node.metrics.disconnected();
            match ended {
                Err(SessionError::Greet(GreetError::Refused(failure))) => {
                    tracing::warn!(%failure, "refused");
                    let pause = Duration::from_millis(failure.retry_after_ms.unwrap_or(1000));
                    reconnect.told_to_wait(began.elapsed(), pause);
                }
                Err(error) => {
                    tracing::warn!(%error, "the connection is lost");
                    reconnect.lost(began.elapsed());
                }
                Ok(()) => reconnect.lost(began.elapsed()),
            }
        }
    }

    async fn session(
        &self,
        link: &Link,
        leaving: watch::Receiver<Option<Duration>>,
    ) -> Result<(), SessionError> {
        if self.credentials.current().leaf.standing(self.clock.now()) == Standing::RenewOnly {
            // With it nothing else is possible; then one comes again.
            self.renew_once(link).await;
            return Ok(());
        }
        let (control, welcome) = session::begin(&self.node, link).await?;
        self.clock
            .raise(dunlin_link::clock::UnixTime::since_unix_epoch(Duration::from_secs(welcome.unix_seconds)));
        if let Err(error) = self.folder.keep_floor(self.clock.floor()) {
            tracing::warn!(%error, "the time cannot be kept");
        }
        tracing::info!(scheduler = %self.node.options.scheduler, node = %self.node.name, "connected");
        self.node.metrics.connected(link);
        tokio::select! {
            ended = session::serve(&self.node, link, control, &welcome, leaving) => ended,
            () = self.renew(link) => Ok(()),
        }
    }

    /// Keeps the certificate valid for as long as the connection stands.
    async fn renew(&self, link: &Link) {
        loop {
            if self.credentials.current().leaf.renew_at() <= self.clock.now() {
                self.renew_once(link).await;
            }
            sleep(RENEWAL_INTERVAL).await;
        }
    }

    async fn renew_once(&self, link: &Link) {
        match dunlin_link::renew(link, &self.credentials, &self.clock).await {
            Ok(credential) => {
                if let Err(error) = self.folder.keep_identity(&self.credentials.trust, &credential) {
                    tracing::warn!(%error, "the new certificate cannot be kept");
                }
                self.credentials.swap(credential);
            }
            Err(error) => tracing::warn!(%error, "the certificate was not renewed"),
        }
    }
}

/// What could not be taken from pipelines here goes into the inventory once it is known.
async fn tell_gaps(node: Arc<Node>) {
    let mut status = node.worker.watch();
    let said = status.wait_for(|status| status.confinement.is_some()).await;
    let has_gaps = said.is_ok_and(|status| status.confinement.as_ref().is_some_and(|of| of.gaps().is_some()));
    if has_gaps {
        node.shelf.send_modify(|count| *count += 1);
    }
}

/// Nodes that lose their scheduler at once come back one by one.
fn seed(name: &str) -> u64 {
    name.bytes().fold(u64::from(std::process::id()), |seed, byte| {
        seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
    })
}

fn worker_program(options: &AgentOptions, blobs: &Store) -> Program {
    let folder = |path: &std::path::Path| path.parent().map(std::path::Path::to_owned);
    let mut readable: Vec<PathBuf> = options.models.iter().filter_map(|model| folder(&model.path)).collect();
    readable.extend(folder(&options.engine));
    readable.push(blobs.root().to_owned());
    readable.retain(|folder| !folder.as_os_str().is_empty());
    readable.sort();
    readable.dedup();
    let worker = serde_json::json!({
        "cache": options.folder.join("compiled"),
        "readable": readable,
        "compile_child": options.compile_child,
    });
    let (program, argument) = &options.worker;
    Program::new(program).argument(argument).argument(worker.to_string())
}
