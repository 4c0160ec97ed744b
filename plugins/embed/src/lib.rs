//! Texts as vectors. The README has the parameters.

use dunlin_guest::{Error, Model, Pipeline, Request, Response, embeddings};
use dunlin_plugin_parameters::{Asked, LINES, MODEL, Parameter, lines};
use serde_json::{Value, json};

const RAW: Parameter = Parameter::with_default(
    "raw",
    "false",
    "answer with little-endian 32-bit numbers: how many texts, numbers of each, tokens read, then the numbers",
);

pub const SUMMARY: &str = "Texts in, a vector of unit length for each.";
pub const PARAMETERS: &[Parameter] = &[LINES, RAW, MODEL];

/// The pipeline.
#[derive(Debug)]
pub struct Embed;

#[cfg(target_family = "wasm")]
dunlin_guest::export!(Embed);

impl Pipeline for Embed {
    fn run(request: Request) -> Result<Response, Error> {
        let asked = Asked::new(&request, PARAMETERS)?;
        let texts = texts(&asked)?;
        let model = asked.model()?;
        let tokens = tokens(&model, &texts)?;
        let vectors = embeddings::embed(&model, &texts)?;
        Ok(if asked.flag(&RAW)? { raw(&vectors, tokens) } else { document(&vectors, tokens) })
    }
}

/// A list of JSON, each line, or all of it.
fn texts(asked: &Asked<'_>) -> Result<Vec<String>, Error> {
    let text = asked.text()?;
    if asked.is_json() {
        return match serde_json::from_str(text) {
            Ok(Value::Array(list)) => list.into_iter().map(one).collect(),
            Ok(Value::String(text)) => Ok(vec![text]),
            Ok(_) => Err(Error::invalid("the input is a JSON string, or a list of them")),
            Err(error) => Err(Error::invalid(format!("the input is not JSON: {error}"))),
        };
    }
    Ok(match asked.flag(&LINES)? {
        true => lines(text).map(|line| line.text.to_owned()).collect(),
        false => vec![text.to_owned()],
    })
}

fn one(value: Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(Error::invalid(format!("a text of the list is no string: {other}"))),
    }
}

fn tokens(model: &Model, texts: &[String]) -> Result<usize, Error> {
    texts.iter().map(|text| Ok(model.tokenize(text, false)?.len())).sum()
}

fn document(vectors: &[Vec<f32>], tokens: usize) -> Response {
    Response::json(json!({ "embeddings": vectors, "tokens": tokens }).to_string())
}

fn raw(vectors: &[Vec<f32>], tokens: usize) -> Response {
    let width = vectors.first().map_or(0, Vec::len);
    let head = [vectors.len() as u32, width as u32, tokens as u32].map(u32::to_le_bytes);
    let numbers = vectors.iter().flatten().map(|number| number.to_le_bytes());
    let body = head.into_iter().chain(numbers).flatten().collect();
    Response { content_type: "application/octet-stream".into(), body }
}
