//! `GET /v1/models`: the aliases of the fleet.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use dunlin_protocol::ModelSummary;
use serde_json::{Value, json};

use crate::{
    auth::Caller,
    desk::Desk,
    document,
    error::{Answered, ApiError},
};

pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
) -> Answered<Json<Value>> {
    let models = desk.models(None).await?;
    let seen = models.iter().filter(|model| caller.may_use(&model.alias));
    Ok(Json(json!({ "object": "list", "data": seen.map(|model| told(&desk, model)).collect::<Vec<_>>() })))
}

pub(crate) async fn one(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answered<Json<Value>> {
    let models = desk.models(Some(&name)).await?;
    let seen: Vec<&ModelSummary> = models.iter().filter(|model| caller.may_use(&model.alias)).collect();
    match seen.iter().find(|model| model.alias == name) {
        Some(model) => Ok(Json(told(&desk, model))),
        None => {
            let known: Vec<String> = seen.iter().map(|model| model.alias.clone()).collect();
            Err(ApiError::model_not_found(&name, &known))
        }
    }
}

fn told(desk: &Desk, model: &ModelSummary) -> Value {
    json!({
        "id": model.alias,
        "object": "model",
        "created": desk.opened,
        "owned_by": desk.front.fleet().to_string(),
        "dunlin": document::model(model),
    })
}
