//! The fleet itself: one row.

use dunlin_link::{ResetKey, clock::UnixTime};
use dunlin_protocol::{Epoch, FleetId};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Catalog, CatalogError};
use crate::catalog::members::{seconds, time};

/// What makes a fleet: lost, all members have to join again. Its `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct FleetRecord {
    pub name: FleetId,
    /// The authority's certificate, DER.
    pub authority: Vec<u8>,
    /// Its key, PKCS #8 DER.
    pub authority_key: Vec<u8>,
    pub reset_key: ResetKey,
    /// When a certificate was last issued.
    pub floor: UnixTime,
}

impl std::fmt::Debug for FleetRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetRecord")
            .field("name", &self.name)
            .field("floor", &self.floor)
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// The fleet; nothing before its first start.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn fleet(&self) -> Result<Option<FleetRecord>, CatalogError> {
        self.transact(read).await
    }

    /// Keeps a new fleet, or gives the one that there is.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn found_fleet(&self, new: FleetRecord) -> Result<FleetRecord, CatalogError> {
        self.transact(move |transaction| {
            if let Some(fleet) = read(transaction)? {
                return Ok(fleet);
            }
            transaction.execute(
                "INSERT INTO fleet VALUES (1, ?1, ?2, ?3, ?4, 0, ?5)",
                params![
                    new.name.as_str(),
                    new.authority,
                    new.authority_key,
                    new.reset_key.0,
                    seconds(new.floor)
                ],
            )?;
            Ok(new)
        })
        .await
    }

    /// The epoch of a scheduler that starts now: higher than that of any before it.
    ///
    /// # Errors
    /// [`CatalogError`]; also where there is no fleet yet.
    pub async fn next_epoch(&self) -> Result<Epoch, CatalogError> {
        self.transact(|transaction| {
            transaction
                .query_row("UPDATE fleet SET epoch = epoch + 1 RETURNING epoch", [], |row| row.get(0))
                .optional()?
                .map(|epoch: i64| Epoch(epoch.cast_unsigned()))
                .ok_or_else(|| CatalogError::Missing { kind: "fleet", name: "of its own yet".into() })
        })
        .await
    }
}

fn read(transaction: &Transaction<'_>) -> Result<Option<FleetRecord>, CatalogError> {
    let row = transaction
        .query_row("SELECT name, authority, authority_key, reset_key, floor FROM fleet", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    row.map(|(name, authority, authority_key, reset_key, floor)| {
        let name =
            name.parse().map_err(|error| CatalogError::Unreadable(format!("fleet {name}: {error}")))?;
        Ok(FleetRecord { name, authority, authority_key, reset_key: ResetKey(reset_key), floor: time(floor) })
    })
    .transpose()
}
