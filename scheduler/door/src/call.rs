//! From what a client wants to an invocation, and back to all of its choices.

use std::{sync::Arc, time::Duration};

use dunlin_protocol::{
    InvocationId, Limits, Parameter, Request, Submit, Targets, TraceContext,
    limits::{MAX_NAME, MAX_REQUEST_BODY, MAX_VALUE},
};
use http::HeaderMap;
use serde_bytes::ByteBuf;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    answer::{Answer, Numbered, Piece},
    auth::Caller,
    body::{milliseconds, too_large},
    desk::Desk,
    error::{Answered, ApiError},
    limits::{MAX_CHOICES, MAX_PIECES},
};

/// How long a model that is refused while it loads is said to take, where nothing better is known.
const LOAD_TIME: Duration = Duration::from_secs(3);

/// How a request is to be treated, by its headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    pub(crate) policy: Option<String>,
    pub(crate) targets: Targets,
    /// Whoever has one can come back.
    pub(crate) key: Option<String>,
    /// Rather than wait.
    pub(crate) refuses_loading: bool,
    /// Whoever asks traces it.
    pub(crate) trace: Option<TraceContext>,
    /// The last event that the client has seen.
    pub(crate) resumes: Option<(InvocationId, u64)>,
}

impl Manner {
    /// # Errors
    /// Names the header that is not as it should be.
    pub(crate) fn read(headers: &HeaderMap) -> Answered<Self> {
        let text = |name: &'static str| match headers.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(value)) if value.len() <= MAX_NAME => {
                Ok(Some(value.trim().to_owned()).filter(|text| !text.is_empty()))
            }
            Some(_) => Err(ApiError::invalid_field(
                name,
                format!("the header {name} is text of at most {MAX_NAME} bytes"),
            )),
        };
        let refuses_loading = match text("x-dunlin-when-loading")?.as_deref() {
            None | Some("wait") => false,
            Some("refuse") => true,
            Some(other) => {
                let message = format!("the header x-dunlin-when-loading is wait or refuse, not {other:?}");
                return Err(ApiError::invalid_field("x-dunlin-when-loading", message));
            }
        };
        let resumes = text("last-event-id")?.map(|id| {
            let parsed =
                id.split_once(':').and_then(|(id, offset)| Some((id.parse().ok()?, offset.parse().ok()?)));
            parsed.ok_or_else(|| {
                ApiError::invalid_field("last-event-id", format!("{id:?} is no id of an event of ours"))
            })
        });
        Ok(Self {
            policy: text("x-dunlin-policy")?,
            targets: Targets {
                ttft_ms: milliseconds(headers, "x-slo-ttft-ms")?,
                tpot_ms: milliseconds(headers, "x-slo-tpot-ms")?,
                deadline_ms: milliseconds(headers, "x-dunlin-deadline-ms")?,
                ..Targets::default()
            },
            key: text("idempotency-key")?,
            refuses_loading,
            // One that cannot be read is left aside, as its standard has it.
            trace: headers.get("traceparent").and_then(|value| value.to_str().ok()?.parse().ok()),
            resumes: resumes.transpose()?,
        })
    }
}

/// What a pipeline is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) pipeline: String,
    pub(crate) model: String,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
    pub(crate) params: Vec<Parameter>,
    /// Everything random comes from it.
    pub(crate) seed: Option<u64>,
}

impl Call {
    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts, as they are at hand")]
    pub(crate) fn param(&mut self, name: &str, value: impl ToString) {
        self.params.push(Parameter { name: name.to_owned(), value: value.to_string() });
    }

    pub(crate) fn param_if(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.param(name, value);
        }
    }
}

/// Begins an invocation of each call.
///
/// # Errors
/// An unknown model, one that the key may not use, one that loads while nobody wants to wait; or as the scheduler refuses.
pub(crate) async fn begin(
    desk: &Arc<Desk>,
    caller: &Caller,
    manner: &Manner,
    calls: Vec<Call>,
) -> Answered<Answers> {
    let mut answers = Vec::new();
    for (index, call) in calls.into_iter().enumerate() {
        answers.push(begin_one(desk, caller, manner, call, index).await?);
    }
    Ok(Answers::follow(answers, manner.resumes.map_or(0, |(_, offset)| offset)))
}

/// As [`begin`], of one call.
///
/// # Errors
/// The same.
pub(crate) async fn begin_one(
    desk: &Arc<Desk>,
    caller: &Caller,
    manner: &Manner,
    call: Call,
    index: usize,
) -> Answered<Answer> {
    if let Some((invocation, _)) = manner.resumes {
        let following = desk.front.follow(invocation, caller.sees(), 0).await;
        let following = following.ok_or_else(|| crate::invocations::unknown(&invocation.to_string()))?;
        return Ok(Answer::new(desk.clone(), caller.clone(), following, true));
    }
    check_size(&call)?;
    admit(desk, caller, manner, &call.model).await?;
    let stays = manner.key.is_some();
    let key = manner.key.as_ref().map(|key| if index == 0 { key.clone() } else { format!("{key}#{index}") });
    let submit = Submit {
        pipeline: call.pipeline,
        request: Request {
            content_type: call.content_type,
            body: ByteBuf::from(call.body),
            params: call.params,
        },
        models: vec![Parameter { name: call.model, value: String::new() }],
        idempotency_key: key,
        policy: manner.policy.clone(),
        targets: manner.targets,
        grants: Default::default(),
        limits: Limits { time_ms: manner.targets.deadline_ms, ..Limits::default() },
        seed: call.seed,
        labels: Vec::new(),
        trace: manner.trace,
    };
    let following = desk.front.submit(submit, caller.tenant.clone()).await?;
    Ok(Answer::new(desk.clone(), caller.clone(), following, stays))
}

fn check_size(call: &Call) -> Answered<()> {
    if call.body.len() > MAX_REQUEST_BODY {
        return Err(too_large());
    }
    match call.params.iter().find(|param| param.value.len() > MAX_VALUE) {
        None => Ok(()),
        Some(param) => {
            let message = format!("'{}' has more than {} kB", param.name, MAX_VALUE >> 10);
            Err(ApiError::invalid_field(&param.name, message))
        }
    }
}

/// Whether this caller is served this model now.
async fn admit(desk: &Arc<Desk>, caller: &Caller, manner: &Manner, model: &str) -> Answered<()> {
    desk.check_allowance(caller, model)?;
    caller.admit()?;
    let models = desk.models(Some(model)).await?;
    let Some(found) = models.iter().find(|known| known.alias == model) else {
        let known: Vec<String> = models.iter().map(|known| known.alias.clone()).collect();
        return Err(ApiError::model_not_found(model, &known));
    };
    if manner.refuses_loading && found.variants.iter().all(|variant| variant.resident == 0) {
        let stored: u32 = found.variants.iter().map(|variant| variant.stored).sum();
        desk.warm(model);
        let error =
            ApiError::unavailable(format!("The model `{model}` is being loaded; come back."), LOAD_TIME);
        let more = json!({ "model": model, "stored_on": stored, "resident_on": 0 });
        return Err(ApiError { more: Some(Box::new(("loading", more))), ..error.with_code("model_loading") });
    }
    Ok(())
}

/// One answer or several, as their pieces come.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) invocations: Vec<InvocationId>,
    pieces: Pieces,
    held: Option<(usize, Answered<Numbered>)>,
    left: usize,
    /// What the client has already is left out, up to this number.
    from: u64,
}

/// Where they come from.
#[derive(Debug)]
enum Pieces {
    /// Mostly there is one: nothing stands between it and whoever tells it.
    OfOne(Box<Answer>),
    /// Tasks end when this is dropped.
    OfSeveral { pieces: mpsc::Receiver<(usize, Answered<Numbered>)>, _tasks: JoinSet<()> },
}

impl Answers {
    fn follow(mut answers: Vec<Answer>, from: u64) -> Self {
        let invocations: Vec<InvocationId> = answers.iter().map(Answer::invocation).collect();
        let left = answers.len();
        let pieces = match answers.pop() {
            Some(only) if answers.is_empty() => Pieces::OfOne(Box::new(only)),
            last => Pieces::of_several(answers.into_iter().chain(last)),
        };
        Self { invocations, pieces, held: None, left, from }
    }

    pub(crate) fn count(&self) -> usize {
        self.invocations.len()
    }

    /// Nothing, once all have come to their ends.
    pub(crate) async fn next(&mut self) -> Option<(usize, Answered<Numbered>)> {
        if self.left == 0 {
            return None;
        }
        let next = match self.held.take() {
            Some(held) => Some(held),
            None => self.unknown().await,
        };
        match &next {
            Some((_, Ok((_, Piece::End(_))))) => self.left -= 1,
            Some((_, Err(_))) | None => self.left = 0,
            _ => {}
        }
        next
    }

    /// The next one that the client does not have. Safe to drop and to call anew.
    async fn unknown(&mut self) -> Option<(usize, Answered<Numbered>)> {
        loop {
            let next = match &mut self.pieces {
                Pieces::OfOne(answer) => Some((0, answer.next().await)),
                Pieces::OfSeveral { pieces, .. } => pieces.recv().await,
            };
            let is_known =
                |number: u64, piece: &Piece| number <= self.from && !matches!(piece, Piece::End(_));
            if !matches!(&next, Some((_, Ok((number, piece)))) if is_known(*number, piece)) {
                return next;
            }
        }
    }

    /// Waits a while for the first piece, so that what fails at once fails by its status.
    ///
    /// # Errors
    /// What failed at once.
    pub(crate) async fn settle(&mut self, time: Duration) -> Answered<()> {
        match tokio::time::timeout(time, self.unknown()).await {
            Ok(Some((_, Err(error)))) => Err(error),
            Ok(first) => {
                self.held = first;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }
}

impl Pieces {
    fn of_several(answers: impl Iterator<Item = Answer>) -> Self {
        let (sender, pieces) = mpsc::channel(MAX_PIECES);
        let mut tasks = JoinSet::new();
        for (index, mut answer) in answers.enumerate() {
            let sender = sender.clone();
            tasks.spawn(async move {
                loop {
                    let piece = answer.next().await;
                    let is_last = matches!(piece, Err(_) | Ok((_, Piece::End(_))));
                    if sender.send((index, piece)).await.is_err() || is_last {
                        return;
                    }
                }
            });
        }
        Self::OfSeveral { pieces, _tasks: tasks }
    }
}

/// How many answers a request may have.
///
/// # Errors
/// If they are too many.
pub(crate) fn check_choices(param: &'static str, count: usize) -> Answered<()> {
    if count <= MAX_CHOICES {
        return Ok(());
    }
    Err(ApiError::invalid_field(
        param,
        format!("these would be {count} answers; one request has at most {MAX_CHOICES}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Answered<Manner> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Manner::read(&map)
    }

    #[test]
    fn headers_say_how() {
        let manner = read(&[
            ("x-slo-ttft-ms", "800"),
            ("x-dunlin-policy", "energy"),
            ("x-dunlin-when-loading", "refuse"),
            ("last-event-id", &format!("{}:7", InvocationId(5))),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ])
        .unwrap();
        assert_eq!(manner.trace.map(|trace| trace.sampled), Some(false));
        assert_eq!(read(&[("traceparent", "what?")]).unwrap().trace, None);
        assert_eq!((manner.targets.ttft_ms, manner.policy.as_deref()), (Some(800), Some("energy")));
        assert_eq!((manner.refuses_loading, manner.resumes), (true, Some((InvocationId(5), 7))));
        for (name, value) in [
            ("x-slo-ttft-ms", "soon"),
            ("x-slo-tpot-ms", "0"),
            ("x-dunlin-deadline-ms", "-5"),
            ("x-dunlin-when-loading", "perhaps"),
            ("last-event-id", "17"),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().param.as_deref(), Some(name), "{value}");
        }
    }
}
