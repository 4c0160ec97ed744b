//! Components by digest, and the names under which they are deployed.

use dunlin_link::clock::UnixTime;
use dunlin_protocol::ComponentDigest;
use rusqlite::{OptionalExtension, params};

use super::{
    Catalog, CatalogError,
    members::{seconds, time},
};

/// A component that the fleet holds; its bytes are in the store beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    pub digest: ComponentDigest,
    pub bytes: u64,
    pub added: UnixTime,
}

/// A name that stands for a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub name: String,
    pub digest: ComponentDigest,
    pub changed: UnixTime,
}

impl Catalog {
    /// Keeps a component and lets `name` stand for it; what it stood for before.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn deploy(
        &self,
        name: String,
        component: Component,
    ) -> Result<Option<ComponentDigest>, CatalogError> {
        self.transact(move |transaction| {
            let Component { digest, bytes, added } = component;
            let before = transaction
                .query_row("SELECT digest FROM tags WHERE name = ?1", [&name], |row| row.get(0))
                .optional()?;
            transaction.execute(
                "INSERT INTO components VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![digest.0, bytes.cast_signed(), seconds(added)],
            )?;
            transaction.execute(
                "INSERT INTO tags VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET digest = excluded.digest, changed = excluded.changed",
                params![name, digest.0, seconds(added)],
            )?;
            Ok(before.map(ComponentDigest))
        })
        .await
    }

    /// What `name` stands for.
    ///
    /// # Errors
    /// [`CatalogError::Missing`].
    pub async fn tagged(&self, name: String) -> Result<Component, CatalogError> {
        self.transact(move |transaction| {
            let sql = "SELECT digest, bytes, added FROM tags JOIN components USING (digest) WHERE name = ?1";
            let found = transaction
                .query_row(sql, [&name], |row| {
                    Ok(Component {
                        digest: ComponentDigest(row.get(0)?),
                        bytes: row.get::<_, i64>(1)?.cast_unsigned(),
                        added: time(row.get(2)?),
                    })
                })
                .optional()?;
            found.ok_or_else(|| CatalogError::missing("pipeline", &name))
        })
        .await
    }

    /// All names, in their order.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn tags(&self) -> Result<Vec<Tag>, CatalogError> {
        self.transact(|transaction| {
            transaction
                .prepare("SELECT name, digest, changed FROM tags ORDER BY name")?
                .query_map([], |row| {
                    Ok(Tag {
                        name: row.get(0)?,
                        digest: ComponentDigest(row.get(1)?),
                        changed: time(row.get(2)?),
                    })
                })?
                .collect::<Result<_, _>>()
                .map_err(CatalogError::from)
        })
        .await
    }

    /// Forgets a name; components for which no name is left, whose bytes may go.
    ///
    /// # Errors
    /// [`CatalogError::Missing`].
    pub async fn untag(&self, name: String) -> Result<Vec<ComponentDigest>, CatalogError> {
        self.transact(move |transaction| {
            if transaction.execute("DELETE FROM tags WHERE name = ?1", [&name])? == 0 {
                return Err(CatalogError::missing("pipeline", &name));
            }
            transaction
                .prepare(
                    "DELETE FROM components WHERE digest NOT IN (SELECT digest FROM tags) RETURNING digest",
                )?
                .query_map([], |row| row.get(0).map(ComponentDigest))?
                .collect::<Result<_, _>>()
                .map_err(CatalogError::from)
        })
        .await
    }
}
