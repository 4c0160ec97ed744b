//! Of clients: what they ask for, and what comes of an invocation.

use dunlin_protocol::*;

use super::{
    Samples, attempt,
    attempts::{chunk, ended, grants, limits, request},
    bytes, component, failure, model, node,
    nodes::{how_to_profile, how_to_profile_with_extras},
    parameter, point, samples, spread, text,
};

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

pub(super) fn model_variant() -> Variant {
    Variant { model: model(), name: text("1b-q4_k_m"), bytes: 771_000_000, quality: Some(640) }
}

pub(super) fn allowance() -> Allowance {
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
        Park => Ask::Park { node: node("pi-1"), level: Some(ParkLevel::LowMode) };
        Wake => Ask::Wake { node: node("pi-1") };
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
    let mut openings = spread(openings, "Ask", asks(), |ask| Opening::Ask(Box::new(ask)));
    let extras = ProfileNode { node: node("pi-1"), model: text("demo"), how: how_to_profile_with_extras() };
    openings.push((text("ProfileExtras"), Opening::Profile(extras)));
    openings
}

pub(crate) fn to_invocation() -> Samples<ToInvocation> {
    samples!(ToInvocation {
        Cancel => ToInvocation::Cancel;
    })
}

pub(super) fn predicted() -> PredictedCosts {
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
