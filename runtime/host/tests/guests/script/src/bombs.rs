//! What a hostile guest may try.

use std::hint::black_box;

use dunlin_guest::{Context, Error, Options, job, models};

use crate::{Actor, Said, keep};

pub(crate) fn act(actor: &mut Actor, command: &str, rest: &str) -> Option<Said> {
    Some(match command {
        "spin" => loop {
            black_box(0);
        },
        "spin-calling" => loop {
            black_box(job::attempt());
        },
        "spin-emitting" => loop {
            drop(black_box(job::emit(&job::Chunk::Progress(0.5))));
        },
        "eat" => {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(black_box(vec![1; 1 << 20]));
            }
        }
        "recurse" => Ok(recurse(1).to_string()),
        "panic" => panic!("{rest}"),
        "exit" => std::process::exit(rest.parse().expect("a number")),
        "flood" => until_refused(|| dunlin_guest::emit(rest)),
        "flood-log" => {
            for _ in 0..10_000 {
                println!("{rest}");
            }
            Ok("ok".into())
        }
        "emit-mebibytes" => {
            let bytes = rest.parse::<usize>().expect("a number") << 20;
            dunlin_guest::emit(&"x".repeat(bytes)).map(|()| "ok".into())
        }
        "call-many" => until_refused(|| actor.model()?.tokenize("", false)),
        "open-many" => {
            let mut held = Vec::new();
            until_refused(|| models::open(rest).map(|model| held.push(model)))
        }
        "create-many" => {
            let mut held = Vec::new();
            until_refused(|| Context::create(actor.model()?).map(|context| held.push(context)))
        }
        "fork-many" => {
            let mut held = vec![actor.model().and_then(Context::create).expect("a first context")];
            until_refused(|| held[0].fork(100).map(|branches| held.extend(branches)))
        }
        "generate-many" => {
            let mut held = Vec::new();
            until_refused(|| {
                let context = Context::create(actor.model()?)?;
                context.append("x", false)?;
                let options = Options { max_tokens: 1, ..Options::default() };
                held.push((context.generate(&options, None)?, context));
                Ok(())
            })
        }
        "subscribe-many" => {
            let context = actor.model().and_then(Context::create).expect("a context");
            let generation = context.generate(&Options::default(), None).expect("a generation");
            let mut held = Vec::new();
            loop {
                held.push(generation.subscribe());
            }
        }
        "compile-many" => {
            let mut n = 0;
            until_refused(|| {
                n += 1;
                let spec = dunlin_guest::Spec::Regex(format!("a{{{n}}}"));
                let constraint = dunlin_guest::Constraint::compile(actor.model()?, &spec)?;
                keep(&mut actor.constraints, constraint);
                Ok(())
            })
        }
        _ => return None,
    })
}

/// How often it worked, and what then came instead.
fn until_refused<T>(mut call: impl FnMut() -> Result<T, Error>) -> Said {
    let mut times = 0;
    loop {
        match call() {
            Ok(_) => times += 1,
            Err(error) => return Ok(format!("{times} times, then {error:?}")),
        }
    }
}

#[expect(unconditional_recursion, reason = "that is the point of it")]
fn recurse(depth: u64) -> u64 {
    black_box([depth; 64])[0] + recurse(depth + 1)
}
