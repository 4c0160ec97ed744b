//! What one generation uses: taken from the budgets of its job when it starts, told to the totals when it
//! ends.

use std::{sync::Arc, time::Duration};

use dunlin_engine_handle as engine;
use tokio::time::Instant;

use crate::{
    Node, Usage,
    bindings::dunlin::llm::types as wit,
    calls::{job::Job, models::Model},
    invoke::{
        budget::Held,
        resume::Recording,
        usage::{Totals, of_generation},
    },
};

#[derive(Debug)]
pub(crate) struct Account {
    /// Tokens that it may still generate.
    tokens: Held,
    /// Its place among the generations alive.
    place: Option<Held>,
    totals: Arc<Totals>,
    /// After the start of the invocation.
    began: Duration,
    started: Instant,
    recording: Recording,
    /// What the host saw of it, for one that is stopped before the engine says what it took.
    seen: Usage,
    told: bool,
    node: Node,
    operating_point: String,
}

impl Account {
    pub(crate) fn open(job: &Job, model: &Model, place: Held, tokens: Held, recording: Recording) -> Self {
        Self {
            tokens,
            place: Some(place),
            totals: job.totals.clone(),
            began: job.began.elapsed(),
            started: Instant::now(),
            recording,
            seen: Usage { generations: 1, ..Usage::default() },
            told: false,
            node: job.node.clone(),
            operating_point: model.grant.operating_point.clone(),
        }
    }

    /// The engine said these.
    pub(crate) fn take(&mut self, tokens: &[engine::Token]) {
        self.recording.take(tokens);
        let tokens = tokens.len();
        if self.seen.output_tokens == 0 && tokens > 0 {
            self.seen.ttft_us = self.started.elapsed().as_micros() as u64;
        }
        self.seen.output_tokens = self.seen.output_tokens.saturating_add(tokens as u32);
        self.tokens.spend(tokens as u64);
    }

    /// The engine said what it took; gives it as the guest is told.
    pub(crate) fn tell(&mut self, usage: &engine::Usage) -> wit::Usage {
        let usage = of_generation(usage);
        self.told = true;
        self.totals.add(self.began, &usage);
        usage.describe(&self.node, &self.operating_point)
    }

    /// What it reserved and did not use comes back.
    pub(crate) fn close(&mut self) {
        self.tokens.shrink_to(0);
        self.place = None;
        if !self.told {
            self.told = true;
            self.totals.add(self.began, &self.seen);
        }
    }
}
