//! What must last: the authority, tokens, members, components, models, policies. In SQLite, on a thread of its own.
//!
//! All of SQL is in this folder, and nothing of SQLite is in its signatures: another store can take its place.

mod components;
mod error;
mod fleet;
mod members;
mod models;
mod policies;
mod schema;
mod tokens;

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, thread, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

pub use components::{Component, Tag};
pub use error::CatalogError;
pub use fleet::FleetRecord;
pub use members::{Labels, Member, NewCertificate};
pub use models::{Alias, Pin, Variant};
pub use policies::PolicyFile;
pub use tokens::{Grant, Redeemed, Scope, TokenRecord, TokenRefusal};

/// Operations that wait for the thread; whoever comes beyond waits to wait.
const MAX_QUEUED: usize = 64;
/// How long another process may hold the file before that is an error: an old scheduler that is about to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// A handle of the catalog; clones are handles of the same. The file is held by this process alone.
#[derive(Debug, Clone)]
pub struct Catalog {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

impl Catalog {
    /// Opens the catalog at `path`; makes it where it is missing, and brings it to this version where it is older.
    ///
    /// # Errors
    /// [`CatalogError`]: held by another process, damaged, of a newer version, no space, no permission.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let in_file = |error| CatalogError::of_file(path, error);
        // Made here, so that nobody else can read it: the journal beside it takes on its mode.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| CatalogError::Open { path: path.to_owned(), source })?;
        let mut connection = Connection::open(path).map_err(in_file)?;
        prepare(&connection).map_err(in_file)?;
        schema::check(&connection, path)?;
        schema::migrate(&mut connection, path)?;
        Self::start(connection)
    }

    /// A catalog that is forgotten, for tests.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn in_memory() -> Result<Self, CatalogError> {
        let mut connection = Connection::open_in_memory()?;
        schema::migrate(&mut connection, Path::new(":memory:"))?;
        Self::start(connection)
    }

    fn start(mut connection: Connection) -> Result<Self, CatalogError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(MAX_QUEUED);
        let work = move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
        };
        thread::Builder::new().name("catalog".into()).spawn(work).map_err(CatalogError::Thread)?;
        Ok(Self { jobs })
    }

    /// Runs `job` in a transaction, which is taken back where it fails.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        self.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = job(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
    }

    /// Runs `job`; also when nobody waits for it any more.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody waits any more: what was done stays done.
            let _ = sender.send(job(connection));
        });
        self.jobs.send(job).await.map_err(|_| CatalogError::Stopped)?;
        receiver.await.map_err(|_| CatalogError::Stopped)?
    }
}

/// Exclusive, so that two schedulers cannot share one file; every commit is on the disk before it counts.
fn prepare(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Takes the lock now instead of at the first write.
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
}
