//! The life of an invocation as spans, told when it has ended. Those of its attempts on their nodes are told by the nodes.

use dunlin_protocol::{
    AttemptId, InvocationId, Layer, Outcome, Placed, PredictedCosts, SpanId, TraceContext, TraceId,
};
use dunlin_scheduler_core::Decision;
use dunlin_traces::{Kind, Span, Status, unix_nanos};
use tokio::time::Instant;

use super::{Driver, End, Record, log::Standing, look::outcome};

/// The span of a whole invocation.
pub(super) fn root(invocation: InvocationId, caller: Option<TraceContext>) -> TraceContext {
    TraceContext {
        trace: caller.map_or_else(|| TraceId::of(invocation), |caller| caller.trace),
        span: SpanId::root(invocation),
        sampled: caller.is_none_or(|caller| caller.sampled),
    }
}

impl Driver {
    pub(super) fn tell_trace(&self, invocation: InvocationId) {
        let Some(record) = self.records.get(&invocation) else { return };
        let root = root(invocation, record.submit.trace);
        let standing = record.log.standing();
        tracing::info!(%invocation, trace_id = %root.trace, span_id = %root.span, outcome = how(&standing), "ended");
        let Some(traces) = self.traces.as_ref().filter(|_| root.sampled) else { return };
        Telling { record, root, standing }.spans().into_iter().for_each(|span| traces.tell(span));
    }
}

/// In a word.
fn how(standing: &Standing) -> &'static str {
    match &standing.end {
        Some(End::Ended(ended)) => outcome(ended),
        Some(End::Refused(_)) => "refused",
        None => "running",
    }
}

struct Telling<'a> {
    record: &'a Record,
    root: TraceContext,
    standing: Standing,
}

impl Telling<'_> {
    fn spans(&self) -> Vec<Span> {
        let end = self.standing.ended_at.unwrap_or_else(Instant::now);
        let mut spans = vec![self.invocation(end)];
        let mut since = self.record.submitted;
        for (index, placed) in self.standing.placed.iter().enumerate() {
            let Some((decision, at)) = self.decision(placed.attempt) else { continue };
            let next = self.standing.placed.get(index + 1).and_then(|next| self.decision(next.attempt));
            let ended = self.record.ended.get(&placed.attempt.number);
            // One whose node never said how it ended was over when the next was placed.
            let until = ended.map(|(_, at)| *at).or(next.map(|(_, at)| at)).unwrap_or(end);
            spans.push(self.span(placed.attempt, Layer::Queue, since, at));
            spans.push(self.placement(placed, decision, at));
            let lost = "the node never said how it ended".to_owned();
            let status = match ended.map(|(ended, _)| &ended.outcome) {
                Some(Outcome::Failed(failure)) => Status::Error(failure.to_string()),
                Some(_) => Status::Ok,
                None => Status::Error(lost),
            };
            let outcome = ended.map_or("lost", |(ended, _)| outcome(ended));
            let attempt = self
                .span(placed.attempt, Layer::Attempt, at, until)
                .with("dunlin.node", placed.node.to_string())
                .with("dunlin.mode", placed.point.mode.as_str())
                .with("dunlin.attempt", placed.attempt.number)
                .with("dunlin.outcome", outcome);
            spans.push(Span { kind: Kind::Client, status, ..attempt });
            since = until;
        }
        if self.standing.placed.is_empty() {
            let attempt = AttemptId { invocation: self.record.log.id, number: 0 };
            spans.push(self.span(attempt, Layer::Queue, since, end));
        }
        spans
    }

    fn decision(&self, attempt: AttemptId) -> Option<(&Decision, Instant)> {
        let mut decisions = self.record.decisions.iter();
        let decision = decisions.find(|(decision, _)| decision.attempt.number == attempt.number);
        decision.map(|(decision, at)| (&**decision, *at))
    }

    fn span(&self, attempt: AttemptId, layer: Layer, from: Instant, to: Instant) -> Span {
        Span {
            trace: self.root.trace,
            id: SpanId::of(attempt, layer),
            parent: Some(self.root.span),
            name: layer.name().to_owned(),
            kind: Kind::Internal,
            start: unix_nanos(from.into_std()),
            end: unix_nanos(to.into_std()),
            attributes: Vec::new(),
            status: Status::Unset,
        }
    }

    fn invocation(&self, end: Instant) -> Span {
        let Record { submit, model, policy, tenant, submitted, .. } = self.record;
        let attempt = AttemptId { invocation: self.record.log.id, number: 0 };
        let (usage, status) = match &self.standing.end {
            Some(End::Ended(ended)) => {
                let status = match &ended.outcome {
                    Outcome::Failed(failure) => Status::Error(failure.to_string()),
                    Outcome::Expired => Status::Error("the deadline passed".to_owned()),
                    _ => Status::Ok,
                };
                (Some(&ended.usage), status)
            }
            Some(End::Refused(failure)) => (None, Status::Error(failure.to_string())),
            None => (None, Status::Unset),
        };
        let energy = usage.and_then(|usage| usage.energy.as_ref());
        let seconds = |us: u64| us as f64 / 1e6;
        let span = self
            .span(attempt, Layer::Invocation, *submitted, end)
            .with("dunlin.invocation", self.record.log.id.to_string())
            .with("dunlin.pipeline", submit.pipeline.as_str())
            .with("dunlin.policy", policy.as_str())
            .with("dunlin.tenant", tenant.as_str())
            .with("dunlin.outcome", how(&self.standing))
            .with("dunlin.attempts", self.standing.placed.len() as u64)
            .with("gen_ai.provider.name", "dunlin")
            .with_some("gen_ai.operation.name", operation(&submit.pipeline))
            .with("gen_ai.request.model", model.as_str())
            .with_some(
                "gen_ai.usage.input_tokens",
                usage.map(|usage| usage.prompt_tokens + usage.cached_tokens),
            )
            .with_some("gen_ai.usage.output_tokens", usage.map(|usage| usage.output_tokens))
            .with_some(
                "dunlin.ttft_seconds",
                usage.map(|usage| usage.ttft_us).filter(|ttft| *ttft > 0).map(seconds),
            )
            .with_some("dunlin.energy.joules", energy.map(|energy| energy.total_millijoules as f64 / 1e3))
            .with_some("dunlin.emulated", usage.map(|usage| usage.emulated));
        Span {
            id: self.root.span,
            parent: submit.trace.map(|caller| caller.span),
            name: format!("invoke {}", submit.pipeline),
            kind: Kind::Server,
            status,
            ..span
        }
    }

    /// The decision takes microseconds, which nobody measured: a moment, and all that it weighed.
    fn placement(&self, placed: &Placed, decision: &Decision, at: Instant) -> Span {
        let PredictedCosts { ttft_us, tpot_us, total_us, marginal_millijoules, .. } =
            placed.predicted.unwrap_or_default();
        let seconds = |us: u64| us as f64 / 1e6;
        self.span(placed.attempt, Layer::Placement, at, at)
            .with("dunlin.node", placed.node.to_string())
            .with("dunlin.candidates", decision.candidates.len() as u64 + u64::from(decision.rest.total()))
            .with("dunlin.predicted.ttft_seconds", seconds(ttft_us))
            .with("dunlin.predicted.tpot_seconds", seconds(tpot_us))
            .with("dunlin.predicted.total_seconds", seconds(total_us))
            .with_some(
                "dunlin.predicted.joules",
                marginal_millijoules.map(|millijoules| millijoules as f64 / 1e3),
            )
    }
}

/// As the conventions of OpenTelemetry name what is done; they have no name for other pipelines.
fn operation(pipeline: &str) -> Option<&'static str> {
    match pipeline {
        "chat" => Some("chat"),
        "complete" => Some("text_completion"),
        "embed" => Some("embeddings"),
        _ => None,
    }
}
