//! A report as one page of HTML that needs nothing else: no script, no font, no other host.

mod plot;
mod plots;
mod scale;
mod tables;

use crate::{report::Report, sample::Sample};

const STYLE: &str = include_str!("page.css");

/// The whole page. `title` says what was measured, `facts` how: names and values.
pub fn page(title: &str, facts: &[(&str, String)], report: &Report, samples: &[Sample]) -> String {
    let facts: String = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value)))
        .collect();
    let notes: String = report.notes.iter().map(|note| format!("<li>{}</li>", escaped(note))).collect();
    let notes = if notes.is_empty() { notes } else { format!("<ul class=\"notes\">{notes}</ul>") };
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body><main><header><h1>{title}</h1><dl class=\"facts\">{facts}</dl></header>\n\
         {}{notes}\n<section class=\"plots\">{}</section>\n{}</main></body></html>\n",
        tables::headline(report),
        plots::all(report, samples),
        tables::all(report),
    )
}

/// Text that is no markup, whatever it is.
fn escaped(text: &str) -> String {
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

/// Three digits and a unit.
fn time(ms: f64) -> String {
    match ms {
        ..1.0 => format!("{:.0} µs", ms * 1e3),
        ..10.0 => format!("{ms:.2} ms"),
        ..100.0 => format!("{ms:.1} ms"),
        ..1000.0 => format!("{ms:.0} ms"),
        ..10_000.0 => format!("{:.2} s", ms / 1e3),
        _ => format!("{:.1} s", ms / 1e3),
    }
}
