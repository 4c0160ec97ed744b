//! One step: which tokens to compute, and what their logits say.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use dunlin_engine_handle::{CallId, EngineError, Part};

use super::{Engine, is_branching};
use crate::{
    generation::{Next, Sequence},
    llama::{DecodeError, Row},
    load::{BATCH, OUTPUTS},
    pace::Share,
    scoring::BranchRows,
    task::{Kind, Progress, Running},
};

/// What the rows of a step belong to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pieces: Vec<Piece>,
    /// Rows that read prompts, and rows that decode.
    prompt_rows: usize,
    decode_rows: usize,
    outputs: usize,
}

/// Rows of one task, one after another.
#[derive(Debug)]
struct Piece {
    task: usize,
    first_row: usize,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    /// Tokens of the task itself, `count` of them from position `start`.
    Own { start: usize, count: usize },
    /// Tokens of a candidate that is scored.
    Branch(BranchRows),
}

impl Engine {
    pub(super) fn step(&mut self) {
        self.make_plan();
        if self.batch.rows().is_empty() {
            return;
        }
        let Some(context) = &mut self.context else { return };
        let start = Instant::now();
        let computed = context.decode(&mut self.batch, self.plan.prompt_rows > 0);
        self.vitals.steps.fetch_add(1, Relaxed);
        match computed {
            Ok(()) => {
                let took = start.elapsed();
                self.divide(took);
                self.learn(took);
                self.read_outputs();
                self.note_times();
            }
            Err(error) => self.undo(&error),
        }
    }

    /// Notes for whom the step was.
    fn divide(&mut self, took: Duration) {
        let parts = self.plan.pieces.iter().map(|piece| {
            let task = &self.running[piece.task].task;
            let part = match &piece.rows {
                Rows::Own { start, count } if task.is_decoding() => Part { rows: 0, context: start + count },
                Rows::Own { start, count } => Part { rows: *count, context: start + count },
                Rows::Branch(branch) => Part { rows: branch.tokens.len(), context: 0 },
            };
            (task.id, part)
        });
        let (calls, parts): (Vec<_>, Vec<_>) = parts.unzip();
        self.shares.divide(took, &calls, &parts);
    }

    fn learn(&mut self, took: Duration) {
        self.pace.learn(took, self.plan.prompt_rows, self.plan.decode_rows);
    }

    /// Lets the clocks of all generations take the time of their new tokens.
    fn note_times(&mut self) {
        for running in &mut self.running {
            if let Kind::Generate(generation) = &mut running.task.kind {
                generation.on_step();
            }
        }
    }

    /// Decodes what decodes, or reads pieces of prompts, the oldest first, or both.
    fn make_plan(&mut self) {
        self.batch.clear();
        self.plan.pieces.clear();
        (self.plan.prompt_rows, self.plan.decode_rows, self.plan.outputs) = (0, 0, 0);
        let Share { decodes, chunk } = self.share();
        if !self.find_room(chunk) {
            return;
        }
        if decodes {
            for task in self.feedable(true) {
                self.plan_own(task, usize::MAX);
            }
        }
        if chunk > 0 {
            for task in 0..self.running.len() {
                self.plan_branches(task);
            }
        }
        for task in self.feedable(false) {
            let left = chunk.saturating_sub(self.plan.prompt_rows);
            self.plan_own(task, left);
        }
    }

    fn share(&mut self) -> Share {
        let decoding = self.feedable(true).len();
        let reading = self.feedable(false).into_iter().map(|task| self.running[task].task.pending().len());
        let waiting = match self.running.iter().any(|running| is_branching(&running.task)) {
            // Candidates that are scored take what there is.
            true => usize::MAX,
            false => reading.sum(),
        };
        match waiting {
            0 => Share { decodes: true, chunk: 0 },
            _ => self.pace.share(decoding, waiting, BATCH as usize),
        }
    }

    /// Indices of the tasks whose tokens can be computed, past their prompt or not.
    fn feedable(&self, decoding: bool) -> Vec<usize> {
        let tasks = self.running.iter().enumerate();
        let tasks =
            tasks.filter(|(_, running)| running.task.is_feedable() && running.task.is_decoding() == decoding);
        tasks.map(|(index, _)| index).collect()
    }

    /// Sees that the cells suffice for a step, at the cost of kept prefixes first, of the youngest tasks then.
    fn find_room(&mut self, chunk: usize) -> bool {
        loop {
            let pending = |running: &Running| running.task.pending().len();
            let decode: usize =
                self.feedable(true).into_iter().map(|task| pending(&self.running[task])).sum();
            let prompt: usize =
                self.feedable(false).into_iter().map(|task| pending(&self.running[task])).sum();
            let branches = self.running.iter().any(|running| is_branching(&running.task));
            let branch = if branches { OUTPUTS as usize } else { 0 };
            let Some(context) = &mut self.context else { return false };
            if self.prefixes.make_room(context, decode + branch + prompt.min(chunk), None) {
                return true;
            }
            if self.running.len() < 2 {
                // Alone, a task fits: its length is limited to that of the cache.
                return true;
            }
            self.preempt_youngest();
        }
    }

    /// The youngest task goes back to the head of the queue. What it has computed stays as a prefix while it can.
    fn preempt_youngest(&mut self) {
        let Some(running) = self.running.pop() else { return };
        let mut task = self.leave(running);
        match &mut task.kind {
            Kind::Generate(generation) => generation.forget_row(),
            Kind::Score(scoring) => scoring.restart(),
            Kind::Prepare => {}
        }
        task.fed = 0;
        self.queue.push_front(task);
    }

    fn plan_own(&mut self, index: usize, most: usize) {
        let Running { task, seq } = &self.running[index];
        let room = (BATCH as usize).saturating_sub(self.batch.rows().len());
        let mut count = task.pending().len().min(most).min(room);
        let wanted = (task.fed..task.fed + count).filter(|&position| task.wants_output(position));
        // Outputs of a step are limited; what does not fit comes with the next one.
        if let Some(beyond) = wanted.clone().nth(OUTPUTS as usize - self.plan.outputs) {
            count = beyond - task.fed;
        }
        let tokens = &task.pending()[..count];
        if count == 0 || !self.prefixes.extend(*seq, tokens) {
            return;
        }
        let first_row = self.batch.rows().len();
        for (position, &token) in (task.fed..).zip(tokens) {
            let output = task.wants_output(position);
            self.plan.outputs += usize::from(output);
            self.batch.push(Row { seq: *seq, token, position: position as u32, output });
        }
        if task.is_decoding() {
            self.plan.decode_rows += count;
        } else {
            self.plan.prompt_rows += count;
        }
        self.plan.pieces.push(Piece { task: index, first_row, rows: Rows::Own { start: task.fed, count } });
    }

    fn plan_branches(&mut self, index: usize) {
        let Some(context) = &mut self.context else { return };
        let Running { task, seq } = &mut self.running[index];
        let Kind::Score(scoring) = &mut task.kind else { return };
        if !scoring.is_branching() {
            return;
        }
        loop {
            let left = (BATCH as usize - self.batch.rows().len()).min(OUTPUTS as usize - self.plan.outputs);
            let Some(branch) = scoring.rows(left, || self.prefixes.branch(context, *seq)) else { return };
            if !self.prefixes.extend(branch.seq, &branch.tokens) {
                self.prefixes.discard(context, branch.seq);
                scoring.put_back(&branch);
                return;
            }
            let first_row = self.batch.rows().len();
            let start = task.prompt + branch.start;
            for (position, &token) in (start..).zip(&branch.tokens) {
                self.batch.push(Row { seq: branch.seq, token, position: position as u32, output: true });
            }
            self.plan.outputs += branch.tokens.len();
            // They are computed side by side, as a prompt is.
            self.plan.prompt_rows += branch.tokens.len();
            self.plan.pieces.push(Piece { task: index, first_row, rows: Rows::Branch(branch) });
        }
    }

    /// Hands the logits of the step to whom they belong.
    fn read_outputs(&mut self) {
        let mut outcomes: Vec<(CallId, Progress)> = Vec::new();
        for piece in std::mem::take(&mut self.plan.pieces) {
            let id = self.running[piece.task].task.id;
            let progress = match piece.rows {
                Rows::Own { start, count } => self.read_own(piece.task, piece.first_row, start, count),
                Rows::Branch(branch) => self.read_branch(piece.task, piece.first_row, &branch),
            };
            outcomes.push((id, progress));
        }
        for (id, progress) in outcomes {
            self.conclude(id, progress);
        }
    }

    fn read_own(&mut self, index: usize, first_row: usize, start: usize, count: usize) -> Progress {
        self.running[index].task.fed = start + count;
        for (row, position) in (first_row..).zip(start..start + count) {
            let task = &mut self.running[index].task;
            if !task.wants_output(position) {
                continue;
            }
            let Some(logits) = self.context.as_mut().and_then(|context| context.logits(row)) else {
                return Progress::Failed(EngineError::Backend("llama.cpp gave no logits".to_owned()));
            };
            let id = task.id;
            let next = match &mut task.kind {
                Kind::Generate(generation) => {
                    let vocab = self.model.vocab();
                    let mut seq = Sequence { vocab, tokens: &mut task.tokens, limit: self.limit };
                    generation.on_logits(logits, position, &mut seq)
                }
                Kind::Score(scoring) => scoring.on_prompt(logits).map(|()| Next::Feed),
                Kind::Prepare => Ok(Next::Feed),
            };
            match self.follow(id, next) {
                Progress::GoesOn => {}
                ended => return ended,
            }
        }
        self.after_own(index)
    }

    /// A task without further tokens of its own may be done, or be about to branch.
    fn after_own(&mut self, index: usize) -> Progress {
        let task = &self.running[index].task;
        match &task.kind {
            Kind::Prepare if task.pending().is_empty() => Progress::Done,
            Kind::Score(scoring) if scoring.is_complete() => self.after_pass(index),
            _ => Progress::GoesOn,
        }
    }

    fn read_branch(&mut self, index: usize, first_row: usize, branch: &BranchRows) -> Progress {
        let Some(context) = &mut self.context else { return Progress::GoesOn };
        let Kind::Score(scoring) = &mut self.running[index].task.kind else { return Progress::GoesOn };
        for (offset, row) in (first_row..first_row + branch.tokens.len()).enumerate() {
            let logits = context.logits(row);
            let logits = logits.ok_or_else(|| EngineError::Backend("llama.cpp gave no logits".to_owned()));
            let judged =
                logits.and_then(|logits| scoring.on_logits(branch.candidate, branch.start + offset, logits));
            if let Err(error) = judged {
                return Progress::Failed(error);
            }
        }
        if branch.last {
            self.prefixes.discard(context, branch.seq);
        }
        if scoring.is_complete() { self.after_pass(index) } else { Progress::GoesOn }
    }

    /// All candidates are judged; some normalizations judge them once more, without the prompt.
    fn after_pass(&mut self, index: usize) -> Progress {
        let Some(context) = &mut self.context else { return Progress::Done };
        let Running { task, seq } = &mut self.running[index];
        let Kind::Score(scoring) = &mut task.kind else { return Progress::Done };
        if !scoring.wants_second_pass() {
            return Progress::Done;
        }
        let vocab = self.model.vocab();
        task.tokens = vec![vocab.bos().or(vocab.eos()).unwrap_or(0)];
        (task.prompt, task.fed) = (1, 0);
        self.prefixes.truncate(context, *seq, 0);
        Progress::GoesOn
    }

    /// The step was not computed: the books go back to what they were. Where the cache was full, the youngest makes
    /// room; else the tasks of the step have failed.
    fn undo(&mut self, error: &DecodeError) {
        let Some(context) = &mut self.context else { return };
        let mut ids = Vec::new();
        for piece in std::mem::take(&mut self.plan.pieces) {
            let Running { task, seq } = &mut self.running[piece.task];
            ids.push(task.id);
            match piece.rows {
                Rows::Own { start, .. } => self.prefixes.truncate(context, *seq, start),
                Rows::Branch(branch) => {
                    self.prefixes.discard(context, branch.seq);
                    if let Kind::Score(scoring) = &mut task.kind {
                        scoring.put_back(&branch);
                    }
                }
            }
        }
        if *error == DecodeError::NoRoom && self.running.len() > 1 {
            self.preempt_youngest();
            return;
        }
        for id in ids {
            self.conclude(id, Progress::Failed(EngineError::Backend(error.to_string())));
        }
    }
}
