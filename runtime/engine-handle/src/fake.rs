//! An engine without a model, for tests of everything above: the same handle, the same messages, the same
//! supervision, on virtual time if the test wants it.
//!
//! Its vocabulary is the 256 bytes, [`BOS`] and [`END_OF_TURN`]; one token per byte, so that prompts are readable.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadHalf},
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::codec::{FramedRead, FramedWrite};

use crate::{
    Answer, Call, CallId, Constraint, Delta, Engine, EngineError, Features, Finish, FromEngine, Generate,
    Launch, Launched, Life, Load, MemoryKind, ModelInfo, PULSE_INTERVAL, Patience, Pulse, Rendered, Role,
    Score, Scored, StopReason, Threads, ToEngine, Token, Usage, frame::Codec,
};

/// Begins every sequence.
pub const BOS: Token = 256;
/// Ends every turn.
pub const END_OF_TURN: Token = 257;

/// Calls that it can be asked for afterwards; a fake that lives through a storm keeps no more.
pub const MAX_CALLS: usize = 4096;

/// What the fake does with one generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Pieces of text, each after its pause.
    pub pieces: Vec<(Duration, String)>,
    pub end: ScriptEnd,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ScriptEnd {
    Stop(StopReason),
    Fail(EngineError),
    /// Says nothing more; the generation runs until it is cancelled.
    Hang,
    /// The engine dies, as if by an assertion of llama.cpp.
    Die,
}

impl Script {
    /// These words, one a millisecond, and the end of the turn.
    pub fn say(text: &str) -> Self {
        let pieces =
            text.split_inclusive(' ').map(|word| (Duration::from_millis(1), word.to_owned())).collect();
        Self { pieces, end: ScriptEnd::Stop(StopReason::EndOfTurn) }
    }

    #[must_use]
    pub fn then(mut self, end: ScriptEnd) -> Self {
        self.end = end;
        self
    }

    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pieces.iter_mut().for_each(|(before, _)| *before = pause);
        self
    }
}

type Answering = Arc<dyn Fn(&Generate) -> Script + Send + Sync>;
type Scoring = Arc<dyn Fn(&Score) -> Vec<f32> + Send + Sync>;

/// The fake's behaviour. By default it repeats the last line of its prompt and prefers candidates that the prompt names.
#[derive(Clone)]
pub struct Fake {
    pub model: ModelInfo,
    load: Duration,
    refusal: Option<EngineError>,
    falls_silent: Option<Duration>,
    stands_still: bool,
    answer: Answering,
    score: Scoring,
    calls: Arc<Mutex<VecDeque<Call>>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").field("model", &self.model.name).finish_non_exhaustive()
    }
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            model: model(),
            load: Duration::ZERO,
            refusal: None,
            falls_silent: None,
            stands_still: false,
            answer: Arc::new(repeat_last_line),
            score: Arc::new(prefer_what_the_prompt_names),
            calls: Arc::default(),
        }
    }
}

impl Fake {
    #[must_use]
    pub fn answering(mut self, answer: impl Fn(&Generate) -> Script + Send + Sync + 'static) -> Self {
        self.answer = Arc::new(answer);
        self
    }

    /// One score per candidate, higher is better.
    #[must_use]
    pub fn scoring(mut self, score: impl Fn(&Score) -> Vec<f32> + Send + Sync + 'static) -> Self {
        self.score = Arc::new(score);
        self
    }

    /// Takes this long to load.
    #[must_use]
    pub fn loading(mut self, load: Duration) -> Self {
        self.load = load;
        self
    }

    /// Refuses to load.
    #[must_use]
    pub fn refusing(mut self, refusal: EngineError) -> Self {
        self.refusal = Some(refusal);
        self
    }

    /// Stops giving signs of life after this long.
    #[must_use]
    pub fn falling_silent(mut self, after: Duration) -> Self {
        self.falls_silent = Some(after);
        self
    }

    /// Goes on giving signs of life, but gets nowhere while it has work.
    #[must_use]
    pub fn standing_still(mut self) -> Self {
        self.stands_still = true;
        self
    }

    /// The last [`MAX_CALLS`] calls that this fake got, in order, over all incarnations.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn remember(&self, call: &Call) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == MAX_CALLS {
            calls.pop_front();
        }
        calls.push_back(call.clone());
    }

    /// Starts it behind a handle, on the current runtime.
    pub fn start(&self) -> Engine {
        self.start_with(Patience::default())
    }

    /// Plays one incarnation at the engine's end of a connection, until that is closed.
    pub async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send) {
        Incarnation::run(self, stream).await;
    }

    pub fn start_with(&self, patience: Patience) -> Engine {
        Engine::start(self.clone(), Load::default(), patience)
    }
}

impl Launch for Fake {
    fn launch(&mut self) -> io::Result<Launched> {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let life = tokio::spawn(Incarnation::run(self.clone(), theirs));
        Ok(Launched { stream: Box::new(ours), life: Life::Task(Some(life)) })
    }
}

/// The text that these tokens spell, control tokens left out.
pub fn text(tokens: &[Token]) -> String {
    let bytes: Vec<u8> = tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The tokens of `text`: its bytes.
pub fn tokens(text: &str) -> Vec<Token> {
    text.bytes().map(Token::from).collect()
}

fn model() -> ModelInfo {
    ModelInfo {
        name: "fake".into(),
        architecture: "fake".into(),
        quantization: "F32".into(),
        parameters: 0,
        vocabulary: 258,
        context_length: 4096,
        trained_context: 4096,
        memory: MemoryKind::Attention,
        features: Features {
            fork: true,
            truncate: true,
            logprobs: true,
            constraints: true,
            embeddings: true,
            ..Features::default()
        },
        bos: Some(BOS),
        end_of_turn: vec![END_OF_TURN],
        sequences: 32,
        cells: 16384,
        kv_bytes_per_token: 0,
        weights_bytes: 0,
        threads: Threads { prefill: 1, decode: 1 },
        backend: "fake".into(),
        load_ms: 0,
    }
}

fn repeat_last_line(generate: &Generate) -> Script {
    match &generate.constraint {
        Some(Constraint::Choice(choices)) => {
            Script::say(&choices[0]).then(ScriptEnd::Stop(StopReason::ConstraintComplete))
        }
        Some(_) => Script::say("{}").then(ScriptEnd::Stop(StopReason::ConstraintComplete)),
        None => Script::say(text(&generate.prompt).trim_end().rsplit('\n').next().unwrap_or_default()),
    }
}

fn prefer_what_the_prompt_names(score: &Score) -> Vec<f32> {
    let prompt = text(&score.prompt);
    score
        .candidates
        .iter()
        .map(|candidate| prompt.matches(candidate.as_str()).count() as f32 - 10.0)
        .collect()
}

/// The engine's side of one connection.
struct Incarnation {
    fake: Fake,
    out: mpsc::UnboundedSender<FromEngine>,
    running: HashMap<CallId, JoinHandle<()>>,
    /// A running generation sends its id when it is over, or `None` to bring the engine down.
    over: mpsc::UnboundedSender<Option<CallId>>,
}

impl Incarnation {
    async fn run(fake: Fake, stream: impl AsyncRead + AsyncWrite + Send) {
        let (read, write) = tokio::io::split(stream);
        let (out, mut messages) = mpsc::unbounded_channel();
        let writer = async move {
            let mut frames = FramedWrite::new(write, Codec::<ToEngine, FromEngine>::default());
            while let Some(message) = messages.recv().await {
                if frames.send(message).await.is_err() {
                    return;
                }
            }
        };
        let (over, ends) = mpsc::unbounded_channel();
        let incarnation = Self { fake, out, running: HashMap::new(), over };
        // The engine lives no longer than either half.
        tokio::select! {
            () = writer => {}
            () = incarnation.serve(FramedRead::new(read, Codec::default()), ends) => {}
        }
    }

    async fn serve(
        mut self,
        mut frames: FramedRead<ReadHalf<impl AsyncRead>, Codec<ToEngine, FromEngine>>,
        mut ends: mpsc::UnboundedReceiver<Option<CallId>>,
    ) {
        let born = Instant::now();
        let mut pulse = tokio::time::interval(PULSE_INTERVAL);
        let loaded = tokio::time::sleep(self.fake.load);
        tokio::pin!(loaded);
        let mut waiting = Some(Vec::new());
        let mut ticks = 0;
        loop {
            tokio::select! {
                () = &mut loaded, if waiting.is_some() => {
                    self.finish_load();
                    waiting.take().into_iter().flatten().for_each(|(id, call)| self.on_call(id, call));
                }
                frame = frames.next() => match (frame, &mut waiting) {
                    (Some(Ok(ToEngine::Call { id, call })), Some(waiting)) => waiting.push((id, *call)),
                    (Some(Ok(ToEngine::Call { id, call })), None) => self.on_call(id, *call),
                    (Some(Ok(ToEngine::Cancel { id })), _) => self.on_cancel(id),
                    (Some(Ok(ToEngine::Load(_) | ToEngine::Threads(_))), _) => {}
                    (Some(Err(_)) | None, _) => return,
                },
                Some(end) = ends.recv() => match end {
                    Some(id) => drop(self.running.remove(&id)),
                    None => return,
                },
                _ = pulse.tick() => {
                    ticks += u64::from(!self.fake.stands_still);
                    if self.fake.falls_silent.is_none_or(|after| born.elapsed() < after) {
                        self.say(FromEngine::Pulse(self.pulse(ticks)));
                    }
                }
            }
        }
    }

    fn say(&self, message: FromEngine) {
        // Fails only while the whole incarnation is torn down.
        drop(self.out.send(message));
    }

    fn pulse(&self, ticks: u64) -> Pulse {
        let running = self.running.len() as u32;
        Pulse { ticks, busy: running > 0, running, ..Pulse::default() }
    }

    fn finish_load(&self) {
        self.say(FromEngine::Loading { fraction: 1.0 });
        self.say(match &self.fake.refusal {
            Some(refusal) => FromEngine::Refused(refusal.clone()),
            None => FromEngine::Ready(Box::new(self.fake.model.clone())),
        });
    }

    fn on_call(&mut self, id: CallId, call: Call) {
        self.fake.remember(&call);
        let answer = match call {
            Call::Generate(generate) => return self.start_generation(id, &generate),
            Call::Score(score) => Ok(Answer::Scores(self.scores(&score))),
            Call::Embed { texts } => {
                Ok(Answer::Embeddings(texts.iter().map(|text| embedding(text)).collect()))
            }
            Call::Tokenize(tokenize) => {
                let bos = tokenize.add_special.then_some(BOS);
                Ok(Answer::Tokens(bos.into_iter().chain(tokens(&tokenize.text)).collect()))
            }
            Call::Detokenize { tokens } => Ok(Answer::Bytes(text(&tokens).into_bytes())),
            Call::Render(render) => Ok(Answer::Rendered(rendered(&render))),
            Call::Compile { constraint: Constraint::JsonSchema(schema) }
                if !schema.trim_start().starts_with('{') =>
            {
                Err(EngineError::Constraint("the schema is not a JSON object".into()))
            }
            Call::Compile { .. } => Ok(Answer::Compiled { warnings: Vec::new() }),
            Call::Prepare(_) => Ok(Answer::Prepared),
            Call::Operators => Err(EngineError::Unsupported("a fake engine has no operators".into())),
        };
        self.say(FromEngine::Answer { id, answer });
    }

    fn scores(&self, score: &Score) -> Vec<Scored> {
        let scores = (self.fake.score)(score);
        (0..).zip(scores).map(|(index, score)| Scored { index, score, token_logprobs: vec![score] }).collect()
    }

    fn start_generation(&mut self, id: CallId, generate: &Generate) {
        let possible = self.fake.model.context_length - 1;
        let tokens = generate.prompt.len() as u32;
        if tokens > possible {
            let answer = Err(EngineError::PromptTooLong { tokens, possible });
            return self.say(FromEngine::Answer { id, answer });
        }
        let task = play(
            id,
            (self.fake.answer)(generate),
            Usage { prompt_tokens: tokens, ..Usage::default() },
            generate.clone(),
            self.out.clone(),
            self.over.clone(),
        );
        self.running.insert(id, tokio::spawn(task));
    }

    fn on_cancel(&mut self, id: CallId) {
        if let Some(task) = self.running.remove(&id) {
            task.abort();
            let finish = Some(Finish { reason: StopReason::Cancelled, usage: Usage::default() });
            let delta = Delta { id, tokens: Vec::new(), text: String::new(), logprobs: Vec::new(), finish };
            self.say(FromEngine::Step { deltas: vec![delta] });
        }
    }
}

impl Drop for Incarnation {
    fn drop(&mut self) {
        self.running.drain().for_each(|(_, task)| task.abort());
    }
}

/// Splits what a script says after so many bytes; the rest without the pauses of what was said.
fn skip(pieces: Vec<(Duration, String)>, mut bytes: usize) -> (String, Vec<(Duration, String)>) {
    let (mut said, mut rest) = (String::new(), Vec::new());
    for (pause, mut piece) in pieces {
        let tail = piece.split_off(bytes.min(piece.len()));
        bytes -= piece.len();
        said += &piece;
        if !tail.is_empty() {
            rest.push((pause, tail));
        }
    }
    (said, rest)
}

/// Plays a script as the deltas of one generation.
async fn play(
    id: CallId,
    script: Script,
    mut usage: Usage,
    generate: Generate,
    out: mpsc::UnboundedSender<FromEngine>,
    over: mpsc::UnboundedSender<Option<CallId>>,
) {
    let start = Instant::now();
    let deadline = generate.deadline_ms.map(|ms| start + Duration::from_millis(ms));
    let mut end = script.end;
    let (again, pieces) = skip(script.pieces, generate.replay.len());
    if !again.is_empty() {
        usage.output_tokens = again.len() as u32;
        let delta = Delta { id, tokens: tokens(&again), text: again, logprobs: Vec::new(), finish: None };
        drop(out.send(FromEngine::Step { deltas: vec![delta] }));
    }
    for (pause, piece) in pieces {
        let wake = Instant::now() + pause;
        if let Some(deadline) = deadline.filter(|deadline| *deadline < wake) {
            tokio::time::sleep_until(deadline).await;
            end = ScriptEnd::Stop(StopReason::Deadline);
            break;
        }
        // A timer would take a millisecond for no time at all.
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let room = generate.max_tokens.saturating_sub(usage.output_tokens) as usize;
        let piece: String = piece
            .chars()
            .scan(0, |bytes, c| {
                *bytes += c.len_utf8();
                (*bytes <= room).then_some(c)
            })
            .collect();
        if usage.output_tokens == 0 {
            usage.ttft_us = start.elapsed().as_micros() as u64;
        }
        usage.output_tokens += piece.len() as u32;
        let delta = Delta { id, tokens: tokens(&piece), text: piece, logprobs: Vec::new(), finish: None };
        drop(out.send(FromEngine::Step { deltas: vec![delta] }));
        if usage.output_tokens >= generate.max_tokens {
            end = ScriptEnd::Stop(StopReason::MaxTokens);
            break;
        }
    }
    usage.total_us = start.elapsed().as_micros() as u64;
    let message = match end {
        ScriptEnd::Stop(reason) => {
            let finish = Some(Finish { reason, usage });
            FromEngine::Step {
                deltas: vec![Delta {
                    id,
                    tokens: Vec::new(),
                    text: String::new(),
                    logprobs: Vec::new(),
                    finish,
                }],
            }
        }
        ScriptEnd::Fail(error) => FromEngine::Answer { id, answer: Err(error) },
        ScriptEnd::Hang => std::future::pending().await,
        ScriptEnd::Die => {
            // In a step after that of the last words, which are on their way.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = over.send(None);
            return;
        }
    };
    drop(out.send(message));
    let _ = over.send(Some(id));
}

fn rendered(render: &crate::Render) -> Rendered {
    let mut text = String::new();
    for message in &render.messages {
        text += &format!("<{}>{}\n", role(message.role), message.content);
    }
    if render.cue {
        text += "<assistant>";
    }
    Rendered { tokens: std::iter::once(BOS).chain(tokens(&text)).collect(), text }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// How often each letter occurs, as a vector of length 1.
fn embedding(text: &str) -> Vec<f32> {
    let mut counts = vec![0.0; 26];
    for letter in text.bytes().filter(u8::is_ascii_alphabetic) {
        counts[usize::from(letter.to_ascii_lowercase() - b'a')] += 1.0;
    }
    let length = counts.iter().map(|count| count * count).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    counts.into_iter().map(|count| count / length).collect()
}
