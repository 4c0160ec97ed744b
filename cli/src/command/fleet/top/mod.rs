//! `dunlin top`.

mod board;
mod draw;
mod feed;
mod invocations;
mod look;
mod once;
mod screen;

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use anstream::{AutoStream, ColorChoice};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use tokio::{sync::mpsc, time::interval};

use self::{
    feed::{News, Wish},
    screen::{Next, Screen},
};
use super::with_client;
use crate::{
    arguments::Global,
    duration,
    failure::{Exit, Failure},
    interrupt::Interrupt,
    runtime::{SHUTDOWN, runtime},
};

/// How often ages on the screen go on, and it is looked whether the scheduler is back.
const TICK: Duration = Duration::from_millis(250);
/// Keys that are pressed faster than they are read.
const MAX_KEYS: usize = 64;

const HELP: &str = "\
Keys: ↑ ↓ (or k j) select, Tab goes from boards to invocations, Enter opens a board, or why an invocation runs where it runs, \
Esc goes back, s sorts by the next column and S the other way round, ? shows all keys, q leaves. \
When the scheduler goes away, what was seen last stays, and says so until it is back.";

/// Watch the fleet in this terminal: boards, invocations, rates, watts
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Top {
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    interval: Duration,
    /// Look once, and print it
    #[arg(long)]
    once: bool,
    /// One JSON document
    #[arg(long, requires = "once")]
    json: bool,
}

fn every(text: &str) -> Result<Duration, String> {
    let every = duration::parse(text)?;
    let range = Duration::from_millis(100)..=Duration::from_mins(1);
    if range.contains(&every) { Ok(every) } else { Err("from 100ms to 1m".to_owned()) }
}

impl Top {
    /// # Errors
    /// If the scheduler does not answer at first, or there is no terminal.
    pub(crate) fn execute(&self, _global: Global) -> anyhow::Result<()> {
        if self.once {
            return once::execute(self.json);
        }
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::usage("dunlin top needs a terminal")
                .hint("--once prints what there is now")
                .into());
        }
        // Before the screen is taken: who is not logged in reads of it as everywhere.
        with_client(async |client| feed::look(client).await.map(drop))?;
        let has_colours = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        let runtime = runtime()?;
        let mut terminal = ratatui::try_init().map_err(|error| {
            Failure::new(Exit::Failed, format!("the terminal cannot be used: {error}"))
                .hint("--once needs none")
        })?;
        let done = runtime.block_on(self.watch(&mut terminal, Screen::new(has_colours)));
        ratatui::restore();
        runtime.shutdown_timeout(SHUTDOWN);
        done
    }

    async fn watch(&self, terminal: &mut DefaultTerminal, mut screen: Screen) -> anyhow::Result<()> {
        let interrupt = Interrupt::watch()?;
        let (wishes, wished) = mpsc::channel(feed::MAX_WISHES);
        let (tell, mut news) = mpsc::channel(feed::MAX_NEWS);
        tokio::spawn(feed::feed(self.interval, wished, tell));
        let mut keys = keyboard();
        let mut tick = interval(TICK);
        loop {
            screen.time = Instant::now();
            terminal.draw(|frame| draw::draw(frame, &mut screen))?;
            let next = tokio::select! {
                Some(event) = keys.recv() => match event {
                    Event::Key(key) if key.kind != KeyEventKind::Release => screen.press(key),
                    // Drawn anew whatever it is, in its new size.
                    _ => Next::Stay,
                },
                Some(news) = news.recv() => {
                    hear(&mut screen, news);
                    Next::Stay
                }
                _ = tick.tick() => Next::Stay,
                () = interrupt.token.cancelled() => return Err(interrupt.failure().into()),
            };
            match next {
                Next::Stay => {}
                Next::Leave => return Ok(()),
                // Too many wishes: the next one will do.
                Next::Explain(invocation) => drop(wishes.try_send(Wish::Explain(invocation))),
            }
        }
    }
}

fn hear(screen: &mut Screen, news: News) {
    match news {
        News::Look(look) => screen.see(*look),
        News::Explanation(invocation, text) => screen.explained(invocation, text),
        News::Away { why, until } => screen.lost(why, until),
    }
}

/// What is typed, by a thread of its own: reading it waits.
fn keyboard() -> mpsc::Receiver<Event> {
    let (to, keys) = mpsc::channel(MAX_KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if to.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}
