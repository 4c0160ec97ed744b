//! Calls that need the model but not its KV cache: answered beside the step loop, in the state of loading not at all.

use std::sync::{Arc, OnceLock};

use dunlin_engine_handle::{
    Answer, Call, CallId, Constraint, EngineError, FromEngine, Render, Rendered, Token, Tokenize,
};

use crate::{
    constraint::{Compiled, Compiler},
    llama::Model,
    outbox::Outbox,
    template::{CUT, ChatTemplate},
    workers::Workers,
};

/// Longer texts are tokenized by a worker, in bytes.
const QUICK_TEXT: usize = 16 << 10;

/// What answers such calls; shared by the thread that reads calls and the step loop.
#[derive(Debug, Clone)]
pub(crate) struct Chores(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    model: Arc<Model>,
    template: Result<ChatTemplate, String>,
    /// Made at the first constraint: it takes a while, and many engines never see one.
    compiler: OnceLock<Result<Compiler, String>>,
    workers: Workers,
    out: Outbox,
}

impl Chores {
    pub(crate) fn new(
        model: Arc<Model>,
        template: Result<ChatTemplate, String>,
        workers: Workers,
        out: Outbox,
    ) -> Self {
        Self(Arc::new(Inner { model, template, compiler: OnceLock::new(), workers, out }))
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.0.workers
    }

    /// Answers a call, now or soon; gives it back if it is one for the step loop.
    pub(crate) fn take(&self, id: CallId, call: Call) -> Option<Call> {
        match call {
            Call::Tokenize(tokenize) if tokenize.text.len() > QUICK_TEXT => {
                self.later(id, move |inner| inner.tokenize(&tokenize).map(Answer::Tokens));
            }
            Call::Tokenize(tokenize) => self.0.answer(id, self.0.tokenize(&tokenize).map(Answer::Tokens)),
            Call::Detokenize { tokens } => self.0.answer(id, self.0.detokenize(&tokens).map(Answer::Bytes)),
            Call::Render(render) => self.later(id, move |inner| inner.render(&render).map(Answer::Rendered)),
            Call::Compile { constraint } => self.later(id, move |inner| {
                inner.compile(&constraint).map(|compiled| Answer::Compiled { warnings: compiled.warnings })
            }),
            call @ (Call::Generate(_)
            | Call::Score(_)
            | Call::Embed { .. }
            | Call::Prepare(_)
            | Call::Operators) => {
                return Some(call);
            }
        }
        None
    }

    /// Compiles on a worker and hands the result to `then`.
    pub(crate) fn compile_then(
        &self,
        constraint: Constraint,
        then: impl FnOnce(Result<Compiled, EngineError>) + Send + 'static,
    ) {
        let inner = self.0.clone();
        self.0.workers.patient(move || then(inner.compile(&constraint)));
    }

    fn later(&self, id: CallId, job: impl FnOnce(&Inner) -> Result<Answer, EngineError> + Send + 'static) {
        let inner = self.0.clone();
        self.0.workers.patient(move || inner.answer(id, job(&inner)));
    }
}

impl Inner {
    fn answer(&self, id: CallId, answer: Result<Answer, EngineError>) {
        self.out.say(FromEngine::Answer { id, answer });
    }

    fn tokenize(&self, tokenize: &Tokenize) -> Result<Vec<Token>, EngineError> {
        let vocab = self.model.vocab();
        vocab
            .tokenize(&tokenize.text, tokenize.add_special, tokenize.parse_special)
            .ok_or_else(|| EngineError::InvalidArgument("a text too long to tokenize".to_owned()))
    }

    fn detokenize(&self, tokens: &[Token]) -> Result<Vec<u8>, EngineError> {
        let vocab = self.model.vocab();
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        match tokens.iter().find(|&&token| !vocab.piece(token, true, &mut bytes)) {
            Some(token) => Err(EngineError::InvalidArgument(format!(
                "token {token} is outside of the vocabulary of {}",
                vocab.len()
            ))),
            None => Ok(bytes),
        }
    }

    fn render(&self, render: &Render) -> Result<Rendered, EngineError> {
        let template = self.template.as_ref().map_err(|reason| EngineError::Unsupported(reason.clone()))?;
        let marked = template.render(render).map_err(EngineError::InvalidArgument)?;
        let vocab = self.model.vocab();
        let mut tokens = Vec::new();
        for (index, piece) in marked.split(CUT).enumerate() {
            let add_special = index == 0 && !self.begins_with_bos(piece);
            let piece = vocab.tokenize(piece, add_special, true);
            tokens.extend(
                piece.ok_or_else(|| EngineError::InvalidArgument("a conversation too long".to_owned()))?,
            );
        }
        Ok(Rendered { text: marked.replace(CUT, ""), tokens })
    }

    /// Many templates spell BOS themselves; two of them confuse models.
    fn begins_with_bos(&self, text: &str) -> bool {
        let Some(bos) = self.model.vocab().bos() else { return false };
        let mut spelling = Vec::new();
        self.model.vocab().piece(bos, true, &mut spelling);
        !spelling.is_empty() && text.as_bytes().starts_with(&spelling)
    }

    fn compile(&self, constraint: &Constraint) -> Result<Compiled, EngineError> {
        let compiler = self.compiler.get_or_init(|| Compiler::new(self.model.clone()));
        let compiler = compiler.as_ref().map_err(|reason| EngineError::Unsupported(reason.clone()))?;
        compiler.compile(constraint).map_err(EngineError::Constraint)
    }
}
