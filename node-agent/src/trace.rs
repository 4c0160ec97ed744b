//! What an attempt was on this node, as spans below that of the attempt, which is the scheduler's; and the ids of its logs.

use dunlin_protocol::{AttemptId, Invoke, Layer, Outcome, PipelineRef, SpanId, TraceContext, Usage};
use dunlin_traces::{Kind, Span, Status, unix_nanos};
use tokio::time::Instant;

use crate::{attempt::End, node::Node};

/// Shorter ones are not told: the model was there.
const LOAD_US: u64 = 1000;

/// What the spans of an attempt have in common.
#[derive(Debug)]
pub(crate) struct Traced {
    attempt: AttemptId,
    context: TraceContext,
    pipeline: String,
    arrived: Instant,
}

impl Traced {
    pub(crate) fn begin(invoke: &Invoke) -> Self {
        let pipeline = match &invoke.pipeline {
            PipelineRef::Builtin(name) => name.clone(),
            PipelineRef::Component(digest) => digest.to_string(),
        };
        let context = TraceContext::of(invoke.attempt, invoke.trace);
        Self { attempt: invoke.attempt, context, pipeline, arrived: Instant::now() }
    }

    /// What is logged meanwhile is of this attempt.
    pub(crate) fn log(&self, node: &Node) -> tracing::Span {
        let TraceContext { trace, span, .. } = self.context;
        tracing::info_span!("attempt", attempt = %self.attempt, node = %node.name, trace_id = %trace, span_id = %span)
    }

    /// It has ended.
    pub(crate) fn tell(&self, node: &Node, end: &End) {
        self.log(node).in_scope(|| tracing::info!(begun = matches!(end, End::Ended(_)), "attempt ended"));
        let Some(traces) = node.traces.as_ref().filter(|_| self.context.sampled) else { return };
        let spans = match end {
            End::Refused(failure) => {
                let took = self.arrived.elapsed().as_micros() as u64;
                let load = self.span(Layer::Load, self.context.span, (0, took));
                vec![Span { status: Status::Error(failure.to_string()), ..load }]
            }
            End::Ended(ended) => self.spans(&ended.usage, &ended.outcome),
        };
        spans.into_iter().for_each(|span| traces.tell(span.with("dunlin.node", node.name.to_string())));
    }

    /// By the clock of the node, from the arrival on.
    fn spans(&self, usage: &Usage, outcome: &Outcome) -> Vec<Span> {
        let attempt = self.context.span;
        let Usage { load_us, queue_us, ttft_us, total_us, .. } = *usage;
        let mut spans = Vec::new();
        if load_us >= LOAD_US {
            spans.push(self.span(Layer::Load, attempt, (0, load_us)));
        }
        let run = self.span(Layer::Pipeline, attempt, (load_us, total_us));
        let inside = run.id;
        let status = match outcome {
            Outcome::Failed(failure) => Status::Error(failure.to_string()),
            _ => Status::Ok,
        };
        let run =
            run.with("dunlin.pipeline", self.pipeline.as_str()).with("dunlin.generations", usage.generations);
        spans.push(Span { status, ..run });
        if ttft_us == 0 {
            return spans;
        }
        let joules = |millijoules: Option<u64>| millijoules.map(|millijoules| millijoules as f64 / 1e3);
        let energy = usage.energy.as_ref();
        let begun = (load_us + queue_us).min(ttft_us);
        spans.push(
            self.span(Layer::Prefill, inside, (begun, ttft_us))
                .with("gen_ai.usage.input_tokens", usage.prompt_tokens + usage.cached_tokens)
                .with("dunlin.cached_tokens", usage.cached_tokens)
                .with_some(
                    "dunlin.energy.joules",
                    joules(energy.and_then(|energy| energy.prefill_millijoules)),
                ),
        );
        spans.push(
            self.span(Layer::Decode, inside, (ttft_us, total_us.max(ttft_us)))
                .with("gen_ai.usage.output_tokens", usage.output_tokens)
                .with("dunlin.tpot_p50_seconds", usage.tpot_p50_us as f64 / 1e6)
                .with("dunlin.tpot_p99_seconds", usage.tpot_p99_us as f64 / 1e6)
                .with_some(
                    "dunlin.energy.joules",
                    joules(energy.and_then(|energy| energy.decode_millijoules)),
                ),
        );
        spans
    }

    /// `us`: from and to, since the arrival.
    fn span(&self, layer: Layer, parent: SpanId, us: (u64, u64)) -> Span {
        let arrived = unix_nanos(self.arrived.into_std());
        Span {
            trace: self.context.trace,
            id: SpanId::of(self.attempt, layer),
            parent: Some(parent),
            name: layer.name().to_owned(),
            kind: Kind::Internal,
            start: arrived + us.0 * 1000,
            end: arrived + us.1 * 1000,
            attributes: Vec::new(),
            status: Status::Unset,
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::InvocationId;

    use super::*;

    #[tokio::test]
    async fn phases_follow_each_other_below_the_attempt() {
        let attempt = AttemptId { invocation: InvocationId(9), number: 1 };
        let context = TraceContext::of(attempt, None);
        let traced = Traced { attempt, context, pipeline: "chat".into(), arrived: Instant::now() };
        let mut usage = Usage::of("ada".parse().unwrap());
        (usage.load_us, usage.queue_us, usage.ttft_us, usage.total_us) = (2000, 500, 4000, 9000);
        let done = Outcome::Done { content_type: String::new() };
        let spans = traced.spans(&usage, &done);
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["load", "pipeline", "prefill", "decode"]);
        let times: Vec<(u64, u64)> =
            spans.iter().map(|span| (span.start - spans[0].start, span.end - spans[0].start)).collect();
        let us = |from: u64, to: u64| (from * 1000, to * 1000);
        // The clock of the day is asked for each, and goes on meanwhile.
        let is_near = |(at, expected): (&(u64, u64), (u64, u64))| {
            at.0.abs_diff(expected.0) < 1_000_000 && at.1.abs_diff(expected.1) < 1_000_000
        };
        let expected = [us(0, 2000), us(2000, 9000), us(2500, 4000), us(4000, 9000)];
        assert!(times.iter().zip(expected).all(is_near), "{times:?}");
        let parents: Vec<_> = spans.iter().map(|span| span.parent).collect();
        let inside = Some(spans[1].id);
        assert_eq!(parents, [Some(context.span), Some(context.span), inside, inside]);
        // Nothing was written, and the model was there.
        (usage.load_us, usage.ttft_us) = (10, 0);
        assert_eq!(traced.spans(&usage, &done).len(), 1);
    }
}
