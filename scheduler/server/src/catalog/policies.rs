//! Policy files, as they were written; what reads them is the core.

use dunlin_link::clock::UnixTime;
use rusqlite::{OptionalExtension, params};

use super::{
    Catalog, CatalogError,
    members::{seconds, time},
};

/// A policy as an operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    pub name: String,
    pub text: String,
    pub changed: UnixTime,
}

impl Catalog {
    /// Keeps a policy that was read without an error.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn set_policy(&self, policy: PolicyFile) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            let PolicyFile { name, text, changed } = policy;
            transaction.execute(
                "INSERT OR REPLACE INTO policies VALUES (?1, ?2, ?3)",
                params![name, text, seconds(changed)],
            )?;
            Ok(())
        })
        .await
    }

    /// The names of all policies, in their order.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn policies(&self) -> Result<Vec<String>, CatalogError> {
        self.transact(|transaction| {
            let mut statement = transaction.prepare("SELECT name FROM policies ORDER BY name")?;
            let names = statement.query_map([], |row| row.get(0))?;
            names.collect::<Result<_, _>>().map_err(CatalogError::from)
        })
        .await
    }

    /// The policy of that name, if there is one.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn policy(&self, name: String) -> Result<Option<PolicyFile>, CatalogError> {
        self.transact(move |transaction| {
            let read = transaction
                .query_row("SELECT text, changed FROM policies WHERE name = ?1", [&name], |row| {
                    Ok((row.get(0)?, time(row.get(1)?)))
                })
                .optional()?;
            Ok(read.map(|(text, changed)| PolicyFile { name, text, changed }))
        })
        .await
    }
}
