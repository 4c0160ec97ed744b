//! Boards that are off outlast the scheduler that put them off: it keeps them in the catalog.

use std::time::Duration;

use dunlin_link::clock::UnixTime;
use dunlin_protocol::{
    NodeId, ToScheduler,
    frame::{self, LENGTH_BYTES},
};
use dunlin_scheduler_core::ParkLevel;
use tokio::sync::mpsc;

use super::{super::Driver, parking::Parking};
use crate::catalog::{Catalog, ParkedNode};

/// What is to be kept of a node, in the order in which it happened; nothing: it is awake. Each board has its turn once a
/// minute or so, so that no more waits than there are boards.
#[derive(Debug, Clone)]
pub(in crate::driver) struct Keeper(mpsc::UnboundedSender<Kept>);

#[derive(Debug)]
enum Kept {
    Off(ParkedNode),
    Awake(NodeId),
}

impl Keeper {
    /// Keeps it in a catalog, in a task of its own.
    pub(in crate::driver) fn start(catalog: Catalog) -> Self {
        let (to, mut changes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(kept) = changes.recv().await {
                let done = match kept {
                    Kept::Off(parked) => catalog.set_parked(parked).await,
                    Kept::Awake(node) => catalog.remove_parked(node).await,
                };
                if let Err(error) = done {
                    tracing::warn!(%error, "which boards are off cannot be kept: the next scheduler will not know");
                }
            }
        });
        Self(to)
    }

    fn keep(&self, kept: Kept) {
        // The task ends with the process.
        drop(self.0.send(kept));
    }
}

impl Driver {
    /// Takes over what a scheduler before this one has put off, and keeps what this one does.
    pub(crate) fn keep_parked_in(&mut self, catalog: Catalog, parked: Vec<ParkedNode>) {
        for ParkedNode { node, since, inventory } in parked {
            match frame::decode::<ToScheduler>(&inventory) {
                Ok(ToScheduler::Inventory(inventory)) => {
                    tracing::info!(%node, "was put off before");
                    self.names.node(&node);
                    self.rows.learn(&inventory);
                    let parking = Parking::off(inventory, since.as_secs());
                    self.planning.parked.insert(node, parking);
                }
                Ok(_) | Err(_) => {
                    tracing::warn!(%node, "was put off before, and what it held cannot be read")
                }
            }
        }
        self.planning.keeper = Some(Keeper::start(catalog));
        self.tell_rows();
        self.tell_aliases();
    }

    /// That it is off, or about to be; or is awake.
    pub(super) fn keep_parked(&self, name: &NodeId) {
        let Some(keeper) = &self.planning.keeper else { return };
        match self.planning.parked.get(name).filter(|parking| parking.level == ParkLevel::Off) {
            None => keeper.keep(Kept::Awake(name.clone())),
            Some(parking) => {
                let message = ToScheduler::Inventory(parking.inventory.clone());
                // It came in a frame, so that it fits into one.
                let Ok(bytes) = frame::encoded(&message) else { return };
                let since = UnixTime::since_unix_epoch(Duration::from_secs(parking.since()));
                let inventory = bytes[LENGTH_BYTES..].to_vec();
                keeper.keep(Kept::Off(ParkedNode { node: name.clone(), since, inventory }));
            }
        }
    }
}
