//! What it costs to read a meter while the engine decodes: pairs of answers, with the meter's thread and without.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use dunlin_engine_handle::Threads;
use dunlin_meters::{Activity, DEFAULT_PERIOD, Meter, MeterConfig, Sampler, discover};

use crate::{
    figure::Figure,
    mix::Request,
    stand::{On, Stand},
};

/// A meter may cost so much of the time of a token, in percent.
const LIMIT: f64 = 0.5;
/// Of each pair; long enough for some twenty readings on a small board.
const ANSWER: Request = Request { fresh: 16, cached: 0, output: 128, beside: 0 };
/// Readings that are timed by themselves.
const READINGS: u32 = 200;

/// A rail of a Jetson, for machines without a sensor: as `ina3221` of the kernel shows it.
const RAIL: [(&str, &str); 3] =
    [("in1_label", "VDD_IN\n"), ("in1_input", "5000\n"), ("curr1_input", "1200\n")];
const RAIL_FOLDER: &str = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2";

pub(crate) async fn measure(stand: &Stand, threads: u16, pairs: u32) -> anyhow::Result<Figure> {
    let sensor = Sensor::find()?;
    let reading = sensor.reading()?;
    let engine = stand.start();
    let model = engine.ready().await?;
    engine.set_threads(Threads { prefill: threads.into(), decode: threads.into() });
    let on = On { engine: &engine, model: &model };
    // The first answers of an engine do not count.
    on.one(ANSWER).await?;
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        let (mut with, mut without) = (0.0, 0.0);
        // Which of a pair goes first alternates.
        for metered in [pair % 2 == 0, pair % 2 != 0] {
            let sampler =
                metered.then(|| Sampler::start(sensor.meter()?, DEFAULT_PERIOD).context("no thread"));
            let sampler = sampler.transpose()?;
            let tpot = on.one(ANSWER).await?.tpot;
            drop(sampler);
            if metered { with = tpot } else { without = tpot }
        }
        ratios.push(with / without);
    }
    engine.drain().await;
    let (low, median, high) = interval(&mut ratios);
    let percent = |ratio: f64| 100.0 * (ratio - 1.0);
    let what = format!("{}, {threads} threads: a token beside a meter at 10 Hz", stand.name());
    Ok(Figure::at_most(what, LIMIT, percent(median), "%").note(format!(
        "95 % interval {:.2} to {:.2} %, {pairs} pairs; {}; a reading takes {:.0} us, which is {:.3} % of one core",
        percent(low),
        percent(high),
        sensor.name,
        1e6 * reading.as_secs_f64(),
        100.0 * reading.as_secs_f64() / DEFAULT_PERIOD.as_secs_f64(),
    )))
}

/// What is read.
struct Sensor {
    root: std::path::PathBuf,
    name: String,
    /// Where there is no sensor.
    _made_up: Option<tempfile::TempDir>,
}

impl Sensor {
    /// That of this machine, or else files of one.
    fn find() -> anyhow::Result<Self> {
        let here = Path::new("/");
        if let Some(meter) = first(here) {
            let name = format!("the meter of this machine, {}", meter.description().name);
            return Ok(Self { root: here.to_owned(), name, _made_up: None });
        }
        let folder = tempfile::tempdir()?;
        let rail = folder.path().join(RAIL_FOLDER);
        fs::create_dir_all(&rail)?;
        for (file, text) in RAIL {
            fs::write(rail.join(file), text)?;
        }
        let name =
            "no sensor here: files of an INA3221, without the transfer that a real one waits for".to_owned();
        Ok(Self { root: folder.path().to_owned(), name, _made_up: Some(folder) })
    }

    fn meter(&self) -> anyhow::Result<Box<dyn Meter>> {
        first(&self.root).context("the meter is gone")
    }

    fn reading(&self) -> anyhow::Result<Duration> {
        let mut meter = self.meter()?;
        let began = Instant::now();
        for _ in 0..READINGS {
            meter.read()?;
        }
        Ok(began.elapsed() / READINGS)
    }
}

fn first(root: &Path) -> Option<Box<dyn Meter>> {
    discover(root, &MeterConfig::default(), &Activity::default()).into_iter().next()
}

/// The median, between the ends of the interval that holds it with 95 % confidence: the sign test's, by ranks.
fn interval(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let slack = 0.98 * (count as f64).sqrt();
    let low = ((count as f64 / 2.0 - slack).floor().max(1.0) as usize) - 1;
    let at = |rank: usize| values.get(rank).copied().unwrap_or(f64::NAN);
    let middle = f64::midpoint(at((count.max(1) - 1) / 2), at(count / 2));
    (at(low), middle, at((count.max(1) - 1).saturating_sub(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_ranks() {
        // Of 60, the 22nd and the 39th: as tables of the sign test have it.
        let mut values: Vec<f64> = (1..=60).rev().map(f64::from).collect();
        assert_eq!(interval(&mut values), (22.0, 30.5, 39.0));
        assert_eq!(interval(&mut [2.0, 1.0, 3.0]), (1.0, 2.0, 3.0));
    }

    #[test]
    fn there_is_something_to_read_on_any_machine() {
        let sensor = Sensor::find().unwrap();
        assert!(sensor.reading().unwrap() < Duration::from_secs(1));
    }
}
