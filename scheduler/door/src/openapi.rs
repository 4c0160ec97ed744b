//! `/openapi.json`: kept by hand in `openapi.json`, and held against the router in a test.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    desk::Desk,
    error::{Answered, ApiError},
};

const DOCUMENT: &str = include_str!("../openapi.json");

pub(crate) async fn document(State(desk): State<Arc<Desk>>) -> Answered<Json<Value>> {
    let mut document: Value = serde_json::from_str(DOCUMENT).map_err(|error| broken(&error))?;
    document["info"]["version"] = json!(desk.options.build);
    Ok(Json(document))
}

fn broken(error: &serde_json::Error) -> ApiError {
    ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::router;

    #[test]
    fn it_has_the_routes_that_there_are() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let written: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, of)| {
                of.as_object().unwrap().keys().map(|method| (method.clone(), path.clone()))
            })
            .collect();
        let routed =
            router::known().into_iter().map(|(method, path)| (method.to_owned(), path.replace("{*", "{")));
        assert_eq!(written, routed.collect());
    }

    #[test]
    fn what_it_refers_to_is_in_it() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                    }
                    open.extend(fields.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }
}
