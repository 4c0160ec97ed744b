//! `/v1/policies`: those of the fleet, read, checked and set.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use dunlin_protocol::{Answer, Ask, PolicyFault};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    body,
    desk::Desk,
    error::{Answered, ApiError},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    toml: String,
}

pub(crate) async fn list(State(desk): State<Arc<Desk>>) -> Answered<Json<Value>> {
    let look = desk.front.look().await?;
    Ok(Json(json!({ "policies": look.policies, "default": look.default_policy })))
}

pub(crate) async fn one(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Answered<Json<Value>> {
    match desk.front.ask(Ask::ShowPolicy { name: name.clone() }, None).await {
        Answer::Policy { toml } => Ok(Json(json!({ "name": name, "toml": toml }))),
        answer => Err(otherwise(answer)),
    }
}

/// What is wrong with a policy, with line and column; nothing of it is kept.
pub(crate) async fn check(State(desk): State<Arc<Desk>>, body: Body) -> Answered<Json<Value>> {
    match desk.front.ask(Ask::CheckPolicy { toml: written(body).await?.toml }, None).await {
        Answer::PolicyFaults(faults) => Ok(Json(json!({ "faults": told(&faults) }))),
        answer => Err(otherwise(answer)),
    }
}

pub(crate) async fn set(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    body: Body,
) -> Answered<Json<Value>> {
    let toml = written(body).await?.toml;
    match desk.front.ask(Ask::SetPolicy { name: name.clone(), toml }, None).await {
        Answer::Done => Ok(Json(json!({ "name": name, "faults": [] }))),
        // In force all the same: what its routes name may come yet.
        Answer::PolicyFaults(faults) => Ok(Json(json!({ "name": name, "faults": told(&faults) }))),
        answer => Err(otherwise(answer)),
    }
}

fn told(faults: &[PolicyFault]) -> Vec<Value> {
    let told =
        |fault: &PolicyFault| json!({ "line": fault.line, "column": fault.column, "text": fault.text });
    faults.iter().map(told).collect()
}

async fn written(body: Body) -> Answered<Written> {
    let bytes = body::bytes(body).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::invalid(format!("the body is not {{\"toml\": ...}}: {error}")))
}

pub(crate) fn otherwise(answer: Answer) -> ApiError {
    match answer {
        Answer::Failed(failure) => failure.into(),
        _ => ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "the scheduler answered with something else",
        ),
    }
}
