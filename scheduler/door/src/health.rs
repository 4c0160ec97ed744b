//! `/healthz` and `/readyz`: asked of those who do the work, so that a stuck scheduler does not call itself well.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::desk::Desk;

/// A driver that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// The scheduler decides: its driver answers.
pub(crate) async fn healthz(State(desk): State<Arc<Desk>>) -> (StatusCode, Json<Value>) {
    match timeout(PATIENCE, desk.front.look()).await {
        Ok(Ok(_)) => (StatusCode::OK, Json(json!({ "status": "ok" }))),
        Ok(Err(failure)) => unwell(&failure.to_string()),
        Err(_) => unwell("the scheduler does not answer"),
    }
}

/// And some node could take a request.
pub(crate) async fn readyz(State(desk): State<Arc<Desk>>) -> (StatusCode, Json<Value>) {
    match timeout(PATIENCE, desk.front.look()).await {
        Ok(Ok(look)) if look.summary.connected == 0 => unwell("no node is connected"),
        Ok(Ok(look)) if look.models.is_empty() => unwell("no node has a model"),
        Ok(Ok(look)) => {
            let document =
                json!({ "status": "ok", "nodes": look.summary.connected, "models": look.models.len() });
            (StatusCode::OK, Json(document))
        }
        Ok(Err(failure)) => unwell(&failure.to_string()),
        Err(_) => unwell("the scheduler does not answer"),
    }
}

fn unwell(why: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "reason": why })))
}
