//! `dunlin chat`.

mod answer;
mod conversation;
mod editor;
mod room;
mod slash;

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
};

use self::{
    editor::{Editor, Read},
    room::{CtrlC, Next, Room},
};
use crate::{
    arguments::{Global, ModelArgument},
    engine::EngineOptions,
    failure::{Exit, Failure},
    folders::Folders,
    store::Catalog,
};

const HELP: &str = "\
Examples:
  dunlin chat
  dunlin chat --model smol --system \"You answer in one sentence.\"
  printf 'What is a dunlin?\\nAnd a sanderling?\\n' | dunlin chat --quiet

In a terminal, /help lists what can be done beside talking. Where standard input is no terminal, each line of it is a message of \
one conversation (or a command, with a slash), and the answers come to standard output, a line each at least; for one message of \
many lines there is `dunlin run chat`. Where the conversation outgrows the context, its oldest messages are forgotten, with a \
notice. Everything goes through the pipeline `chat`.";

/// Talk to a model
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{HELP}\n\nExit codes:\n{}", Exit::TABLE))]
pub(crate) struct Chat {
    #[command(flatten)]
    model: ModelArgument,
    /// What the model is to be, said before everything else
    #[arg(long, short, value_name = "TEXT")]
    system: Option<String>,
    /// How freely to draw, 0 to 5; 0 takes the likeliest token each time
    #[arg(long, value_name = "T", value_parser = temperature)]
    temperature: Option<f32>,
    /// Draw the same each time [default: a new seed for each answer]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_tokens: u32,
    #[command(flatten)]
    engine: EngineOptions,
    /// Where compiled pipelines are kept [default: $XDG_CACHE_HOME/dunlin/pipelines]
    #[arg(long, value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
}

fn temperature(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number| (0.0..=5.0).contains(number));
    number.ok_or_else(|| "it is a number from 0 to 5".to_owned())
}

impl Chat {
    /// # Errors
    /// Of the model and the terminal; in a pipe, of any answer.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let folders = Folders::find()?;
        let catalog = Catalog::open(&folders);
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            let mut room = Room::open(self, catalog, &folders, global, CtrlC::StopsTheAnswer)?;
            room.greet();
            talk(&mut room, &folders)
        } else {
            answer_lines(&mut Room::open(self, catalog, &folders, global, CtrlC::EndsTheCommand)?)
        }
    }
}

/// Errors are told, and the talk goes on.
fn talk(room: &mut Room, folders: &Folders) -> anyhow::Result<()> {
    let mut editor = Editor::new(&folders.chat_history(), room.model_names())?;
    loop {
        let line = match editor.read()? {
            Read::Line(line) => line,
            Read::Cleared => continue,
            Read::Left => break,
        };
        match room.hear(&line) {
            Ok(Next::Listen) => {}
            Ok(Next::Leave) => break,
            Err(error) => {
                let failure = Failure::of(&error);
                if failure.exit == Exit::BrokenPipe || failure.exit == Exit::Terminated {
                    return Err(error);
                }
                failure.report();
            }
        }
    }
    Ok(())
}

fn answer_lines(room: &mut Room) -> anyhow::Result<()> {
    let mut stdin = io::stdin().lock();
    for number in 1.. {
        let mut line = Vec::new();
        if stdin.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let line = String::from_utf8(line).map_err(|_| {
            Failure::usage(format!("line {number} of the input is not UTF-8")).hint("`iconv` makes it so")
        })?;
        if let Next::Leave = room.hear(line.trim())? {
            break;
        }
    }
    Ok(())
}
