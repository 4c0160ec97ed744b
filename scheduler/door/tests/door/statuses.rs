//! Each status that there is, and the code beside it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use dunlin_protocol::Allowance;
use serde_json::{Value, json};

use crate::house::House;

/// Statuses that the document names and that no request of these tests brings about, and why not.
const UNSEEN: [(u16, &str); 3] = [
    (408, "a body has some seconds; `body.rs` tests it"),
    (422, "a pipeline says so, and there is no node to run one"),
    (500, "a bug, or a broken engine"),
];

/// A chat, with other fields.
fn chat(more: &Value) -> String {
    let mut body = json!({ "model": "demo", "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

#[tokio::test]
async fn every_status_has_its_cause() {
    let house = House::open().await;
    let plain = chat(&json!({}));
    let of_nobody = chat(&json!({ "model": "nobody" }));
    let unknown = chat(&json!({ "frobnicate": 1 }));
    let hot = chat(&json!({ "temperature": 9 }));
    let bomb = json!({ "name": "b", "schema": { "type": "string", "pattern": "((a{1,99}){1,99}){1,99}" } });
    let bomb = chat(&json!({ "response_format": { "type": "json_schema", "json_schema": bomb } }));
    let remote = json!({ "name": "r", "schema": { "$ref": "http://127.0.0.1/" } });
    let remote = chat(&json!({ "response_format": { "type": "json_schema", "json_schema": remote } }));
    let large = chat(&json!({ "user": "x".repeat(2 << 20) }));
    let deep = "[".repeat(100_000);
    let soon = "x-dunlin-deadline-ms: 50";
    let last = format!("last-event-id: {}:3", "a".repeat(26));
    let completions = "POST /v1/chat/completions";
    let mut seen = BTreeSet::new();
    for (request, headers, body, status, code) in [
        ("GET /healthz", "", "", 200, ""),
        ("GET /readyz", "", "", 503, ""),
        ("GET /", "", "", 307, ""),
        ("GET /console/", "", "", 200, ""),
        ("GET /console/views/chat.js", "", "", 200, ""),
        ("GET /console/../Cargo.toml", "", "", 404, "unknown_url"),
        ("GET /openapi.json", "", "", 200, ""),
        ("GET /metrics", "", "", 200, ""),
        ("GET /v1/models", "", "", 200, ""),
        ("GET /v1/models/demo", "", "", 200, ""),
        ("GET /v1/models/nobody", "", "", 404, "model_not_found"),
        ("GET /v1/fleet", "", "", 200, ""),
        ("POST /v1/fleet/nodes/nobody/park", "", "", 404, "not_found"),
        ("POST /v1/fleet/nodes/nobody/park", "", r#"{"level": "off"}"#, 404, "not_found"),
        ("POST /v1/fleet/nodes/nobody/park", "", r#"{"level": "deep"}"#, 400, "invalid_value"),
        ("POST /v1/fleet/nodes/nobody/park", "", r#"{"depth": "off"}"#, 400, "unknown_parameter"),
        ("POST /v1/fleet/nodes/nobody/park", "", "low-mode", 400, "invalid_json"),
        ("POST /v1/fleet/nodes/no%20body/park", "", "", 400, "invalid_value"),
        ("POST /v1/fleet/nodes/nobody/wake", "", "", 404, "not_found"),
        ("POST /v1/fleet/nodes/nobody/wake", "origin: https://evil.example", "", 403, "forbidden_origin"),
        ("GET /v1/fleet/nodes/nobody/wake", "", "", 405, "method_not_allowed"),
        ("GET /v1/invocations?live=true", "", "", 200, ""),
        ("GET /v1/invocations?limit=x", "", "", 400, ""),
        ("GET /v1/invocations/nothing", "", "", 404, "not_found"),
        ("DELETE /v1/invocations/nothing", "", "", 404, "not_found"),
        ("GET /v1/pipelines", "", "", 200, ""),
        ("POST /v1/pipelines/nothing", "", "x", 404, "not_found"),
        ("PUT /v1/pipelines/mine", "", "no component", 400, ""),
        ("PUT /v1/pipelines/a%20b", "", "no component", 400, "invalid_value"),
        ("GET /v1/policies", "", "", 200, ""),
        ("GET /v1/policies/latency-first", "", "", 200, ""),
        ("GET /v1/policies/nothing", "", "", 404, "not_found"),
        ("PUT /v1/policies/mine", "", r#"{"toml": "objective = 7"}"#, 400, "invalid_value"),
        ("PUT /v1/policies/mine", "", r#"{"toml": "objective = \"energy\""}"#, 200, ""),
        ("POST /v1/policy-check", "", r#"{"toml": "objective = 7"}"#, 200, ""),
        ("POST /v1/policy-check", "", "{}", 400, ""),
        ("GET /nothing", "", "", 404, "unknown_url"),
        ("GET /v1/chat/completions", "", "", 405, "method_not_allowed"),
        (completions, "", "{", 400, "invalid_json"),
        (completions, "", "[]", 400, "invalid_json"),
        (completions, "", &deep, 400, "invalid_json"),
        (completions, "", r#"{"messages": []}"#, 400, "missing_required_parameter"),
        (completions, "", &unknown, 400, "unknown_parameter"),
        (completions, "", &hot, 400, "invalid_value"),
        (completions, "", &bomb, 400, "invalid_schema"),
        (completions, "", &remote, 400, "invalid_schema"),
        (completions, "x-slo-ttft-ms: soon", &plain, 400, "invalid_value"),
        (completions, "x-dunlin-policy: nothing", &plain, 400, "invalid_value"),
        (completions, "host: evil.example", &plain, 403, "forbidden_host"),
        (completions, "origin: https://evil.example", &plain, 403, "forbidden_origin"),
        (completions, "", &of_nobody, 404, "model_not_found"),
        (completions, &last, &plain, 404, "not_found"),
        (completions, "", &large, 413, "request_too_large"),
        (completions, "x-dunlin-when-loading: refuse", &plain, 503, "model_loading"),
        (completions, soon, &plain, 504, "deadline_exceeded"),
        ("POST /v1/completions", soon, r#"{"model": "demo", "prompt": "a"}"#, 504, "deadline_exceeded"),
        ("POST /v1/embeddings", soon, r#"{"model": "demo", "input": "a"}"#, 504, "deadline_exceeded"),
        ("POST /v1/embeddings", "", r#"{"model": "demo", "input": []}"#, 400, "invalid_value"),
        ("POST /v1/responses", soon, r#"{"model": "demo", "input": "a"}"#, 504, "deadline_exceeded"),
        ("POST /v1/pipelines/chat", soon, "hello", 504, "deadline_exceeded"),
    ] {
        let found = house.ask(request, headers, body).await;
        let what = format!("{request} {headers} {}: {found:?}", &body[..body.len().min(200)]);
        assert_eq!((found.status, found.code().as_str()), (status, code), "{what}");
        seen.insert(status);
        if status == 503 && code == "model_loading" {
            assert!(found.head.contains("retry-after: 3"), "{what}");
            assert_eq!(found.json()["error"]["loading"]["resident_on"], 0, "{what}");
        }
    }
    seen.extend(those_with_conditions(&house).await);
    let document = house.ask("GET /openapi.json", "", "").await.json();
    house.close().await;
    seen.extend(those_of_keys().await);
    let unseen: BTreeSet<u16> = promised(&document).difference(&seen).copied().collect();
    assert_eq!(unseen, UNSEEN.iter().map(|(status, _)| *status).collect());
}

/// All statuses of all operations.
fn promised(document: &Value) -> BTreeSet<u16> {
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let statuses = operations.flat_map(|operation| operation["responses"].as_object().unwrap().keys());
    statuses.map(|status| status.parse().unwrap()).collect()
}

/// What needs a request before it.
async fn those_with_conditions(house: &House) -> [u16; 2] {
    let known = house.ask("GET /v1/invocations", "", "").await.json();
    let id = known["data"][0]["id"].as_str().unwrap();
    let cancelled = house.ask(&format!("DELETE /v1/invocations/{id}"), "", "").await;
    let headers = "idempotency-key: once\nx-dunlin-deadline-ms: 50";
    house.ask("POST /v1/chat/completions", headers, &chat(&json!({}))).await;
    let other = house.ask("POST /v1/chat/completions", headers, &chat(&json!({ "max_tokens": 1 }))).await;
    let statuses = [cancelled.status, other.status];
    assert_eq!(statuses, [204, 409], "{cancelled:?} {other:?}");
    statuses
}

async fn those_of_keys() -> [u16; 3] {
    let house = House::with(true, None).await;
    let key = house.key("one", Allowance { requests_per_minute: Some(1), ..Allowance::default() }).await;
    let by_key = format!("authorization: Bearer {key}\nx-dunlin-deadline-ms: 50");
    let nobody = house.ask("GET /v1/models", "", "").await;
    let curious = house.ask("GET /v1/fleet", &by_key, "").await;
    house.ask("POST /v1/chat/completions", &by_key, &chat(&json!({}))).await;
    let eager = house.ask("POST /v1/chat/completions", &by_key, &chat(&json!({}))).await;
    let statuses = [nobody.status, curious.status, eager.status];
    assert_eq!(statuses, [401, 403, 429], "{nobody:?} {curious:?} {eager:?}");
    house.close().await;
    statuses
}

/// Refused before anything compiles them, and soon: the fastest of three tries, since the machine may do other things.
#[tokio::test]
async fn hostile_schemas_are_refused_at_once() {
    let house = House::open().await;
    let nested = |depth: usize, around: fn(Value) -> Value| {
        (0..depth).fold(json!({ "type": "string" }), |inner, _| around(inner))
    };
    let many: serde_json::Map<String, Value> =
        (0..20_000).map(|number| (format!("p{number}"), json!({ "type": "string" }))).collect();
    let patterns: Vec<Value> =
        (0..2000).map(|number| json!({ "pattern": format!("^(a|b{number}){{1,90}}$") })).collect();
    let hostile = [
        ("deep objects", nested(60, |inner| json!({ "properties": { "a": inner } }))),
        ("deep lists", nested(60, |inner| json!({ "items": inner }))),
        ("deep choices", nested(60, |inner| json!({ "anyOf": [inner, { "type": "null" }] }))),
        ("many properties", json!({ "type": "object", "properties": many })),
        ("a large enum", json!({ "enum": (0..100_000).collect::<Vec<u32>>() })),
        ("many patterns", json!({ "anyOf": patterns })),
        ("a pattern that repeats", json!({ "pattern": "((((a{1,99}){1,99}){1,99}){1,99}){1,99}" })),
        ("a long pattern", json!({ "pattern": "(a|b)".repeat(10_000) })),
        ("a long list", json!({ "type": "array", "minItems": 1_000_000_000 })),
        ("elsewhere", json!({ "$ref": "file:///etc/passwd" })),
    ];
    for (name, schema) in hostile {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "h", "schema": schema, "strict": true } });
        let body = chat(&json!({ "response_format": format }));
        let mut soonest = Duration::MAX;
        for _ in 0..3 {
            let began = Instant::now();
            let found = house.ask("POST /v1/chat/completions", "", &body).await;
            soonest = soonest.min(began.elapsed());
            let refused = [(400, "invalid_schema"), (400, "invalid_json"), (413, "request_too_large")];
            assert!(refused.contains(&(found.status, found.code().as_str())), "{name}: {found:?}");
        }
        assert!(soonest <= Duration::from_millis(100), "{name}: {soonest:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_key_of_idempotency_is_of_one_request() {
    let house = House::open().await;
    let headers = "idempotency-key: k\nx-dunlin-deadline-ms: 50";
    let (first, other) = (chat(&json!({})), chat(&json!({ "max_tokens": 3 })));
    let answers = [
        house.ask("POST /v1/chat/completions", headers, &first).await,
        house.ask("POST /v1/chat/completions", headers, &first).await,
        house.ask("POST /v1/chat/completions", headers, &other).await,
    ];
    assert_eq!(answers.map(|answer| answer.status), [504, 504, 409]);
    let known = house.ask("GET /v1/invocations", "", "").await.json();
    assert_eq!(known["data"].as_array().unwrap().len(), 1, "{known:#}");
    house.close().await;
}

#[tokio::test]
async fn metrics_count_what_was_refused() {
    let house = House::open().await;
    let late = house.ask("POST /v1/chat/completions", "x-dunlin-deadline-ms: 50", &chat(&json!({}))).await;
    assert_eq!(late.status, 504);
    let text = house.ask("GET /metrics", "", "").await.body;
    for line in [
        r#"dunlin_http_requests_total{method="POST",route="/v1/chat/completions",status="504"} 1"#,
        r#"dunlin_invocations_total{model="demo",outcome="expired",pipeline="chat"} 1"#,
        r#"dunlin_model_stored_nodes{model="demo"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    house.close().await;
}
