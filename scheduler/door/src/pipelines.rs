//! `POST /v1/pipelines/{name}`: any pipeline of the fleet, as it is: the body is its input, the query its parameters.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use dunlin_protocol::{Answer as Said, Ask, InvocationId};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use crate::{
    answer::{Finish, Piece},
    auth::Caller,
    body,
    call::{self, Answers, Call, Manner},
    desk::Desk,
    document,
    error::{Answered, ApiError},
    policies,
    sse::{self, Event, Gone},
    tell::{self, Tell},
    took,
};

/// The model, where several are there; a parameter like any other to who calls, and none of the pipeline's.
const MODEL: &str = "model";

pub(crate) async fn list(State(desk): State<Arc<Desk>>) -> Answered<Json<Value>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = match desk.front.ask(Ask::Pipelines { after }, None).await {
            Said::Pipelines(page) => page,
            answer => return Err(policies::otherwise(answer)),
        };
        after = page.items.last().map(|of| of.name.clone());
        all.extend(page.items.iter().map(|of| {
            let component = of.component.map(|component| component.to_string());
            json!({ "name": of.name, "description": of.description, "component": component })
        }));
        if !page.more || after.is_none() {
            return Ok(Json(json!({ "object": "list", "data": all })));
        }
    }
}

pub(crate) async fn invoke(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(params): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Answered<Response> {
    let manner = Manner::read(&headers)?;
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let is_form = text(header::CONTENT_TYPE).starts_with("application/x-www-form-urlencoded");
    // What curl says of any data where it is not told.
    let content_type = if is_form { String::new() } else { text(header::CONTENT_TYPE).to_owned() };
    let streams = text(header::ACCEPT).contains("text/event-stream");
    let mut call = Call { pipeline: name, content_type, ..Call::default() };
    let mut model = None;
    for (name, value) in params {
        match name.as_str() {
            MODEL => model = Some(value),
            _ => call.param(&name, value),
        }
    }
    call.model = match model {
        Some(model) => model,
        None => only(&desk).await?,
    };
    call.body = body::bytes(body).await?.to_vec();
    if streams {
        let answers = call::begin(&desk, &caller, &manner, vec![call]).await?;
        let telling = |answers: &Answers, sender| Telling { invocation: answers.invocations[0], sender };
        return tell::stream(answers, sse::channel(), telling).await;
    }
    let mut answer = call::begin_one(&desk, &caller, &manner, call, 0).await?;
    let finish = answer.end_of_all().await?;
    Ok(whole(finish))
}

/// The only model of the fleet.
async fn only(desk: &Desk) -> Answered<String> {
    let models = desk.models(None).await?;
    match models.as_slice() {
        [only] => Ok(only.alias.clone()),
        [] => Err(ApiError::model_not_found("", &[])),
        several => {
            let names: Vec<&str> = several.iter().map(|model| model.alias.as_str()).collect();
            let message =
                format!("there are several models: choose one with ?model=, of {}", names.join(", "));
            Err(ApiError::invalid_field(MODEL, message))
        }
    }
}

/// The answer of the pipeline as it gave it; what it took stands in the head.
fn whole(finish: Finish) -> Response {
    let usage = document::usage(&finish.usage).to_string();
    let mut response = tell::named(finish.body.into_response(), &[finish.invocation]);
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-dunlin-node", finish.usage.node.to_string()),
        ("x-dunlin-usage", usage),
        ("content-type", finish.content_type),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// Events: `text`, `json`, `progress`, and at last `result` or `error`.
struct Telling {
    invocation: InvocationId,
    sender: sse::Sender,
}

impl Tell for Telling {
    async fn piece(&mut self, _: usize, number: u64, piece: Piece) -> Result<(), Gone> {
        let (name, data) = match piece {
            Piece::Text(text) => ("text", json!({ "text": text })),
            Piece::Progress(share) => ("progress", json!({ "progress": share })),
            Piece::Json(value) => ("json", value),
            Piece::Reasoning(text) => ("json", json!({ "reasoning": text })),
            Piece::Logprobs(list) => ("json", json!({ "logprobs": list })),
            Piece::ToolCall(call) => ("json", json!({ "tool_calls": [call] })),
            Piece::End(finish) => {
                let data = result(&finish).to_string();
                return self.sender.event(Event { id: None, name: Some("result"), data: &data }).await;
            }
        };
        let (id, data) = (format!("{}:{number}", self.invocation), data.to_string());
        self.sender.event(Event { id: Some(&id), name: Some(name), data: &data }).await
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), Gone> {
        let data = error.document().to_string();
        self.sender.event(Event { id: None, name: Some("error"), data: &data }).await
    }

    async fn end(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    fn sender(&self) -> &sse::Sender {
        &self.sender
    }
}

fn result(finish: &Finish) -> Value {
    let body = String::from_utf8_lossy(&finish.body).into_owned();
    let is_json = finish.content_type.starts_with("application/json");
    let parsed = is_json.then(|| serde_json::from_str::<Value>(&body).ok()).flatten();
    let mut document = json!({
        "content_type": finish.content_type,
        "body": parsed.unwrap_or_else(|| body.into()),
        "usage": document::usage(&finish.usage),
    });
    took::tell(&mut document, [finish]);
    document
}
