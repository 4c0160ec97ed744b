//! `GET /v1/fleet`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::Value;

use crate::{desk::Desk, document, error::Answered};

pub(crate) async fn fleet(State(desk): State<Arc<Desk>>) -> Answered<Json<Value>> {
    Ok(Json(document::fleet(&desk.front.look().await?)))
}
