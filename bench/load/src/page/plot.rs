//! Plots as SVG. Their colours are those of the page, light or dark.

use std::fmt::Write as _;

use super::scale::{Scale, label};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// Marks and corners of one plot: a page with more would be slow.
pub(super) const MAX_MARKS: usize = 3000;

/// Axes, and what is drawn between them.
#[derive(Debug)]
pub(super) struct Plot {
    x: Scale,
    y: Scale,
    x_name: &'static str,
    y_name: &'static str,
    inside: String,
}

impl Plot {
    pub(super) fn new(x: Scale, x_name: &'static str, y: Scale, y_name: &'static str) -> Self {
        Self { x, y, x_name, y_name, inside: String::new() }
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        (LEFT + self.x.at(x) * (WIDTH - LEFT - RIGHT), TOP + (1.0 - self.y.at(y)) * (HEIGHT - TOP - BOTTOM))
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = self.inside.write_fmt(text);
    }

    /// A value stays until the next one.
    pub(super) fn steps(&mut self, points: &[(f64, f64)], class: &str) {
        let mut path = String::new();
        for (number, (x, y)) in points.iter().map(|(x, y)| self.place(*x, *y)).enumerate() {
            let _ = if number == 0 { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
        }
        self.put(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
    }

    /// A bar from one x to the next.
    pub(super) fn bar(&mut self, from: f64, to: f64, y: f64, title: &str) {
        let ((x0, top), (x1, bottom)) = (self.place(from, y), self.place(to, 0.0));
        let (width, height) = ((x1 - x0 - 1.0).max(0.5), bottom - top);
        self.put(format_args!(
            "<rect class=\"bar\" x=\"{x0:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{title}</title></rect>"
        ));
    }

    pub(super) fn dot(&mut self, x: f64, y: f64, title: &str) {
        let (x, y) = self.place(x, y);
        self.put(format_args!(
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"><title>{title}</title></circle>"
        ));
    }

    /// A cross at the upper edge.
    pub(super) fn cross(&mut self, x: f64, title: &str) {
        let (x, _) = self.place(x, 0.0);
        let y = TOP + 7.0;
        self.put(format_args!(
            "<path class=\"cross\" d=\"M{:.1} {:.1}l7 7m0 -7l-7 7\"><title>{title}</title></path>",
            x - 3.5,
            y - 3.5
        ));
    }

    /// What should not be passed, from below to above.
    pub(super) fn limit_x(&mut self, x: f64, name: &str) {
        let (x, _) = self.place(x, 0.0);
        let (anchor, beside) = if x > WIDTH - 130.0 { ("end", x - 5.0) } else { ("start", x + 5.0) };
        self.put(format_args!(
            "<path class=\"limit\" d=\"M{x:.1} {TOP}V{:.1}\"/><text class=\"limit-name\" x=\"{beside:.1}\" y=\"{:.1}\" \
             text-anchor=\"{anchor}\">{name}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM - 8.0
        ));
    }

    pub(super) fn limit_y(&mut self, y: f64, name: &str) {
        let (_, y) = self.place(0.0, y);
        self.put(format_args!(
            "<path class=\"limit\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"limit-name\" x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{name}</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT - 4.0,
            y - 5.0
        ));
    }

    pub(super) fn svg(&self, spoken: &str) -> String {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut axes = String::new();
        for value in self.x.ticks() {
            let (x, _) = self.place(value, 0.0);
            let _ = write!(
                axes,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                label(value)
            );
        }
        for value in self.y.ticks() {
            let (_, y) = self.place(0.0, value);
            let _ = write!(
                axes,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 7.0,
                y + 4.0,
                label(value)
            );
        }
        let (middle, across) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{spoken}\">{axes}\
             <path class=\"edge\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\
             <text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text class=\"name\" transform=\"translate(13 {across}) rotate(-90)\" text-anchor=\"middle\">{}</text>{}</svg>",
            HEIGHT - 8.0,
            self.x_name,
            self.y_name,
            self.inside
        )
    }
}
