//! Each status that there is, and the code beside it.

use serde_json::json;

use crate::house::House;

/// A chat, with other fields.
fn chat(more: &serde_json::Value) -> String {
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
        if status == 503 && code == "model_loading" {
            assert!(found.head.contains("retry-after: 3"), "{what}");
            assert_eq!(found.json()["error"]["loading"]["resident_on"], 0, "{what}");
        }
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
