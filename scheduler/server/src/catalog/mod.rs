//! What must last: the authority, tokens, members, components, models, policies. In SQLite, on a thread of its own.
//!
//! All of SQL is in this folder, and nothing of SQLite is in its signatures: another store can take its place.

mod components;
mod error;
mod fleet;
mod keys;
mod members;
mod models;
mod parked;
mod policies;
mod schema;
mod tokens;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::Duration,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

pub use components::{Component, Tag};
pub use error::CatalogError;
pub use fleet::FleetRecord;
pub use keys::{KeyHash, KeyRecord};
pub use members::{Labels, Member, NewCertificate};
pub use models::{Alias, Pin, Variant};
pub use parked::ParkedNode;
pub use policies::PolicyFile;
pub use tokens::{Grant, Redeemed, Scope, TokenRecord, TokenRefusal};

/// Operations that wait for the thread; whoever comes beyond waits to wait.
const MAX_QUEUED: usize = 64;
/// How long another process may hold the file before that is an error: an old scheduler that is about to end.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

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
                // A job that panics has taken its transaction back while it unwound, and its caller hears of it.
                if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                    tracing::error!("an operation of the catalog panicked");
                }
            }
        };
        thread::Builder::new().name("catalog".into()).spawn(work).map_err(CatalogError::Thread)?;
        Ok(Self { jobs })
    }

    /// Runs `job` in a transaction, which is taken back where it fails. Once it is queued it runs, also when nobody waits
    /// for it any more; so what must follow a commit is part of the job.
    async fn transact<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        self.transact_then(job, |result| result).await
    }

    /// As [`Self::transact`]; what it gives goes to `after` once it is kept.
    async fn transact_then<T: Send + 'static, U: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError> + Send + 'static,
        after: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<U, CatalogError> {
        self.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = job(&transaction)?;
            transaction.commit()?;
            Ok(after(result))
        })
        .await
    }

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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use dunlin_link::clock::UnixTime;
    use dunlin_protocol::{ComponentDigest, ModelDigest, Role, Secret, TokenId};
    use expect_test::{Expect, expect};

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn grant(id: u64) -> Grant {
        let scope = Scope { role: Role::Node, name: None, labels: Labels::new() };
        Grant { id: TokenId(id), secret: Secret([1; 16]), scope, created: at(100), expires: at(200) }
    }

    /// Why the file at `path` cannot be opened.
    fn check(path: &Path, expected: &Expect) {
        let error = Catalog::open(path).unwrap_err().to_string();
        expected.assert_eq(&error.replace(&path.display().to_string(), "CATALOG"));
    }

    #[tokio::test]
    async fn the_file_is_for_its_owner_alone_and_for_one_process() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("catalog.db");
        let catalog = Catalog::open(&path).unwrap();
        catalog.grant_token(grant(1)).await.unwrap();
        for file in fs::read_dir(home.path()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
        }
        check(
            &path,
            &expect![[r"the catalog CATALOG is held by another process; is a scheduler running on it?"]],
        );
    }

    #[tokio::test]
    async fn files_that_are_no_catalog_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("catalog.db");
        fs::write(&path, b"a letter to my aunt, which is long enough to have a header".repeat(20)).unwrap();
        check(
            &path,
            &expect![[
                r"the catalog CATALOG is damaged (file is not a database); restore a copy, or move it away and let all members join again"
            ]],
        );

        let path = home.path().join("newer.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
        check(
            &path,
            &expect![[
                r"the catalog CATALOG was written by a newer version (7; this one knows 3); upgrade this scheduler"
            ]],
        );

        check(
            &home.path().join("no/such/folder"),
            &expect![[r"the catalog CATALOG cannot be opened: No such file or directory (os error 2)"]],
        );
    }

    #[tokio::test]
    async fn damage_is_found_at_the_start() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("catalog.db");
        {
            let mut connection = Connection::open(&path).unwrap();
            schema::migrate(&mut connection, &path).unwrap();
        }
        let mut bytes = fs::read(&path).unwrap();
        // The first page has the header and the schema; what follows are tables.
        bytes[4_096..8_192].fill(0x5a);
        fs::write(&path, bytes).unwrap();
        check(
            &path,
            &expect![[
                r"the catalog CATALOG is damaged (*** in database main *** Tree 2 page 2: btreeInitPage() returns error code 11); restore a copy, or move it away and let all members join again"
            ]],
        );
    }

    #[tokio::test]
    async fn a_full_disk_changes_nothing_and_says_so() {
        let catalog = Catalog::in_memory().unwrap();
        catalog.grant_token(grant(1)).await.unwrap();
        let pages = async |count: &'static str| {
            let set = move |connection: &mut Connection| {
                Ok(connection.query_row(&format!("PRAGMA max_page_count = {count}"), [], |_| Ok(()))?)
            };
            catalog.run(set).await.unwrap();
        };
        pages("1").await;
        let policy = |text: &str| PolicyFile { name: "p".into(), text: text.into(), changed: at(1) };
        let error = catalog.set_policy(policy(&"x".repeat(50_000))).await.unwrap_err();
        expect![[r"the disk with the catalog is full; nothing was changed; make room and try again"]]
            .assert_eq(&error.to_string());
        assert_eq!(catalog.policy("p".into()).await.unwrap(), None);
        pages("10000").await;
        catalog.set_policy(policy("y")).await.unwrap();
        assert_eq!(catalog.tokens().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_token_for_which_no_certificate_was_made_is_still_good() {
        let catalog = Catalog::in_memory().unwrap();
        catalog.grant_token(grant(1)).await.unwrap();
        let fleet = || "f7".parse().unwrap();
        let token = || (TokenId(1), Secret([1; 16]));
        let failed = catalog
            .redeem(fleet(), token(), None, at(150), |_| Err(CatalogError::DiskFull), |_| ())
            .await
            .unwrap_err();
        assert!(matches!(failed, TokenRefusal::Catalog(CatalogError::DiskFull)));
        let failed =
            catalog.redeem(fleet(), token(), None, at(150), |_| panic!("a fault"), |_| ()).await.unwrap_err();
        assert!(matches!(failed, TokenRefusal::Catalog(CatalogError::Stopped)));
        assert!(catalog.members().await.unwrap().is_empty());
        let certificate = NewCertificate {
            der: vec![],
            fingerprint: dunlin_link::certificate::Fingerprint([3; 32]),
            issued: at(150),
            expires: at(900),
        };
        catalog.redeem(fleet(), token(), None, at(150), move |_| Ok(certificate), |_| ()).await.unwrap();
        let used = catalog.redeem(fleet(), token(), None, at(150), |_| panic!("made again"), |_| ()).await;
        assert!(matches!(used, Err(TokenRefusal::Used)));
    }

    #[tokio::test]
    async fn tokens_have_a_limit_and_old_ones_go() {
        let catalog = Catalog::in_memory().unwrap();
        for id in 0..4_096 {
            catalog.grant_token(grant(id)).await.unwrap();
        }
        let error = catalog.grant_token(grant(5_000)).await.unwrap_err();
        expect!["the catalog has 4096 tokens already; remove some"].assert_eq(&error.to_string());
        let later = Grant { created: at(10_000_000), expires: at(10_000_900), ..grant(5_000) };
        catalog.grant_token(later).await.unwrap();
        assert_eq!(catalog.tokens().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn names_stand_for_components() {
        let catalog = Catalog::in_memory().unwrap();
        let component = |byte| Component { digest: ComponentDigest([byte; 32]), bytes: 7, added: at(5) };
        let deploy = async |name: &str, byte| catalog.deploy(name.into(), component(byte)).await.unwrap();
        assert_eq!(deploy("extract", 1).await, None);
        assert_eq!(deploy("extract", 2).await, Some(ComponentDigest([1; 32])));
        deploy("same", 2).await;
        assert_eq!(catalog.tagged("extract".into()).await.unwrap(), component(2));
        let names: Vec<_> = catalog.tags().await.unwrap().into_iter().map(|tag| tag.name).collect();
        assert_eq!(names, ["extract", "same"]);
        assert_eq!(catalog.untag("extract".into()).await.unwrap(), [ComponentDigest([1; 32])]);
        assert_eq!(catalog.untag("same".into()).await.unwrap(), [ComponentDigest([2; 32])]);
        expect!["the catalog has no pipeline same"]
            .assert_eq(&catalog.untag("same".into()).await.unwrap_err().to_string());
    }

    #[tokio::test]
    async fn aliases_keep_the_order_of_their_variants() {
        let catalog = Catalog::in_memory().unwrap();
        let variant = |byte, quality| {
            let name = format!("{byte}b-q4_0");
            Variant { digest: ModelDigest([byte; 32]), name, bytes: u64::from(byte), quality }
        };
        let alias = |variants| Alias { name: "small".into(), variants, resident_on: 2 };
        let both = alias(vec![variant(3, Some(610)), variant(1, None)]);
        catalog.set_alias(alias(vec![variant(9, None)])).await.unwrap();
        catalog.set_alias(both.clone()).await.unwrap();
        assert_eq!(catalog.aliases().await.unwrap(), [both]);
        catalog.set_alias(alias(vec![])).await.unwrap();
        assert_eq!(catalog.aliases().await.unwrap(), []);
    }

    #[tokio::test]
    async fn keys_are_kept_by_their_hashes() {
        let catalog = Catalog::in_memory().unwrap();
        let key = |name: &str, text: &str, expires| KeyRecord {
            name: name.into(),
            beginning: text[..2].into(),
            hash: KeyHash::of(text),
            allowance: dunlin_protocol::Allowance {
                models: vec![dunlin_protocol::Name("demo".into())],
                tokens_per_minute: Some(9),
                ..Default::default()
            },
            created: at(5),
            expires,
        };
        catalog.set_key(key("web", "secret", None)).await.unwrap();
        catalog.set_key(key("web", "another", Some(at(9)))).await.unwrap();
        assert_eq!(catalog.keys().await.unwrap(), [key("web", "another", Some(at(9)))]);
        catalog.remove_key("web".into()).await.unwrap();
        expect!["the catalog has no key web"]
            .assert_eq(&catalog.remove_key("web".into()).await.unwrap_err().to_string());
    }

    #[tokio::test]
    async fn pins_and_policies_are_kept() {
        let catalog = Catalog::in_memory().unwrap();
        let pin = |node: Option<&str>| Pin {
            digest: ModelDigest([1; 32]),
            node: node.map(|node| node.parse().unwrap()),
        };
        catalog.set_pin(pin(None), true).await.unwrap();
        catalog.set_pin(pin(Some("pi-1")), true).await.unwrap();
        catalog.set_pin(pin(Some("pi-1")), true).await.unwrap();
        assert_eq!(catalog.pins().await.unwrap(), [pin(None), pin(Some("pi-1"))]);
        catalog.set_pin(pin(None), false).await.unwrap();
        assert_eq!(catalog.pins().await.unwrap(), [pin(Some("pi-1"))]);

        let parked = |node: &str, byte| ParkedNode {
            node: node.parse().unwrap(),
            since: at(9),
            is_off: byte > 1,
            inventory: vec![byte; 3],
        };
        catalog.set_parked(parked("pi-1", 1)).await.unwrap();
        catalog.set_parked(parked("pi-2", 2)).await.unwrap();
        catalog.set_parked(parked("pi-1", 3)).await.unwrap();
        assert_eq!(catalog.parked().await.unwrap(), [parked("pi-1", 3), parked("pi-2", 2)]);
        catalog.remove_parked("pi-1".parse().unwrap()).await.unwrap();
        assert_eq!(catalog.parked().await.unwrap(), [parked("pi-2", 2)]);

        let policy = PolicyFile { name: "night".into(), text: "objective = 'energy'".into(), changed: at(9) };
        catalog.set_policy(policy.clone()).await.unwrap();
        assert_eq!(catalog.policy("night".into()).await.unwrap(), Some(policy));
        assert_eq!(catalog.policies().await.unwrap(), ["night"]);
    }
}
