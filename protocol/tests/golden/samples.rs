//! One value of every variant of every message, no field of it at its default.

use dunlin_protocol::*;

/// A name for the file, and the value.
pub(crate) type Samples<M> = Vec<(String, M)>;

/// Samples of all variants: a variant without one does not compile.
macro_rules! samples {
    ($type:ident { $($variant:ident => $sample:expr;)* }) => {{
        fn variant(message: &$type) -> &'static str {
            match message { $($type::$variant { .. } => stringify!($variant),)* }
        }
        let samples: Vec<$type> = vec![$($sample),*];
        let expected = [$(stringify!($variant)),*];
        assert_eq!(samples.iter().map(variant).collect::<Vec<_>>(), expected, "each where it belongs");
        expected.into_iter().map(str::to_owned).zip(samples).collect::<Samples<$type>>()
    }};
}

/// `samples`, the one variant that holds `of` replaced by as many as there are of these.
fn spread<M, P>(samples: Samples<M>, of: &str, parts: Samples<P>, whole: impl Fn(P) -> M) -> Samples<M> {
    let (mut kept, replaced): (Vec<_>, Vec<_>) = samples.into_iter().partition(|(name, _)| name != of);
    assert_eq!(replaced.len(), 1, "{of}");
    kept.extend(parts.into_iter().map(|(part, value)| (format!("{of}.{part}"), whole(value))));
    kept
}

fn text(value: &str) -> String {
    value.to_owned()
}

fn bytes(value: &[u8]) -> ByteBuf {
    ByteBuf::from(value)
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn model() -> ModelDigest {
    ModelDigest([0x11; 32])
}

fn component() -> ComponentDigest {
    ComponentDigest([0x22; 32])
}

fn attempt() -> AttemptId {
    AttemptId { invocation: InvocationId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), number: 2 }
}

fn parameter() -> Parameter {
    Parameter { name: text("room"), value: text("cellar") }
}

fn point() -> OperatingPoint {
    OperatingPoint {
        mode: text("25W"),
        backend: text("cuda"),
        kv_type: text("q8_0"),
        context: 4096,
        prefill_threads: 6,
        decode_threads: 2,
    }
}

fn failure() -> Failure {
    Failure::new(FailureCode::Overloaded, "the queue is full; come back later").retry_after_ms(1500)
}

pub(crate) fn hello() -> Samples<Hello> {
    let mut hello = Hello::new(&["journal"], "0.1.0", 1_790_000_000);
    hello.versions.newest = Version(3);
    vec![(text("Hello"), hello)]
}

pub(crate) fn hello_reply() -> Samples<HelloReply> {
    samples!(HelloReply {
        Welcome => HelloReply::Welcome(Welcome {
            version: Version(1),
            features: vec![Feature(text("journal"))],
            build: text("0.1.0"),
            epoch: Epoch(7),
            unix_seconds: 1_790_000_000,
            lease_ms: 3500,
            report_every_ms: 500,
        });
        Refused => HelloReply::Refused(failure());
    })
}

fn usage() -> Usage {
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

fn request() -> Request {
    Request { content_type: text("text/plain"), body: bytes(b"a line"), params: vec![parameter()] }
}

fn grants() -> Grants {
    Grants {
        http: vec![Name(text("api.example.com"))],
        environment: vec![parameter()],
        public_prefixes: vec![Value(text("You sort log lines."))],
    }
}

fn limits() -> Limits {
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

fn chunk() -> Chunk {
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

fn ended(outcome: Outcome) -> Box<Ended> {
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

fn resident() -> Resident {
    Resident {
        model: model(),
        state: Residency::Draining,
        point: point(),
        slots: 4,
        running: 2,
        queued: 1,
        memory_bytes: 900 << 20,
        cells: 16_384,
        used_cells: 700,
        prefixes: Some(vec![3, u64::MAX]),
    }
}

fn health() -> Health {
    Health {
        mode: text("25W"),
        thermal: Thermal::Throttled,
        temperature: Some(-35),
        on_battery: true,
        battery_percent: Some(80),
        milliwatts: Some(8600),
        stalled_ms: 700,
        // Came later.
        drawn: None,
    }
}

fn report_with_joules() -> Report {
    let drawn = Drawn { millijoules: 90_000, requests_millijoules: 27_500, idle_millijoules: 62_500 };
    Report { health: Health { drawn: Some(drawn), ..health() }, ..report() }
}

fn report() -> Report {
    Report {
        number: 3,
        unix_seconds: 1_790_000_001,
        free_memory_bytes: 5 << 30,
        residents: vec![resident()],
        progress: vec![Progress {
            attempt: attempt(),
            offset: 8,
            prompt_tokens: 512,
            output_tokens: 16,
            elapsed_ms: 900,
        }],
        loads: vec![ObservedLoad { model: model(), took_ms: 2100, cold: true, millijoules: Some(9000) }],
        health: health(),
    }
}

fn inventory() -> Inventory {
    Inventory {
        incarnation: Incarnation(12),
        epoch: Epoch(6),
        class: text("orin-nano-8g"),
        firmware: text("36.5"),
        engine_build: text("b6789"),
        emulated: true,
        cordoned: true,
        labels: vec![parameter()],
        unconfined: text("files (no Landlock)"),
        allows: Permissions { http: true, environment: true, components: true },
        // Came later; `to-scheduler.Inventory.Remeasures` has it.
        remeasures: false,
        slots: 8,
        memory_bytes: 8 << 30,
        disk_free_bytes: 20 << 30,
        models: vec![StoredModel {
            digest: model(),
            name: text("llama-3.2-1b"),
            quantization: text("Q4_K_M"),
            bytes: 771_000_000,
            memory_bytes: 800_000_000,
            kv_bytes_per_token: 32_768,
            cached: true,
            pinned: true,
        }],
        components: vec![component()],
        points: vec![point()],
        attempts: vec![HeldAttempt { attempt: attempt(), epoch: Epoch(6), offset: 9, ended: true }],
        state: report(),
    }
}

pub(crate) fn to_scheduler() -> Samples<ToScheduler> {
    let mut messages = samples!(ToScheduler {
        Inventory => ToScheduler::Inventory(Box::new(inventory()));
        Report => ToScheduler::Report(Box::new(report()));
        Done => ToScheduler::Done { id: CommandId(5), result: Err(failure()) };
        Rows => ToScheduler::Rows(Rows { toml: text("[[row]]\n") });
        Leaving => ToScheduler::Leaving { within_ms: 30_000 };
        Renew => ToScheduler::Renew(CertificateRequest(bytes(&[0x30, 0x82])));
        Profiling => ToScheduler::Profiling { id: CommandId(5), said: Box::new(Profiling::Waits) };
    });
    messages.push((text("Report.Drawn"), ToScheduler::Report(Box::new(report_with_joules()))));
    let remeasures = Inventory { remeasures: true, ..inventory() };
    messages.push((text("Inventory.Remeasures"), ToScheduler::Inventory(Box::new(remeasures))));
    messages
}

fn orders() -> Samples<Order> {
    let blob = BlobDigest::from(component());
    let model = model();
    samples!(Order {
        Fetch => Order::Fetch { blob, bytes: 771_000_000 };
        Load => Order::Load { model, point: point() };
        Evict => Order::Evict { model };
        Remove => Order::Remove { blob: model.into() };
        Pin => Order::Pin { model, pinned: true };
        Step => Order::Step { model, point: StepPoint { prefill_threads: 6, decode_threads: 2 } };
        Mode => Order::Mode { mode: text("MAXN") };
        Cordon => Order::Cordon { cordoned: true };
        Drain => Order::Drain { within_ms: 30_000 };
        Cancel => Order::Cancel { attempt: attempt() };
        Forget => Order::Forget { attempt: attempt() };
        Report => Order::Report;
        Profile => Order::Profile(ProfileModel { model, how: how_to_profile() });
        EndProfile => Order::EndProfile;
    })
}

fn how_to_profile() -> HowToProfile {
    HowToProfile {
        depth: ProfileDepth::Quick,
        points: ProfilePoints::Only(vec![2, 4]),
        budget_ms: Some(600_000),
        again: true,
    }
}

pub(crate) fn to_profile() -> Samples<ToProfile> {
    samples!(ToProfile {
        Stop => ToProfile::Stop;
    })
}

pub(crate) fn profiling() -> Samples<Profiling> {
    samples!(Profiling {
        Waits => Profiling::Waits;
        Runs => Profiling::Runs { running: text("prompt of 512, 4 threads"), done: 3, total: 22 };
        Note => Profiling::Note(text("the kernel did not let go of the file"));
        Measured => Profiling::Measured { json: text("{}"), stopped: true };
        Failed => Profiling::Failed(failure());
    })
}

fn command(order: Order) -> ToNode {
    ToNode::Command(Command { id: CommandId(5), epoch: Epoch(7), order })
}

pub(crate) fn to_node() -> Samples<ToNode> {
    let messages = samples!(ToNode {
        Command => command(Order::Report);
        Renewed => ToNode::Renewed(Renewal::Issued(issued()));
    });
    spread(messages, "Command", orders(), command)
}

fn issued() -> Issued {
    Issued {
        fleet: "ljnfuws2ljnfuws2".parse().unwrap(),
        name: node("pi-1"),
        chain: vec![CertificateDer(bytes(&[0x30, 0x01])), CertificateDer(bytes(&[0x30, 0x02]))],
        unix_seconds: 1_790_000_000,
    }
}

pub(crate) fn join_request() -> Samples<JoinRequest> {
    let request = JoinRequest {
        versions: VERSIONS,
        token: TokenId(77),
        secret: Secret([0xc3; 16]),
        name: Some(node("pi-1")),
        request: CertificateRequest(bytes(&[0x30, 0x82])),
        build: text("0.1.0"),
        unix_seconds: 12,
    };
    vec![(text("JoinRequest"), request)]
}

pub(crate) fn join_reply() -> Samples<JoinReply> {
    samples!(JoinReply {
        Joined => JoinReply::Joined(issued());
        Refused => JoinReply::Refused(failure());
    })
}

pub(crate) fn renewal() -> Samples<Renewal> {
    samples!(Renewal {
        Issued => Renewal::Issued(issued());
        Refused => Renewal::Refused(failure());
    })
}

fn blob_chunk() -> BlobChunk {
    BlobChunk { offset: 1 << 33, bytes: bytes(b"GGUF") }
}

pub(crate) fn to_store() -> Samples<ToStore> {
    samples!(ToStore {
        Want => ToStore::Want { blob: model().into(), offset: 4 };
        Put => ToStore::Put { blob: component().into(), bytes: 9 };
        Chunk => ToStore::Chunk(blob_chunk());
        Complete => ToStore::Complete;
    })
}

pub(crate) fn from_store() -> Samples<FromStore> {
    samples!(FromStore {
        Have => FromStore::Have { bytes: 1 << 34 };
        Missing => FromStore::Missing;
        Chunk => FromStore::Chunk(blob_chunk());
        Complete => FromStore::Complete;
        Continue => FromStore::Continue { offset: 4 };
        Stored => FromStore::Stored;
        Failed => FromStore::Failed(failure());
    })
}

fn submit() -> Submit {
    Submit {
        pipeline: text("extract"),
        request: request(),
        models: vec![parameter()],
        idempotency_key: Some(text("k1")),
        policy: Some(text("energy")),
        targets: Targets {
            ttft_ms: Some(800),
            tpot_ms: Some(188),
            deadline_ms: Some(9000),
            millijoules_per_token: Some(200),
            min_quality: Some(700),
        },
        grants: grants(),
        limits: limits(),
        seed: Some(5),
        labels: vec![parameter()],
        trace: None,
    }
}

fn model_variant() -> Variant {
    Variant { model: model(), name: text("1b-q4_k_m"), bytes: 771_000_000, quality: Some(640) }
}

fn allowance() -> Allowance {
    Allowance {
        sees_all: true,
        models: vec![Name(text("demo"))],
        requests_per_minute: Some(60),
        tokens_per_minute: Some(10_000),
        joules_per_day: Some(5_000),
    }
}

fn asks() -> Samples<Ask> {
    let after = Some(text("b"));
    let toml = text("objective = \"energy\"\n");
    let invocation = attempt().invocation;
    let name = text("extract");
    samples!(Ask {
        Fleet => Ask::Fleet;
        Nodes => Ask::Nodes { after: Some(node("pi-1")) };
        Models => Ask::Models { after: after.clone() };
        Pipelines => Ask::Pipelines { after: after.clone() };
        Invocations => Ask::Invocations { live: true };
        Explain => Ask::Explain { invocation };
        Cancel => Ask::Cancel { invocation };
        Deploy => Ask::Deploy { name: name.clone(), component: component() };
        Alias => Ask::Alias { alias: text("default"), variants: vec![model_variant()], resident_on: 2 };
        Pin => Ask::Pin { model: model(), node: Some(node("pi-1")), pinned: true };
        NewToken => Ask::NewToken(NewToken {
            role: Role::Operator,
            name: Some(node("ana")),
            labels: vec![parameter()],
            valid_for_s: Some(900),
        });
        RevokeToken => Ask::RevokeToken { token: TokenId(77) };
        Deny => Ask::Deny { role: Role::Node, name: node("pi-1") };
        Drain => Ask::Drain { node: node("pi-1"), within_ms: 30_000 };
        Cordon => Ask::Cordon { node: node("pi-1"), cordoned: true };
        Mode => Ask::Mode { node: node("pi-1"), mode: text("25W") };
        Policies => Ask::Policies { after: after.clone() };
        CheckPolicy => Ask::CheckPolicy { toml: toml.clone() };
        SetPolicy => Ask::SetPolicy { name: name.clone(), toml: toml.clone() };
        ShowPolicy => Ask::ShowPolicy { name: name.clone() };
        AddRows => Ask::AddRows { toml: toml.clone() };
        NewKey => Ask::NewKey(NewKey {
            name: text("web"),
            allowance: allowance(),
            valid_for_s: Some(86_400),
        });
        Keys => Ask::Keys { after: after.clone() };
        RemoveKey => Ask::RemoveKey { name: text("web") };
    })
}

pub(crate) fn opening() -> Samples<Opening> {
    let openings = samples!(Opening {
        Ask => Opening::Ask(Box::new(Ask::Fleet));
        Submit => Opening::Submit(Box::new(submit()));
        Follow => Opening::Follow { invocation: attempt().invocation, offset: 9 };
        Store => Opening::Store(ToStore::Want { blob: model().into(), offset: 4 });
        Renew => Opening::Renew(CertificateRequest(bytes(&[0x30, 0x82])));
        Profile => Opening::Profile(ProfileNode { node: node("pi-1"), model: text("demo"), how: how_to_profile() });
    });
    spread(openings, "Ask", asks(), |ask| Opening::Ask(Box::new(ask)))
}

pub(crate) fn to_invocation() -> Samples<ToInvocation> {
    samples!(ToInvocation {
        Cancel => ToInvocation::Cancel;
    })
}

fn predicted() -> PredictedCosts {
    PredictedCosts {
        queue_us: 1,
        load_us: 2,
        ttft_us: 249_000,
        ttft_q90_us: 300_000,
        tpot_us: 18_500,
        tpot_q90_us: 20_000,
        total_us: 2_600_000,
        marginal_millijoules: Some(27_500),
        total_millijoules: Some(33_400),
        assumed: true,
        extrapolated: true,
    }
}

pub(crate) fn from_invocation() -> Samples<FromInvocation> {
    samples!(FromInvocation {
        Accepted => FromInvocation::Accepted { invocation: attempt().invocation };
        Placed => FromInvocation::Placed(Box::new(Placed {
            attempt: attempt(),
            node: node("orin-1"),
            point: point(),
            model: Some(model()),
            predicted: Some(predicted()),
        }));
        Chunk => FromInvocation::Chunk(chunk());
        Ended => FromInvocation::Ended(ended(Outcome::Expired));
        Refused => FromInvocation::Refused(failure());
    })
}

pub(crate) fn explanation() -> Explanation {
    let candidate = Candidate {
        node: node("orin-1"),
        point: point(),
        model: Some(model()),
        variant: text("1b-q4_k_m"),
        emulated: true,
        chosen: true,
        predicted: Some(predicted()),
        origin: text("imported"),
        verdict: text("chosen"),
    };
    let decision = Decision {
        attempt: Some(2),
        unix_millis: 1_790_000_000_123,
        candidates: vec![candidate],
        others: vec![Counted { verdict: text("no memory"), count: 3 }],
        actual: Some(usage()),
        recomputed: Some(true),
    };
    Explanation {
        invocation: attempt().invocation,
        pipeline: text("extract"),
        policy: text("energy"),
        objective: text("energy"),
        state: text("done"),
        decisions: vec![decision],
    }
}

fn joined_node() -> JoinedNode {
    JoinedNode {
        name: node("orin-1"),
        class: text("orin-nano-8g"),
        state: NodeState::Draining,
        emulated: true,
        labels: vec![parameter()],
        memory_bytes: 8 << 30,
        free_memory_bytes: 5 << 30,
        residents: vec![resident()],
        models: 3,
        running: 2,
        health: health(),
        seen_ms_ago: Some(250),
        build: text("0.1.0"),
        unconfined: text("network (no seccomp)"),
        // Came later; `answer.Nodes.Stale` has it.
        stale: 0,
    }
}

fn listed() -> ListedInvocation {
    ListedInvocation {
        id: attempt().invocation,
        tenant: text("web"),
        pipeline: text("extract"),
        model: text("demo"),
        policy: text("energy"),
        state: text("running"),
        submitted_unix_ms: 1_790_000_000_123,
        age_ms: 912,
        node: Some(node("orin-1")),
        attempts: 2,
        tokens: 31,
        first_token_ms: Some(410),
        ended_ms: Some(900),
        failure: Some(failure()),
        energy: usage().energy,
        emulated: true,
    }
}

fn stale_node() -> JoinedNode {
    JoinedNode { stale: 2, ..joined_node() }
}

pub(crate) fn answer() -> Samples<Answer> {
    let fleet = "ljnfuws2ljnfuws2".parse().unwrap();
    let model = ModelSummary {
        alias: text("default"),
        variants: vec![VariantSummary { variant: model_variant(), stored: 3, resident: 1 }],
    };
    let pipeline = PipelineSummary {
        name: text("extract"),
        component: Some(component()),
        description: text("Fields of a line."),
    };
    let key = KeySummary {
        name: text("web"),
        beginning: text("dk-abc"),
        allowance: allowance(),
        created_unix_seconds: 1_790_000_000,
        expires_unix_seconds: Some(1_790_086_400),
    };
    let fault = PolicyFault { line: 3, column: 7, text: text("no such objective") };
    let mut answers = samples!(Answer {
        Done => Answer::Done;
        Failed => Answer::Failed(failure());
        Fleet => Answer::Fleet(FleetSummary {
            fleet,
            build: text("0.1.0"),
            nodes: 5,
            connected: 4,
            running: 3,
            queued: 2,
        });
        Nodes => Answer::Nodes(Page { items: vec![joined_node()], more: true });
        Models => Answer::Models(Page { items: vec![model], more: true });
        Pipelines => Answer::Pipelines(Page { items: vec![pipeline], more: true });
        Policies => Answer::Policies(Page { items: vec![Name(text("energy"))], more: true });
        Invocations => Answer::Invocations(Page { items: vec![listed()], more: true });
        Explanation => Answer::Explanation(Box::new(explanation()));
        Token => Answer::Token { text: text("dunlin1.x.y.z"), expires_unix_seconds: 1_790_000_900 };
        Policy => Answer::Policy { toml: text("objective = \"energy\"\n") };
        PolicyFaults => Answer::PolicyFaults(vec![fault]);
        Key => Answer::Key { text: text("dk-abc"), unencrypted: false };
        Keys => Answer::Keys(Page { items: vec![key], more: true });
    });
    let stale = Answer::Nodes(Page { items: vec![stale_node()], more: false });
    answers.push((text("Nodes.Stale"), stale));
    answers
}
