//! Checks a model file and prints what it holds: `cargo run -p dunlin-gguf --example show -- model.gguf`.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use dunlin_gguf::Gguf;

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in env::args().skip(1) {
        let start = Instant::now();
        match Gguf::open(&path) {
            Ok(gguf) => println!("{}checked in     {:.1?}", gguf.model(), start.elapsed()),
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
