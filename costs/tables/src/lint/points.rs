//! Rules of operating points: threads, governors, power modes, quantisation.

use dunlin_costs::{TYPICAL, pareto_front};

use super::{Rated, Tally, Verdict, grouped, least};

/// R01: the threads that read best are not those that answer best.
pub(super) fn threads_differ(rows: &[Rated<'_>]) -> Verdict {
    let groups = grouped(rows.iter().filter(|row| row.is_cpu()), Rated::place_and_mode);
    let judged = groups.into_iter().filter_map(|(place, rows)| {
        let several =
            |threads: fn(&Rated<'_>) -> u16| rows.iter().any(|row| threads(row) != threads(rows[0]));
        if !several(|row| row.row.key.decode_threads) {
            return None;
        }
        let reads = least(&rows, |row| Some(row.chat.ttft.mean))?.row.key.prefill_threads;
        let decodes = least(&rows, |row| Some(row.chat.tpot.mean))?.row.key.decode_threads;
        Some((reads != decodes, format!("{place}: reads by {reads}, answers by {decodes}")))
    });
    Tally::of(judged).verdict("no model has rows of several thread counts")
}

/// R02: decoding by all cores is not the fastest.
pub(super) fn not_all_cores(rows: &[Rated<'_>]) -> Verdict {
    let groups = grouped(rows.iter().filter(|row| row.is_cpu()), Rated::place_and_mode);
    let judged = groups.into_iter().filter_map(|(place, rows)| {
        let most = rows.iter().map(|row| row.row.key.decode_threads).max()?;
        if rows.iter().all(|row| row.row.key.decode_threads == most) {
            return None;
        }
        let best = least(&rows, |row| Some(row.chat.tpot.mean))?.row.key.decode_threads;
        Some((best < most, format!("{place}: {best} of {most} threads are fastest")))
    });
    Tally::of(judged).verdict("no model has rows of several thread counts")
}

/// R03: on a Pi 5, least joules x time of an answer is under powersave.
pub(super) fn pi_saves(rows: &[Rated<'_>]) -> Verdict {
    let judged = governors(rows, "pi5").filter_map(|(place, rows)| {
        let best = least(&rows, |row| Some(row.joules()?.1 * row.economy.tpot.nominal))?.mode().to_owned();
        Some((best == "powersave", format!("{place}: {best}")))
    });
    Tally::of(judged).verdict("no rows of a Pi 5 under powersave and another governor, with watts")
}

/// R04: on a Pi 5, prompts of Q4_K_M cost 10 to 18 % less joules x time without powersave.
pub(super) fn pi_reads_fast(rows: &[Rated<'_>]) -> Verdict {
    let of_kind = |row: &&Rated<'_>| row.row.key.quantisation.as_str().starts_with("Q4_K");
    let judged = governors(rows, "pi5").filter_map(|(place, rows)| {
        let rows: Vec<_> = rows.into_iter().filter(of_kind).collect();
        let action = |saving: bool| {
            let of = rows.iter().filter(|row| (row.mode() == "powersave") == saving).copied();
            let prefill = |row: &Rated<'_>| {
                let watts = row.row.power.as_ref()?.board(dunlin_costs::Bound::Nominal).ok()?.prefill;
                Some(watts * row.row.prefill.p1_ms_per_token.nominal().powi(2))
            };
            of.filter_map(prefill).min_by(f64::total_cmp)
        };
        let less = 100.0 * (1.0 - action(false)? / action(true)?);
        Some((less > 0.0, format!("{place}: {less:.0} % less")))
    });
    Tally::of(judged).verdict("no rows of a Pi 5 under powersave and another governor, with watts")
}

/// R05: an Orin's processor needs more joules a token under powersave.
pub(super) fn orin_cpu_does_not_save(rows: &[Rated<'_>]) -> Verdict {
    let judged = governors(rows, "orin").filter(|(_, rows)| rows[0].is_cpu()).filter_map(|(place, rows)| {
        let best = least(&rows, |row| Some(row.joules()?.1))?.mode().to_owned();
        Some((best != "powersave", format!("{place}: {best}")))
    });
    Tally::of(judged).verdict("no rows of an Orin's processor")
}

/// Of models that have rows under powersave and beside it.
fn governors<'a, 'b>(
    rows: &'b [Rated<'a>],
    family: &'b str,
) -> impl Iterator<Item = (String, Vec<&'b Rated<'a>>)> {
    let of_family = rows.iter().filter(move |row| row.is_of(family));
    let groups = grouped(of_family, Rated::place).into_iter();
    groups.filter(|(_, rows)| {
        let saving = rows.iter().filter(|row| row.mode() == "powersave").count();
        saving > 0 && saving < rows.len()
    })
}

/// R06: 7W is beaten in everything.
pub(super) fn lowest_mode_is_dominated(rows: &[Rated<'_>]) -> Verdict {
    let of_gpu = rows.iter().filter(|row| row.is_of("orin") && !row.is_cpu());
    let judged = grouped(of_gpu, Rated::place).into_iter().filter_map(|(place, rows)| {
        if rows.len() < 2 || rows.iter().all(|row| row.mode() != "7W") {
            return None;
        }
        let front = pareto_front(rows.iter().map(|row| row.row), &TYPICAL);
        let kept: Vec<&str> = front.iter().map(|row| row.key.mode.as_str()).collect();
        Some((!kept.contains(&"7W"), format!("{place}: {} are worth having", kept.join(", "))))
    });
    Tally::of(judged).verdict("no model has a row of an Orin's GPU in 7W")
}

/// R07: of the firmware before Super, which had no 25W.
pub(super) fn modes_by_size(rows: &[Rated<'_>]) -> Verdict {
    let groups = grouped(rows.iter().filter(|row| row.is_of("orin") && !row.is_cpu()), Rated::place);
    let judged = groups.into_iter().filter_map(|(place, rows)| {
        let has = |mode: &str| rows.iter().any(|row| row.mode() == mode);
        if !has("15W") || !has("MAXN") || has("25W") {
            return None;
        }
        let best = least(&rows, |row| Some(row.joules()?.1 * row.economy.tpot.nominal))?;
        let small = best.row.memory.weights_bytes < 1_800_000_000;
        let expected = if small { "MAXN" } else { "15W" };
        Some((best.mode() == expected, format!("{place}: {}", best.mode())))
    });
    Tally::of(judged).verdict("no rows of the Orin firmware that it was seen on (15W and MAXN, no 25W)")
}

/// R08: Q4_0 is faster and takes fewer joules than Q4_K_M.
pub(super) fn plain_quantisation(rows: &[Rated<'_>]) -> Verdict {
    let point = |row: &Rated<'_>| {
        let key = &row.row.key;
        (row.row.name.clone(), key.class.clone(), key.mode.clone(), key.prefill_threads, key.decode_threads)
    };
    let judged = grouped(rows, point).into_iter().filter_map(|((name, class, mode, ..), rows)| {
        let of = |quantisation: &str| {
            rows.iter().find(|row| row.row.key.quantisation.as_str() == quantisation).copied()
        };
        let (plain, mixed) = (of("Q4_0")?, of("Q4_K_M")?);
        let faster = mixed.chat.completion.mean / plain.chat.completion.mean;
        Some((faster > 1.0, format!("{name} on {class} in {mode}: {faster:.2}x as fast")))
    });
    Tally::of(judged).verdict("no model has rows in Q4_0 and Q4_K_M at one point")
}
