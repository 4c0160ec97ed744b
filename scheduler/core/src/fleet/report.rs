//! What nodes say of themselves.

use std::{collections::BTreeMap, sync::Arc};

use dunlin_costs::{Backend, KvType, Mode, ModelDigest, NodeClass, RowKey, Thermal};
use serde::{Deserialize, Serialize};

use crate::{AttemptId, Epoch};

/// Models of one node that count.
pub const MAX_MODELS_PER_NODE: usize = 256;

/// Attempts in one report that count.
pub const MAX_ATTEMPTS_PER_NODE: usize = 1024;

/// Labels of a node: `site = "roof"`. Nodes of equal labels share them.
pub type Labels = Arc<BTreeMap<String, String>>;

/// What a node lets the pipelines on it do, and what a request needs of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(pub u32);

impl Grants {
    pub const NONE: Self = Self(0);
    /// Requests over HTTP.
    pub const HTTP: Self = Self(1);
    /// Variables of the environment.
    pub const ENVIRONMENT: Self = Self(2);
    /// Components that are not built in.
    pub const COMPONENTS: Self = Self(4);

    pub const fn cover(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }
}

/// Which nodes may serve a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFilter {
    /// All of these, by value.
    pub labels: BTreeMap<String, String>,
    /// Nodes on battery with less than this, in percent, are left alone.
    pub min_battery_pct: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Battery {
    pub charge_pct: u8,
    pub charging: bool,
}

/// All that a node has, as it says when it joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    pub class: NodeClass,
    /// Of the board.
    pub firmware: String,
    /// The engine's build.
    pub runtime: String,
    pub labels: Labels,
    pub grants: Grants,
    /// Attempts that it runs at once.
    pub slots: u16,
    /// Sequences that an engine is loaded with.
    pub sequences: u16,
    pub report: Report,
}

/// What changes on a node: its heartbeat, sent whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub mode: Mode,
    pub thermal: Thermal,
    /// `None` on mains.
    pub battery: Option<Battery>,
    /// What engines may still take.
    pub free_bytes: u64,
    /// Those that are not here are not on the node.
    pub models: Vec<ModelReport>,
    /// What it runs, and what has ended without the scheduler having confirmed it.
    pub attempts: Vec<AttemptReport>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ModelReport {
    pub model: ModelDigest,
    pub residency: Residency,
    /// In memory; what an eviction would give back.
    pub bytes: u64,
    /// Not to be evicted.
    pub pinned: bool,
    /// Hashes of the prefixes that its engine holds, used last at the end; `None` if it does not say.
    pub prefixes: Option<Vec<u64>>,
}

/// How near a model is to being used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Residency {
    /// In an engine, that has so many sequences.
    Resident {
        point: LoadPoint,
        sequences: u16,
    },
    Loading,
    /// On the disk, and in the page cache if `cached`.
    OnDisk {
        cached: bool,
    },
    /// To be fetched first.
    Absent,
}

/// What is fixed when a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LoadPoint {
    pub backend: Backend,
    pub kv_type: KvType,
    /// Tokens.
    pub context: u32,
}

impl LoadPoint {
    pub fn of(key: &RowKey) -> Self {
        Self { backend: key.backend, kv_type: key.kv_type.clone(), context: key.context }
    }
}

/// How a node is to run a model: the mode that it is in, what to load, and what to step with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatingPoint {
    pub mode: Mode,
    pub load: LoadPoint,
    pub prefill_threads: u16,
    pub decode_threads: u16,
}

impl OperatingPoint {
    pub fn of(key: &RowKey) -> Self {
        let &RowKey { prefill_threads, decode_threads, .. } = key;
        Self { mode: key.mode.clone(), load: LoadPoint::of(key), prefill_threads, decode_threads }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptReport {
    pub attempt: AttemptId,
    /// Of the scheduler that placed it.
    pub epoch: Epoch,
    /// What it has given out so far, as offsets count.
    pub next_offset: u64,
}
