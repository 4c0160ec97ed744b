//! Where an engine is in its life.

use std::{sync::Arc, time::Duration};

use crate::{EngineError, ModelInfo, Pulse};

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// The process was started and has not spoken yet.
    Starting,
    /// Share of the weights that is loaded, 0 to 1.
    Loading { fraction: f32 },
    /// Loaded, and nothing to do.
    Ready,
    /// At least one call is running.
    Busy,
    /// Running calls end, new ones are refused.
    Draining,
    /// `restart`: when it will be started again; `None`: it will not.
    Dead { reason: Arc<str>, restart: Option<Duration> },
}

impl State {
    pub fn is_serving(&self) -> bool {
        matches!(self, Self::Ready | Self::Busy)
    }

    /// The field's word for the state, for logs and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading { .. } => "loading",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Dead { .. } => "dead",
        }
    }
}

/// What is known of an engine right now.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub state: State,
    /// The loaded model; kept over a restart.
    pub model: Option<Arc<ModelInfo>>,
    /// The latest signs of life of this incarnation.
    pub pulse: Pulse,
    /// Counts starts of the process, from 1.
    pub incarnation: u32,
    pub pid: Option<u32>,
    /// Why the model is not served, if the engine refused it.
    pub refusal: Option<EngineError>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: State::Starting,
            model: None,
            pulse: Pulse::default(),
            incarnation: 0,
            pid: None,
            refusal: None,
        }
    }
}
