//! Of what a scheduler answers when it is asked.

use dunlin_protocol::*;

use super::{
    Samples, attempt,
    attempts::usage,
    clients::{allowance, model_variant, predicted},
    component, failure, model, node,
    nodes::{health, resident},
    parameter, point, samples, text,
};

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
        // As `answer.Nodes.Plan`.
        plan: None,
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

pub(crate) fn planned_node() -> JoinedNode {
    let planned = PlannedMode {
        mode: text("7W"),
        milliwatts: Some(2650),
        busy: 120,
        request_ms: 5200,
        strain: 640,
        suffices: true,
        assumed: true,
    };
    let parked = Parked {
        level: ParkLevel::Off,
        unix_seconds: 1_790_000_000,
        wakes: true,
        wake_ms: 45_000,
        stage: ParkStage::Wakes,
    };
    let saves = Saving {
        part: 86,
        of: text("watts"),
        milliwatts_now: Some(2900),
        milliwatts_then: Some(2650),
        assumed: true,
    };
    let plan = NodePlan {
        says: text("7W saves 9 % of watts"),
        mode: Some(text("7W")),
        wished_unix_seconds: Some(1_790_000_100),
        due_unix_seconds: Some(1_790_000_600),
        saves: Some(saves),
        changes_to: Some(text("25W")),
        rate: 12_500,
        modes: vec![planned],
        parked: Some(parked),
        failure: Some(text("15W was asked for, and the machine says 25W")),
        barred_unix_seconds: Some(1_790_001_200),
    };
    JoinedNode { state: NodeState::Parked, plan: Some(Box::new(plan)), ..joined_node() }
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
    let planned = Answer::Nodes(Page { items: vec![planned_node()], more: false });
    answers.push((text("Nodes.Plan"), planned));
    answers
}
