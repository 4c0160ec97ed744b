//! What the parts of Dunlin log, for those who ask.

use std::{env, io};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{arguments::LogFormat, failure::Failure};

const VARIABLE: &str = "DUNLIN_LOG";

/// Logs to stderr: what `DUNLIN_LOG` says, or else what `--verbose` asks for, or `--log-format`; without any, nothing.
///
/// # Errors
/// If `DUNLIN_LOG` is not understood.
pub(crate) fn start(verbose: u8, format: Option<LogFormat>) -> Result<(), Failure> {
    let filter = match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse::<Targets>().map_err(|error| {
            Failure::usage(format!("{VARIABLE}={text:?} is not understood: {error}"))
                .hint("a level (error, warn, info, debug, trace), or TARGET=LEVEL with commas")
        })?,
        _ => Targets::new().with_default(match verbose {
            0 if format.is_none() => return Ok(()),
            // Who wants a log in some form wants a log.
            0 | 1 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        }),
    };
    let colours = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // The only way to fail is to have a log already.
    drop(match format {
        Some(LogFormat::Json) => {
            registry.with(layer.json().flatten_event(true).with_span_list(false)).try_init()
        }
        _ => registry.with(layer.with_ansi(colours).without_time()).try_init(),
    });
    Ok(())
}
