//! A picture in characters.

use super::{
    Chart,
    axis::{Axis, label},
};

/// One for each series.
const MARKS: [char; 8] = ['o', 'x', '+', '*', '#', '@', '%', '&'];
/// Columns of the labels at the left.
const MARGIN: usize = 8;

/// At most `width` columns wide; `height` lines are the plot's. A character stands for a series, dots for the front.
pub fn plain(chart: &Chart, width: usize, height: usize) -> String {
    let (columns, lines) = (width.saturating_sub(MARGIN + 2).max(10), height.max(4));
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let x = Axis::of(points().map(|point| point.x.nominal));
    let y = Axis::of(points().map(|point| point.y.nominal));
    let column = |value: f64| (x.at(value) * (columns - 1) as f64).round() as usize;
    let line = |value: f64| lines - 1 - (y.at(value) * (lines - 1) as f64).round() as usize;
    let mut cells = vec![vec![' '; columns]; lines];
    for pair in chart.front.windows(2) {
        // As in the picture, a step: across, then down.
        let (from, to) = (column(pair[0].0), column(pair[1].0));
        (from..=to).for_each(|at| cells[line(pair[0].1)][at] = '.');
        (line(pair[0].1)..=line(pair[1].1)).for_each(|at| cells[at][to] = '.');
    }
    for (number, series) in chart.series.iter().enumerate() {
        for point in &series.points {
            cells[line(point.y.nominal)][column(point.x.nominal)] = MARKS[number % MARKS.len()];
        }
    }
    let mut left = vec![String::new(); lines];
    y.ticks().into_iter().for_each(|value| left[line(value)] = label(value));
    let mut text = vec![cut(&format!("{}: {} by {}", chart.title, chart.y, chart.x), width)];
    for (cells, label) in cells.into_iter().zip(left) {
        let cells: String = cells.into_iter().collect();
        text.push(format!("{label:>MARGIN$} |{}", cells.trim_end()));
    }
    text.push(format!("{:MARGIN$} +{}", "", "-".repeat(columns)));
    text.push(format!("{:MARGIN$}  {}", "", below(&x, columns, chart.x_counts)));
    for (number, series) in chart.series.iter().enumerate() {
        let assumed = if series.points.iter().all(|point| point.is_assumed) { ", assumed" } else { "" };
        text.push(cut(
            &format!("{:MARGIN$}  {} {}{assumed}", "", MARKS[number % MARKS.len()], series.name),
            width,
        ));
    }
    if chart.front.len() > 1 {
        text.push(cut(&format!("{:MARGIN$}  . worth having: nothing is better in both", ""), width));
    }
    text.join("\n")
}

fn below(x: &Axis, columns: usize, counts: bool) -> String {
    let mut line = vec![' '; columns];
    let mut free = 0;
    for value in x.ticks().into_iter().filter(|value| !counts || value.fract() == 0.0) {
        let text: Vec<char> = label(value).chars().collect();
        let at = (x.at(value) * (columns - 1) as f64).round() as usize;
        let start = at.saturating_sub(text.len() / 2).min(columns - text.len().min(columns));
        if start < free || start + text.len() > columns {
            continue;
        }
        line[start..start + text.len()].copy_from_slice(&text);
        free = start + text.len() + 1;
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}
