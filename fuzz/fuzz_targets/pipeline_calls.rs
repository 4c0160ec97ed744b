//! `dunlin:llm`: its calls in any order, on things that were made, dropped, or never there.
#![no_main]

use arbitrary::Arbitrary;
use dunlin_fuzz::{Once, Stage};
use libfuzzer_sys::fuzz_target;

static STAGE: Once = Once::new(|| Stage::new("script", dunlin_host_guests::SCRIPT));

#[derive(Debug, Arbitrary)]
enum Call<'a> {
    Open(bool),
    Tokenize(&'a str),
    Detokenize(Vec<u32>),
    Render(&'a str),
    Create,
    Restore(&'a str),
    Append(u8, &'a str),
    Tokens(u8, Vec<u32>),
    Messages(u8, &'a str),
    Cue(u8, &'a str),
    Length(u8),
    Truncate(u8, u32),
    Fork(u8, u32),
    Snapshot(u8, &'a str),
    DropContext(u8),
    Compile(Kind, &'a str),
    Generate {
        context: u8,
        max: u32,
        seed: u32,
        deadline: Option<u32>,
        likely: Option<u32>,
        constraint: Option<u8>,
    },
    Next(u8, u32),
    Finish(u8),
    Stream(u8),
    Cancel(u8),
    DropGeneration(u8),
    Subscribe(u8),
    Ready(u8),
    Poll(Vec<u8>),
    Score(u8, &'a str),
    Embed(&'a str),
    Rerank(&'a str),
    Say(&'a str),
    Json(&'a str),
    Progress(f32),
    Spawn(&'a str),
}

#[derive(Debug, Arbitrary)]
enum Kind {
    Json,
    Schema,
    Regex,
    Lark,
    Choice,
}

impl Call<'_> {
    /// The line by which the guest makes this call.
    fn line(&self) -> String {
        match self {
            Self::Open(true) => "open default".into(),
            Self::Open(false) => "open another".into(),
            Self::Tokenize(text) => format!("tokenize {text}"),
            Self::Detokenize(tokens) => format!("detokenize {}", spaced(tokens)),
            Self::Render(text) => format!("render user: {text}"),
            Self::Create => "create".into(),
            Self::Restore(text) => format!("restore {text}"),
            Self::Append(context, text) => format!("append {} {text}", few(*context)),
            Self::Tokens(context, tokens) => format!("tokens {} {}", few(*context), spaced(tokens)),
            Self::Messages(context, text) => format!("messages {} user: {text}", few(*context)),
            Self::Cue(context, text) => format!("cue {} system: {text}", few(*context)),
            Self::Length(context) => format!("length {}", few(*context)),
            Self::Truncate(context, length) => format!("truncate {} {length}", few(*context)),
            Self::Fork(context, branches) => format!("fork {} {branches}", few(*context)),
            Self::Snapshot(context, text) => format!("snapshot {} {text}", few(*context)),
            Self::DropContext(context) => format!("drop-context {}", few(*context)),
            Self::Compile(kind, text) => format!("compile {} {text}", kind.word()),
            Self::Generate { context, max, seed, deadline, likely, constraint } => {
                let mut line = format!("generate {} max={max} seed={seed}", few(*context));
                deadline.iter().for_each(|deadline| line += &format!(" deadline={deadline}"));
                likely.iter().for_each(|likely| line += &format!(" logprobs={likely}"));
                constraint.iter().for_each(|constraint| line += &format!(" constraint={}", few(*constraint)));
                line
            }
            Self::Next(generation, most) => format!("next {} {most}", few(*generation)),
            Self::Finish(generation) => format!("finish {}", few(*generation)),
            Self::Stream(generation) => format!("stream {}", few(*generation)),
            Self::Cancel(generation) => format!("cancel {}", few(*generation)),
            Self::DropGeneration(generation) => format!("drop-generation {}", few(*generation)),
            Self::Subscribe(generation) => format!("subscribe {}", few(*generation)),
            Self::Ready(pollable) => format!("ready {}", few(*pollable)),
            Self::Poll(pollables) => {
                format!(
                    "poll {}",
                    spaced(&pollables.iter().map(|pollable| few(*pollable)).collect::<Vec<_>>())
                )
            }
            Self::Score(context, text) => format!("score {} {text}", few(*context)),
            Self::Embed(text) => format!("embed {text}"),
            Self::Rerank(text) => format!("rerank {text}"),
            Self::Say(text) => format!("say {text}"),
            Self::Json(text) => format!("json {text}"),
            Self::Progress(share) => format!("progress {share}"),
            Self::Spawn(name) => format!("spawn {name}"),
        }
    }
}

impl Kind {
    fn word(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Schema => "schema",
            Self::Regex => "regex",
            Self::Lark => "lark",
            Self::Choice => "choice",
        }
    }
}

/// One of the few that there may be.
fn few(number: u8) -> u8 {
    number % 4
}

fn spaced<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fuzz_target!(|calls: Vec<Call<'_>>| {
    let lines = ["open default".to_owned(), "create".into()].into_iter();
    let lines = lines.chain(calls.iter().map(|call| call.line().replace(['\n', '\r'], " ")));
    STAGE.run(lines.collect::<Vec<_>>().join("\n").into_bytes(), Vec::new());
});
