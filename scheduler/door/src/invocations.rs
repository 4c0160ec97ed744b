//! `/v1/invocations`: those that run, those that ran, and why each went where it went.

use std::{cmp::Ordering, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use dunlin_protocol::{Answer, Ask, InvocationId};
use dunlin_scheduler::look::{Invocation, Which};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    auth::Caller,
    desk::Desk,
    document,
    error::{Answered, ApiError},
};

/// Where nothing is said.
const LIMIT: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    limit: Option<usize>,
    /// Only those that have not ended.
    #[serde(default)]
    live: bool,
}

pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Answered<Json<Value>> {
    let Query(asked) = asked.map_err(|error| ApiError::invalid(error.body_text()))?;
    let limit = asked.limit.unwrap_or(LIMIT);
    let which = Which { tenant: caller.sees(), only: None, live: asked.live, limit };
    let seen = desk.front.invocations(which).await?;
    let data: Vec<Value> = seen.iter().map(aged).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

pub(crate) async fn explain(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answered<Json<Value>> {
    let id = parse(&id)?;
    let which = Which { tenant: caller.sees(), only: Some(id), ..Which::default() };
    let seen = desk.front.invocations(which).await?;
    let seen = seen.first().ok_or_else(|| unknown(&id.to_string()))?;
    let mut document = aged(seen);
    match desk.front.ask(Ask::Explain { invocation: id }, caller.sees()).await {
        Answer::Explanation(explanation) => document["explanation"] = document::explanation(&explanation),
        Answer::Failed(failure) => return Err(failure.into()),
        _ => {}
    }
    document["timeline"] = timeline(seen);
    Ok(Json(document))
}

pub(crate) async fn cancel(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answered<StatusCode> {
    let ask = Ask::Cancel { invocation: parse(&id)? };
    match desk.front.ask(ask, caller.sees()).await {
        Answer::Failed(failure) => Err(failure.into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

fn aged(of: &Invocation) -> Value {
    let mut document = document::invocation(of);
    document["age_ms"] = json!(of.age_ms);
    document
}

/// What happened, in order; milliseconds since the submission.
fn timeline(of: &Invocation) -> Value {
    let mut events = vec![(0, json!({ "event": "submitted" }))];
    for at in &of.placed {
        let event = json!({
            "event": "placed",
            "attempt": at.placed.attempt.number,
            "node": at.placed.node.to_string(),
        });
        events.push((at.after_ms.unwrap_or_default(), event));
    }
    if let Some(at) = of.first_token_ms {
        events.push((at, json!({ "event": "first token" })));
    }
    if let Some(at) = of.ended_ms {
        events.push((at, json!({ "event": of.state.name() })));
    }
    // Stable: what happened in one millisecond stays in its order, but the end is the end.
    events.sort_by(|a, b| a.0.cmp(&b.0).then(Ordering::Equal));
    let events = events.into_iter().map(|(at, mut event)| {
        event["at_ms"] = json!(at);
        event
    });
    events.collect()
}

pub(crate) fn parse(id: &str) -> Answered<InvocationId> {
    id.parse().map_err(|_| unknown(id))
}

pub(crate) fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "no invocation {id:?} is known; they are kept for ten minutes after their end"
    ))
}
