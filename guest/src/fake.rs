//! A model that is a function, for tests on the machine that builds: where [`Ctx`](crate::Ctx) meets a host in a
//! component, it meets this in a test. The other bindings panic there.

use std::{cell::RefCell, fmt, rc::Rc, thread};

use crate::{
    Answer, Error, Event, Message, Normalize, Options, Role, Scored, Spec, StopReason, ToolDef, Usage,
    generate::follow, job,
};

type Answering = Rc<dyn Fn(&[Message]) -> String>;

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// What the tests of one thread see.
struct Stage {
    answering: Answering,
    said: Said,
}

#[derive(Default)]
struct Said {
    chunks: Vec<job::Chunk>,
    options: Vec<Options>,
    specs: Vec<Spec>,
}

/// The model of this thread, whatever alias is asked for, until this is dropped.
///
/// ```
/// use dunlin_guest::{Ctx, emit, fake::Model};
///
/// let model = Model::answering(|messages| messages[0].content.to_uppercase());
/// assert_eq!(Ctx::model("demo")?.user("hi").stream(emit)?, "HI");
/// assert_eq!(model.emitted(), "HI");
/// # Ok::<(), dunlin_guest::Error>(())
/// ```
pub struct Model(());

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}

impl Model {
    /// Answers as this function does, of all messages so far. Of choices it takes the one that it answers, or the
    /// first.
    ///
    /// # Panics
    /// If there is one on this thread already.
    pub fn answering(answer: impl Fn(&[Message]) -> String + 'static) -> Self {
        STAGE.with_borrow_mut(|stage| {
            assert!(stage.is_none(), "there is a fake model on this thread already");
            *stage = Some(Stage { answering: Rc::new(answer), said: Said::default() });
        });
        Self(())
    }

    /// The text that was emitted, and each JSON value on a line.
    pub fn emitted(&self) -> String {
        let text = |chunk: &job::Chunk| match chunk {
            job::Chunk::Text(text) => text.clone(),
            job::Chunk::Json(json) => format!("{json}\n"),
            job::Chunk::Progress(_) => String::new(),
        };
        on_stage(|stage| stage.said.chunks.iter().map(text).collect())
    }

    /// The options of each generation.
    pub fn options(&self) -> Vec<Options> {
        on_stage(|stage| stage.said.options.clone())
    }

    /// The constraints that were compiled.
    pub fn specs(&self) -> Vec<Spec> {
        on_stage(|stage| stage.said.specs.clone())
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        STAGE.with_borrow_mut(|stage| *stage = None);
    }
}

fn on_stage<T>(act: impl FnOnce(&mut Stage) -> T) -> T {
    STAGE.with_borrow_mut(|stage| {
        let name = thread::current().name().unwrap_or_default().to_owned();
        let stage = stage.as_mut();
        act(stage
            .unwrap_or_else(|| panic!("no host here: let _model = fake::Model::answering(..) in {name}")))
    })
}

pub(crate) fn emit(chunk: &job::Chunk) -> Result<(), Error> {
    on_stage(|stage| stage.said.chunks.push(chunk.clone()));
    Ok(())
}

/// As much of the interface `models` as [`Ctx`](crate::Ctx) needs.
pub(crate) mod models {
    pub(crate) use crate::models::Info;
    use crate::{
        Error,
        models::{Features, Memory},
    };

    pub(crate) fn open(_alias: &str) -> Result<super::Opened, Error> {
        Ok(super::Opened)
    }

    pub(crate) fn available() -> Vec<Info> {
        vec![Info {
            alias: "fake".into(),
            digest: String::new(),
            architecture: String::new(),
            quantization: String::new(),
            parameters: 0,
            vocabulary: 0,
            context_length: u32::MAX,
            memory: Memory::Attention,
            features: Features::all(),
        }]
    }
}

/// An open model.
#[derive(Debug)]
pub struct Opened;

/// A compiled constraint. It is remembered, not enforced.
#[derive(Debug)]
pub struct Constraint;

impl Constraint {
    /// # Errors
    /// None.
    pub fn compile(_model: &Opened, spec: &Spec) -> Result<Self, Error> {
        on_stage(|stage| stage.said.specs.push(spec.clone()));
        Ok(Self)
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Messages, and the answers to them.
#[derive(Debug, Clone)]
pub(crate) struct Context(RefCell<Vec<Message>>);

impl Context {
    pub(crate) fn create(_model: &Opened) -> Result<Self, Error> {
        Ok(Self(RefCell::default()))
    }

    pub(crate) fn append_messages(
        &self,
        messages: &[Message],
        _tools: &[ToolDef],
        _cue: bool,
    ) -> Result<u32, Error> {
        self.0.borrow_mut().extend_from_slice(messages);
        Ok(messages.len() as u32)
    }

    pub(crate) fn fork(&self, n: u32) -> Result<Vec<Self>, Error> {
        Ok((0..n).map(|_| self.clone()).collect())
    }

    pub(crate) fn generate(
        &self,
        options: &Options,
        _constraint: Option<&Constraint>,
    ) -> Result<Generation, Error> {
        let answer = self.answer();
        on_stage(|stage| stage.said.options.push(options.clone()));
        self.0.borrow_mut().push(Message::new(Role::Assistant, &answer));
        let pieces = answer.split_inclusive(' ').map(|piece| Event::Text(piece.to_owned()));
        let finish = Event::Finish((StopReason::EndOfTurn, usage()));
        Ok(Generation(RefCell::new(pieces.chain([finish]).rev().collect())))
    }

    pub(crate) fn score(&self, candidates: &[String], _how: Normalize) -> Result<Vec<Scored>, Error> {
        let answer = self.answer();
        let score = |(index, candidate): (usize, &String)| Scored {
            index: index as u32,
            score: if *candidate == answer { -0.5 } else { -1.0 },
            token_logprobs: Vec::new(),
        };
        Ok(candidates.iter().enumerate().map(score).collect())
    }

    fn answer(&self) -> String {
        let answering = on_stage(|stage| stage.answering.clone());
        answering(&self.0.borrow())
    }
}

/// The words of an answer, from the last.
#[derive(Debug)]
pub struct Generation(RefCell<Vec<Event>>);

impl Generation {
    /// A piece, and at last why it ended.
    ///
    /// # Errors
    /// None.
    pub fn next(&self, _max_events: u32) -> Result<Vec<Event>, Error> {
        Ok(self.0.borrow_mut().pop().into_iter().collect())
    }

    /// # Errors
    /// None.
    pub fn finish(&self) -> Result<Answer, Error> {
        self.each(|_| Ok(()))
    }

    /// # Errors
    /// None.
    pub fn stream(&self) -> Result<Answer, Error> {
        self.each(crate::emit)
    }

    /// # Errors
    /// Of `each`.
    pub fn each(&self, each: impl FnMut(&str) -> Result<(), Error>) -> Result<Answer, Error> {
        follow(|most| self.next(most), each)
    }
}

fn usage() -> Usage {
    Usage {
        prompt_tokens: 0,
        cached_tokens: 0,
        output_tokens: 0,
        forced_tokens: 0,
        queue_us: 0,
        ttft_us: 0,
        tpot_p50_us: 0,
        tpot_p99_us: 0,
        energy: None,
        node: String::new(),
        operating_point: String::new(),
    }
}
