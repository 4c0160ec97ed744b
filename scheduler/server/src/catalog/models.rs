//! Models: aliases with variants, and what is pinned.

use dunlin_protocol::{ModelDigest, NodeId};
use rusqlite::params;

use super::{Catalog, CatalogError};

/// One model that an alias may stand for: a size and a quantisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub digest: ModelDigest,
    /// For people: size and quantisation, as in `1b-q4_k_m`.
    pub name: String,
    pub bytes: u64,
    /// Thousandths of a task set that it answers rightly; nothing where that was not measured.
    pub quality: Option<u16>,
}

/// A name by which models are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    pub name: String,
    /// The best first.
    pub variants: Vec<Variant>,
    /// On so many nodes one of them is kept in memory.
    pub resident_on: u32,
}

/// A model that stays in memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    pub digest: ModelDigest,
    /// Nothing: wherever it is.
    pub node: Option<NodeId>,
}

impl Catalog {
    /// Lets an alias stand for these variants and no others; without any, the alias is forgotten.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn set_alias(&self, alias: Alias) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            let Alias { name, variants, resident_on } = alias;
            transaction.execute("DELETE FROM aliases WHERE name = ?1", [&name])?;
            if variants.is_empty() {
                return Ok(());
            }
            transaction.execute("INSERT INTO aliases VALUES (?1, ?2)", params![name, resident_on])?;
            let mut insert = transaction.prepare("INSERT INTO variants VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for (position, variant) in (0_u32..).zip(variants) {
                let Variant { digest, name: called, bytes, quality } = variant;
                insert.execute(params![name, position, digest.0, called, bytes.cast_signed(), quality])?;
            }
            Ok(())
        })
        .await
    }

    /// All aliases, in the order of their names.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn aliases(&self) -> Result<Vec<Alias>, CatalogError> {
        self.transact(|transaction| {
            let sql = "SELECT a.name, resident_on, digest, v.name, bytes, quality
                       FROM aliases a JOIN variants v ON alias = a.name ORDER BY a.name, position";
            let mut statement = transaction.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut aliases: Vec<Alias> = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                let variant = Variant {
                    digest: ModelDigest(row.get(2)?),
                    name: row.get(3)?,
                    bytes: row.get::<_, i64>(4)?.cast_unsigned(),
                    quality: row.get(5)?,
                };
                match aliases.last_mut() {
                    Some(alias) if alias.name == name => alias.variants.push(variant),
                    _ => aliases.push(Alias { name, variants: vec![variant], resident_on: row.get(1)? }),
                }
            }
            Ok(aliases)
        })
        .await
    }

    /// Keeps a model in memory, or no longer.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn set_pin(&self, pin: Pin, pinned: bool) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            let sql = match pinned {
                true => "INSERT INTO pins VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                false => "DELETE FROM pins WHERE digest = ?1 AND node = ?2",
            };
            transaction.execute(sql, params![pin.digest.0, pin.node.as_ref().map_or("", NodeId::as_str)])?;
            Ok(())
        })
        .await
    }

    /// All that is pinned.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn pins(&self) -> Result<Vec<Pin>, CatalogError> {
        self.transact(|transaction| {
            let mut statement = transaction.prepare("SELECT digest, node FROM pins ORDER BY digest, node")?;
            let mut rows = statement.query([])?;
            let mut pins = Vec::new();
            while let Some(row) = rows.next()? {
                let node: String = row.get(1)?;
                // No name is empty.
                pins.push(Pin { digest: ModelDigest(row.get(0)?), node: node.parse().ok() });
            }
            Ok(pins)
        })
        .await
    }
}
