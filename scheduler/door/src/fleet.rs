//! `/v1/fleet`: what there is, and boards that are put to rest and woken by hand.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use dunlin_protocol::{Answer, Ask, NodeId, ParkLevel};
use serde_json::Value;

use crate::{
    body,
    desk::Desk,
    document,
    error::{Answered, ApiError},
    policies::otherwise,
};

pub(crate) async fn fleet(State(desk): State<Arc<Desk>>) -> Answered<Json<Value>> {
    Ok(Json(document::fleet(&desk.front.look().await?)))
}

/// Answers once the board rests. It goes there also where nobody waits for the answer any more.
pub(crate) async fn park(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    body: Body,
) -> Answered<Json<Value>> {
    let (node, level) = (node(&name)?, level(body).await?);
    settled(&desk, &node, Ask::Park { node: node.clone(), level }).await
}

/// Answers once the board takes work.
pub(crate) async fn wake(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Answered<Json<Value>> {
    let node = node(&name)?;
    settled(&desk, &node, Ask::Wake { node: node.clone() }).await
}

/// As the board is then.
async fn settled(desk: &Desk, node: &NodeId, ask: Ask) -> Answered<Json<Value>> {
    match desk.front.ask(ask, None).await {
        Answer::Done => {}
        answer => return Err(otherwise(answer)),
    }
    let look = desk.front.look().await?;
    let found = look.nodes.iter().find(|known| known.joined.name == *node);
    let gone = || ApiError::not_found(format!("{node} left the fleet meanwhile"));
    Ok(Json(document::node(found.ok_or_else(gone)?)))
}

fn node(name: &str) -> Answered<NodeId> {
    name.parse().map_err(|error| ApiError::invalid_field("name", format!("{name:?} is no board: {error}")))
}

/// `None`: as the plan says.
async fn level(body: Body) -> Answered<Option<ParkLevel>> {
    let bytes = body::bytes(body).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut fields = body::fields(Body::from(bytes)).await?;
    let level = match fields.text("level")?.as_deref() {
        None => None,
        Some("unload") => Some(ParkLevel::Unload),
        Some("low-mode") => Some(ParkLevel::LowMode),
        Some("off") => Some(ParkLevel::Off),
        Some(other) => {
            let message = format!("Invalid 'level': {other:?} is none of unload, low-mode, off.");
            return Err(ApiError::invalid_field("level", message));
        }
    };
    fields.done()?;
    Ok(level)
}
