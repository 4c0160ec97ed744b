//! What an agent is told when it starts.

use std::{net::SocketAddr, path::PathBuf};

use dunlin_engine_handle::Threads;
use dunlin_meters::MeterConfig;
use dunlin_protocol::{ComponentDigest, ModelDigest};

/// How one agent works.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// Its folder: identity, blobs, compiled code.
    pub folder: PathBuf,
    pub scheduler: SocketAddr,
    /// As in `pi5-8g`.
    pub class: String,
    /// Of the EEPROM or L4T; empty where it is not known.
    pub firmware: String,
    pub labels: Vec<(String, String)>,
    /// The machine-wide power state that it is in.
    pub mode: String,
    /// Modes that a scheduler may put the machine into; `all` for all that there are.
    pub modes: Vec<String>,
    pub threads: Threads,
    /// What models and their contexts may take together; `None`: what the machine has.
    pub memory_bytes: Option<u64>,
    /// Models that are on the disk of this machine already.
    pub models: Vec<LocalModel>,
    /// Pipelines that come with Dunlin.
    pub builtins: Vec<Builtin>,
    pub emulation: Option<Emulation>,
    /// Of this machine; an emulated board has its own meter.
    pub meters: MeterConfig,
    /// Where `sys` and `dev` are: `/` but in tests.
    pub root: PathBuf,
    /// Rows that were measured here, which may not be there yet.
    pub costs: PathBuf,
    pub probe: Probing,
    /// A scheduler may have it measured again when it is idle and its rows are stale.
    pub remeasures: bool,
    /// The executable and the argument that make a worker; its options follow as one more.
    pub worker: (PathBuf, String),
    /// The argument that makes the same executable a compile child.
    pub compile_child: String,
    pub engine: PathBuf,
    /// The version of the program, for people.
    pub build: String,
    /// Where spans are told, by OTLP over HTTP.
    pub otlp: Option<String>,
}

/// A model file that was there before the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalModel {
    pub digest: ModelDigest,
    pub name: String,
    /// Of a split model, the first part. Empty for an emulated one, which has no file.
    pub path: PathBuf,
    pub quantization: String,
    pub bytes: u64,
    /// What it takes to be resident with the default context.
    pub memory_bytes: u64,
    pub kv_bytes_per_token: u64,
}

/// A pipeline that comes with Dunlin.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    pub name: &'static str,
    pub digest: ComponentDigest,
    pub bytes: &'static [u8],
}

/// A board that does not exist: the agent is real, the pace and the joules are those of a model of the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulation {
    pub class: String,
    /// Those that it has.
    pub modes: Vec<String>,
    /// Chooses the individual.
    pub seed: u64,
}

/// When a model that was loaded is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probing {
    Never,
    /// Where no row was measured here; an emulated board has those of its class.
    #[default]
    Unmeasured,
    /// Also on an emulated board.
    Always,
}
