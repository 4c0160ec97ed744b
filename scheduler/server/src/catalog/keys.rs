//! Keys of the HTTP API, by their hashes: who reads the catalog cannot use them.

use dunlin_link::clock::UnixTime;
use dunlin_protocol::{Allowance, Name};
use rusqlite::params;
use sha2::{Digest, Sha256};

use super::{
    Catalog, CatalogError,
    members::{seconds, time},
};

/// Keys that there may be.
const MAX_KEYS: u32 = 1024;

/// A key, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Who asks by it.
    pub name: String,
    /// How it begins, for people.
    pub beginning: String,
    pub hash: KeyHash,
    pub allowance: Allowance,
    pub created: UnixTime,
    pub expires: Option<UnixTime>,
}

/// SHA-256 of a key. A key is random and long, so that a slower hash would protect nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl Catalog {
    /// Keeps a key; one of the same name is replaced.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn set_key(&self, key: KeyRecord) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            let keys: u32 = transaction.query_row("SELECT count(*) FROM keys", [], |row| row.get(0))?;
            if keys >= MAX_KEYS {
                return Err(CatalogError::TooMany { kind: "keys", limit: MAX_KEYS });
            }
            let KeyRecord { name, beginning, hash, allowance, created, expires } = key;
            let models: Vec<String> = allowance.models.into_iter().map(|Name(model)| model).collect();
            transaction.execute(
                "INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    name,
                    beginning,
                    hash.0,
                    allowance.sees_all,
                    // Names of models have no line breaks.
                    models.join("\n"),
                    allowance.requests_per_minute,
                    allowance.tokens_per_minute.map(u64::cast_signed),
                    allowance.joules_per_day.map(u64::cast_signed),
                    seconds(created),
                    expires.map(seconds),
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// All keys, by their names.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, CatalogError> {
        self.transact(|transaction| {
            let mut statement = transaction.prepare("SELECT * FROM keys ORDER BY name")?;
            let keys = statement.query_map([], |row| {
                let models: String = row.get(4)?;
                let models = models.split('\n').filter(|model| !model.is_empty());
                let count =
                    |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(i64::cast_unsigned));
                Ok(KeyRecord {
                    name: row.get(0)?,
                    beginning: row.get(1)?,
                    hash: KeyHash(row.get(2)?),
                    allowance: Allowance {
                        sees_all: row.get(3)?,
                        models: models.map(|model| Name(model.to_owned())).collect(),
                        requests_per_minute: row.get(5)?,
                        tokens_per_minute: count(6)?,
                        joules_per_day: count(7)?,
                    },
                    created: time(row.get(8)?),
                    expires: row.get::<_, Option<i64>>(9)?.map(time),
                })
            })?;
            keys.collect::<Result<_, _>>().map_err(CatalogError::from)
        })
        .await
    }

    /// # Errors
    /// [`CatalogError::Missing`].
    pub async fn remove_key(&self, name: String) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            match transaction.execute("DELETE FROM keys WHERE name = ?1", [&name])? {
                0 => Err(CatalogError::missing("key", &name)),
                _ => Ok(()),
            }
        })
        .await
    }
}
