//! A conversation with a model, from its first message to what is made of the answer.

use std::{fmt, rc::Rc, time::Duration};

use crate::{
    Answer, Error, Message, Normalize, Options, Request, Sampling, Scored, Spec, emit, generate,
    host::{Constraint, Context, Generation, Model, models},
};

/// A conversation with a model: what is said, how it is to answer, and the answer as text, as a value, as a choice.
///
/// Nothing happens before an answer is asked for. What is said after an answer goes on with the conversation; an answer
/// that is asked for when nothing was said since the last goes on with that one.
///
/// ```
/// use dunlin_guest::{Ctx, Error, Request, Response, emit};
///
/// fn run(request: Request) -> Result<Response, Error> {
///     let mut talk = Ctx::of(&request)?.system("You are brief.").user(request.text()?);
///     let answer = talk.stream(emit)?;
///     let kind = talk.user("Was that good news?").choose(&["yes", "no"])?;
///     Ok(Response::text(format!("{answer} ({kind})")))
/// }
/// # let _model = dunlin_guest::fake::Model::answering(|_| "All is well.".into());
/// # assert_eq!(run(Request::from_text("disk?")).unwrap().body, b"All is well. (yes)");
/// ```
pub struct Ctx {
    model: Rc<Model>,
    context: Context,
    /// Said, and not yet in the context.
    unheard: Vec<Message>,
    /// The last that it heard is that it is its turn.
    is_cued: bool,
    options: Options,
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("unheard", &self.unheard).finish_non_exhaustive()
    }
}

impl Ctx {
    /// With the model of this alias.
    ///
    /// # Errors
    /// If it is not granted, or cannot be served.
    pub fn model(alias: &str) -> Result<Self, Error> {
        Self::on(models::open(alias)?)
    }

    /// With the model that the parameter `model` names, or else the first that is granted.
    ///
    /// # Errors
    /// If there is none, or it cannot be served.
    pub fn of(request: &Request) -> Result<Self, Error> {
        match request.param("model") {
            Some(alias) => Self::model(alias),
            None => Self::model(&first(&models::available())?.alias),
        }
    }

    /// With a model that is open. A pipeline that holds many conversations opens it once, and shares it.
    ///
    /// # Errors
    /// If the job may not hold another context.
    pub fn on(model: impl Into<Rc<Model>>) -> Result<Self, Error> {
        let model = model.into();
        let context = Context::create(&model)?;
        Ok(Self { model, context, unheard: Vec::new(), is_cued: false, options: Options::default() })
    }

    /// What the model is to be.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(Message::system(text))
    }

    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Message::user(text))
    }

    /// What the model is to have said: an example, or an earlier answer.
    #[must_use]
    pub fn assistant(self, text: impl Into<String>) -> Self {
        self.message(Message::assistant(text))
    }

    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.unheard.push(message);
        self
    }

    /// Most tokens of an answer; 256 where nothing is said.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.options.max_tokens = tokens;
        self
    }

    /// How freely to draw. 0, as where nothing is said, takes the likeliest token each time.
    #[must_use]
    pub fn temperature(self, temperature: f32) -> Self {
        self.sampling(|sampling| sampling.temperature = temperature)
    }

    /// The same seed draws the same, at a temperature above 0.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.sampling(|sampling| sampling.seed = Some(seed))
    }

    /// Any of the ways to sample.
    #[must_use]
    pub fn sampling(mut self, change: impl FnOnce(&mut Sampling)) -> Self {
        change(self.options.sampling.get_or_insert(Sampling { temperature: 0.0, ..Sampling::default() }));
        self
    }

    /// Text that ends an answer; it is not part of it. May be said several times.
    #[must_use]
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.options.stop.push(text.into());
        self
    }

    /// How long an answer may take, to the millisecond.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.options.deadline_ms = Some(time.as_millis().try_into().unwrap_or(u32::MAX));
        self
    }

    /// The answer, as far as it comes within the most tokens.
    ///
    /// # Errors
    /// Of the generation; `deadline` and `cancelled` if that is what ended it.
    pub fn text(&mut self) -> Result<String, Error> {
        self.stream(|_| Ok(()))
    }

    /// The answer, and each piece of it as it comes. To give those to the caller: `.stream(emit)`.
    ///
    /// # Errors
    /// As [`Self::text`], or of `each`; the generation is cancelled then.
    pub fn stream(&mut self, each: impl FnMut(&str) -> Result<(), Error>) -> Result<String, Error> {
        Ok(self.answer(each)?.text)
    }

    /// The answer with why it stopped and what it took, and each piece of it as it comes.
    ///
    /// # Errors
    /// As [`Self::stream`].
    pub fn answer(&mut self, each: impl FnMut(&str) -> Result<(), Error>) -> Result<Answer, Error> {
        let generation = self.start(None)?;
        generate::follow(|most| generation.next(most), each)?.unless_stopped()
    }

    /// An answer that matches this regular expression as a whole.
    ///
    /// # Errors
    /// `constraint` if the expression is refused; if the answer is cut before it matches; as [`Self::text`].
    pub fn matching(&mut self, regex: impl Into<String>) -> Result<String, Error> {
        self.constrained(&Spec::Regex(regex.into()))
    }

    /// The one of these that the model finds likeliest as its answer. Nothing is sampled, and the conversation stays as
    /// it is.
    ///
    /// # Errors
    /// If there are none to choose from; of the engine.
    pub fn choose<'a>(&mut self, choices: &[&'a str]) -> Result<&'a str, Error> {
        let texts: Vec<String> = choices.iter().map(|&choice| choice.to_owned()).collect();
        let scored = self.score(&texts, Normalize::Total)?;
        likeliest(&scored)
            .and_then(|index| choices.get(index).copied())
            .ok_or_else(|| Error::invalid("there is nothing to choose from"))
    }

    /// How likely the model finds each of these as its answer, in one pass over all of them.
    ///
    /// # Errors
    /// Of the engine.
    pub fn score(&mut self, candidates: &[String], how: Normalize) -> Result<Vec<Scored>, Error> {
        self.hear()?;
        self.context.score(candidates, how)
    }

    /// This many conversations that go on from here, each by itself. They share what was read so far, and draw
    /// differently.
    ///
    /// ```
    /// # use dunlin_guest::{Ctx, Error};
    /// # let _model = dunlin_guest::fake::Model::answering(|_| "seven".into());
    /// # fn drafts() -> Result<Vec<String>, Error> {
    /// let drafts = Ctx::model("demo")?.user("A number?").temperature(0.8).fork(8)?;
    /// drafts.into_iter().map(|mut draft| draft.text()).collect()
    /// # }
    /// # assert_eq!(drafts().unwrap().len(), 8);
    /// ```
    ///
    /// One after the other, as here, is simple. To have them generated side by side: [`Self::start`] all, then finish.
    ///
    /// # Errors
    /// If the job may not hold so many contexts.
    pub fn fork(&mut self, n: u32) -> Result<Vec<Self>, Error> {
        self.hear()?;
        let branches = self.context.fork(n)?.into_iter();
        Ok(branches
            .map(|context| Self {
                model: self.model.clone(),
                context,
                unheard: Vec::new(),
                is_cued: true,
                options: self.options.clone(),
            })
            .collect())
    }

    /// Begins an answer and does not wait for it.
    ///
    /// # Errors
    /// If what was said is too long; `busy` if an answer is being given already.
    pub fn start(&mut self, constraint: Option<&Constraint>) -> Result<Generation, Error> {
        self.hear()?;
        self.context.generate(&self.options, constraint)
    }

    pub(crate) fn constrained(&mut self, spec: &Spec) -> Result<String, Error> {
        let constraint = Constraint::compile(&self.model, spec)?;
        // What cannot be enforced could be wrong in the answer.
        let warnings = constraint.warnings();
        if !warnings.is_empty() {
            return Err(Error::Constraint(format!("it would not be kept to: {}", warnings.join("; "))));
        }
        let generation = self.start(Some(&constraint))?;
        let answer = generate::follow(|most| generation.next(most), |_| Ok(()))?.unless_stopped()?;
        Ok(answer.whole(self.options.max_tokens)?.text)
    }

    /// Lets the model hear what was said, and makes it its turn.
    fn hear(&mut self) -> Result<(), Error> {
        if !self.unheard.is_empty() || !self.is_cued {
            self.context.append_messages(&self.unheard, &[], true)?;
            self.unheard.clear();
            self.is_cued = true;
        }
        Ok(())
    }
}

/// Gives a line to the caller of the pipeline now.
///
/// # Errors
/// As [`emit`].
pub fn emit_line(text: &str) -> Result<(), Error> {
    emit(&format!("{text}\n"))
}

pub(crate) fn first(granted: &[models::Info]) -> Result<&models::Info, Error> {
    granted.first().ok_or_else(|| Error::ModelNotFound("(none is granted)".into()))
}

/// Of equals the first.
fn likeliest(scored: &[Scored]) -> Option<usize> {
    let better = |best: usize, next: usize| if scored[next].score > scored[best].score { next } else { best };
    let place = (0..scored.len()).reduce(better)?;
    Some(scored[place].index as usize)
}
