//! All pictures of a table on one page, with the rows that they are of.

use dunlin_costs::{Row, Work};

use super::{Chart, Kind, chart, svg, svg::escaped};
use crate::{Economy, Range, grade_means};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1{font-size:1.5rem;margin:0}p{color:#57606a;margin:.3rem 0 1.5rem}\
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(460px,1fr));gap:1.2rem}\
figure{margin:0;border:1px solid #d8dee4;border-radius:8px;overflow:hidden}svg{display:block;width:100%;height:auto}\
.wide{overflow-x:auto}table{border-collapse:collapse;margin-top:2rem;font-size:13px;width:100%}\
th{text-align:left;font-weight:600;border-bottom:2px solid #d8dee4}th,td{padding:.3rem .6rem;white-space:nowrap}\
td{border-bottom:1px solid #eaeef2}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
td.source{white-space:normal;min-width:14rem;overflow-wrap:anywhere;color:#57606a}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}p,td.source{color:#9198a1}\
figure{border-color:#2a313c}th{border-color:#2a313c}td{border-color:#21262d}}";

/// A page that needs nothing else.
pub fn page<'a>(title: &str, rows: impl IntoIterator<Item = &'a Row>, work: Work) -> String {
    let rows: Vec<&Row> = rows.into_iter().collect();
    let charts: Vec<Chart> =
        Kind::ALL.into_iter().filter_map(|kind| chart(kind, rows.iter().copied(), work)).collect();
    let pictures: String = charts
        .iter()
        .map(|chart| format!("<figure id=\"{}\">\n{}</figure>\n", chart.name, svg(chart)))
        .collect();
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n\
         <p>Prompts of {} tokens, answers of {}, alone on a board that has the model resident. A value marked ~ rests on an \
         assumed range.</p>\n<div class=\"pictures\">\n{pictures}</div>\n{}</body></html>\n",
        work.prompt_tokens,
        work.output_tokens,
        table(&rows, work)
    )
}

fn table(rows: &[&Row], work: Work) -> String {
    let mut text = "<div class=\"wide\"><table><tr><th>model</th><th>class</th><th>mode</th><th>threads</th>\
         <th class=\"n\">TTFT ms</th><th class=\"n\">TPOT ms</th><th class=\"n\">J/token in</th>\
         <th class=\"n\">J/token out</th><th>row</th><th>source</th></tr>\n"
        .to_owned();
    for row in rows {
        let (key, economy) = (&row.key, Economy::of(row, work));
        let ms = |range: Range| about(range.map(|seconds| seconds * 1e3), 1);
        let joules = economy.joules;
        let joules = |of: fn(&crate::TokenJoules) -> Range| {
            joules.as_ref().map_or_else(|| "-".to_owned(), |joules| about(of(joules), 3))
        };
        let grade = row.provenance.grade;
        let grade = grade.map_or_else(String::new, |grade| format!(" {grade:?}: {}", grade_means(grade)));
        text += &format!(
            "<tr><td>{} {}</td><td>{}</td><td>{}</td><td>{}/{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td title=\"{}\">{}</td><td class=\"source\">{}</td></tr>\n",
            escaped(&row.name),
            escaped(key.quantisation.as_str()),
            escaped(key.class.as_str()),
            escaped(key.mode.as_str()),
            key.prefill_threads,
            key.decode_threads,
            ms(economy.ttft),
            ms(economy.tpot),
            joules(|of| of.per_input_token),
            joules(|of| of.per_output_token),
            escaped(grade.trim()),
            row.provenance.origin,
            escaped(&row.provenance.source),
        );
    }
    text + "</table></div>\n"
}

fn about(range: Range, places: usize) -> String {
    format!("{}{:.places$}", if range.is_wide() { "~" } else { "" }, range.nominal)
}
