//! Rules that compare boards, backends and objectives.

use dunlin_costs::Backend;

use super::{Rated, Tally, Verdict, grouped, least};
use crate::{BreakEven, READING_TOKENS_PER_SECOND, Tariff};

/// Prices of arXiv:2503.09114v1, 6.3: 598.80 and 97 dollars, 20 cents a kilowatt-hour.
const CENTS_BETWEEN: f64 = 50_180.0;
const TARIFF: Tariff = Tariff { cents_per_kwh: 20.0 };
/// Boards are written off before that.
const LONG_YEARS: f64 = 5.0;
/// Joules a token of models from 0.5B to 9B on both boards (the same, derived).
const JOULES_IN: [f64; 2] = [0.0045, 0.605];
const JOULES_OUT: [f64; 2] = [0.154, 2.846];

/// The Orin's GPU with the fewest joules, and the Pi with the fewest, of each model that both have.
fn both<'a, 'b>(rows: &'b [Rated<'a>]) -> impl Iterator<Item = (String, &'b Rated<'a>, &'b Rated<'a>)> {
    let of_model = |row: &Rated<'_>| format!("{} {}", row.row.name, row.row.key.quantisation);
    grouped(rows, of_model).into_iter().flat_map(|(model, rows)| {
        let frugal = |rows: &[&'b Rated<'a>]| least(rows, |row| Some(row.joules()?.1));
        let orin: Vec<_> = rows.iter().copied().filter(|row| row.is_of("orin") && !row.is_cpu()).collect();
        let pis = rows.into_iter().filter(|row| row.is_of("pi5"));
        // A hot board is another one.
        let pis = grouped(pis, |row| row.row.key.class.to_string());
        let orin = frugal(&orin);
        pis.into_iter()
            .filter_map(move |(class, pis)| Some((format!("{model}, beside {class}"), orin?, frugal(&pis)?)))
            .collect::<Vec<_>>()
    })
}

/// R09: in joules, a GPU is further ahead in reading than in answering.
pub(super) fn prompts_to_the_gpu(rows: &[Rated<'_>]) -> Verdict {
    let judged = both(rows).filter_map(|(what, orin, pi)| {
        let (orin, pi) = (orin.joules()?, pi.joules()?);
        let (reads, answers) = (pi.0 / orin.0, pi.1 / orin.1);
        Some((reads > answers, format!("{what}: {reads:.1}x in prompts, {answers:.1}x in answers")))
    });
    Tally::of(judged).verdict("no model has rows of an Orin's GPU and of a Pi 5, with watts")
}

fn by_backend<'a, 'b>(rows: &'b [Rated<'a>]) -> impl Iterator<Item = (String, &'b Rated<'a>, &'b Rated<'a>)> {
    grouped(rows, Rated::place).into_iter().filter_map(|(place, rows)| {
        let fastest = |cpu: bool| {
            let of: Vec<_> = rows.iter().copied().filter(|row| row.is_cpu() == cpu).collect();
            least(&of, |row| Some(row.chat.tpot.mean))
        };
        Some((place.clone(), fastest(true)?, fastest(false)?))
    })
}

const ONE_BACKEND: &str = "no model has rows of a processor and of a GPU on one class";

/// R13: cold, a processor may be done before a GPU has loaded.
pub(super) fn cold_and_short(rows: &[Rated<'_>]) -> Verdict {
    let judged = by_backend(rows).map(|(place, cpu, gpu)| {
        let longer = (gpu.row.load.cold_ms.nominal() - cpu.row.load.cold_ms.nominal()) / 1e3;
        let tokens = longer / (cpu.chat.tpot.mean - gpu.chat.tpot.mean);
        (longer > 0.0 && tokens > 1.0, format!("{place}: below {tokens:.0} tokens"))
    });
    Tally::of(judged).verdict(ONE_BACKEND)
}

/// R16: warm, a GPU beats the processor beside it in time and joules.
pub(super) fn gpu_dominates(rows: &[Rated<'_>]) -> Verdict {
    let judged = by_backend(rows).map(|(place, cpu, gpu)| {
        let faster = gpu.chat.completion.mean < cpu.chat.completion.mean;
        let frugal = match (gpu.joules(), cpu.joules()) {
            (Some(gpu), Some(cpu)) => gpu.1 < cpu.1,
            _ => true,
        };
        (faster && frugal, place)
    });
    Tally::of(judged).verdict(ONE_BACKEND)
}

/// R14: who reads along can use it.
pub(super) fn reading_speed(rows: &[Rated<'_>]) -> Verdict {
    let judged = grouped(rows, Rated::place).into_iter().filter_map(|(place, rows)| {
        let best = least(&rows, |row| Some(row.economy.tpot.nominal))?;
        let rate = 1.0 / best.economy.tpot.nominal;
        Some((best.economy.keeps_up_with_a_reader(), format!("{place}: {rate:.1} tokens/s")))
    });
    let tally = Tally::of(judged);
    match tally.verdict("there are no rows") {
        Verdict::Fails(why) => Verdict::Fails(format!("at {READING_TOKENS_PER_SECOND} tokens/s: {why}")),
        other => other,
    }
}

/// R15: least time, least joules and least joules x time are not the same row.
pub(super) fn objectives_differ(rows: &[Rated<'_>]) -> Verdict {
    let groups = grouped(rows, Rated::place).into_iter().filter(|(_, rows)| rows.len() > 1);
    let judged: Vec<_> = groups
        .filter_map(|(place, rows)| {
            let fast = least(&rows, |row| Some(row.economy.tpot.nominal))?;
            let frugal = least(&rows, |row| Some(row.joules()?.1))?;
            let balanced = least(&rows, |row| Some(row.joules()?.1 * row.economy.tpot.nominal))?;
            let point = |row: &Rated<'_>| format!("{} {}", row.mode(), row.row.key.decode_threads);
            let what =
                format!("{place}: time {}, joules {}, both {}", point(fast), point(frugal), point(balanced));
            Some((point(fast) != point(frugal), what))
        })
        .collect();
    // One model is enough to need three objectives.
    let differ: Vec<_> = judged.iter().filter(|(differ, _)| *differ).cloned().collect();
    Tally::of(if differ.is_empty() { judged } else { differ })
        .verdict("no model has several rows with watts on one class")
}

/// R17: a smaller file is not always faster.
pub(super) fn size_is_not_speed(rows: &[Rated<'_>]) -> Verdict {
    let point = |row: &Rated<'_>| {
        let key = &row.row.key;
        (key.class.to_string(), key.mode.to_string(), key.decode_threads, key.backend == Backend::Cpu)
    };
    let judged = grouped(rows, point).into_iter().filter_map(|((class, mode, ..), mut rows)| {
        rows.sort_by_key(|row| row.row.memory.weights_bytes);
        let pairs = rows.windows(2).filter(|pair| {
            pair[0].row.memory.weights_bytes < pair[1].row.memory.weights_bytes
                && pair[0].row.provenance.origin != dunlin_costs::Origin::Assumed
        });
        let mut pairs = pairs.peekable();
        pairs.peek()?;
        let inverted = pairs.find(|pair| pair[0].chat.tpot.mean > pair[1].chat.tpot.mean);
        let what = inverted.map_or_else(
            || format!("{class} in {mode}: larger files are slower throughout"),
            |pair| {
                let of = |row: &Rated<'_>| format!("{} {:.0} ms", row.row.name, 1e3 * row.chat.tpot.mean);
                format!("{class} in {mode}: {} though smaller than {}", of(pair[0]), of(pair[1]))
            },
        );
        Some((inverted.is_some(), what))
    });
    let judged: Vec<_> = judged.collect();
    let inverted: Vec<_> = judged.iter().filter(|(inverted, _)| *inverted).cloned().collect();
    Tally::of(if inverted.is_empty() { judged } else { inverted })
        .verdict("no two models were measured at one point")
}

/// R20: an Orin does not pay for itself by the electricity that it saves.
pub(super) fn payback(rows: &[Rated<'_>]) -> Verdict {
    let judged = both(rows).filter_map(|(what, orin, pi)| {
        let even = BreakEven::of(&orin.economy, &pi.economy, CENTS_BETWEEN, 1.0, TARIFF)?;
        let years = even.years.map_or_else(|| "never".to_owned(), |years| format!("{years:.1} years"));
        let holds = even.years.is_none_or(|years| years > LONG_YEARS);
        Some((holds, format!("{what}: {years} without a pause")))
    });
    Tally::of(judged).verdict("no model has rows of an Orin's GPU and of a Pi 5, with watts")
}

/// R21: joules a token between those of the smallest and the largest model of the paper.
pub(super) fn joules_as_published(rows: &[Rated<'_>]) -> Verdict {
    let judged = grouped(rows, Rated::place).into_iter().filter_map(|(place, rows)| {
        let (input, output) = least(&rows, |row| Some(row.joules()?.1))?.joules()?;
        let within = |[least, most]: [f64; 2], value: f64| (least..=most).contains(&value);
        let what = format!("{place}: {input:.4} J in, {output:.3} J out");
        Some((within(JOULES_IN, input) && within(JOULES_OUT, output), what))
    });
    Tally::of(judged).verdict("no rows have watts")
}
