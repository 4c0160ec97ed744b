//! What the handle asks for.

use dunlin_engine_handle::{Answer, Call, CallId, EngineError, FromEngine, Render, Rendered, Role, ToEngine};
use tokio::time::Instant;

use super::Engine;
use crate::{
    sequence::Sequence,
    text,
    words::{BOS, detokenize, tokenize},
};

/// Calls that wait; one more is refused.
const MAX_WAITING: usize = 256;

impl Engine {
    pub(super) fn on_frame(&mut self, frame: ToEngine) {
        match frame {
            ToEngine::Call { id, call } => self.on_call(id, *call),
            ToEngine::Cancel { id } => {
                let all = self.waiting.iter_mut().chain(&mut self.running);
                all.filter(|sequence| sequence.id == id).for_each(|sequence| sequence.cancelled = true);
            }
            ToEngine::Threads(threads) => self.threads = threads,
            ToEngine::Load(_) => {}
        }
    }

    fn on_call(&mut self, id: CallId, call: Call) {
        let now = Instant::now();
        let answer = match call {
            Call::Generate(generate) => {
                Sequence::generate(id, generate, now).and_then(|sequence| self.enqueue(sequence))
            }
            Call::Score(score) if !score.tokens.is_empty() => {
                Err(EngineError::Unsupported("an emulated engine scores texts only".into()))
            }
            Call::Score(score) => self.enqueue(Sequence::score(id, score, now)),
            Call::Prepare(prepare) => self.enqueue(Sequence::prepare(id, prepare, now)),
            Call::Embed { .. } => {
                Err(EngineError::Unsupported("an emulated engine has no embeddings".into()))
            }
            Call::Tokenize(tokenize_call) => {
                let bos = tokenize_call.add_special.then_some(BOS);
                Ok(Some(Answer::Tokens(bos.into_iter().chain(tokenize(&tokenize_call.text)).collect())))
            }
            Call::Detokenize { tokens } => detokenize(&tokens)
                .map(|bytes| Some(Answer::Bytes(bytes)))
                .ok_or_else(|| EngineError::InvalidArgument("a token outside of the vocabulary".into())),
            Call::Render(render) => Ok(Some(Answer::Rendered(rendered(&render)))),
            Call::Compile { constraint } => {
                text::check(&constraint).map(|()| Some(Answer::Compiled { warnings: Vec::new() }))
            }
            Call::Operators => Err(EngineError::Unsupported("an emulated engine has no operators".into())),
        };
        if let Some(answer) = answer.transpose() {
            self.say(FromEngine::Answer { id, answer });
        }
    }

    /// # Errors
    /// If it can never run, or too many wait.
    fn enqueue(&mut self, sequence: Sequence) -> Result<Option<Answer>, EngineError> {
        let (tokens, possible) = (sequence.unread(), self.context.saturating_sub(1));
        if tokens > possible {
            return Err(EngineError::PromptTooLong { tokens, possible });
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(EngineError::Busy { retry_after_ms: None });
        }
        self.waiting.push_back(sequence);
        Ok(None)
    }
}

fn rendered(render: &Render) -> Rendered {
    let mut text = String::new();
    for message in &render.messages {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        text += &format!("<{role}> {}\n", message.content);
    }
    if render.cue {
        text += "<assistant>";
    }
    Rendered { tokens: std::iter::once(BOS).chain(tokenize(&text)).collect(), text }
}
