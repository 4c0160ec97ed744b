//! Which plots there are.

use std::time::Duration;

use super::{
    escaped,
    plot::{MAX_MARKS, Plot},
    scale::Scale,
    time,
};
use crate::{
    quantile::quantile,
    report::{Report, ms},
    sample::Sample,
};

/// Bars of a histogram.
const BARS: usize = 48;
/// Parts of the time, for rates.
const PARTS: usize = 60;
/// The slowest of all gaps would leave no room for the others.
const SHOWN_SHARE: f64 = 0.995;

pub(super) fn all(report: &Report, samples: &[Sample]) -> String {
    let good: Vec<&Sample> = samples.iter().filter(|sample| sample.is_good()).collect();
    let times =
        |of: fn(&Sample) -> Option<Duration>| sorted(good.iter().filter_map(|sample| of(sample).map(ms)));
    let slo = report.slo;
    let plots = [
        share_below("Time to first token", "TTFT, ms", &times(Sample::ttft), slo.and_then(|slo| slo.ttft_ms)),
        share_below(
            "Time per further token",
            "TPOT, ms",
            &times(Sample::tpot),
            slo.and_then(|slo| slo.tpot_ms),
        ),
        histogram(&sorted(good.iter().flat_map(|sample| sample.gaps().map(ms)))),
        share_below("Whole answers", "end to end, ms", &times(|sample| Some(sample.whole())), None),
        over_time(samples, slo.and_then(|slo| slo.ttft_ms)),
        under_way(samples),
        rate(&good, report.seconds),
    ];
    plots.into_iter().flatten().collect()
}

fn figure(title: &str, plot: &Plot, caption: &str) -> String {
    format!("<figure><h2>{title}</h2>{}<figcaption>{caption}</figcaption></figure>\n", plot.svg(title))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// At most so many, evenly; the last one is among them.
fn thinned<T: Copy>(values: &[T], most: usize) -> impl Iterator<Item = (usize, T)> {
    let by = values.len().div_ceil(most).max(1);
    let last = values.len().saturating_sub(1);
    values.iter().copied().enumerate().filter(move |(number, _)| number % by == 0 || *number == last)
}

/// How many are at least as fast.
fn share_below(title: &str, x_name: &'static str, values: &[f64], limit: Option<f64>) -> Option<String> {
    let (low, high) = (*values.first()?, *values.last()?);
    let high = high.max(limit.unwrap_or(0.0));
    let mut plot = Plot::new(Scale::over(low, high), x_name, Scale::up_to(100.0 / 1.05), "% of answers");
    let mut points = vec![(low, 0.0)];
    points.extend(
        thinned(values, MAX_MARKS)
            .map(|(number, value)| (value, (number + 1) as f64 * 100.0 / values.len() as f64)),
    );
    plot.steps(&points, "");
    let mut caption = format!(
        "p50 {}, p90 {}, p99 {}",
        time(quantile(values, 0.5)),
        time(quantile(values, 0.9)),
        time(quantile(values, 0.99))
    );
    if let Some(limit) = limit {
        plot.limit_x(limit, &format!("target {}", time(limit)));
        let kept =
            values.iter().filter(|value| **value <= limit).count() as f64 * 100.0 / values.len() as f64;
        caption += &format!("; {kept:.1} % within {}", time(limit));
    }
    Some(figure(title, &plot, &caption))
}

fn histogram(gaps: &[f64]) -> Option<String> {
    if gaps.is_empty() {
        return None;
    }
    let high = quantile(gaps, SHOWN_SHARE).max(f64::MIN_POSITIVE);
    let width = high / BARS as f64;
    let mut counts = [0_usize; BARS];
    let shown = gaps.iter().filter(|gap| **gap <= high);
    shown.clone().for_each(|gap| counts[((gap / width) as usize).min(BARS - 1)] += 1);
    let share = |count: usize| count as f64 * 100.0 / gaps.len() as f64;
    let most = counts.iter().max().map_or(0.0, |most| share(*most));
    let mut plot = Plot::new(Scale::up_to(high), "ms between two pieces", Scale::up_to(most), "% of gaps");
    for (number, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (from, to) = (number as f64 * width, (number + 1) as f64 * width);
        plot.bar(from, to, share(*count), &format!("{from:.1} to {to:.1} ms: {count}"));
    }
    let beyond = gaps.len() - shown.count();
    let last = gaps.last().copied().unwrap_or_default();
    Some(figure(
        "Time between pieces",
        &plot,
        &format!("{} gaps; {beyond} more are longer, up to {}", gaps.len(), time(last)),
    ))
}

fn over_time(samples: &[Sample], limit: Option<f64>) -> Option<String> {
    let good: Vec<(f64, f64)> = samples
        .iter()
        .filter(|sample| sample.is_good())
        .filter_map(|sample| Some((sample.intended.as_secs_f64(), ms(sample.ttft()?))))
        .collect();
    let failed: Vec<&Sample> = samples.iter().filter(|sample| !sample.is_good()).collect();
    let last = samples.iter().map(|sample| sample.intended.as_secs_f64()).fold(0.0, f64::max);
    let high = good.iter().map(|(_, ttft)| *ttft).fold(limit.unwrap_or(0.0), f64::max);
    if samples.is_empty() {
        return None;
    }
    let mut plot = Plot::new(Scale::up_to(last), "s since the load began", Scale::up_to(high), "TTFT, ms");
    if let Some(limit) = limit {
        plot.limit_y(limit, &format!("target {}", time(limit)));
    }
    for (_, (at, ttft)) in thinned(&good, MAX_MARKS) {
        plot.dot(at, ttft, &format!("at {at:.2} s: {}", time(ttft)));
    }
    for (_, sample) in thinned(&failed, MAX_MARKS) {
        let fault = sample.fault.as_ref().map(|fault| escaped(&fault.to_string())).unwrap_or_default();
        plot.cross(sample.intended.as_secs_f64(), &fault);
    }
    let failed = if failed.is_empty() { String::new() } else { format!("; {} crosses failed", failed.len()) };
    Some(figure("First tokens over time", &plot, &format!("a dot for each answer{failed}")))
}

fn under_way(samples: &[Sample]) -> Option<String> {
    let mut changes: Vec<(Duration, i64)> =
        samples.iter().flat_map(|sample| [(sample.sent, 1), (sample.end, -1)]).collect();
    changes.sort_unstable();
    let mut now = 0_i64;
    let points: Vec<(f64, f64)> = changes
        .into_iter()
        .map(|(at, change)| {
            now += change;
            (at.as_secs_f64(), now as f64)
        })
        .collect();
    let most = points.iter().map(|(_, count)| *count).fold(0.0, f64::max);
    let last = points.last()?.0;
    let mut plot =
        Plot::new(Scale::up_to(last), "s since the load began", Scale::up_to(most), "requests under way");
    let shown: Vec<(f64, f64)> = thinned(&points, MAX_MARKS).map(|(_, point)| point).collect();
    plot.steps(&shown, "");
    Some(figure("Under way", &plot, &format!("at most {most:.0} at once")))
}

/// Tokens a second, each piece at its time.
fn rate(good: &[&Sample], seconds: f64) -> Option<String> {
    if good.is_empty() || seconds <= 0.0 {
        return None;
    }
    let width = seconds / PARTS as f64;
    let mut tokens = [0.0_f64; PARTS];
    for sample in good {
        let each = sample.output_tokens() as f64 / sample.pieces.len().max(1) as f64;
        for piece in &sample.pieces {
            tokens[((piece.as_secs_f64() / width) as usize).min(PARTS - 1)] += each;
        }
    }
    let rates = tokens.map(|tokens| tokens / width);
    let most = rates.iter().copied().fold(0.0, f64::max);
    let mut plot =
        Plot::new(Scale::up_to(seconds), "s since the load began", Scale::up_to(most), "output tokens/s");
    for (number, rate) in rates.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
        let from = number as f64 * width;
        plot.bar(from, from + width, *rate, &format!("at {from:.1} s: {rate:.1} tokens/s"));
    }
    let mean = rates.iter().sum::<f64>() / PARTS as f64;
    Some(figure("Output", &plot, &format!("{mean:.1} tokens/s on average")))
}
