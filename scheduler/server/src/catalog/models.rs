//! Models: aliases with variants, each with its quality.

use dunlin_protocol::ModelDigest;
use rusqlite::params;

use super::{Catalog, CatalogError};

/// Variants that one alias may have.
const MAX_VARIANTS: u32 = 64;

/// One file of a model: a size and a quantisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    pub digest: ModelDigest,
    /// As in `Q4_K_M`.
    pub quantisation: String,
    pub bytes: u64,
    /// Larger is better, within the alias; nothing where it was not measured.
    pub quality: Option<f64>,
    /// Stays resident where it is.
    pub pinned: bool,
}

/// A name by which models are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    pub name: String,
    /// The best first; those without a quality last.
    pub variants: Vec<Variant>,
}

impl Catalog {
    /// Adds a variant to an alias, or changes it; the alias comes with its first variant.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`].
    pub async fn set_variant(&self, alias: String, variant: Variant) -> Result<(), CatalogError> {
        self.write(move |transaction| {
            let Variant { digest, quantisation, bytes, quality, pinned } = variant;
            transaction.execute(
                "INSERT OR REPLACE INTO variants VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![alias, digest.0, quantisation, bytes.cast_signed(), quality, pinned],
            )?;
            let sql = "SELECT count(*) FROM variants WHERE alias = ?1";
            let variants: u32 = transaction.query_row(sql, [&alias], |row| row.get(0))?;
            if variants > MAX_VARIANTS {
                return Err(CatalogError::TooMany { kind: "variants of this model", limit: MAX_VARIANTS });
            }
            Ok(())
        })
        .await
    }

    /// Takes a variant from an alias; the alias goes with its last.
    ///
    /// # Errors
    /// [`CatalogError::Missing`].
    pub async fn remove_variant(&self, alias: String, digest: ModelDigest) -> Result<(), CatalogError> {
        self.write(move |transaction| {
            let sql = "DELETE FROM variants WHERE alias = ?1 AND digest = ?2";
            match transaction.execute(sql, params![alias, digest.0])? {
                0 => Err(CatalogError::missing("model", format!("{alias} of digest {digest}"))),
                _ => Ok(()),
            }
        })
        .await
    }

    /// All aliases, in their order.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn models(&self) -> Result<Vec<Alias>, CatalogError> {
        self.write(|transaction| {
            let sql = "SELECT alias, digest, quantisation, bytes, quality, pinned FROM variants
                       ORDER BY alias, quality DESC NULLS LAST, digest";
            let mut statement = transaction.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut aliases: Vec<Alias> = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                let variant = Variant {
                    digest: ModelDigest(row.get(1)?),
                    quantisation: row.get(2)?,
                    bytes: row.get::<_, i64>(3)?.cast_unsigned(),
                    quality: row.get(4)?,
                    pinned: row.get(5)?,
                };
                match aliases.last_mut() {
                    Some(alias) if alias.name == name => alias.variants.push(variant),
                    _ => aliases.push(Alias { name, variants: vec![variant] }),
                }
            }
            Ok(aliases)
        })
        .await
    }
}
