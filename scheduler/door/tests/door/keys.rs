//! Who may what, by which key.

use dunlin_protocol::{Allowance, Name};

use crate::house::House;

const CHAT: &str = r#"{"model": "demo", "messages": [{"role": "user", "content": "hi"}]}"#;

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\nx-dunlin-deadline-ms: 50")
}

#[tokio::test]
async fn a_key_is_for_what_it_allows() {
    let house = House::with(true, None).await;
    let all = house.key("all", Allowance { sees_all: true, ..Allowance::default() }).await;
    let plain = house.key("plain", Allowance::default()).await;
    let other = Allowance { models: vec![Name("other".to_owned())], ..Allowance::default() };
    let other = house.key("other", other).await;
    let (all, plain, other) = (bearer(&all), bearer(&plain), bearer(&other));
    let by_header = plain.replace("authorization: Bearer", "x-api-key:");
    for (request, headers, body, status, code) in [
        ("GET /healthz", "", "", 200, ""),
        ("GET /console/", "", "", 200, ""),
        ("GET /v1/models", "", "", 401, "invalid_api_key"),
        ("GET /v1/models", "authorization: Bearer dk-nothing", "", 401, "invalid_api_key"),
        ("GET /metrics", "", "", 401, "invalid_api_key"),
        ("GET /v1/models", &plain, "", 200, ""),
        ("GET /v1/models", &by_header, "", 200, ""),
        ("GET /v1/fleet", &plain, "", 403, "forbidden"),
        ("GET /metrics", &plain, "", 403, "forbidden"),
        ("PUT /v1/policies/mine", &plain, r#"{"toml": ""}"#, 403, "forbidden"),
        ("POST /v1/fleet/nodes/pi/park", &plain, "", 403, "forbidden"),
        ("POST /v1/fleet/nodes/pi/wake", &plain, "", 403, "forbidden"),
        ("POST /v1/fleet/nodes/pi/wake", "", "", 401, "invalid_api_key"),
        ("POST /v1/fleet/nodes/pi/wake", &all, "", 404, "not_found"),
        ("GET /v1/fleet", &all, "", 200, ""),
        ("POST /v1/chat/completions", &plain, CHAT, 504, "deadline_exceeded"),
        ("POST /v1/chat/completions", &other, CHAT, 403, "model_not_allowed"),
    ] {
        let found = house.ask(request, headers, body).await;
        assert_eq!((found.status, found.code().as_str()), (status, code), "{request} {headers}: {found:?}");
    }
    let count = async |headers: &str| {
        let seen = house.ask("GET /v1/invocations", headers, "").await.json();
        seen["data"].as_array().unwrap().len()
    };
    assert_eq!((count(&plain).await, count(&other).await, count(&all).await), (1, 0, 1));
    house.close().await;
}

#[tokio::test]
async fn what_is_used_up_is_told_with_the_time_until_it_is_back() {
    let house = House::with(true, None).await;
    let key = house.key("one", Allowance { requests_per_minute: Some(1), ..Allowance::default() }).await;
    let first = house.ask("POST /v1/chat/completions", &bearer(&key), CHAT).await;
    let second = house.ask("POST /v1/chat/completions", &bearer(&key), CHAT).await;
    assert_eq!((first.status, second.status), (504, 429), "{second:?}");
    assert_eq!(second.code(), "rate_limit_exceeded");
    assert!(second.head.contains("retry-after: "), "{second:?}");
    house.close().await;
}
