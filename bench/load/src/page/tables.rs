//! Figures in cells.

use super::{escaped, time};
use crate::{
    quantile::{Estimate, Quantiles},
    report::Report,
};

pub(super) fn headline(report: &Report) -> String {
    let mut cells = Vec::new();
    let mut cell = |name: &str, value: String, small: String, class: &str| {
        cells.push(format!(
            "<div><span>{name}</span><b class=\"{class}\">{value}</b><small>{small}</small></div>"
        ));
    };
    let failed = if report.failed > 0 { "bad" } else { "" };
    let of = format!("of {} offered", report.offered);
    let failures = if report.failed > 0 { format!("{of}, {} failed", report.failed) } else { of };
    cell("whole answers", report.good.to_string(), failures, failed);
    if let Some(slo) = report.slo {
        let class = if slo.share >= 0.9 { "good" } else { "bad" };
        cell(
            "kept the targets",
            format!("{:.1} %", slo.share * 100.0),
            format!("goodput {:.2} requests/s", slo.goodput_per_s),
            class,
        );
    }
    let p99 = |of: Quantiles| format!("p99 {}", time(of.p99.value));
    if let Some(ttft) = report.ttft_ms {
        cell("TTFT, median", time(ttft.p50.value), p99(ttft), "");
    }
    if let Some(tpot) = report.tpot_ms {
        cell("TPOT, median", time(tpot.p50.value), p99(tpot), "");
    }
    cell(
        "output",
        format!("{:.1} tok/s", report.output_tokens_per_s),
        format!("{:.2} answers/s", report.good_per_s),
        "",
    );
    if let Some(energy) = &report.energy {
        let per_token = energy.joules_per_output_token.map(|joules| format!("{joules:.3} J/output token"));
        cell(
            "energy",
            format!("{:.2} J/request", energy.joules_per_request),
            per_token.unwrap_or_default(),
            "",
        );
    }
    format!("<section class=\"headline\">{}</section>\n", cells.concat())
}

pub(super) fn all(report: &Report) -> String {
    let mut text = times(report);
    if !report.failures.is_empty() {
        text += &failures(report);
    }
    text + &counts(report)
}

fn times(report: &Report) -> String {
    let server = report.server.as_ref();
    let rows = [
        ("TTFT", "from when it should have been sent", report.ttft_ms),
        ("TTFT from sending", "without the client's lag", report.sent_ttft_ms),
        ("TPOT", "(whole - TTFT) / (tokens - 1)", report.tpot_ms),
        ("ITL", "between two pieces", report.itl_ms),
        ("whole answer", "to the end of the stream", report.whole_ms),
        ("server: queue", "by its own clock", server.and_then(|of| of.queue_ms)),
        ("server: load", "of a model", server.and_then(|of| of.load_ms)),
        ("server: prefill", "", server.and_then(|of| of.prefill_ms)),
        ("server: decode", "", server.and_then(|of| of.decode_ms)),
        ("client: lag", "sent after its time", report.lag.send_ms),
        ("client: timers", "late by", report.lag.timer_ms),
    ];
    let rows: String =
        rows.into_iter().filter_map(|(name, what, of)| of.map(|of| row(name, what, of))).collect();
    format!(
        "<section class=\"sheet\"><h2>Times</h2><table><tr><th></th><th class=\"n\">mean</th><th class=\"n\">p50</th>\
         <th class=\"n\">p90</th><th class=\"n\">p95</th><th class=\"n\">p99</th><th class=\"n\">max</th><th class=\"n\">of</th></tr>\
         {rows}</table><p class=\"small\">Below each percentile: the interval of 95 % by bootstrap.</p></section>\n"
    )
}

fn row(name: &str, what: &str, of: Quantiles) -> String {
    let estimate = |of: Estimate| {
        format!("<td class=\"n\">{}<small>{} – {}</small></td>", time(of.value), time(of.low), time(of.high))
    };
    format!(
        "<tr><td>{name}<small>{what}</small></td><td class=\"n\">{}</td>{}{}{}{}<td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        time(of.mean),
        estimate(of.p50),
        estimate(of.p90),
        estimate(of.p95),
        estimate(of.p99),
        time(of.max),
        of.count
    )
}

fn failures(report: &Report) -> String {
    let rows = report.failures.iter().map(|of| {
        let wait = of.retry_after_s.map(|wait| format!("; asked to wait up to {wait} s")).unwrap_or_default();
        format!(
            "<tr><td class=\"bad\">{}</td><td class=\"n\">{}</td><td class=\"wide\">{}{wait}</td></tr>",
            escaped(&of.kind),
            of.count,
            escaped(&of.example)
        )
    });
    format!(
        "<section class=\"sheet\"><h2>What failed</h2><table><tr><th>kind</th><th class=\"n\">requests</th><th>the first</th></tr>\
         {}</table></section>\n",
        rows.collect::<String>()
    )
}

fn counts(report: &Report) -> String {
    let tokens = report.tokens;
    let mut rows = vec![
        ("offered", format!("{:.3} requests/s over {:.1} s", report.offered_per_s, report.seconds)),
        ("most under way", report.most_in_flight.to_string()),
        ("prompt tokens", format!("{}{}", tokens.prompt, rate(report.prompt_tokens_per_s))),
        ("output tokens", format!("{}{}", tokens.output, rate(Some(report.output_tokens_per_s)))),
        (
            "counted by the server",
            format!(
                "{} of {} answers; {} differ from the pieces ({})",
                tokens.told, report.good, tokens.differ, tokens.pieces
            ),
        ),
        ("sent late", format!("{:.2} % of the requests, by more than 5 ms", report.lag.late_share * 100.0)),
    ];
    if let Some(energy) = &report.energy {
        let known = |joules: Option<f64>| {
            joules.map_or_else(|| "not told".to_owned(), |joules| format!("{joules:.1} J"))
        };
        let sources: Vec<&str> = energy.sources.iter().map(String::as_str).collect();
        rows.push((
            "joules told by the server",
            format!(
                "marginal {}, total {}, of {} answers; source: {}{}",
                known(energy.marginal_joules),
                known(energy.total_joules),
                energy.requests,
                escaped(&sources.join(", ")),
                if energy.emulated > 0 {
                    format!("; {} of emulated boards", energy.emulated)
                } else {
                    String::new()
                }
            ),
        ));
    }
    for (node, count) in &report.nodes {
        rows.push(("answered by", format!("{}: {count}", escaped(node))));
    }
    let rows: String = rows
        .into_iter()
        .map(|(name, value)| format!("<tr><td>{name}</td><td class=\"wide\">{value}</td></tr>"))
        .collect();
    format!("<section class=\"sheet\"><h2>Counts</h2><table>{rows}</table></section>\n")
}

fn rate(per_s: Option<f64>) -> String {
    per_s.map(|per_s| format!(", {per_s:.1}/s")).unwrap_or_default()
}
