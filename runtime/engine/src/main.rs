//! The engine executable: a child process of whoever wants a model served.

use std::{
    fs,
    io::{self, IsTerminal},
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

const USAGE: &str = "\
dunlin-engine serves one model to the process that started it, over the socket that is its standard input.
It is started by `dunlin run`, `dunlin chat` and the like; there is nothing to do with it by hand.

    dunlin-engine --version     the version
    dunlin-engine --backend     what its kernels were built for and find here
";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--version") => {
            println!("dunlin-engine {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("--backend") => {
            dunlin_engine::llama::init();
            println!("{}", dunlin_engine::llama::backend_description());
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dunlin-engine: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let stdin = io::stdin();
    anyhow::ensure!(!stdin.is_terminal(), "standard input is a terminal, not a socket\n\n{USAGE}");
    let stream = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    anyhow::ensure!(stream.peer_addr().is_ok(), "standard input is not a socket\n\n{USAGE}");
    expect_to_be_killed();
    dunlin_engine::serve(stream)
}

/// If memory runs out, this process goes first; if its parent dies, it follows; if it crashes, it leaves no core.
/// None of these is worth failing for.
fn expect_to_be_killed() {
    let _ = fs::write("/proc/self/oom_score_adj", "800");
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
