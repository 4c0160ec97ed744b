//! `POST /v1/completions`: a text that is gone on with. Each prompt, and each answer to it, is an invocation of `complete`.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{
    chat::drawn,
    now,
    parameters::{OF_NO_EFFECT, model, sampling, stream},
};
use crate::{
    answer::{Finish, Piece},
    asking::Asked,
    body::{Fields, missing, wrong},
    call::{Answers, Call, check_choices},
    collected::{Collected, Reason},
    error::{Answered, ApiError},
    limits::{MAX_CHOICES, MAX_TOKENS},
    sse::{self, Event, Gone},
    tell::{self, Tell},
    took::{self, Tokens},
};

/// Tokens of an answer where nothing is said, as this API has it.
const DEFAULT_MAX_TOKENS: i64 = 16;

/// Alternatives to a token, as this API has it.
const MAX_LOGPROBS: i64 = 5;

/// How they are told.
#[derive(Debug, Clone)]
struct Told {
    model: String,
    streams: bool,
    usage: bool,
    logprobs: bool,
    /// In the place of each answer: what comes before it.
    echoes: Vec<String>,
}

pub(crate) async fn complete(Asked { by, fields }: Asked) -> Answered<Response> {
    let (told, calls) = read(fields)?;
    let answers = by.begin(calls).await?;
    if told.streams {
        let telling = |answers: &Answers, sender| Telling::new(told, answers, sender);
        tell::stream(answers, sse::channel(), telling).await
    } else {
        whole(&told, answers).await
    }
}

fn read(mut fields: Fields) -> Answered<(Told, Vec<Call>)> {
    let model = model(&mut fields)?;
    let (streams, usage) = stream(&mut fields)?;
    let mut call = Call { pipeline: "complete".into(), model: model.clone(), ..Call::default() };
    call.content_type = "text/plain; charset=utf-8".into();
    sampling(&mut fields, &mut call)?;
    let logprobs = fields.integer("logprobs", 0..=MAX_LOGPROBS)?;
    call.param_if("logprobs", logprobs);
    call.param("max_tokens", fields.integer("max_tokens", 1..=MAX_TOKENS)?.unwrap_or(DEFAULT_MAX_TOKENS));
    call.param("report", true);
    let echoes = fields.flag("echo")?.unwrap_or_default();
    if echoes && logprobs.is_some() {
        return Err(ApiError::unsupported(
            "echo",
            "'echo' with 'logprobs' is not supported: prompts are not scored",
        ));
    }
    let n = fields.integer("n", 1..=MAX_CHOICES as i64)?.unwrap_or(1);
    if fields.integer("best_of", 1..=MAX_CHOICES as i64)?.is_some_and(|best| best != n) {
        return Err(ApiError::unsupported(
            "best_of",
            "'best_of' is not supported beside 'n': ask for 'n' and choose",
        ));
    }
    let prompts = prompts(&mut fields)?;
    check_choices("n", prompts.len() * n as usize)?;
    fields.refuse(&[("suffix", "models go on at the end only")])?;
    fields.ignore(OF_NO_EFFECT);
    fields.done()?;
    let repeated = prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, n as usize));
    let echoes = repeated.map(|prompt| if echoes { prompt.clone() } else { String::new() }).collect();
    let calls = prompts
        .iter()
        .flat_map(|prompt| drawn(&Call { body: prompt.clone().into_bytes(), ..call.clone() }, n as u64));
    Ok((Told { model, streams, usage, logprobs: logprobs.is_some(), echoes }, calls.collect()))
}

fn prompts(fields: &mut Fields) -> Answered<Vec<String>> {
    let list = match fields.take("prompt") {
        None => return Err(missing("prompt")),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    let text = |value| match value {
        Value::String(text) if !text.is_empty() => Ok(text),
        Value::String(_) => {
            Err(ApiError::invalid_field("prompt", "'prompt' is empty: there is nothing to go on with"))
        }
        Value::Number(_) | Value::Array(_) => {
            Err(ApiError::unsupported("prompt", "'prompt' as numbers of tokens is not supported: send text"))
        }
        other => Err(wrong("prompt", "a string or an array of strings", &other)),
    };
    if list.is_empty() {
        return Err(ApiError::invalid_field("prompt", "'prompt' is an empty array"));
    }
    list.into_iter().map(text).collect()
}

async fn whole(told: &Told, answers: Answers) -> Answered<Response> {
    let invocations = answers.invocations.clone();
    let id = invocations.first().map(ToString::to_string).unwrap_or_default();
    let all = Collected::all(answers).await?;
    let choices = all.iter().zip(&told.echoes).enumerate().map(|(index, (of, echo))| {
        let logprobs = if told.logprobs { legacy(&of.logprobs, 0) } else { Value::Null };
        let text = format!("{echo}{}", of.text);
        json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": of.reason().name() })
    });
    let finishes: Vec<&Finish> = all.iter().filter_map(|of| of.finish.as_ref()).collect();
    let mut document = head(told, &id);
    document["choices"] = choices.collect();
    document["usage"] = Tokens::of_choices(finishes.iter().copied()).usage();
    took::tell(&mut document, finishes);
    Ok(tell::named(Json(document).into_response(), &invocations))
}

fn head(told: &Told, id: &str) -> Value {
    json!({
        "id": format!("cmpl-{id}"),
        "object": "text_completion",
        "created": now(),
        "model": told.model,
        "system_fingerprint": "dunlin",
    })
}

/// Log-probabilities as this older API has them. `at`: characters before these.
fn legacy(list: &[Value], at: usize) -> Value {
    let text = |of: &Value| of["token"].as_str().unwrap_or_default().to_owned();
    let mut offset = at;
    let offsets: Vec<usize> = list
        .iter()
        .map(|of| {
            let at = offset;
            offset += text(of).chars().count();
            at
        })
        .collect();
    let top = |of: &Value| {
        let top = of["top_logprobs"].as_array().into_iter().flatten();
        Value::Object(top.map(|of| (text(of), of["logprob"].clone())).collect::<Map<_, _>>())
    };
    json!({
        "tokens": list.iter().map(text).collect::<Vec<_>>(),
        "token_logprobs": list.iter().map(|of| of["logprob"].clone()).collect::<Vec<_>>(),
        "top_logprobs": list.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// A stream that is being told.
struct Telling {
    told: Told,
    id: String,
    head: Value,
    sender: sse::Sender,
    /// What is still to be said before each answer.
    echoes: Vec<String>,
    /// Characters of each answer that were told.
    lengths: Vec<usize>,
    finishes: Vec<Finish>,
}

impl Telling {
    fn new(told: Told, answers: &Answers, sender: sse::Sender) -> Self {
        let id = answers.invocations.first().map(ToString::to_string).unwrap_or_default();
        let (head, echoes) = (head(&told, &id), told.echoes.clone());
        Self { head, id, sender, echoes, lengths: vec![0; answers.count()], finishes: Vec::new(), told }
    }
}

impl Tell for Telling {
    async fn piece(&mut self, index: usize, number: u64, piece: Piece) -> Result<(), Gone> {
        let mut echo = || std::mem::take(&mut self.echoes[index]);
        let (text, logprobs, reason) = match piece {
            Piece::Text(text) => (echo() + &text, Value::Null, Value::Null),
            Piece::Logprobs(list) => {
                let told = legacy(&list, self.lengths[index]);
                let characters = |of: &Value| of["token"].as_str().map_or(0, |text| text.chars().count());
                self.lengths[index] += list.iter().map(characters).sum::<usize>();
                (String::new(), told, Value::Null)
            }
            Piece::End(finish) => {
                let reason = Reason::of(&finish).name();
                self.finishes.push(*finish);
                (echo(), Value::Null, reason.into())
            }
            _ => return Ok(()),
        };
        let mut chunk = self.head.clone();
        chunk["choices"] =
            json!([{ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason }]);
        if self.told.usage {
            chunk["usage"] = Value::Null;
        } else if !reason.is_null() {
            took::tell(&mut chunk, self.finishes.last());
        }
        let event = (self.lengths.len() == 1).then(|| format!("{}:{number}", self.id));
        let data = chunk.to_string();
        self.sender.event(Event { id: event.as_deref(), name: None, data: &data }).await
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), Gone> {
        self.sender.data(&error.document()).await
    }

    async fn end(&mut self) -> Result<(), Gone> {
        super::close(&self.sender, self.told.usage.then_some(&self.head), &self.finishes).await
    }

    fn sender(&self) -> &sse::Sender {
        &self.sender
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: Value) -> Answered<(Told, Vec<Call>)> {
        let Value::Object(fields) = json else { panic!("no object") };
        read(Fields::new(fields))
    }

    #[test]
    fn each_prompt_has_its_answers() {
        let (told, calls) =
            asked(json!({ "model": "demo", "prompt": ["a", " b"], "n": 2, "echo": true, "seed": 1 }))
                .unwrap();
        let bodies: Vec<_> = calls.iter().map(|call| (call.body.as_slice(), call.seed)).collect();
        assert_eq!(bodies, [(b"a".as_slice(), Some(1)), (b"a", Some(2)), (b" b", Some(1)), (b" b", Some(2))]);
        assert_eq!(told.echoes, ["a", "a", " b", " b"]);
        for (json, param) in [
            (json!({ "model": "demo" }), "prompt"),
            (json!({ "model": "demo", "prompt": [1, 2] }), "prompt"),
            (json!({ "model": "demo", "prompt": "a", "suffix": "b" }), "suffix"),
            (json!({ "model": "demo", "prompt": "a", "best_of": 3 }), "best_of"),
            (json!({ "model": "demo", "prompt": vec!["a"; 20] }), "n"),
            (json!({ "model": "demo", "prompt": "a", "logprobs": 6 }), "logprobs"),
        ] {
            assert_eq!(asked(json).unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn offsets_count_characters() {
        let of = |token: &str| json!({ "token": token, "logprob": -1.0, "top_logprobs": [{ "token": "x", "logprob": -2.0 }] });
        let told = legacy(&[of("\u{fc}b"), of("c")], 4);
        assert_eq!((&told["text_offset"], &told["top_logprobs"][0]), (&json!([4, 6]), &json!({ "x": -2.0 })));
    }
}
