//! `dunlin meter`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use dunlin_costs::Figure;
use dunlin_meters::{
    Activity, DEFAULT_PERIOD, Description, Finding, MeterConfig, Sampler, State, Window, survey,
};
use serde_json::{Value, json};

use crate::{
    arguments::Global,
    duration,
    failure::{Exit, Failure},
    folders::Folders,
    interrupt::Interrupt,
    meters::{FORMAT, MetersArgument, scope},
    runtime::{SHUTDOWN, runtime},
    terminal::{
        self, style,
        table::{Align, Cell, Table},
    },
};

const HELP: &str = "\
Examples:
  dunlin meter
  dunlin meter --watch --every 500ms
  dunlin meter --json | jq '.meters[] | select(.works) | .watts'

Each meter is read ten times a second for the time of --every; watts are the mean of that time, at the board's input where the \
meter sees it or is corrected to it. The first one is what `dunlin agent` and `dunlin profile` go by. What is told as assumed is an \
assumption of Dunlin, not of the sensor.";

/// Say what this machine draws, by each of its meters
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{HELP}\n\n{FORMAT}"))]
pub(crate) struct Meter {
    /// Go on until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// For how long watts are averaged
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    every: Duration,
    #[command(flatten)]
    meters: MetersArgument,
    /// Read the files of a machine that were recorded below this folder, instead of this machine's
    #[arg(long, value_name = "FOLDER", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// One JSON document; with --watch one a line
    #[arg(long)]
    json: bool,
}

fn every(text: &str) -> Result<Duration, String> {
    let every = duration::parse(text)?;
    let range = DEFAULT_PERIOD..=Duration::from_mins(10);
    if range.contains(&every) { Ok(every) } else { Err("from 100ms to 10m".to_owned()) }
}

/// A meter that works, and one that does not.
#[derive(Debug)]
enum Reader {
    Works(Sampler),
    Fails(Box<Description>, String),
}

impl Meter {
    /// # Errors
    /// If no meter works, or what is declared of them is wrong.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        if !self.root.is_dir() {
            let message = format!("--root {} is no folder", self.root.display());
            return Err(Failure::usage(message).into());
        }
        let config = self.meters.read(&Folders::find()?)?;
        let readers = self.readers(&config)?;
        let runtime = runtime()?;
        let done = runtime.block_on(self.show(&readers, global));
        runtime.shutdown_timeout(SHUTDOWN);
        done?;
        if readers.iter().any(|reader| matches!(reader, Reader::Works(_))) {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, "no meter of this machine works")
            .hint("`dunlin doctor` says what could be done; [declared] of meters.toml names watts to go by (`dunlin meter --help`)")
            .into())
    }

    fn readers(&self, config: &MeterConfig) -> anyhow::Result<Vec<Reader>> {
        let reader = |found: Finding| match found.state {
            State::Works(_) => Ok(Reader::Works(Sampler::start(found.meter, DEFAULT_PERIOD)?)),
            State::Fails(error) => {
                Ok(Reader::Fails(Box::new(found.meter.description().clone()), error.to_string()))
            }
        };
        survey(&self.root, config, &Activity::default()).into_iter().map(reader).collect()
    }

    async fn show(&self, readers: &[Reader], global: Global) -> anyhow::Result<()> {
        let interrupt = Interrupt::watch()?;
        let began = Instant::now();
        let mut from = began;
        loop {
            let stopped = tokio::select! {
                () = tokio::time::sleep(self.every) => false,
                () = interrupt.token.cancelled() => true,
            };
            let to = Instant::now();
            if stopped && !self.watch {
                return Err(interrupt.failure().into());
            }
            if stopped {
                return self.sum(readers, &readings(readers, began, to).await, global);
            }
            let readings = readings(readers, from, to).await;
            match (self.watch, self.json) {
                (true, true) => terminal::print(line(readers, &readings, to - began))?,
                (true, false) => terminal::print(watched(readers, &readings))?,
                (false, true) => return terminal::print_json(&document(readers, &readings)),
                (false, false) => return table(readers, &readings, global),
            }
            from = to;
        }
    }

    /// What was drawn in all.
    fn sum(&self, readers: &[Reader], readings: &[Read], global: Global) -> anyhow::Result<()> {
        if self.json || global.quiet {
            return Ok(());
        }
        for (reader, reading) in readers.iter().zip(readings) {
            if let Ok(window) = reading {
                let time = duration::show(window.duration());
                terminal::tell(format_args!(
                    "{}: {:.1} J in {time}",
                    reader.description().name,
                    window.joules
                ));
            }
        }
        Ok(())
    }
}

type Read = Result<Window, String>;

impl Reader {
    fn description(&self) -> Description {
        match self {
            Self::Works(sampler) => sampler.description(),
            Self::Fails(description, _) => (**description).clone(),
        }
    }
}

async fn readings(readers: &[Reader], from: Instant, to: Instant) -> Vec<Read> {
    let mut readings = Vec::new();
    for reader in readers {
        readings.push(reading(reader, from, to).await);
    }
    readings
}

/// Between two moments, as far as there are samples.
async fn reading(reader: &Reader, from: Instant, to: Instant) -> Read {
    match reader {
        Reader::Fails(_, why) => Err(why.clone()),
        Reader::Works(sampler) => {
            let sampler = sampler.clone();
            let window = move || {
                // The first sample comes a little after the start.
                let from = sampler.span().map_or(from, |(oldest, _)| from.max(oldest));
                sampler.window(from, to).map_err(|error| error.to_string())
            };
            tokio::task::spawn_blocking(window).await.unwrap_or_else(|error| Err(error.to_string()))
        }
    }
}

fn table(readers: &[Reader], readings: &[Read], global: Global) -> anyhow::Result<()> {
    let mut table = Table::new([
        ("METER", Align::Left),
        ("DRAWS", Align::Right),
        ("OF", Align::Left),
        ("ERROR", Align::Right),
        ("BY", Align::Left),
        ("SEES", Align::Left),
    ]);
    let mut failures = Vec::new();
    for (reader, reading) in readers.iter().zip(readings) {
        match reading {
            Ok(window) => table.row(row(&reader.description(), window)),
            Err(why) => {
                let name = reader.description().name;
                failures.push(if why.starts_with(&name) { why.clone() } else { format!("{name}: {why}") });
            }
        }
    }
    if readings.iter().any(Result::is_ok) {
        terminal::print(table)?;
    }
    if !global.quiet {
        let descriptions = readers.iter().map(Reader::description);
        let works = descriptions.zip(readings).filter(|(_, reading)| reading.is_ok());
        for (description, _) in works {
            description.correction.iter().for_each(|by| {
                let is_assumed = by.factor.is_assumed() || by.offset_w.is_assumed();
                let assumed = if is_assumed && !by.name.contains("assumed") { " (assumed)" } else { "" };
                terminal::tell(format_args!("note: {} is corrected: {}{assumed}", description.name, by.name));
            });
        }
        failures.iter().for_each(|failure| terminal::tell(format_args!("note: {failure}")));
    }
    Ok(())
}

fn row(description: &Description, window: &Window) -> [Cell; 6] {
    [
        Cell::styled(description.name.clone(), style::NAME),
        format!("{:.2} W", window.mean_watts).into(),
        scope(window.scope).into(),
        error(&description.error, window).into(),
        description.source.name().into(),
        description.sees.clone().into(),
    ]
}

fn error(of: &Figure, window: &Window) -> String {
    let assumed = if of.is_assumed() { " (assumed)" } else { "" };
    format!("{:.0} %{assumed}", window.error * 100.0)
}

fn watched(readers: &[Reader], readings: &[Read]) -> String {
    let one = |(reader, reading): (&Reader, &Read)| {
        let name = reader.description().name;
        let Reader::Works(_) = reader else { return None };
        Some(match reading {
            Ok(window) => format!("{name} {:.2} W", window.mean_watts),
            Err(why) => format!("{name} - ({why})"),
        })
    };
    readers.iter().zip(readings).filter_map(one).collect::<Vec<_>>().join("   ")
}

fn line(readers: &[Reader], readings: &[Read], since: Duration) -> String {
    let mut document = document(readers, readings);
    document["seconds"] = json!((since.as_secs_f64() * 1e3).round() / 1e3);
    document.to_string()
}

fn document(readers: &[Reader], readings: &[Read]) -> Value {
    let meters = readers.iter().zip(readings).map(|(reader, reading)| {
        let of = reader.description();
        let window = reading.as_ref().ok();
        json!({
            "name": of.name,
            "works": window.is_some(),
            "fault": reading.as_ref().err(),
            "watts": window.map(|window| window.mean_watts),
            "joules": window.map(|window| window.joules),
            "window_s": window.map(|window| window.duration().as_secs_f64()),
            "samples": window.map(|window| window.samples),
            "scope": of.corrected_scope(),
            "comparable": of.is_comparable(),
            "error": window.map(|window| window.error),
            "source": of.source,
            "modelled": of.source.is_modelled(),
            "sensor_scope": of.scope,
            "correction": of.correction,
            "sees": of.sees,
            "place": of.place,
        })
    });
    json!({ "meters": meters.collect::<Vec<_>>() })
}
