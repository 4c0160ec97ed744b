//! Pictures of a table: time against joules with what is worth having, threads, prompts against answers. As SVG, as a page
//! of HTML, and in characters for a terminal.

mod axis;
mod page;
mod plain;
mod svg;

use std::collections::BTreeMap;

use dunlin_costs::{Origin, Row, Work};

pub use page::page;
pub use plain::plain;
pub use svg::svg;

use crate::{Economy, Range};

/// Series that can be told apart; further rows share the last one.
pub const MAX_SERIES: usize = 8;
/// Points of a picture.
const MAX_POINTS: usize = 400;

/// A picture, before it has a size.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Also an identifier: `front-tpot`.
    pub name: &'static str,
    pub title: String,
    /// What has to be known to read it.
    pub note: String,
    pub x: String,
    pub y: String,
    /// Whether it has whole numbers only.
    pub x_counts: bool,
    pub series: Vec<Series>,
    /// Points that no other one beats, from left to right.
    pub front: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    pub name: String,
    pub points: Vec<Point>,
    /// Whether its points are one after another.
    pub is_line: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub x: Range,
    pub y: Range,
    pub label: String,
    /// Nobody measured it.
    pub is_assumed: bool,
}

/// What a picture is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Milliseconds to the first token against joules of a prompt token.
    FrontTtft,
    /// Milliseconds of a token against its joules.
    FrontTpot,
    /// Milliseconds of a token by threads.
    Threads,
    /// Tokens a second of prompts against those of answers.
    Phases,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::FrontTtft, Self::FrontTpot, Self::Threads, Self::Phases];
}

/// One picture of rows, each as `work` comes to on it; `None` if no row has what it shows.
pub fn chart<'a>(kind: Kind, rows: impl IntoIterator<Item = &'a Row>, work: Work) -> Option<Chart> {
    let rated: Vec<(&Row, Economy)> =
        rows.into_iter().take(MAX_POINTS).map(|row| (row, Economy::of(row, work))).collect();
    let shape =
        format!("Prompts of {} tokens, answers of {}, alone.", work.prompt_tokens, work.output_tokens);
    let joules = "Joules at the board's input, idle draw included. Hollow: nobody measured it; bars: over what is assumed.";
    let (x, y) = labels(kind);
    let mut chart = Chart {
        name: name(kind),
        title: title(kind).to_owned(),
        note: match kind {
            Kind::FrontTtft | Kind::FrontTpot => format!("{shape} {joules}"),
            Kind::Threads | Kind::Phases => {
                format!("{shape} Hollow: nobody measured it; bars: over what is assumed.")
            }
        },
        x: x.to_owned(),
        y: y.to_owned(),
        x_counts: kind == Kind::Threads,
        series: series(kind, &rated),
        front: Vec::new(),
    };
    if chart.series.is_empty() {
        return None;
    }
    if matches!(kind, Kind::FrontTtft | Kind::FrontTpot) {
        chart.front = front(&chart.series);
    }
    Some(chart)
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::FrontTtft => "front-ttft",
        Kind::FrontTpot => "front-tpot",
        Kind::Threads => "threads",
        Kind::Phases => "phases",
    }
}

const fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::FrontTtft => "First token: time against joules",
        Kind::FrontTpot => "Further tokens: time against joules",
        Kind::Threads => "Threads that answer",
        Kind::Phases => "Prompts against answers",
    }
}

const fn labels(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::FrontTtft => ("J per prompt token", "TTFT, ms"),
        Kind::FrontTpot => ("J per output token", "TPOT, ms"),
        Kind::Threads => ("threads", "TPOT, ms"),
        Kind::Phases => ("prompt tokens/s", "output tokens/s"),
    }
}

fn series(kind: Kind, rated: &[(&Row, Economy)]) -> Vec<Series> {
    let mut series = BTreeMap::<String, Series>::new();
    for (row, economy) in rated {
        let Some((x, y)) = place(kind, row, economy) else { continue };
        let key = &row.key;
        let label = format!(
            "{} {} on {}, {} {}/{} ({})",
            row.name,
            key.quantisation,
            key.class,
            key.mode,
            key.prefill_threads,
            key.decode_threads,
            row.provenance.origin
        );
        let name = if kind == Kind::Threads {
            format!("{} on {}, {}", row.name, key.class, key.mode)
        } else {
            format!("{} on {}", row.name, key.class)
        };
        let is_assumed = row.provenance.origin >= Origin::Prior;
        let of = series.entry(name.clone()).or_insert_with(|| Series {
            name,
            points: Vec::new(),
            is_line: kind == Kind::Threads,
        });
        of.points.push(Point { x, y, label, is_assumed });
    }
    let mut series: Vec<Series> = series.into_values().collect();
    if kind == Kind::Threads {
        series.retain(|of| of.points.iter().any(|point| point.x != of.points[0].x));
    }
    for of in &mut series {
        of.points.sort_by(|a, b| a.x.nominal.total_cmp(&b.x.nominal));
    }
    joined(series)
}

/// What has no mark of its own goes together.
fn joined(mut series: Vec<Series>) -> Vec<Series> {
    if series.len() > MAX_SERIES {
        let rest = series.split_off(MAX_SERIES - 1);
        let name = format!("{} others", rest.len());
        let points = rest.into_iter().flat_map(|of| of.points).collect();
        series.push(Series { name, points, is_line: false });
    }
    series
}

fn place(kind: Kind, row: &Row, economy: &Economy) -> Option<(Range, Range)> {
    let ms = |range: Range| range.map(|seconds| seconds * 1e3);
    let point = |value: f64| Range { low: value, nominal: value, high: value };
    Some(match kind {
        Kind::FrontTtft => (economy.joules?.per_input_token, ms(economy.ttft)),
        Kind::FrontTpot => (economy.joules?.per_output_token, ms(economy.tpot)),
        Kind::Threads => (point(f64::from(row.key.decode_threads)), ms(economy.tpot)),
        Kind::Phases => {
            let tokens = f64::from(economy.work.prompt_tokens);
            (economy.ttft.map(|seconds| tokens / seconds), economy.tpot.map(|seconds| 1.0 / seconds))
        }
    })
}

/// Points that are better in one than all that are as good in the other.
fn front(series: &[Series]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = series
        .iter()
        .flat_map(|of| of.points.iter().map(|point| (point.x.nominal, point.y.nominal)))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut least = f64::INFINITY;
    points.retain(|(_, y)| {
        let better = *y < least;
        least = least.min(*y);
        better
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    const CHAT: Work = Work { prompt_tokens: 512, cached_tokens: 0, output_tokens: 128 };

    fn of(kind: Kind) -> Chart {
        let table = reference().unwrap();
        let rows: Vec<&Row> = table.rows().filter(|row| row.name == "Llama-3.2-1B").collect();
        chart(kind, rows, CHAT).unwrap()
    }

    #[test]
    fn the_front_trades_time_for_joules() {
        let chart = of(Kind::FrontTpot);
        assert_eq!(chart.series.len(), 3);
        assert!(chart.front.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 > pair[1].1));
        // 25W and MAXN of the Orin.
        assert_eq!(chart.front.len(), 2, "{:?}", chart.front);
    }

    #[test]
    fn threads_are_lines_and_pis_that_nobody_measured_are_hollow() {
        let chart = of(Kind::Threads);
        let names: Vec<&str> = chart.series.iter().map(|of| of.name.as_str()).collect();
        let expected =
            ["ondemand", "performance", "powersave"].map(|mode| format!("Llama-3.2-1B on pi5-8g, {mode}"));
        assert_eq!(names, expected);
        assert!(chart.series.iter().all(|of| of.is_line && of.points.iter().all(|point| point.is_assumed)));
    }

    #[test]
    fn pictures_are_whole_and_take_any_name() {
        for kind in Kind::ALL {
            let mut chart = of(kind);
            chart.series[0].name = "<b>&\"'".to_owned();
            let picture = svg(&chart);
            assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"));
            assert!(!picture.contains("NaN") && !picture.contains("<b>"), "{picture}");
            let points: usize = chart.series.iter().map(|of| of.points.len()).sum();
            assert_eq!(picture.matches("class=\"p ").count(), points);
            let text = plain(&chart, 70, 16);
            assert!(text.lines().all(|line| line.chars().count() <= 70), "{text}");
        }
        assert!(chart(Kind::Phases, [], CHAT).is_none());
    }
}
