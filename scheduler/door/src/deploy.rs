//! `PUT /v1/pipelines/{name}`: gives a pipeline to the fleet, as `dunlin deploy` does.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    desk::Desk,
    error::{Answered, ApiError},
    uploads,
};

/// Bytes of a component: one that carries an interpreter has some twenty million.
const MAX_COMPONENT: usize = 64 << 20;

/// How long it may take to arrive.
const UPLOAD_TIME: Duration = Duration::from_mins(5);

/// What a component begins with, and a core module does not.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

pub(crate) async fn deploy(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    body: Body,
) -> Answered<Json<Value>> {
    check_name(&name)?;
    let collected = timeout(UPLOAD_TIME, Limited::new(body, MAX_COMPONENT).collect()).await;
    let bytes = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("a component has at most {} MB", MAX_COMPONENT / 1_000_000);
            return Err(ApiError { status: StatusCode::PAYLOAD_TOO_LARGE, ..ApiError::invalid(message) });
        }
        Ok(Err(error)) if uploads::made_way(&*error) => return Err(ApiError::made_way()),
        _ => return Err(ApiError::invalid("the component did not arrive whole")),
    };
    if !bytes.starts_with(COMPONENT) {
        return Err(ApiError::invalid("this is no WebAssembly component: `dunlin build` makes one"));
    }
    let component = desk.front.deploy(name.clone(), bytes.to_vec()).await?;
    Ok(Json(json!({ "name": name, "component": component.to_string() })))
}

fn check_name(name: &str) -> Answered<()> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(ApiError::invalid_field("name", "a pipeline's name has 1 to 64 letters, digits, dots and dashes"))
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
