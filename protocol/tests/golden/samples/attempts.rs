//! Of attempts, between a scheduler and a node.

use dunlin_protocol::*;

use super::{
    Samples, attempt, bytes, component, failure, model, node, parameter, point, samples, spread, text,
};

pub(super) fn usage() -> Usage {
    Usage {
        node: node("orin-1"),
        point: point(),
        model: Some(model()),
        emulated: true,
        generations: 1,
        prompt_tokens: 512,
        cached_tokens: 64,
        output_tokens: 128,
        forced_tokens: 3,
        scored_tokens: 9,
        queue_us: 1000,
        load_us: 2000,
        ttft_us: 250_000,
        tpot_p50_us: 18_400,
        tpot_p99_us: 19_000,
        total_us: 2_600_000,
        energy: Some(Energy {
            total_millijoules: 33_400,
            marginal_millijoules: 27_500,
            // Came later; `from-attempt.Ended.Phases` has them.
            prefill_millijoules: None,
            decode_millijoules: None,
            scope: EnergyScope::BoardInput,
            source: EnergySource::Emulated,
            correction: text("VDD_CPU_GPU_CV + 2.25 W"),
            error_thousandths: None,
        }),
    }
}

pub(super) fn request() -> Request {
    Request { content_type: text("text/plain"), body: bytes(b"a line"), params: vec![parameter()] }
}

pub(super) fn grants() -> Grants {
    Grants {
        http: vec![Name(text("api.example.com"))],
        environment: vec![parameter()],
        public_prefixes: vec![Value(text("You sort log lines."))],
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        time_ms: Some(1),
        tokens: Some(2),
        memory_bytes: Some(3),
        kv_cells: Some(4),
        contexts: Some(5),
        generations: Some(6),
        host_calls: Some(7),
        emitted_bytes: Some(8),
    }
}

fn invoke(pipeline: PipelineRef) -> AttemptOpening {
    AttemptOpening::Invoke(Box::new(Invoke {
        attempt: attempt(),
        epoch: Epoch(7),
        pipeline,
        request: request(),
        tenant: text("lab"),
        models: vec![Binding { alias: text("default"), model: model(), point: point() }],
        grants: grants(),
        limits: limits(),
        prefixes: vec![3, u64::MAX],
        seed: u64::MAX,
        deadline_ms: Some(30_000),
        resume: Resume {
            offset: 4,
            generations: vec![Tokens(vec![1, 70_000, u32::MAX]), Tokens(Vec::new())],
            text_bytes: 11,
            body_bytes: 0,
        },
        trace: None,
    }))
}

fn trace() -> TraceContext {
    TraceContext { trace: TraceId(u128::MAX - 1), span: SpanId(u64::MAX - 2), sampled: true }
}

/// As [`invoke`], of whoever traces it: a field that was not there from the beginning.
fn traced(pipeline: PipelineRef) -> AttemptOpening {
    let AttemptOpening::Invoke(mut invoke) = invoke(pipeline) else { unreachable!("that is what it makes") };
    invoke.trace = Some(trace());
    AttemptOpening::Invoke(invoke)
}

pub(crate) fn attempt_opening() -> Samples<AttemptOpening> {
    let pipelines = samples!(PipelineRef {
        Builtin => PipelineRef::Builtin(text("chat"));
        Component => PipelineRef::Component(component());
    });
    let openings = samples!(AttemptOpening {
        Invoke => invoke(PipelineRef::Component(component()));
        Attach => AttemptOpening::Attach { attempt: attempt(), epoch: Epoch(7), offset: 9 };
    });
    let mut openings = spread(openings, "Invoke", pipelines, invoke);
    openings.push((text("Invoke.traced"), traced(PipelineRef::Builtin(text("chat")))));
    openings
}

pub(crate) fn to_attempt() -> Samples<ToAttempt> {
    samples!(ToAttempt {
        Again => ToAttempt::Again { offset: 5 };
        Cancel => ToAttempt::Cancel { epoch: Epoch(7) };
        Forget => ToAttempt::Forget;
    })
}

pub(super) fn chunk() -> Chunk {
    let emissions = samples!(Emission {
        Tokens => Emission::Tokens { generation: 1, tokens: Tokens(vec![5, 600]) };
        Text => Emission::Text(text("é"));
        Json => Emission::Json(text("{\"done\":1}"));
        Progress => Emission::Progress(500);
        Body => Emission::Body(bytes(&[0, 159, 146, 150]));
    });
    Chunk { offset: 5, emissions: emissions.into_iter().map(|(_, emission)| emission).collect() }
}

fn outcomes() -> Samples<Outcome> {
    samples!(Outcome {
        Done => Outcome::Done { content_type: text("application/json") };
        Failed => Outcome::Failed(failure());
        Cancelled => Outcome::Cancelled;
        Expired => Outcome::Expired;
        HandedOver => Outcome::HandedOver;
    })
}

pub(super) fn ended(outcome: Outcome) -> Box<Ended> {
    Box::new(Ended { offset: 9, outcome, usage: usage(), log: text("warning: x\n") })
}

pub(crate) fn from_attempt() -> Samples<FromAttempt> {
    let messages = samples!(FromAttempt {
        Started => FromAttempt::Started(Started { loads: true });
        Chunk => FromAttempt::Chunk(chunk());
        Ended => FromAttempt::Ended(ended(Outcome::Cancelled));
        Refused => FromAttempt::Refused(failure());
    });
    let mut messages = spread(messages, "Ended", outcomes(), |outcome| FromAttempt::Ended(ended(outcome)));
    messages.push((text("Ended.Phases"), FromAttempt::Ended(ended_with_phases())));
    messages
}

fn ended_with_phases() -> Box<Ended> {
    let mut ended = ended(Outcome::Cancelled);
    ended.usage.energy = ended.usage.energy.map(|energy| Energy {
        prefill_millijoules: Some(4000),
        decode_millijoules: Some(23_500),
        error_thousandths: Some(95),
        scope: EnergyScope::Accelerator,
        source: EnergySource::EnergyCounter,
        ..energy
    });
    ended
}
