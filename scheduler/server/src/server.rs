//! The scheduler as a whole: catalog, authority, store, driver and listener, in one folder.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use dunlin_blobs::{Limits, Store, StoreError};
use dunlin_link::clock::Clock;
use dunlin_protocol::{FleetId, JoinToken, NodeId, Role};
use dunlin_traces::{CollectorError, Exporter, Resource};
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    Authority, AuthorityError, Catalog, CatalogError, Front, Listen, ListenError, Listener,
    ask::{BuiltinPipeline, Questions, read_catalog},
    authority::TOKEN_LIFE,
    catalog::Scope,
    driver::{Driver, Event},
    judged::Judged,
    plan::{self, PlanError},
    policies::{Policies, PolicyError},
    serve::Members,
    watched::Watched,
};

/// How long a collector may take to hear the last spans.
const FAREWELL: Duration = Duration::from_secs(1);

/// How one scheduler works.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Its folder: catalog and files.
    pub folder: PathBuf,
    /// Of a new fleet; one that is there keeps its name.
    pub fleet: Option<FleetId>,
    pub listen: Listen,
    /// In force for requests that name none; looked at again whenever the file changes.
    pub policy: Option<PathBuf>,
    /// What the scheduler may do to nodes by itself; nothing without one. Looked at again whenever the file changes.
    pub plan: Option<PathBuf>,
    /// Those that every agent has.
    pub builtins: Vec<BuiltinPipeline>,
    /// The version of the program, for people.
    pub build: String,
    /// Where spans are told, by OTLP over HTTP.
    pub otlp: Option<String>,
}

/// Why there is no scheduler.
#[derive(Debug, Error)]
pub enum ServerError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Traces(#[from] CollectorError),
    #[error("cannot read the policy {}: {error}", path.display())]
    PolicyFile { path: PathBuf, error: std::io::Error },
}

/// A scheduler that runs.
#[derive(Debug)]
pub struct Server {
    questions: Arc<Questions>,
    front: Front,
    listener: Listener,
    driver: JoinHandle<()>,
    failed: watch::Receiver<bool>,
    watches: Vec<JoinHandle<()>>,
    traces: Option<Exporter>,
}

impl Server {
    /// Opens everything and listens. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`]: what cannot be opened, and why.
    pub async fn start(options: ServerOptions, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        let blobs = Store::open(options.folder.join("blobs"), Limits::default())?;
        let catalog = Catalog::open(&options.folder.join("catalog.sqlite"))?;
        let authority = Arc::new(Authority::open(catalog, options.fleet, clock).await?);
        let epoch = authority.catalog().next_epoch().await?;
        let policies = policies(&authority, options.policy.as_deref()).await?;
        let rules = options.plan.as_deref().map(plan::read).transpose()?;
        let catalogued = read_catalog(&authority, &options.builtins).await?;
        let resource = Resource {
            service: "dunlin-scheduler",
            version: options.build.clone(),
            instance: authority.trust().fleet.to_string(),
        };
        let traces =
            options.otlp.as_deref().map(|endpoint| Exporter::start(endpoint, resource)).transpose()?;
        let (mut driver, events) = Driver::new(
            epoch,
            options.build.clone(),
            authority.trust().fleet.clone(),
            options.listen.name.clone(),
            Arc::new(policies.clone()),
            catalogued,
        );
        driver.traces.clone_from(&traces);
        driver.keep_parked_in(authority.catalog().clone(), authority.catalog().parked().await?);
        rules.into_iter().for_each(|rules| drop(events.send(Event::Plan(Arc::new(rules)))));
        let plan = options.plan.map(|path| tokio::spawn(plan::watch(path, events.clone())));
        let keys = authority.catalog().keys().await?;
        let questions = Arc::new(Questions {
            authority: authority.clone(),
            blobs,
            judged: Judged::default(),
            events: events.clone(),
            builtins: options.builtins,
            policies: Mutex::new(policies),
            keys: watch::Sender::new(Arc::new(keys)),
            unencrypted: AtomicBool::new(false),
        });
        let members = Members {
            questions: questions.clone(),
            events,
            epoch,
            build: options.build,
            connections: AtomicU64::new(0),
        };
        let front = Front::new(questions.clone(), driver.changes(), traces.clone());
        let (fails, failed) = watch::channel(false);
        let driver = tokio::spawn(async move {
            // Nothing of it is kept: whoever supervises the process starts it anew, and nodes tell what they hold.
            let failing = Failing(fails);
            driver.run().await;
            drop(failing);
        });
        let listener = Listener::start(authority, options.listen, Arc::new(members)).await?;
        let policy = options.policy.map(|path| tokio::spawn(watch_policy(path, questions.clone())));
        let watches = policy.into_iter().chain(plan).collect();
        Ok(Self { questions, front, listener, driver, failed, watches, traces })
    }

    /// Where members connect.
    pub fn members(&self) -> SocketAddr {
        self.listener.members()
    }

    /// Where boards join.
    pub fn joining(&self) -> SocketAddr {
        self.listener.joining()
    }

    /// For those of this process.
    pub fn front(&self) -> &Front {
        &self.front
    }

    pub fn fleet(&self) -> &FleetId {
        &self.questions.authority.trust().fleet
    }

    /// A token for somebody on this machine, who may read its folder.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn token(&self, role: Role, name: Option<NodeId>) -> Result<JoinToken, AuthorityError> {
        let scope = Scope { role, name, labels: Default::default() };
        self.questions.authority.new_token(scope, TOKEN_LIFE).await
    }

    /// Returns once the scheduler can do nothing more, by a fault of its own; a fault in what serves a single connection or
    /// stream ends that one alone.
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        // The sender is dropped after it has told.
        drop(failed.wait_for(|failed| *failed).await);
    }

    /// Closes all connections. Nodes finish what they run.
    pub async fn stop(self) {
        self.watches.iter().for_each(JoinHandle::abort);
        self.listener.leave().await;
        self.driver.abort();
        if let Some(traces) = self.traces {
            drop(tokio::task::spawn_blocking(move || traces.flush(FAREWELL)).await);
        }
    }
}

/// Tells, when it is dropped, that the driver is no more.
struct Failing(watch::Sender<bool>);

impl Drop for Failing {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

async fn policies(authority: &Authority, file: Option<&Path>) -> Result<Policies, ServerError> {
    let mut policies = Policies::builtin()?;
    for name in authority.catalog().policies().await? {
        if let Some(policy) = authority.catalog().policy(name).await?
            && let Err(error) = policies.add(&policy.name, &policy.text)
        {
            // Of another version of Dunlin, perhaps.
            tracing::warn!(%error, "a policy of the catalog is left out");
        }
    }
    if let Some(path) = file {
        let text = read(path).map_err(|error| ServerError::PolicyFile { path: path.to_owned(), error })?;
        let name = name_of(path);
        policies.add(&name, &text)?;
        policies.set_default(&name)?;
    }
    Ok(policies)
}

/// Reads the file again whenever it changes. A broken one leaves the old one in force, and says so.
async fn watch_policy(path: PathBuf, questions: Arc<Questions>) {
    let mut file = Watched::new(path);
    loop {
        let path = file.changed().await;
        let put = match read(path) {
            Ok(text) => {
                questions.put_policy_in_force(&name_of(path), &text).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match put {
            Ok(()) => {
                tracing::info!(policy = %path.display(), "read again, and in force");
                questions.look_over(&name_of(path)).await;
            }
            Err(error) => {
                tracing::warn!(policy = %path.display(), %error, "not usable; the one before stays in force");
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
