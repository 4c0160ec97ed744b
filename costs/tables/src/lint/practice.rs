//! Rules of how rows are made and kept.

use dunlin_costs::{Calibration, Figure, Load, Origin, Situation, Thermal};

use super::{CHAT, Rated, Tally, Verdict, grouped, named};

/// R10: the time to the first token of a cold model is longer by the load.
pub(super) fn load_is_a_term(rows: &[Rated<'_>]) -> Verdict {
    let judged = rows.iter().map(|rated| {
        let cold = Situation { load: Load::Cold, ..Situation::default() };
        let cold = rated.row.predict(&CHAT, &cold, &Calibration::default());
        let load = rated.row.load.cold_ms.nominal() / 1e3;
        let adds = (cold.ttft.mean - rated.chat.ttft.mean - load).abs() < 1e-9 && load > 0.0;
        (adds, format!("{}: {load:.1} s", rated.place_and_mode()))
    });
    Tally::of(judged).verdict("there are no rows")
}

/// R11.
pub(super) fn residency() -> Verdict {
    Verdict::Practice(
        "engines stay until their memory is needed, and the least recently used goes first; `models alias --resident-on N` \
         keeps a model on N nodes"
            .to_owned(),
    )
}

/// R12: what does not fit is not placed, so rows must say what it takes.
pub(super) fn memory_is_known(rows: &[Rated<'_>]) -> Verdict {
    let judged = rows.iter().map(|rated| {
        let memory = rated.row.memory;
        let known = memory.weights_bytes > 0 && memory.kv_bytes_per_token > 0;
        (known, rated.place_and_mode())
    });
    match Tally::of(judged).verdict("there are no rows") {
        Verdict::Fails(why) => Verdict::Fails(format!("memory is missing: {why}")),
        other => other,
    }
}

/// R18: what `dunlin profile` measured, it measured so.
pub(super) fn medians(rows: &[Rated<'_>]) -> Verdict {
    let measured: Vec<String> = rows
        .iter()
        .filter(|rated| rated.row.provenance.origin == Origin::Measured)
        .map(Rated::place_and_mode)
        .collect();
    if measured.is_empty() {
        return Verdict::Practice(
            "`dunlin profile` drops each engine's first run and takes medians".to_owned(),
        );
    }
    Verdict::Holds(format!("medians without the first run: {}", named(&measured)))
}

/// R19: a power mode changes how long a load takes.
pub(super) fn loads_by_mode(rows: &[Rated<'_>]) -> Verdict {
    let known = |figure: &Figure| (!figure.is_assumed() && figure.nominal() > 0.0).then(|| figure.nominal());
    let judged = grouped(rows, Rated::place).into_iter().filter_map(|(place, rows)| {
        let loads: Vec<(&str, f64)> =
            rows.iter().filter_map(|row| Some((row.mode(), known(&row.row.load.warm_ms)?))).collect();
        let (first, load) = *loads.first()?;
        let (other, longer) = *loads.iter().find(|(mode, _)| *mode != first)?;
        let ratio = (longer / load).max(load / longer);
        Some((ratio > 1.05, format!("{place}: {ratio:.2}x between {first} and {other}")))
    });
    Tally::of(judged).verdict("no load was measured in two modes")
}

/// R22: the time of a token grows with the context, by a line that describes it.
pub(super) fn depth_is_charged(rows: &[Rated<'_>]) -> Verdict {
    const MOST_PCT: f64 = 5.0;
    let judged = rows.iter().filter(|rated| rated.row.provenance.origin <= Origin::Imported).map(|rated| {
        let decode = &rated.row.decode;
        let fits = rated.row.fit.decode_mape_pct.is_none_or(|mape| mape <= MOST_PCT);
        let d1 = decode.depth_ms_per_token.nominal();
        (d1 > 0.0 && fits, format!("{}: {:.2} ms for 1000 tokens", rated.place_and_mode(), d1 * 1e3))
    });
    Tally::of(judged).verdict("nothing was measured at several depths")
}

/// R23: hot boards are slower, and have rows of their own.
pub(super) fn heat_is_a_state(rows: &[Rated<'_>]) -> Verdict {
    let of_board = |rated: &Rated<'_>| {
        let class = rated.row.key.class.as_str();
        format!("{} on {}", rated.row.name, class.strip_suffix("-hot").unwrap_or(class))
    };
    let judged = grouped(rows, of_board).into_iter().filter_map(|(place, rows)| {
        let fastest = |hot: bool| {
            let of = rows.iter().filter(|row| (row.row.key.thermal == Thermal::Throttled) == hot);
            of.map(|row| row.chat.tpot.mean).min_by(f64::total_cmp)
        };
        let slower = fastest(true)? / fastest(false)?;
        Some((slower > 1.0, format!("{place}: {slower:.1}x as slow when it is throttled")))
    });
    Tally::of(judged).verdict("no model has rows of a cool board and of a throttled one")
}

/// R24: a mode is a name.
pub(super) fn modes_have_names(rows: &[Rated<'_>]) -> Verdict {
    let modes = grouped(rows, |rated| rated.mode().to_owned());
    let judged = modes.into_keys().map(|mode| (!mode.bytes().all(|c| c.is_ascii_digit()), mode));
    Tally::of(judged).verdict("there are no rows")
}
