//! A guest for tests: `SCENARIO MODEL PROMPT`. Each scenario uses the model in one way that GGML guests have, and
//! prints what it saw.

use std::{
    env,
    io::{self, Read},
    process::ExitCode,
};

use wasmedge_wasi_nn::{
    BackendError, Error, ExecutionTarget, Graph, GraphBuilder, GraphEncoding, GraphExecutionContext,
    TensorType,
};

type Said = Result<(), Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
    let (model, prompt) = (argument(1), argument(2));
    let said = match argument(0) {
        "basic" => basic(model, prompt, argument(3)),
        "stream-stdout" => stream_stdout(model, prompt, argument(3)),
        "single" => single(model, prompt),
        "metadata-first" => metadata_first(model, prompt),
        "embedding" => embedding(model, prompt),
        "unload" => unload(model, prompt),
        "set-input-twice" => set_input_twice(model, prompt),
        "model-not-found" => model_not_found(model),
        "small-buffer" => small_buffer(model, prompt),
        "interactive" => interactive(model),
        "bytes" => bytes(),
        "wrong-order" => wrong_order(model),
        "many" => many(model, prompt),
        "spin" => spin(),
        "exit" => std::process::exit(prompt.parse().unwrap_or(1)),
        other => {
            eprintln!("there is no scenario {other:?}");
            return ExitCode::from(64);
        }
    };
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn graph(model: &str, options: &str) -> Result<Graph, Error> {
    let builder = GraphBuilder::new(GraphEncoding::Ggml, ExecutionTarget::AUTO);
    let builder = if options.is_empty() { builder } else { builder.config(options.to_owned()) };
    builder.build_from_cache(model)
}

/// The dimensions are wrong, as they are in the guests that exist.
fn set(context: &mut GraphExecutionContext, index: usize, data: &str) -> Said {
    context.set_input(index, TensorType::U8, &[1], data.as_bytes())
}

fn get(context: &GraphExecutionContext, index: usize) -> Result<String, Error> {
    let mut buffer = vec![0u8; 24_576];
    let size = context.get_output(index, &mut buffer)?.min(buffer.len());
    Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
}

/// The number of an error, as the crate names it.
fn name(error: &Error) -> String {
    match error {
        Error::BackendError(BackendError::UnknownError(number)) => format!("errno {number}"),
        Error::BackendError(error) => format!("{error:?}"),
        Error::IoError(error) => error.to_string(),
    }
}

fn basic(model: &str, prompt: &str, options: &str) -> Said {
    let mut context = graph(model, options)?.init_execution_context()?;
    set(&mut context, 0, prompt)?;
    if let Err(error) = context.compute() {
        println!("{}", name(&error));
    }
    println!("{}", get(&context, 0)?);
    println!("{}", get(&context, 1)?);
    Ok(())
}

fn stream_stdout(model: &str, prompt: &str, more: &str) -> Said {
    let mut context =
        graph(model, r#"{"stream-stdout": true, "enable-log": false}"#)?.init_execution_context()?;
    if !more.is_empty() {
        set(&mut context, 1, more)?;
    }
    set(&mut context, 0, prompt)?;
    println!("Answer:");
    context.compute()?;
    println!("\n{} bytes", get(&context, 0)?.len());
    Ok(())
}

fn single(model: &str, prompt: &str) -> Said {
    let mut context = graph(model, "{}")?.init_execution_context()?;
    set(&mut context, 0, prompt)?;
    let mut pieces = 0;
    loop {
        match context.compute_single() {
            Ok(()) => {}
            Err(error) => {
                println!("\n{} after {pieces}", name(&error));
                break;
            }
        }
        let mut buffer = [0u8; 128];
        let size = context.get_output_single(0, &mut buffer)?;
        print!("{}", String::from_utf8_lossy(&buffer[..size]));
        pieces += 1;
    }
    context.fini_single()?;
    println!("{}", get(&context, 1)?);
    Ok(())
}

/// Metadata is asked for before there is a prompt, and after; options come as input 1.
fn metadata_first(model: &str, prompt: &str) -> Said {
    let mut context = graph(model, "")?.init_execution_context()?;
    let mut small = [0u8; 512];
    let size = context.get_output(1, &mut small)?;
    println!("{}", String::from_utf8_lossy(&small[..size]));
    set(&mut context, 1, r#"{"n-predict": 3, "llama3": false, "n-gpu-layers": 100}"#)?;
    set(&mut context, 0, prompt)?;
    println!("{}", get(&context, 1)?);
    context.compute()?;
    println!("{}", get(&context, 0)?);
    for wrong in ["{", r#"{"n-predict": "three"}"#] {
        if let Err(error) = set(&mut context, 1, wrong) {
            println!("{}", name(&error));
        }
    }
    Ok(())
}

fn embedding(model: &str, prompt: &str) -> Said {
    let mut context = graph(model, r#"{"embedding": true, "batch-size": 64}"#)?.init_execution_context()?;
    set(&mut context, 0, prompt)?;
    if let Err(error) = context.compute() {
        println!("{}", name(&error));
        return Ok(());
    }
    println!("{}", get(&context, 0)?);
    Ok(())
}

fn unload(model: &str, prompt: &str) -> Said {
    for _ in 0..4 {
        let graph = graph(model, "{}")?;
        let mut context = graph.init_execution_context()?;
        set(&mut context, 0, prompt)?;
        context.compute()?;
        println!("{}", get(&context, 0)?);
        graph.unload()?;
        for gone in [graph.unload(), context.compute(), graph.init_execution_context().map(drop)] {
            if let Err(error) = gone {
                println!("{}", name(&error));
            }
        }
    }
    Ok(())
}

fn set_input_twice(model: &str, prompt: &str) -> Said {
    let mut context = graph(model, "{}")?.init_execution_context()?;
    set(&mut context, 0, "something else")?;
    set(&mut context, 0, prompt)?;
    context.compute()?;
    println!("{}", get(&context, 0)?);
    set(&mut context, 0, "once more")?;
    println!("{:?}", get(&context, 0)?);
    context.compute()?;
    println!("{}", get(&context, 0)?);
    Ok(())
}

fn model_not_found(model: &str) -> Said {
    match graph(model, "{}") {
        Ok(_) => println!("it is there"),
        Err(error) => println!("{}", name(&error)),
    }
    Ok(())
}

fn small_buffer(model: &str, prompt: &str) -> Said {
    let mut context = graph(model, "{}")?.init_execution_context()?;
    set(&mut context, 0, prompt)?;
    context.compute()?;
    let mut buffer = [0u8; 4];
    match context.get_output(0, &mut buffer) {
        Ok(size) => println!("{size} bytes"),
        Err(error) => println!("{} {buffer:?}", name(&error)),
    }
    println!("{}", get(&context, 0)?);
    Ok(())
}

/// A prompt a line, until there are no more.
fn interactive(model: &str) -> Said {
    let mut context = graph(model, "{}")?.init_execution_context()?;
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    for line in text.lines() {
        set(&mut context, 0, line)?;
        context.compute()?;
        println!("{line}: {}", get(&context, 0)?);
    }
    Ok(())
}

fn bytes() -> Said {
    let built = GraphBuilder::new(GraphEncoding::Ggml, ExecutionTarget::CPU).build_from_bytes([b"GGUF"]);
    if let Err(error) = built {
        println!("{}", name(&error));
    }
    Ok(())
}

fn wrong_order(model: &str) -> Said {
    let mut context = graph(model, "{}")?.init_execution_context()?;
    println!("{:?}", get(&context, 0)?);
    for call in
        [context.compute(), context.compute_single(), context.fini_single(), set(&mut context, 7, "x")]
    {
        println!("{}", call.map_or_else(|error| name(&error), |()| "ok".into()));
    }
    println!("{:?}", get(&context, 9).map_err(|error| name(&error)));
    Ok(())
}

/// Two contexts of one graph in turns.
fn many(model: &str, prompt: &str) -> Said {
    let graph = graph(model, "{}")?;
    let mut contexts = [graph.init_execution_context()?, graph.init_execution_context()?];
    for (index, context) in contexts.iter_mut().enumerate() {
        set(context, 0, &format!("{prompt}{index}"))?;
    }
    let mut answers = [String::new(), String::new()];
    loop {
        let mut ended = 0;
        for (context, answer) in contexts.iter_mut().zip(&mut answers) {
            if context.compute_single().is_err() {
                ended += 1;
                continue;
            }
            let mut buffer = [0u8; 128];
            let size = context.get_output_single(0, &mut buffer)?;
            *answer += &String::from_utf8_lossy(&buffer[..size]);
        }
        if ended == 2 {
            println!("{}\n{}", answers[0], answers[1]);
            return Ok(());
        }
    }
}

/// Asks for a line until there is one, as many guests do.
fn spin() -> Said {
    loop {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        if !line.trim().is_empty() {
            return Ok(());
        }
    }
}
