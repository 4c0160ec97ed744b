//! Boards that rest outlast the scheduler that parked them: it keeps them in the catalog.

use std::time::Duration;

use dunlin_link::clock::UnixTime;
use dunlin_protocol::{
    NodeId, ToScheduler,
    frame::{self, LENGTH_BYTES},
};
use dunlin_scheduler_core::{Input, ParkLevel};
use tokio::sync::mpsc;

use super::{super::Driver, parking::Parking};
use crate::catalog::{Catalog, ParkedNode};

/// What is to be kept of a node, in the order in which it happened; nothing: it is awake. Each board has its turn once a
/// minute or so, so that no more waits than there are boards.
#[derive(Debug, Clone)]
pub(in crate::driver) struct Keeper(mpsc::UnboundedSender<Kept>);

#[derive(Debug)]
enum Kept {
    Rests(ParkedNode),
    Awake(NodeId),
}

impl Keeper {
    /// Keeps it in a catalog, in a task of its own.
    pub(in crate::driver) fn start(catalog: Catalog) -> Self {
        let (to, mut changes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(kept) = changes.recv().await {
                let done = match kept {
                    Kept::Rests(parked) => catalog.set_parked(parked).await,
                    Kept::Awake(node) => catalog.remove_parked(node).await,
                };
                if let Err(error) = done {
                    tracing::warn!(%error, "which boards rest cannot be kept: the next scheduler will not know");
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
    /// Takes over what a scheduler before this one has parked, and keeps what this one does.
    pub(crate) fn keep_parked_in(&mut self, catalog: Catalog, parked: Vec<ParkedNode>) {
        for ParkedNode { node, since, is_off, inventory } in parked {
            match frame::decode::<ToScheduler>(&inventory) {
                Ok(ToScheduler::Inventory(inventory)) => {
                    tracing::info!(%node, is_off, "was parked before");
                    let id = self.names.node(&node);
                    self.rows.learn(&inventory);
                    let level = if is_off { ParkLevel::Off } else { ParkLevel::LowMode };
                    self.planning.parked.insert(node, Parking::resting(level, inventory, since.as_secs()));
                    // Also once it joins.
                    self.handle(Input::Drain { node: id, within: Duration::ZERO });
                }
                Ok(_) | Err(_) => {
                    tracing::warn!(%node, "was parked before, and what it held cannot be read")
                }
            }
        }
        self.planning.keeper = Some(Keeper::start(catalog));
        self.tell_rows();
        self.tell_aliases();
    }

    /// That it rests, or is about to; or is awake.
    pub(super) fn keep_parked(&self, name: &NodeId) {
        let Some(keeper) = &self.planning.keeper else { return };
        match self.planning.parked.get(name) {
            None => keeper.keep(Kept::Awake(name.clone())),
            Some(parking) => {
                let message = ToScheduler::Inventory(parking.inventory.clone());
                // It came in a frame, so that it fits into one.
                let Ok(bytes) = frame::encoded(&message) else { return };
                let since = UnixTime::since_unix_epoch(Duration::from_secs(parking.since()));
                let (is_off, inventory) = (parking.level == ParkLevel::Off, bytes[LENGTH_BYTES..].to_vec());
                keeper.keep(Kept::Rests(ParkedNode { node: name.clone(), since, is_off, inventory }));
            }
        }
    }
}
