//! The handle.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Answer, Call, CallId, Constraint, Delta, EngineError, Generate, Launch, Load, Message, ModelInfo,
    OperatorTimes, Patience, Prepare, Render, Rendered, Score, Scored, State, Status, Threads, Token,
    Tokenize, ToolDef, Work,
    supervise::{Command, Reply, Supervisor},
};

/// A handle to one engine: cheap to clone, of any thread. The process ends when the last clone is dropped.
///
/// Calls may be made in every state. While the engine loads they wait; while it is dead they fail at once with
/// [`EngineError::Unavailable`]; if it dies under them they fail with [`EngineError::Died`].
#[derive(Debug, Clone)]
pub struct Engine {
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    next_call: Arc<AtomicU64>,
    /// Where the shares of its calls are summed up.
    work: Option<Work>,
}

impl Engine {
    /// Starts an engine and its supervision on the current tokio runtime.
    pub fn start(launch: impl Launch, load: Load, patience: Patience) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (publish, status) = watch::channel(Status::default());
        tokio::spawn(Supervisor::new(Box::new(launch), load, patience, inbox, publish).run());
        Self { commands, status, next_call: Arc::default(), work: None }
    }

    /// The same engine; what it does for the calls of this handle is counted in `work`.
    #[must_use]
    pub fn metered(&self, work: &Work) -> Self {
        Self { work: Some(work.clone()), ..self.clone() }
    }

    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows the status as it changes.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the model is loaded.
    ///
    /// # Errors
    /// Why it will not be loaded, or why the engine died.
    pub async fn ready(&self) -> Result<Arc<ModelInfo>, EngineError> {
        let mut status = self.status.clone();
        let seen =
            status.wait_for(|status| !matches!(status.state, State::Starting | State::Loading { .. })).await;
        let Ok(seen) = seen else {
            return Err(EngineError::Unavailable {
                reason: "its supervisor ended".into(),
                retry_after_ms: None,
            });
        };
        match (&seen.state, &seen.refusal, &seen.model) {
            (State::Dead { .. }, Some(refusal), _) => Err(refusal.clone()),
            (State::Dead { reason, .. }, None, _) => Err(EngineError::Died { reason: reason.to_string() }),
            (_, _, Some(model)) => Ok(model.clone()),
            (_, _, None) => Err(EngineError::Unavailable { reason: "no model".into(), retry_after_ms: None }),
        }
    }

    /// Starts a generation. Dropping it cancels it.
    pub fn generate(&self, generate: Generate) -> Generation {
        let (sender, deltas) = mpsc::unbounded_channel();
        let id = self.send(Call::Generate(generate), Reply::Stream(sender));
        Generation { id, deltas, commands: self.commands.clone(), ended: false }
    }

    /// # Errors
    /// See [`EngineError`]; a candidate without tokens is an invalid argument.
    pub async fn score(&self, score: Score) -> Result<Vec<Scored>, EngineError> {
        match self.call(Call::Score(score)).await? {
            Answer::Scores(scores) => Ok(scores),
            other => Err(mixed_up(&other)),
        }
    }

    /// One vector of unit length per text; its dimension is the model's embedding length.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where the model gives no embeddings.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, EngineError> {
        match self.call(Call::Embed { texts }).await? {
            Answer::Embeddings(vectors) => Ok(vectors),
            other => Err(mixed_up(&other)),
        }
    }

    /// # Errors
    /// See [`EngineError`].
    pub async fn tokenize(&self, tokenize: Tokenize) -> Result<Vec<Token>, EngineError> {
        match self.call(Call::Tokenize(tokenize)).await? {
            Answer::Tokens(tokens) => Ok(tokens),
            other => Err(mixed_up(&other)),
        }
    }

    /// The bytes that the tokens stand for; not always whole UTF-8.
    ///
    /// # Errors
    /// A token outside of the vocabulary is an invalid argument.
    pub async fn detokenize(&self, tokens: Vec<Token>) -> Result<Vec<u8>, EngineError> {
        match self.call(Call::Detokenize { tokens }).await? {
            Answer::Bytes(bytes) => Ok(bytes),
            other => Err(mixed_up(&other)),
        }
    }

    /// Renders messages by the model's own chat template.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] without a template, or where it refuses the messages.
    pub async fn render(
        &self,
        messages: Vec<Message>,
        tools: Vec<ToolDef>,
        cue: bool,
    ) -> Result<Rendered, EngineError> {
        match self.call(Call::Render(Render { messages, tools, cue })).await? {
            Answer::Rendered(rendered) => Ok(rendered),
            other => Err(mixed_up(&other)),
        }
    }

    /// Compiles a constraint, which later generations then find compiled. Gives the compiler's warnings.
    ///
    /// # Errors
    /// [`EngineError::Constraint`] says why it is refused.
    pub async fn compile(&self, constraint: Constraint) -> Result<Vec<String>, EngineError> {
        match self.call(Call::Compile { constraint }).await? {
            Answer::Compiled { warnings } => Ok(warnings),
            other => Err(mixed_up(&other)),
        }
    }

    /// Announces a fan-out; the answer comes when the shared prompt is read.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn prepare(&self, prepare: Prepare) -> Result<(), EngineError> {
        match self.call(Call::Prepare(prepare)).await? {
            Answer::Prepared => Ok(()),
            other => Err(mixed_up(&other)),
        }
    }

    /// What operators took since the model was loaded.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] of an engine that does not time them.
    pub async fn operators(&self) -> Result<OperatorTimes, EngineError> {
        match self.call(Call::Operators).await? {
            Answer::Operators(times) => Ok(times),
            other => Err(mixed_up(&other)),
        }
    }

    /// Sets the step point from the next step on.
    pub fn set_threads(&self, threads: Threads) {
        // A closed channel means that the supervisor is gone, and the engine with it.
        drop(self.commands.send(Command::Threads(threads)));
    }

    /// Lets running calls end, refuses new ones, ends the process, and returns when it is gone.
    pub async fn drain(&self) {
        let mut status = self.status.clone();
        if self.commands.send(Command::Drain).is_ok() {
            drop(status.wait_for(|status| matches!(status.state, State::Dead { restart: None, .. })).await);
        }
    }

    /// A call that is answered once. Dropping the future cancels the call.
    async fn call(&self, call: Call) -> Result<Answer, EngineError> {
        let (sender, answer) = oneshot::channel();
        let id = self.send(call, Reply::Once(sender));
        let mut guard = CancelOnDrop { id, commands: &self.commands, armed: true };
        let answer = answer.await;
        guard.armed = false;
        answer.unwrap_or_else(|_| Err(supervisor_gone()))
    }

    fn send(&self, call: Call, reply: Reply) -> CallId {
        let id = CallId(self.next_call.fetch_add(1, Ordering::Relaxed));
        if let Err(mpsc::error::SendError(Command::Call { reply, .. })) =
            self.commands.send(Command::Call { id, call: Box::new(call), reply, work: self.work.clone() })
        {
            reply.fail(supervisor_gone());
        }
        id
    }
}

struct CancelOnDrop<'a> {
    id: CallId,
    commands: &'a mpsc::UnboundedSender<Command>,
    armed: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            drop(self.commands.send(Command::Cancel(self.id)));
        }
    }
}

fn mixed_up(answer: &Answer) -> EngineError {
    EngineError::Backend(format!("the engine answered another question: {answer:?}"))
}

fn supervisor_gone() -> EngineError {
    EngineError::Unavailable { reason: "its supervisor ended".into(), retry_after_ms: None }
}

/// A running generation. Its deltas queue up until they are asked for, at most as many as tokens were allowed.
#[derive(Debug)]
pub struct Generation {
    id: CallId,
    deltas: mpsc::UnboundedReceiver<Result<Delta, EngineError>>,
    commands: mpsc::UnboundedSender<Command>,
    ended: bool,
}

impl Generation {
    /// The next delta; `None` after the one that carries a finish, and after an error. Cancel-safe.
    ///
    /// # Errors
    /// What ended the generation before its time.
    pub async fn next(&mut self) -> Option<Result<Delta, EngineError>> {
        if self.ended {
            return None;
        }
        let delta = self.deltas.recv().await.unwrap_or_else(|| Err(supervisor_gone()));
        Some(self.note_end(delta))
    }

    /// The next delta if it is there already.
    pub fn try_next(&mut self) -> Option<Result<Delta, EngineError>> {
        match self.deltas.try_recv() {
            _ if self.ended => None,
            Ok(delta) => Some(self.note_end(delta)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(self.note_end(Err(supervisor_gone()))),
        }
    }

    /// Whether the last delta was taken.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Ends the generation within one step; its last delta then says [`crate::StopReason::Cancelled`].
    pub fn cancel(&self) {
        if !self.ended {
            drop(self.commands.send(Command::Cancel(self.id)));
        }
    }

    fn note_end(&mut self, delta: Result<Delta, EngineError>) -> Result<Delta, EngineError> {
        self.ended = !matches!(&delta, Ok(Delta { finish: None, .. }));
        delta
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.cancel();
    }
}
