//! What a model would take here, and whether that is free.

use dunlin_engine_handle::{DEFAULT_CONTEXT, Load};
use dunlin_gguf::{Bytes, Estimate, Grouped, LoadPoint, MemoryAvailable, MemoryRefusal, Model, admit};
use serde::Serialize;

/// A model weighed against this machine.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Verdict {
    /// Tokens of the longest conversation.
    pub(crate) context: u32,
    pub(crate) estimate: Estimate,
    /// None on machines that do not tell.
    pub(crate) available: Option<MemoryAvailable>,
    #[serde(skip)]
    pub(crate) refusal: Option<MemoryRefusal>,
}

impl Verdict {
    /// With the context that `dunlin run` would take, unless another is given.
    pub(crate) fn of(model: &Model, context: Option<u32>) -> Self {
        let load = Load::default();
        let wanted = context.unwrap_or(DEFAULT_CONTEXT).min(model.context_length);
        let point = LoadPoint::of_engine(wanted, load.sequences);
        let estimate = Estimate::new(model, &point);
        let available = MemoryAvailable::read().ok();
        // What must stay free is not free.
        let left = available.map(|available| MemoryAvailable {
            bytes: available.bytes.saturating_sub(load.reserve_bytes),
            ..available
        });
        let refusal = left.and_then(|left| admit(&estimate, left).err());
        Self { context: wanted, estimate, available, refusal }
    }

    pub(crate) fn fits(&self) -> bool {
        self.refusal.is_none()
    }

    /// `needs 192 MB with a context of 2,048 tokens; 14.1 GB are free`
    pub(crate) fn sentence(&self) -> String {
        let needs = format!(
            "needs {} with a context of {} tokens",
            Bytes(self.estimate.total),
            Grouped(self.context.into())
        );
        match (&self.refusal, &self.available) {
            (Some(refusal), _) => format!("does not fit: {refusal}"),
            (None, Some(available)) => format!("{needs}; {available}"),
            (None, None) => needs,
        }
    }
}
