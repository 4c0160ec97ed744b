//! The last samples of a meter, and the joules between two moments. No clock: the samples bring their times.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use dunlin_costs::{Bound, Correction, Scope};
use thiserror::Error;

use crate::{Description, Energy, Reading, Source, Value};

/// Samples that are kept: 27 minutes at 10 Hz, 6.8 at 40 Hz; 400 kB.
pub const MAX_SAMPLES: usize = 16_384;

/// Watts are not integrated over a longer pause than this between two samples.
const LONGEST_GAP: Duration = Duration::from_secs(1);

/// Joules between two moments, at the board's input where the meter sees that or is corrected to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    pub from: Instant,
    pub to: Instant,
    pub joules: f64,
    /// As the sensor shows them, nothing corrected.
    pub read_joules: f64,
    pub mean_watts: f64,
    /// Within the window. With none, what is told is the interval around it.
    pub samples: usize,
    pub scope: Scope,
    pub source: Source,
    /// What was applied.
    pub correction: Option<Correction>,
    /// Part of the joules by which they may be wrong: the meter's own error, and what may have happened between samples at
    /// the ends of the window.
    pub error: f64,
    /// Of it, the part of the ends.
    pub edge: f64,
}

impl Window {
    pub fn duration(&self) -> Duration {
        self.to - self.from
    }

    /// What may be added and compared.
    pub fn energy(&self) -> Energy {
        Energy { joules: self.joules, scope: self.scope }
    }
}

/// Why there are no joules of a window.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WindowError {
    #[error("the window has no length")]
    Empty,
    #[error("the meter has shown nothing yet{}", told(fault))]
    NoSamples { fault: Option<String> },
    #[error("the window begins {} ms before the oldest sample that is kept", missing.as_millis())]
    TooOld { missing: Duration },
    #[error("the window ends {} ms after the last sample{}", missing.as_millis(), told(fault))]
    NotYet { missing: Duration, fault: Option<String> },
    #[error("the meter showed nothing for {} ms of the window{}", pause.as_millis(), told(fault))]
    Gap { pause: Duration, fault: Option<String> },
}

fn told(fault: &Option<String>) -> String {
    fault.as_ref().map_or_else(String::new, |fault| format!(": {fault}"))
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    /// As the sensor shows them, since the first sample.
    joules: f64,
    /// `None`: the meter counts joules.
    watts: Option<f64>,
    /// What is before it does not count: nothing was known for too long, or the counter started anew.
    broken: bool,
}

/// The last samples of one meter.
#[derive(Debug)]
pub struct Trace {
    description: Description,
    samples: VecDeque<Sample>,
    /// Added to what a counter shows, so that it goes on where it started anew.
    offset: f64,
    /// Moments after the last sample at which the board began to do something else.
    changes: VecDeque<Instant>,
}

/// Changes between two samples; of more, the first are not known.
const MAX_CHANGES: usize = 16;

impl Trace {
    pub fn new(description: Description) -> Self {
        Self { description, samples: VecDeque::new(), offset: 0.0, changes: VecDeque::new() }
    }

    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Takes one more. One that is no later than the last is left out.
    pub fn push(&mut self, reading: Reading) {
        let last = self.samples.back().copied();
        if last.is_some_and(|last| reading.at <= last.at) {
            return;
        }
        let last = self.change_before(last, reading).or(last);
        let sample = match reading.value {
            Value::Watts(watts) => integrated(last, reading.at, watts),
            Value::Joules(joules) => self.counted(last, reading.at, joules),
        };
        self.keep(sample);
    }

    fn keep(&mut self, sample: Sample) {
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The board begins to do something else at this moment, or stops: from here on its draw is taken to be another one, and
    /// until then what it was. Without that, what lies between two samples would be spread evenly.
    pub fn note_change(&mut self, at: Instant) {
        let Some(last) = self.samples.back_mut() else { return };
        if at == last.at {
            // What it showed then says nothing of what comes.
            last.watts = None;
        } else if at > last.at {
            if self.changes.len() == MAX_CHANGES {
                self.changes.pop_front();
            }
            self.changes.push_back(at);
        }
    }

    /// Keeps what the meter would have shown at the first change since the last sample, and gives it. What is drawn between
    /// several changes is not known.
    fn change_before(&mut self, last: Option<Sample>, reading: Reading) -> Option<Sample> {
        let at = self.changes.front().copied()?;
        self.changes.clear();
        let last = last.filter(|last| at > last.at && at < reading.at)?;
        if reading.at - last.at > LONGEST_GAP {
            return None;
        }
        let watts = match last.watts {
            Some(watts) => watts,
            None => {
                let before = self.samples.iter().rev().nth(1).filter(|_| !last.broken)?;
                (last.joules - before.joules) / (last.at - before.at).as_secs_f64()
            }
        };
        let most = match reading.value {
            Value::Watts(_) => f64::INFINITY,
            // It never runs backwards.
            Value::Joules(joules) => (joules + self.offset - last.joules).max(0.0),
        };
        let joules = last.joules + (watts * (at - last.at).as_secs_f64()).min(most);
        let sample = Sample { at, joules, watts: None, broken: false };
        self.keep(sample);
        Some(sample)
    }

    fn counted(&mut self, last: Option<Sample>, at: Instant, joules: f64) -> Sample {
        let last_joules = last.map_or(joules, |last| last.joules);
        let restarted = joules + self.offset < last_joules;
        if restarted {
            self.offset = last_joules - joules;
        }
        Sample { at, joules: joules + self.offset, watts: None, broken: restarted }
    }

    /// The moments of the oldest and the last sample.
    pub fn span(&self) -> Option<(Instant, Instant)> {
        Some((self.samples.front()?.at, self.samples.back()?.at))
    }

    /// Watts of the last sample, or between the last two of a counter; corrected as windows are.
    pub fn watts(&self) -> Option<f64> {
        let last = self.samples.back()?;
        let watts = match last.watts {
            Some(watts) => watts,
            None => {
                let before = self.samples.iter().rev().nth(1)?;
                (last.joules - before.joules) / (last.at - before.at).as_secs_f64()
            }
        };
        Some(corrected(self.description.correction.as_ref(), watts, 1.0))
    }

    /// # Errors
    /// [`WindowError`]; its `fault` is left to who knows why readings failed.
    pub fn window(&self, from: Instant, to: Instant) -> Result<Window, WindowError> {
        if to <= from {
            return Err(WindowError::Empty);
        }
        let (oldest, newest) = self.span().ok_or(WindowError::NoSamples { fault: None })?;
        if from < oldest {
            return Err(WindowError::TooOld { missing: oldest - from });
        }
        if to > newest {
            return Err(WindowError::NotYet { missing: to - newest, fault: None });
        }
        let first = self.samples.partition_point(|sample| sample.at <= from);
        let last = self.samples.partition_point(|sample| sample.at < to);
        for after in first..=last.min(self.samples.len() - 1) {
            let sample = &self.samples[after];
            if sample.broken && after > 0 {
                let pause = sample.at - self.samples[after - 1].at;
                return Err(WindowError::Gap { pause, fault: None });
            }
        }
        let read = self.joules_at(to) - self.joules_at(from);
        Ok(self.corrected(from, to, read, last.saturating_sub(first)))
    }

    fn corrected(&self, from: Instant, to: Instant, read: f64, samples: usize) -> Window {
        let of = &self.description;
        let seconds = (to - from).as_secs_f64();
        let joules = corrected(of.correction.as_ref(), read, seconds);
        // At each end, half of what passes between two values of the sensor may lie on the other side.
        let interval = of.refresh.as_secs_f64().max(seconds / (samples + 1) as f64);
        let edge = EDGE_SHARE * (interval / seconds).min(1.0);
        Window {
            from,
            to,
            joules,
            read_joules: read,
            mean_watts: joules / seconds,
            samples,
            scope: of.corrected_scope(),
            source: of.source,
            correction: of.correction.clone(),
            error: of.error.nominal() + edge,
            edge,
        }
    }

    /// As the sensor shows them; within what is kept.
    fn joules_at(&self, at: Instant) -> f64 {
        let after = self.samples.partition_point(|sample| sample.at < at).min(self.samples.len() - 1);
        let b = &self.samples[after];
        if b.at == at || after == 0 {
            return b.joules;
        }
        let a = &self.samples[after - 1];
        let (whole, part) = ((b.at - a.at).as_secs_f64(), (at - a.at).as_secs_f64());
        match (a.watts, b.watts) {
            // Power changes evenly between two samples: the trapezoid, cut.
            (Some(first), Some(second)) => {
                a.joules + first * part + (second - first) * part * part / (2.0 * whole)
            }
            _ => a.joules + (b.joules - a.joules) * part / whole,
        }
    }
}

/// Power at an end of a window differs from its mean by about so much of it, where a board goes from idle to work.
pub const EDGE_SHARE: f64 = 0.25;

fn integrated(last: Option<Sample>, at: Instant, watts: f64) -> Sample {
    let Some(last) = last else { return Sample { at, joules: 0.0, watts: Some(watts), broken: false } };
    let pause = at - last.at;
    let before = last.watts.unwrap_or(watts);
    let joules = last.joules + (before + watts) / 2.0 * pause.as_secs_f64();
    Sample { at, joules, watts: Some(watts), broken: pause > LONGEST_GAP }
}

fn corrected(correction: Option<&Correction>, joules: f64, seconds: f64) -> f64 {
    let Some(by) = correction else { return joules };
    by.factor.at(Bound::Nominal) * joules + by.offset_w.at(Bound::Nominal) * seconds
}

#[cfg(test)]
mod tests {
    use dunlin_costs::Figure;

    use super::*;

    fn trace(correction: Option<Correction>) -> Trace {
        Trace::new(Description {
            name: "test".to_owned(),
            source: Source::RailSensor,
            scope: Scope::PmicRails,
            sees: String::new(),
            correction,
            error: Figure::known(0.01),
            refresh: Duration::from_millis(100),
            place: "/dev/test".into(),
        })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn filled(values: &[(u64, Value)], correction: Option<Correction>) -> (Trace, Instant) {
        let (mut trace, start) = (trace(correction), Instant::now());
        for &(at, value) in values {
            trace.push(Reading { at: start + ms(at), value });
        }
        (trace, start)
    }

    #[test]
    fn watts_are_integrated_as_trapezoids_and_cut_at_the_ends() {
        let watts = |at: u64| (at, Value::Watts(at as f64 / 100.0));
        // P = 10 t: the integral is 5 t^2.
        let (trace, start) = filled(&[watts(0), watts(100), watts(250), watts(600), watts(1000)], None);
        let check = |from: u64, to: u64, samples: usize| {
            let window = trace.window(start + ms(from), start + ms(to)).unwrap();
            let (a, b) = (from as f64 / 1e3, to as f64 / 1e3);
            assert!((window.joules - 5.0 * (b * b - a * a)).abs() < 1e-9, "{from} {to} {}", window.joules);
            assert_eq!(window.samples, samples);
            assert!((window.mean_watts - 5.0 * (a + b)).abs() < 1e-9);
        };
        check(0, 1000, 3);
        check(30, 70, 0);
        check(100, 250, 0);
        check(50, 999, 3);
    }

    #[test]
    fn counters_are_interpolated_and_go_on_where_they_start_anew() {
        let joules = |at, joules| (at, Value::Joules(joules));
        let (trace, start) = filled(&[joules(0, 1000.0), joules(100, 1001.0), joules(300, 1003.0)], None);
        let window = trace.window(start + ms(50), start + ms(250)).unwrap();
        assert!((window.joules - 2.0).abs() < 1e-9 && (window.mean_watts - 10.0).abs() < 1e-9);
        assert!((trace.watts().unwrap() - 10.0).abs() < 1e-9);
        let (trace, start) =
            filled(&[joules(0, 10.0), joules(100, 11.0), joules(200, 0.5), joules(300, 1.5)], None);
        let over = trace.window(start + ms(50), start + ms(250));
        assert_eq!(over, Err(WindowError::Gap { pause: ms(100), fault: None }));
        let after = trace.window(start + ms(200), start + ms(300)).unwrap();
        assert!((after.joules - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_change_between_two_samples_is_a_step() {
        // 2 W, and 12 W from 130 ms on: a counter, and a sensor that shows what is drawn at its moments.
        let check = |values: [Value; 3]| {
            let (mut trace, start) = filled(&[(0, values[0]), (100, values[1])], None);
            trace.note_change(start + ms(50));
            trace.note_change(start + ms(130));
            trace.push(Reading { at: start + ms(200), value: values[2] });
            let joules = |from, to| trace.window(start + ms(from), start + ms(to)).unwrap().joules;
            assert!((joules(100, 130) - 0.06).abs() < 1e-9 && (joules(130, 200) - 0.84).abs() < 1e-9);
            assert!((joules(165, 200) - 0.42).abs() < 1e-9 && (joules(0, 200) - 1.1).abs() < 1e-9);
        };
        check([0.0, 0.2, 1.1].map(Value::Joules));
        check([2.0, 2.0, 12.0].map(Value::Watts));
        // A counter never runs backwards.
        let (mut trace, start) = filled(&[(0, Value::Joules(0.0)), (100, Value::Joules(1.0))], None);
        trace.note_change(start + ms(190));
        trace.push(Reading { at: start + ms(200), value: Value::Joules(1.1) });
        let joules = trace.window(start + ms(190), start + ms(200)).unwrap().joules;
        assert!(joules.abs() < 1e-9, "{joules}");
    }

    #[test]
    fn the_board_s_input_is_what_is_told_where_a_correction_is_named() {
        let values = [(0, Value::Watts(2.0)), (1000, Value::Watts(2.0))];
        let (trace, start) = filled(&values, Some(Correction::pi5_pmic()));
        let window = trace.window(start, start + ms(1000)).unwrap();
        assert!((window.joules - (1.1451 * 2.0 + 0.5879)).abs() < 1e-9);
        assert_eq!(window.scope, Scope::BoardInput);
        assert_eq!(window.correction.as_ref().unwrap().name, "1.1451 x PMIC + 0.5879 W");
        let (plain, start) = filled(&values, None);
        let plain = plain.window(start, start + ms(1000)).unwrap();
        assert_eq!((plain.scope, plain.joules), (Scope::PmicRails, 2.0));
        assert!(plain.energy().compare(window.energy()).is_err());
    }

    #[test]
    fn what_is_not_covered_is_refused() {
        let (empty, start) = filled(&[], None);
        assert_eq!(empty.window(start, start + ms(1)), Err(WindowError::NoSamples { fault: None }));
        let one = Value::Watts(1.0);
        let (trace, start) = filled(&[(100, one), (200, one), (1500, one), (1600, one)], None);
        let check = |from: u64, to: u64, error: WindowError| {
            assert_eq!(trace.window(start + ms(from), start + ms(to)), Err(error));
        };
        check(150, 150, WindowError::Empty);
        check(0, 150, WindowError::TooOld { missing: ms(100) });
        check(1550, 1700, WindowError::NotYet { missing: ms(100), fault: None });
        check(150, 1550, WindowError::Gap { pause: ms(1300), fault: None });
        check(150, 1000, WindowError::Gap { pause: ms(1300), fault: None });
        assert!(trace.window(start + ms(1500), start + ms(1600)).is_ok());
    }

    #[test]
    fn only_so_many_samples_are_kept() {
        let (mut trace, start) = filled(&[], None);
        for at in 0..MAX_SAMPLES as u64 + 10 {
            trace.push(Reading { at: start + ms(at), value: Value::Watts(3.0) });
        }
        assert_eq!(trace.span().unwrap().0, start + ms(10));
        let window = trace.window(start + ms(10), start + ms(1010)).unwrap();
        assert!((window.joules - 3.0).abs() < 1e-6 && window.error < 0.05, "{window:?}");
    }
}
