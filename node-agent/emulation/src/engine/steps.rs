//! Which sequences run, and what each step does to them.

use std::time::Duration;

use dunlin_engine_handle::{Answer, CallId, EngineError, FromEngine, Share, StopReason, Token};
use tokio::time::Instant;

use super::Engine;
use crate::{
    roofline::{FULL_CHUNK, Step},
    sequence::{Purpose, Sequence},
    text,
};

/// Prefixes that an engine keeps for later.
const MAX_HELD: usize = 16;

/// A step that others wait for takes no longer than this if it can.
const SHARED_STEP: Duration = Duration::from_millis(100);

impl Engine {
    /// Ends what is over, and lets in what has room.
    pub(super) fn admit(&mut self) {
        let now = self.last_end.max(Instant::now());
        let over = |sequence: &Sequence| sequence.is_over(now).map(|reason| (sequence.id, reason));
        let ended: Vec<_> = self.waiting.iter().chain(&self.running).filter_map(over).collect();
        for (id, reason) in ended {
            self.end(id, reason, now);
        }
        while let Some(next) = self.waiting.front() {
            let room = self.cells - self.running.iter().map(|running| self.reserved(running)).sum::<u64>();
            if self.running.len() >= self.sequences || self.reserved(next) > room {
                return;
            }
            let held = self.longest_held(next);
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            sequence.admit(held, now);
            self.running.push(sequence);
        }
    }

    fn reserved(&self, sequence: &Sequence) -> u64 {
        sequence.most_tokens().min(u64::from(self.context)).min(self.cells)
    }

    /// Tokens that an ended sequence of the same owner shares with this one, or that both call public.
    fn longest_held(&self, sequence: &Sequence) -> u32 {
        let shared = |(tenant, public, tokens): &(String, u32, Vec<Token>)| {
            let common = tokens.iter().zip(&sequence.tokens).take_while(|(a, b)| a == b).count() as u32;
            if *tenant == sequence.tenant { common } else { common.min(*public).min(sequence.public) }
        };
        self.held.iter().map(shared).max().unwrap_or(0)
    }

    /// What the next step does, and which sequence reads its prompt in it.
    pub(super) fn next_step(&mut self) -> Option<(Step, Option<usize>)> {
        let decoding = self.running.iter().filter(|sequence| sequence.decodes());
        let (sequences, context) =
            decoding.fold((0, 0), |(count, sum), sequence| (count + 1, sum + sequence.tokens.len() as u64));
        let beside = Step { sequences, context, ..Step::default() };
        let Some(reader) = self.running.iter().position(|sequence| !sequence.decodes()) else {
            return (sequences > 0).then_some((beside, None));
        };
        let (done, unread) = (self.running[reader].read, self.running[reader].unread());
        let beside = Step { done, ..beside };
        let chunk = match self.point() {
            Some(point) if sequences > 0 => {
                let slower = self.model.board.slower(&self.resident, point.contention);
                point.roofline.chunk_within(SHARED_STEP.as_secs_f64(), &beside, unread, slower)
            }
            _ => unread.min(FULL_CHUNK),
        };
        Some((Step { chunk, ..beside }, Some(reader)))
    }

    /// Tells the board what the step draws. Gives its length.
    pub(super) fn begin(&mut self, step: &Step, reader: Option<usize>) -> Duration {
        let Some(point) = self.point() else { return Duration::ZERO };
        let slower = self.model.board.slower(&self.resident, point.contention);
        let time = point.roofline.step(step, slower);
        let starts = reader.is_some_and(|reader| self.running[reader].is_unread());
        let start = if starts { point.roofline.start() * slower.0 } else { 0.0 };
        let watts = point.draw.map_or(0.0, |draw| {
            (draw.start * start + draw.step(&time) * time.seconds) / (start + time.seconds)
        });
        self.resident.work(Some(watts));
        Duration::from_secs_f64(start + time.seconds)
    }

    /// Tells for whom the step was: all have an equal part of a step that only decodes, the rest is his who reads.
    pub(super) fn divide(&mut self, step: &Step, reader: Option<usize>, took: Duration) {
        let took = took.as_secs_f64();
        let alone = Step { chunk: 0, ..*step };
        let base = match (reader, self.point()) {
            (Some(_), _) if step.sequences == 0 => 0.0,
            (Some(_), Some(point)) => {
                let slower = self.model.board.slower(&self.resident, point.contention);
                point.roofline.step(&alone, slower).seconds.min(took)
            }
            _ => took,
        };
        let parts = step.sequences + u32::from(reader.is_some());
        let equal = base / f64::from(parts.max(1));
        let micros = |seconds: f64| (seconds * 1e6) as u64;
        let share = |(index, sequence): (usize, &Sequence)| {
            let share = match (reader == Some(index), sequence.decodes()) {
                (true, _) => Share { prefill_us: micros(equal + took - base), decode_us: 0 },
                (false, true) => Share { prefill_us: 0, decode_us: micros(equal) },
                (false, false) => return None,
            };
            Some((sequence.id, share))
        };
        let shares = self.running.iter().enumerate().filter_map(share).collect();
        self.say(FromEngine::Shares(shares));
    }

    /// The step has ended: everyone who decoded, or read the end of his prompt, has a token.
    pub(super) fn complete(&mut self, step: &Step, reader: Option<usize>, now: Instant) {
        let decoded: Vec<CallId> =
            self.running.iter().filter(|sequence| sequence.decodes()).map(|sequence| sequence.id).collect();
        if let Some(reader) = reader {
            self.running[reader].read += step.chunk;
        }
        let mut deltas = Vec::new();
        let mut ended = Vec::new();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            let read_to_its_end = reader == Some(index) && sequence.decodes();
            if sequence.is_over(now).is_some() || !(decoded.contains(&sequence.id) || read_to_its_end) {
                continue;
            }
            if let Purpose::Generate { .. } = sequence.purpose {
                let delta = sequence.say(self.context, now);
                if delta.finish.is_some() {
                    ended.push(sequence.id);
                }
                deltas.push(delta);
            } else {
                ended.push(sequence.id);
            }
        }
        if !deltas.is_empty() {
            self.say(FromEngine::Step { deltas });
        }
        ended.into_iter().for_each(|id| self.retire(id));
    }

    /// It has said everything: what it read is kept for others, and a score is answered.
    fn retire(&mut self, id: CallId) {
        let Some(at) = self.running.iter().position(|sequence| sequence.id == id) else { return };
        let sequence = self.running.remove(at);
        match sequence.purpose {
            Purpose::Generate { .. } => {}
            Purpose::Score(score) => {
                self.say(FromEngine::Answer { id, answer: Ok(Answer::Scores(text::scores(&score))) });
            }
            Purpose::Prepare => self.say(FromEngine::Answer { id, answer: Ok(Answer::Prepared) }),
        }
        if self.held.len() == MAX_HELD {
            self.held.pop_front();
        }
        self.held.push_back((sequence.tenant, sequence.public, sequence.tokens));
    }

    /// It ends before its time.
    fn end(&mut self, id: CallId, reason: StopReason, now: Instant) {
        let waiting = self.waiting.iter().position(|sequence| sequence.id == id);
        let waited = waiting.and_then(|at| self.waiting.remove(at));
        let sequence = waited.or_else(|| {
            let at = self.running.iter().position(|sequence| sequence.id == id)?;
            Some(self.running.remove(at))
        });
        let Some(mut sequence) = sequence else { return };
        self.say(match (&sequence.purpose, reason) {
            (Purpose::Generate { .. }, reason) => {
                FromEngine::Step { deltas: vec![sequence.finish(reason, now)] }
            }
            (_, StopReason::Deadline) => FromEngine::Answer { id, answer: Err(EngineError::Deadline) },
            (_, _) => FromEngine::Answer { id, answer: Err(EngineError::Cancelled) },
        });
    }
}
