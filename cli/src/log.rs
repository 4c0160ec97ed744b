//! What the parts of Dunlin log, for those who ask.

use std::{env, io};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::failure::Failure;

const VARIABLE: &str = "DUNLIN_LOG";

/// Logs to stderr: what `DUNLIN_LOG` says, or else what `--verbose` asks for; without either, nothing.
///
/// # Errors
/// If `DUNLIN_LOG` is not understood.
pub(crate) fn start(verbose: u8) -> Result<(), Failure> {
    let filter = match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse::<Targets>().map_err(|error| {
            Failure::usage(format!("{VARIABLE}={text:?} is not understood: {error}"))
                .hint("a level (error, warn, info, debug, trace), or TARGET=LEVEL with commas")
        })?,
        _ => Targets::new().with_default(match verbose {
            0 => return Ok(()),
            1 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        }),
    };
    let colours = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colours).without_time();
    // The only way to fail is to have a log already.
    drop(tracing_subscriber::registry().with(filter).with(lines).try_init());
    Ok(())
}
