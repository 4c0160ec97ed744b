//! An engine that computes nothing: what a fleet costs is what is left when answers cost nothing. Its text is a function of
//! the position alone, so that it shows whether anything was lost or came twice.
//!
//! What it does with a generation, the prompt says: `pace=20` is a token each 20 ms after the first, which comes at once.

use std::{io, os::fd::AsFd, process::ExitCode, time::Duration};

use dunlin_bench_stand::letter;
use dunlin_engine_handle::{
    Generate, StopReason,
    fake::{self, Fake, Script, ScriptEnd},
};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime.map(|runtime| runtime.block_on(serve())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) | Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Its socket is its standard input, as with the real engine.
async fn serve() -> io::Result<()> {
    let socket = std::os::unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    Fake::default().answering(answer).serve(tokio::net::UnixStream::from_std(socket)?).await;
    Ok(())
}

fn answer(generate: &Generate) -> Script {
    let prompt = fake::text(&generate.prompt);
    let digits = prompt.split_once("pace=").map(|(_, rest)| rest);
    let digits = digits.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let pace = Duration::from_millis(digits.and_then(|digits| digits.parse().ok()).unwrap_or(0));
    let pieces = (0..generate.max_tokens as usize).map(|position| {
        let pause = if position == 0 { Duration::ZERO } else { pace };
        (pause, letter(position).to_string())
    });
    Script { pieces: pieces.collect(), end: ScriptEnd::Stop(StopReason::MaxTokens) }
}
