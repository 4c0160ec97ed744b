//! The side of the compile child. It reads its limits and a component from stdin, and writes an artifact to
//! stdout or a reason to stderr.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use wasmtime::Engine;

use crate::{allocation, load::artifact::Artifact};

/// Exit code of a child that did not take the component.
pub(super) const REFUSED: u8 = 65;

/// Exit code of one that could not even try.
const FAILED: u8 = 70;

/// What the child may use; sent to it first.
pub(super) struct Limits {
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
    pub(super) niceness: u64,
}

impl Limits {
    pub(super) fn to_bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.memory_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.cpu_seconds.to_le_bytes());
        bytes[16..].copy_from_slice(&self.niceness.to_le_bytes());
        bytes
    }

    fn read(mut from: impl Read) -> io::Result<Self> {
        let mut number = || {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
        };
        Ok(Self { memory_bytes: number()?, cpu_seconds: number()?, niceness: number()? })
    }

    fn apply(&self) -> io::Result<()> {
        let at_most = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(Resource::As, at_most(self.memory_bytes))?;
        // Past the first it is told so by a signal, past the second it is killed.
        let seconds = Rlimit { current: Some(self.cpu_seconds), maximum: Some(self.cpu_seconds + 1) };
        setrlimit(Resource::Cpu, seconds)?;
        setrlimit(Resource::Core, at_most(0))?;
        nice(self.niceness.min(19) as i32)?;
        Ok(())
    }
}

/// What a program named by a [`crate::CompileChild`] does, and nothing else: it takes stdin and stdout for
/// itself, and lowers the limits and the priority of its process.
#[must_use]
pub fn compile_child_main() -> ExitCode {
    let component = match prepare() {
        Ok(component) => component,
        Err(error) => return end(FAILED, &format!("the compile child could not start: {error}")),
    };
    let compiled = Engine::new(&allocation::code()).and_then(|engine| Artifact::compile(&engine, &component));
    match compiled {
        Err(error) => end(REFUSED, &format!("{error:#}")),
        Ok(artifact) => match io::stdout().write_all(artifact.sealed()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => end(FAILED, &error.to_string()),
        },
    }
}

fn prepare() -> io::Result<Vec<u8>> {
    let mut stdin = io::stdin().lock();
    Limits::read(&mut stdin)?.apply()?;
    let mut component = Vec::new();
    stdin.read_to_end(&mut component)?;
    Ok(component)
}

fn end(code: u8, reason: &str) -> ExitCode {
    // Nobody is left to tell if stderr is closed.
    drop(writeln!(io::stderr(), "{reason}"));
    ExitCode::from(code)
}
