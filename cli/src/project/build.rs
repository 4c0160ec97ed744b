//! From a project to a component.

mod c;
mod js;
mod python;
mod rust;

use std::{
    fs,
    io::{self, Read},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{Language, Project, shipped};
use crate::{
    failure::{Exit, Failure},
    terminal::progress::Progress,
};

/// How often somebody who waits sees that it goes on.
const TICK: Duration = Duration::from_millis(100);

/// Of what a compiler says, the end is shown.
const MAX_WORDS: usize = 16 << 10;

/// Builds the component of a project, into [`Project::component`].
///
/// # Errors
/// If a tool is missing, with how to get it; what the compiler says.
pub(crate) fn build(project: &Project, progress: &Progress) -> Result<(), Failure> {
    shipped::write(project)?;
    let component = match project.language {
        Language::Rust => rust::build(project, progress),
        Language::Python => python::build(project, progress),
        Language::Js => js::build(project, progress),
        Language::C => c::build(project, progress),
    }?;
    let path = project.component();
    fs::write(&path, component).map_err(|error| super::template::unwritable(&path, &error))
}

/// A program that somebody else made.
#[derive(Debug)]
pub(crate) struct Tool<'a> {
    name: &'a str,
    command: &'a mut Command,
    hint: &'a str,
}

pub(crate) fn tool<'a>(name: &'a str, command: &'a mut Command) -> Tool<'a> {
    Tool { name, command, hint: "" }
}

impl<'a> Tool<'a> {
    /// How to get it.
    pub(crate) fn hint(self, hint: &'a str) -> Self {
        Self { hint, ..self }
    }

    /// Runs it to its end, and gives what it wrote to stdout.
    ///
    /// # Errors
    /// If it does not start; what it said, if it did not succeed.
    pub(crate) fn run(self, what: &str, progress: &Progress) -> Result<Vec<u8>, Failure> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().map_err(|error| {
            self.failure(match error.kind() {
                io::ErrorKind::NotFound => format!("{} is missing", self.name),
                _ => format!("{} does not start: {error}", self.name),
            })
        })?;
        let output = wait(child, what, progress)
            .map_err(|error| self.failure(format!("{} was lost: {error}", self.name)))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let words = [output.stdout, output.stderr].concat();
        let words = String::from_utf8_lossy(&words);
        Err(self.failure(format!("{} failed ({})\n{}", self.name, output.status, end_of(words.trim()))))
    }

    fn failure(&self, sentence: String) -> Failure {
        let failure = Failure::new(Exit::Failed, sentence);
        if self.hint.is_empty() { failure } else { failure.hint(self.hint) }
    }
}

fn wait(mut child: Child, what: &str, progress: &Progress) -> io::Result<Output> {
    let bar = progress.wait(what);
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let read = |from: &mpsc::Receiver<Vec<u8>>| loop {
        match from.recv_timeout(TICK) {
            Ok(bytes) => return bytes,
            Err(mpsc::RecvTimeoutError::Timeout) => bar.tick(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Vec::new(),
        }
    };
    let (stdout, stderr) = (read(&stdout), read(&stderr));
    Ok(Output { status: child.wait()?, stdout, stderr })
}

/// Everything that comes out of a pipe, once it is closed.
fn reader(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before an error is worth showing.
            drop(pipe.read_to_end(&mut bytes));
        }
        drop(sender.send(bytes));
    });
    receiver
}

fn end_of(words: &str) -> &str {
    let mut start = words.len().saturating_sub(MAX_WORDS);
    while !words.is_char_boundary(start) {
        start += 1;
    }
    &words[start..]
}

/// What a compiler has written.
fn made(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        Failure::new(Exit::Failed, format!("the compiler left nothing in {}: {error}", path.display()))
    })
}
