//! What the page asks: policies, and pipelines to deploy. Changes are for whoever sees the whole fleet.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
};
use dunlin_protocol::{Answer, Ask};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use crate::{
    auth::Caller,
    body,
    desk::Desk,
    error::{Answered, ApiError},
};

/// Bytes of a component: one that carries an interpreter has some twenty million.
const MAX_COMPONENT: usize = 64 << 20;

/// How long it may take to arrive.
const UPLOAD_TIME: Duration = Duration::from_secs(300);

/// What a component begins with, and a core module does not.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    toml: String,
}

pub(super) async fn policies(State(desk): State<Arc<Desk>>) -> Answered<Json<Value>> {
    let look = desk.front.look().await?;
    Ok(Json(json!({ "policies": look.policies, "default": look.default_policy })))
}

pub(super) async fn policy(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Answered<Json<Value>> {
    match desk.front.ask(Ask::ShowPolicy { name: name.clone() }, None).await {
        Answer::Policy { toml } => Ok(Json(json!({ "name": name, "toml": toml }))),
        answer => Err(otherwise(answer)),
    }
}

/// What is wrong with a policy, with line and column; nothing of it is kept.
pub(super) async fn check(State(desk): State<Arc<Desk>>, body: Body) -> Answered<Json<Value>> {
    match desk.front.ask(Ask::CheckPolicy { toml: written(body).await?.toml }, None).await {
        Answer::PolicyFaults(faults) => {
            let faults = faults.iter().map(|fault| json!({ "line": fault.line, "column": fault.column, "text": fault.text }));
            Ok(Json(json!({ "faults": faults.collect::<Vec<_>>() })))
        }
        answer => Err(otherwise(answer)),
    }
}

pub(super) async fn set_policy(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Answered<Json<Value>> {
    only_operators(&caller)?;
    let toml = written(body).await?.toml;
    match desk.front.ask(Ask::SetPolicy { name: name.clone(), toml }, None).await {
        Answer::Done => Ok(Json(json!({ "name": name }))),
        answer => Err(otherwise(answer)),
    }
}

pub(super) async fn pipelines(State(desk): State<Arc<Desk>>) -> Answered<Json<Value>> {
    let mut all: Vec<Value> = Vec::new();
    let mut after = None;
    loop {
        let page = match desk.front.ask(Ask::Pipelines { after }, None).await {
            Answer::Pipelines(page) => page,
            answer => return Err(otherwise(answer)),
        };
        after = page.items.last().map(|of| of.name.clone());
        all.extend(page.items.iter().map(|of| {
            let component = of.component.map(|component| component.to_string());
            json!({ "name": of.name, "description": of.description, "component": component })
        }));
        if !page.more || after.is_none() {
            return Ok(Json(json!({ "pipelines": all })));
        }
    }
}

pub(super) async fn deploy(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Answered<Json<Value>> {
    only_operators(&caller)?;
    check_name(&name)?;
    let collected = timeout(UPLOAD_TIME, Limited::new(body, MAX_COMPONENT).collect()).await;
    let bytes = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("a component has at most {} MB", MAX_COMPONENT / 1_000_000);
            return Err(ApiError { status: StatusCode::PAYLOAD_TOO_LARGE, ..ApiError::invalid(message) });
        }
        _ => return Err(ApiError::invalid("the component did not arrive whole")),
    };
    if !bytes.starts_with(COMPONENT) {
        return Err(ApiError::invalid("this is no WebAssembly component: `dunlin build` makes one"));
    }
    let component = desk.front.deploy(name.clone(), bytes.to_vec()).await?;
    Ok(Json(json!({ "name": name, "component": component.to_string() })))
}

async fn written(body: Body) -> Answered<Written> {
    let bytes = body::bytes(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::invalid(format!("the body is not {{\"toml\": ...}}: {error}")))
}

fn only_operators(caller: &Caller) -> Answered<()> {
    if caller.sees_all {
        return Ok(());
    }
    let message = "this key may ask, and not change the fleet";
    Err(ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("forbidden"))
}

fn check_name(name: &str) -> Answered<()> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(ApiError::invalid_field("name", "a pipeline's name has 1 to 64 letters, digits, dots and dashes"))
}

fn otherwise(answer: Answer) -> ApiError {
    match answer {
        Answer::Failed(failure) => failure.into(),
        _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the scheduler answered with something else"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["haiku", "a.b-c_1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "<img src=x>", "a/b", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
