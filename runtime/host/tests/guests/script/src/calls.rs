//! The calls of `dunlin:llm`, one command each.

use std::{hint::black_box, time::Instant};

use dunlin_guest::{
    Budget, Constraint, Context, Error, Event, Message, Normalize, Options, Role, Sampling, Spec, embeddings,
    job, models, poll,
};

use crate::{Actor, Said, keep, nth};

pub(crate) fn act(actor: &mut Actor, command: &str, rest: &str) -> Said {
    let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
    match command {
        "fail" => {
            let error = act_error(actor, rest);
            actor.last_error = error;
            done()
        }
        "available" => Ok(models::available().into_iter().map(|info| info.alias + " ").collect()),
        "open" => {
            actor.model = Some(models::open(rest)?);
            done()
        }
        "info" => {
            let info = actor.model()?.info();
            Ok(format!("{} {} {} {:?}", info.alias, info.digest, info.context_length, info.memory))
        }
        "tokenize" => Ok(format!("{:?}", actor.model()?.tokenize(rest, false)?)),
        "detokenize" => Ok(String::from_utf8_lossy(&actor.model()?.detokenize(&numbers(rest))?).into_owned()),
        "render" => Ok(format!("{:?}", actor.model()?.render(&messages(rest), &[], true)?)),
        "create" => {
            let context = Context::create(actor.model()?)?;
            Ok(keep(&mut actor.contexts, context))
        }
        "restore" => Context::restore(actor.model()?, rest).map(|_| String::new()),
        "append" => Ok(nth(&actor.contexts, first)?.append(more, false)?.to_string()),
        "tokens" => Ok(nth(&actor.contexts, first)?.append_tokens(&numbers(more))?.to_string()),
        "messages" => {
            Ok(nth(&actor.contexts, first)?.append_messages(&messages(more), &[], false)?.to_string())
        }
        "cue" => Ok(nth(&actor.contexts, first)?.append_messages(&messages(more), &[], true)?.to_string()),
        "length" => Ok(nth(&actor.contexts, first)?.length().to_string()),
        "truncate" => nth(&actor.contexts, first)?.truncate(number(more)).and_then(|()| done()),
        "fork" => {
            let branches = nth(&actor.contexts, first)?.fork(number(more))?;
            Ok(branches.into_iter().map(|branch| keep(&mut actor.contexts, branch) + " ").collect())
        }
        "snapshot" => nth(&actor.contexts, first)?.snapshot(more, 1),
        "drop-context" => {
            actor.contexts[number(first) as usize] = None;
            done()
        }
        "compile" => {
            let constraint = Constraint::compile(actor.model()?, &spec(first, more))?;
            Ok(keep(&mut actor.constraints, constraint))
        }
        "warnings" => Ok(nth(&actor.constraints, first)?.warnings().join(", ")),
        "generate" => {
            let (options, constraint) = options(more);
            let constraint = constraint.map(|number| nth(&actor.constraints, number)).transpose()?;
            let generation = nth(&actor.contexts, first)?.generate(&options, constraint)?;
            Ok(keep(&mut actor.generations, generation))
        }
        "next" => Ok(events(nth(&actor.generations, first)?.next(number(more))?)),
        "finish" => {
            let answer = nth(&actor.generations, first)?.finish()?;
            Ok(format!("{:?} {:?}", answer.text, answer.stop))
        }
        "stream" => {
            let answer = nth(&actor.generations, first)?.stream()?;
            Ok(format!("{:?} at {} on {}", answer.stop, answer.usage.operating_point, answer.usage.node))
        }
        "cancel" => {
            nth(&actor.generations, first)?.cancel();
            done()
        }
        "drop-generation" => {
            actor.generations[number(first) as usize] = None;
            done()
        }
        "subscribe" => {
            let pollable = nth(&actor.generations, first)?.subscribe();
            Ok(keep(&mut actor.pollables, pollable))
        }
        "ready" => Ok(nth(&actor.pollables, first)?.ready().to_string()),
        "block" => {
            nth(&actor.pollables, first)?.block();
            done()
        }
        "poll" => {
            let pollables: Vec<_> =
                rest.split(' ').map(|number| nth(&actor.pollables, number)).collect::<Result<_, _>>()?;
            Ok(format!("{:?}", poll::poll(&pollables)))
        }
        "score" => {
            let candidates: Vec<String> = more.split('|').map(str::to_owned).collect();
            let scored = nth(&actor.contexts, first)?.score(&candidates, Normalize::PerToken)?;
            Ok(scored.into_iter().map(|scored| format!("{}:{} ", scored.index, scored.score)).collect())
        }
        "embed" => {
            let texts: Vec<String> = rest.split('|').map(str::to_owned).collect();
            let vectors = embeddings::embed(actor.model()?, &texts)?;
            Ok(vectors.into_iter().map(|vector| format!("{} ", vector.len())).collect())
        }
        "rerank" => embeddings::rerank(actor.model()?, rest, &[]).map(|_| String::new()),
        "say" => dunlin_guest::emit(rest).and_then(|()| done()),
        "json" => job::emit(&job::Chunk::Json(rest.into())).and_then(|()| done()),
        "progress" => job::emit(&job::Chunk::Progress(rest.parse().expect("a number"))).and_then(|()| done()),
        "remaining" => Ok(format!("{:?}", job::remaining(budget(rest)))),
        "cancelled" => Ok(job::cancelled().to_string()),
        "attempt" => Ok(job::attempt().to_string()),
        "here" => {
            let node = job::here();
            Ok(format!("{} {} {}", node.id, node.class, node.on_battery))
        }
        "total" => {
            let total = job::total();
            Ok(format!("{} in, {} out on {}", total.prompt_tokens, total.output_tokens, total.node))
        }
        "time" => Ok(time(first, more.parse().expect("a number"), nth(&actor.contexts, "0")?)),
        "spawn" => job::spawn(rest, b"", &job::Place::Anywhere).map(|_| String::new()),
        other => panic!("no such command: {other}"),
    }
}

impl Actor {
    pub(crate) fn model(&self) -> Result<&models::Model, Error> {
        self.model.as_ref().ok_or_else(|| Error::invalid("open a model first"))
    }
}

/// Nanoseconds that so many calls take.
fn time(call: &str, calls: u32, context: &Context) -> String {
    let began = Instant::now();
    for _ in 0..calls {
        match call {
            "attempt" => _ = black_box(job::attempt()),
            "remaining" => _ = black_box(job::remaining(Budget::Tokens)),
            "length" => _ = black_box(context.length()),
            "cancelled" => _ = black_box(job::cancelled()),
            _ => _ = black_box(job::emit(&job::Chunk::Progress(0.5))),
        }
    }
    began.elapsed().as_nanos().to_string()
}

fn act_error(actor: &mut Actor, line: &str) -> Option<Error> {
    actor.act(line).err()
}

fn done() -> Said {
    Ok("ok".into())
}

fn number(text: &str) -> u32 {
    text.trim().parse().expect("a number")
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().map(number).collect()
}

/// `user: hello | assistant: hi`
fn messages(text: &str) -> Vec<Message> {
    let message = |part: &str| {
        let (role, content) = part.split_once(": ").expect("role: content");
        let role = match role.trim() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => Role::Tool,
        };
        Message::new(role, content.trim())
    };
    text.split('|').filter(|part| !part.trim().is_empty()).map(message).collect()
}

fn spec(kind: &str, text: &str) -> Spec {
    match kind {
        "json" => Spec::AnyJson,
        "schema" => Spec::JsonSchema(text.into()),
        "regex" => Spec::Regex(text.into()),
        "lark" => Spec::Lark(text.into()),
        "choice" => {
            Spec::Choice(text.split('|').filter(|choice| !choice.is_empty()).map(str::to_owned).collect())
        }
        _ => Spec::ToolCall(Vec::new()),
    }
}

/// `max=10 seed=7 stop=x deadline=50 logprobs=1 constraint=0`
fn options(text: &str) -> (Options, Option<&str>) {
    let mut options = Options::default();
    let mut constraint = None;
    for (key, value) in text.split_whitespace().filter_map(|pair| pair.split_once('=')) {
        match key {
            "max" => options.max_tokens = number(value),
            "seed" => {
                options.sampling = Some(Sampling { seed: Some(number(value).into()), ..Sampling::default() })
            }
            "stop" => options.stop.push(value.into()),
            "deadline" => options.deadline_ms = Some(number(value)),
            "logprobs" => options.top_logprobs = Some(number(value)),
            "constraint" => constraint = Some(value),
            other => panic!("no such option: {other}"),
        }
    }
    (options, constraint)
}

fn events(events: Vec<Event>) -> String {
    let show = |event| match event {
        Event::Text(text) => format!("{text:?} "),
        Event::Tokens(tokens) => format!("{} tokens ", tokens.len()),
        Event::Finish((stop, usage)) => format!("{stop:?} after {} ", usage.output_tokens),
        Event::Reasoning(_) | Event::ToolCall(_) => "? ".into(),
    };
    if events.is_empty() { "ended".into() } else { events.into_iter().map(show).collect() }
}

fn budget(name: &str) -> Budget {
    match name {
        "tokens" => Budget::Tokens,
        "kv-cells" => Budget::KvCells,
        "contexts" => Budget::Contexts,
        "generations" => Budget::Generations,
        "wall-time" => Budget::WallTime,
        "energy" => Budget::Energy,
        "host-calls" => Budget::HostCalls,
        _ => Budget::EmittedBytes,
    }
}
