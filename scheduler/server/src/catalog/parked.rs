//! Nodes that rest by intent: nobody else knows that they do, or in which mode they were.

use dunlin_link::clock::UnixTime;
use dunlin_protocol::NodeId;
use rusqlite::params;

use super::{
    Catalog, CatalogError,
    members::{seconds, time},
};

/// A node that is parked, and what it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedNode {
    pub node: NodeId,
    pub since: UnixTime,
    /// It is off; else in its lowest mode.
    pub is_off: bool,
    /// A message of the protocol: [`dunlin_protocol::ToScheduler::Inventory`].
    pub inventory: Vec<u8>,
}

impl Catalog {
    /// # Errors
    /// [`CatalogError`].
    pub async fn set_parked(&self, parked: ParkedNode) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            let ParkedNode { node, since, is_off, inventory } = parked;
            transaction.execute(
                "INSERT OR REPLACE INTO parked VALUES (?1, ?2, ?3, ?4)",
                params![node.as_str(), seconds(since), is_off, inventory],
            )?;
            Ok(())
        })
        .await
    }

    /// It is awake.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn remove_parked(&self, node: NodeId) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            transaction.execute("DELETE FROM parked WHERE node = ?1", [node.as_str()])?;
            Ok(())
        })
        .await
    }

    /// All that rest, in the order of their names.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn parked(&self) -> Result<Vec<ParkedNode>, CatalogError> {
        self.transact(|transaction| {
            let mut statement =
                transaction.prepare("SELECT node, since, is_off, inventory FROM parked ORDER BY node")?;
            let mut rows = statement.query([])?;
            let mut parked = Vec::new();
            while let Some(row) = rows.next()? {
                let node: String = row.get(0)?;
                let Ok(node) = node.parse() else { continue };
                let since = time(row.get(1)?);
                parked.push(ParkedNode { node, since, is_off: row.get(2)?, inventory: row.get(3)? });
            }
            Ok(parked)
        })
        .await
    }
}
