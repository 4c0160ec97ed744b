//! `POST /v1/embeddings`: an invocation of `embed`.

use axum::Json;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::parameters::{OF_NO_EFFECT, model};
use crate::{
    answer::Finish,
    asking::{Asked, Asking},
    body::{Fields, missing, wrong},
    call::{self, Call},
    error::{Answered, ApiError},
    limits::MAX_TEXTS,
    took,
};

pub(crate) async fn embed(Asked { by, mut fields }: Asked) -> Answered<Json<Value>> {
    let name = model(&mut fields)?;
    let texts = texts(&mut fields)?;
    let in_base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("'encoding_format' is float or base64, not {other:?}");
            return Err(ApiError::invalid_field("encoding_format", message));
        }
    };
    let dimensions = fields.integer("dimensions", 1..=1_000_000)?;
    fields.ignore(OF_NO_EFFECT);
    fields.done()?;
    let vectors = vectors(&by, &name, texts).await?;
    let width = vectors.width();
    if let Some(dimensions) = dimensions.filter(|dimensions| *dimensions != width as i64) {
        let message =
            format!("vectors of {name:?} have {width} dimensions, which cannot be made {dimensions}");
        return Err(ApiError::unsupported("dimensions", message));
    }
    let data = vectors.rows.iter().enumerate().map(|(index, row)| {
        let embedding = if in_base64 { encoded(row).into() } else { json!(row) };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    let mut document = json!({
        "object": "list",
        "model": name,
        "data": data.collect::<Vec<_>>(),
        "usage": { "prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens },
    });
    took::tell(&mut document, [&vectors.finish]);
    Ok(Json(document))
}

fn texts(fields: &mut Fields) -> Answered<Vec<Value>> {
    let list = match fields.take("input") {
        None => return Err(missing("input")),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    check_texts("input", &list)?;
    Ok(list)
}

/// # Errors
/// If they are too many, none, or no texts.
fn check_texts(param: &str, list: &[Value]) -> Answered<()> {
    if list.is_empty() || list.len() > MAX_TEXTS {
        return Err(ApiError::invalid_field(
            param,
            format!("'{param}' has from 1 to {MAX_TEXTS} texts, not {}", list.len()),
        ));
    }
    list.iter().try_for_each(|text| match text {
        Value::String(text) if !text.trim().is_empty() => Ok(()),
        Value::String(_) => Err(ApiError::invalid_field(param, format!("a text of '{param}' is empty"))),
        Value::Number(_) | Value::Array(_) => Err(ApiError::unsupported(
            param,
            format!("'{param}' as numbers of tokens is not supported: send text"),
        )),
        other => Err(wrong(param, "a string or an array of strings", other)),
    })
}

/// What the pipeline answers.
#[derive(Debug)]
struct Vectors {
    rows: Vec<Vec<f32>>,
    tokens: u32,
    finish: Finish,
}

impl Vectors {
    fn width(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }
}

/// # Errors
/// As calls.
async fn vectors(by: &Asking, model: &str, texts: Vec<Value>) -> Answered<Vectors> {
    let mut call = Call { pipeline: "embed".into(), model: model.to_owned(), ..Call::default() };
    call.content_type = "application/json".into();
    call.body = Value::Array(texts).to_string().into_bytes();
    call.param("raw", true);
    let mut answer = call::begin_one(&by.desk, &by.caller, &by.manner, call, 0).await?;
    let finish = answer.end_of_all().await?;
    let broken = || {
        ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the vectors cannot be read")
    };
    let (rows, tokens) = read(&finish.body).ok_or_else(broken)?;
    Ok(Vectors { rows, tokens, finish })
}

/// Little-endian: how many, numbers of each, tokens read; then the numbers.
fn read(body: &[u8]) -> Option<(Vec<Vec<f32>>, u32)> {
    let (head, rest) = body.split_at_checked(12)?;
    let of_head = |at: usize| Some(u32::from_le_bytes(head.get(4 * at..4 * at + 4)?.try_into().ok()?));
    let (count, width, tokens) = (of_head(0)? as usize, of_head(1)? as usize, of_head(2)?);
    if rest.len() != count.checked_mul(width)?.checked_mul(4)? || width == 0 {
        return None;
    }
    let numbers = rest.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let numbers: Vec<f32> = numbers.collect();
    Some((numbers.chunks(width).map(<[f32]>::to_vec).collect(), tokens))
}

fn encoded(row: &[f32]) -> String {
    let bytes: Vec<u8> = row.iter().flat_map(|number| number.to_le_bytes()).collect();
    BASE64.encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_as_they_were_written() {
        let head = [2_u32, 3, 9].map(u32::to_le_bytes);
        let numbers = [0.5_f32, 1.0, -1.0, 2.0, 3.0, 4.0].map(f32::to_le_bytes);
        let body: Vec<u8> = head.into_iter().chain(numbers).flatten().collect();
        assert_eq!(read(&body), Some((vec![vec![0.5, 1.0, -1.0], vec![2.0, 3.0, 4.0]], 9)));
        assert_eq!(read(&body[..body.len() - 1]), None);
        assert_eq!(read(&[]), None);
        assert_eq!(encoded(&[1.0]), "AACAPw==");
    }
}
