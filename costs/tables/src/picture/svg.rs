//! A picture as SVG: no scripts, no fonts of its own, light and dark as the reader has it.

use super::{
    Chart, Point,
    axis::{Axis, label},
};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 80.0;
/// Characters of a line of the note.
const NOTE: usize = 112;
const PLOT_HEIGHT: f64 = 340.0;
const LEGEND_LINE: f64 = 20.0;
const LEGEND_COLUMNS: usize = 2;

/// Told apart also without colours, by their marks (after Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f"];

const STYLE: &str = "\
svg{background:#fff;font:13px system-ui,sans-serif}\
.ink{fill:#1b1f24}.soft{fill:#57606a}.grid{stroke:#d8dee4}.edge{stroke:#8c959f}.front{stroke:#1b1f24}.hole{fill:#fff}\
@media(prefers-color-scheme:dark){svg{background:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#2a313c}\
.edge{stroke:#656c76}.front{stroke:#e6edf3}.hole{fill:#0d1117}}";

struct Plane {
    x: Axis,
    y: Axis,
}

impl Plane {
    fn of(chart: &Chart) -> Self {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        Self {
            x: Axis::of(points().flat_map(|point| [point.x.low, point.x.nominal, point.x.high])),
            y: Axis::of(points().flat_map(|point| [point.y.low, point.y.nominal, point.y.high])),
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.at(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (1.0 - self.y.at(value)) * PLOT_HEIGHT
    }
}

/// The whole picture.
pub fn svg(chart: &Chart) -> String {
    let plane = Plane::of(chart);
    let lines = chart.series.len().div_ceil(LEGEND_COLUMNS) + usize::from(!chart.front.is_empty());
    let height = TOP + PLOT_HEIGHT + 62.0 + LEGEND_LINE * lines as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n\
         <style>{STYLE}</style>\n\
         <text x=\"16\" y=\"26\" class=\"ink\" font-size=\"17\" font-weight=\"600\">{}</text>\n",
        escaped(&chart.title),
        escaped(&chart.title),
    );
    for (number, line) in wrapped(&chart.note).iter().enumerate() {
        let y = 45 + 15 * number;
        put(
            &mut text,
            format_args!(
                "<text x=\"16\" y=\"{y}\" class=\"soft\" font-size=\"11.5\">{}</text>",
                escaped(line)
            ),
        );
    }
    text += &grid(&plane, chart);
    text += &front(&plane, chart);
    for (number, series) in chart.series.iter().enumerate() {
        if series.is_line {
            text += &line(&plane, series.points.iter().map(|of| (of.x.nominal, of.y.nominal)), number);
        }
        series.points.iter().for_each(|point| text += &bars(&plane, point, number));
        series.points.iter().for_each(|point| text += &mark_of(&plane, point, number));
    }
    text += &legend(chart);
    text + "</svg>\n"
}

fn grid(plane: &Plane, chart: &Chart) -> String {
    let (right, bottom) = (WIDTH - RIGHT, TOP + PLOT_HEIGHT);
    let mut text = String::new();
    for value in plane.x.ticks().into_iter().filter(|value| !chart.x_counts || value.fract() == 0.0) {
        let x = plane.x(value);
        put(&mut text, format_args!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>"));
        put(
            &mut text,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{}\" class=\"soft\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                label(value)
            ),
        );
    }
    for value in plane.y.ticks() {
        let y = plane.y(value);
        put(&mut text, format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
        put(
            &mut text,
            format_args!(
                "<text x=\"{}\" y=\"{:.1}\" class=\"soft\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                label(value)
            ),
        );
    }
    put(&mut text, format_args!("<path class=\"edge\" fill=\"none\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"));
    put(
        &mut text,
        format_args!(
            "<text x=\"{right}\" y=\"{}\" class=\"ink\" text-anchor=\"end\">{}</text>",
            bottom + 38.0,
            escaped(&chart.x)
        ),
    );
    put(
        &mut text,
        format_args!(
            "<text transform=\"translate(16 {}) rotate(-90)\" class=\"ink\" text-anchor=\"end\">{}</text>",
            TOP,
            escaped(&chart.y)
        ),
    );
    text
}

fn front(plane: &Plane, chart: &Chart) -> String {
    // A step: between two points nothing is to be had.
    let mut path = String::new();
    for (number, (x, y)) in chart.front.iter().map(|(x, y)| (plane.x(*x), plane.y(*y))).enumerate() {
        let step = if number == 0 { format!("M{x:.1} {y:.1}") } else { format!("H{x:.1}V{y:.1}") };
        path += &step;
    }
    if path.is_empty() {
        return path;
    }
    format!("<path class=\"front\" fill=\"none\" stroke-dasharray=\"5 4\" d=\"{path}\"/>\n")
}

fn line(plane: &Plane, points: impl Iterator<Item = (f64, f64)>, number: usize) -> String {
    let places = points.map(|(x, y)| format!("{:.1},{:.1}", plane.x(x), plane.y(y))).collect::<Vec<_>>();
    format!(
        "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>\n",
        colour(number),
        places.join(" ")
    )
}

/// Over what is assumed.
fn bars(plane: &Plane, point: &Point, number: usize) -> String {
    let (x, y) = (plane.x(point.x.nominal), plane.y(point.y.nominal));
    let mut path = String::new();
    if point.x.is_wide() {
        path += &format!("M{:.1} {y:.1}H{:.1}", plane.x(point.x.low), plane.x(point.x.high));
    }
    if point.y.is_wide() {
        path += &format!("M{x:.1} {:.1}V{:.1}", plane.y(point.y.low), plane.y(point.y.high));
    }
    if path.is_empty() {
        return path;
    }
    format!("<path stroke=\"{}\" stroke-opacity=\"0.35\" fill=\"none\" d=\"{path}\"/>\n", colour(number))
}

fn mark_of(plane: &Plane, point: &Point, number: usize) -> String {
    let (x, y) = (plane.x(point.x.nominal), plane.y(point.y.nominal));
    let title = format!("{}: {}, {}", point.label, label(point.x.nominal), label(point.y.nominal));
    format!(
        "<g class=\"p {}\"><title>{}</title>{}</g>\n",
        if point.is_assumed { "assumed" } else { "known" },
        escaped(&title),
        mark(x, y, number, point.is_assumed)
    )
}

/// A circle, a square, a triangle, a diamond, in turn.
fn mark(x: f64, y: f64, number: usize, hollow: bool) -> String {
    let colour = colour(number);
    let fill = if hollow { "class=\"hole\"".to_owned() } else { format!("fill=\"{colour}\"") };
    let shape = match number % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\""),
        1 => format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\"", x - 4.5, y - 4.5),
        2 => format!("<path d=\"M{x:.1} {:.1}l5.5 10h-11z\"", y - 6.0),
        _ => format!("<path d=\"M{x:.1} {:.1}l6 6l-6 6l-6 -6z\"", y - 6.0),
    };
    format!("{shape} {fill} stroke=\"{colour}\" stroke-width=\"1.6\"/>")
}

fn legend(chart: &Chart) -> String {
    let mut text = String::new();
    let top = TOP + PLOT_HEIGHT + 58.0;
    let width = (WIDTH - LEFT) / LEGEND_COLUMNS as f64;
    for (number, series) in chart.series.iter().enumerate() {
        let x = LEFT + width * (number % LEGEND_COLUMNS) as f64;
        let y = top + LEGEND_LINE * (number / LEGEND_COLUMNS) as f64;
        let hollow = series.points.iter().all(|point| point.is_assumed);
        text += &mark(x, y, number, hollow);
        put(
            &mut text,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"ink\">{}</text>",
                x + 12.0,
                y + 4.5,
                escaped(&series.name)
            ),
        );
    }
    if !chart.front.is_empty() {
        let y = top + LEGEND_LINE * chart.series.len().div_ceil(LEGEND_COLUMNS) as f64;
        put(
            &mut text,
            format_args!(
                "<path class=\"front\" stroke-dasharray=\"5 4\" d=\"M{:.1} {y:.1}h16\"/>",
                LEFT - 8.0
            ),
        );
        put(
            &mut text,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"ink\">worth having: nothing is better in both</text>",
                LEFT + 12.0,
                y + 4.5
            ),
        );
    }
    text
}

fn wrapped(note: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in note.split(' ') {
        let is_full = lines.last().is_some_and(|line| line.len() + word.len() >= NOTE);
        if is_full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.push_str(&what.to_string());
    text.push('\n');
}

const fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
