//! The shipped rows against what was published.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use dunlin_costs::{Grade, Origin, Table, fit};
use dunlin_tables::{
    FILES, Measurement, answers, document, exclusions, make, measurements, prompts, reference, sources,
};
use expect_test::{Expect, expect};

fn cells(class: &str, model: &str, mode: &str) -> Vec<Measurement> {
    let of = |cell: &Measurement| {
        cell.class.as_str() == class
            && cell.model == model
            && (mode.is_empty() || cell.mode.as_str() == mode)
            && cell.source != "smolhub-table-15"
    };
    measurements().unwrap().into_iter().filter(of).collect()
}

#[test]
fn what_is_shipped_is_what_the_generator_makes() {
    let table = make().unwrap();
    for (class, text) in FILES {
        let made = document(&table, class).unwrap();
        assert!(made == text, "{class}.toml is stale: cargo run -p dunlin-tables --example reference");
    }
}

/// Mean absolute errors of the fits, in percent: of TTFT by a parabola, of TPOT by a line.
fn errors(class: &str, model: &str, mode: &str) -> String {
    let cells = cells(class, model, mode);
    let (prefill, reads) = fit::prefill(&prompts(&cells)).unwrap();
    let (decode, decodes) = fit::decode(&answers(&cells)).unwrap();
    format!(
        "{model} {mode}: {} cells, TTFT {:.1} + {:.4} n + {:.2e} n^2 {:.2} %, TPOT {:.2} + {:.6} k {:.2} %\n",
        cells.len(),
        prefill.p0_ms.nominal(),
        prefill.p1_ms_per_token.nominal(),
        prefill.p2_ms_per_token2.nominal(),
        reads.mape_pct,
        decode.batch_ms[0].nominal(),
        decode.depth_ms_per_token.nominal(),
        decodes.mape_pct
    )
}

fn check(of: &[(&str, &str, &str)], expected: &Expect) {
    expected.assert_eq(&of.iter().map(|(class, model, mode)| errors(class, model, mode)).collect::<String>());
}

#[test]
fn an_orin_is_fitted_to_a_few_thousandths() {
    let of = ["25W", "7W", "MAXN"].map(|mode| ("orin-nano-8g", "Llama-3.2-1B", mode));
    check(&of, &expect![[""]]);
    for (class, model, mode) in of {
        let cells = cells(class, model, mode);
        assert!(fit::prefill(&prompts(&cells)).unwrap().1.mape_pct <= 0.205, "{mode}");
        assert!(fit::decode(&answers(&cells)).unwrap().1.mape_pct <= 0.3, "{mode}");
    }
    check(
        &[("orin-nano-8g", "Llama-3.2-1B", "15W"), ("orin-nano-8g", "Bonsai-1.7B", "15W"), ("orin-nano-8g", "Bonsai-1.7B", "25W")],
        &expect![[""]],
    );
}

#[test]
fn a_hot_pi_is_fitted_to_a_few_hundredths() {
    let models = ["LFM2.5-1.2B", "LFM2.5-350M", "Llama-3.2-1B", "Qwen3-0.6B", "SmolLM2-360M"];
    let of = models.map(|model| ("pi5-8g-hot", model, "performance"));
    check(&of, &expect![[""]]);
    for (class, model, mode) in of {
        let fitted = fit::decode(&answers(&cells(class, model, mode))).unwrap().1;
        assert!(fitted.mape_pct <= 1.55, "{model}");
    }
}

/// R22: the time of a token grows with what it looks back on.
#[test]
fn a_pi_slows_with_depth() {
    let check = |class: &str, most: f64| {
        let cells = cells(class, "Qwen3-30B-A3B", "");
        let (decode, fitted) = fit::decode(&answers(&cells)).unwrap();
        assert!(decode.depth_ms_per_token.nominal() > 0.01 && fitted.mape_pct <= most, "{fitted:?}");
    };
    check("pi5-16g", 0.75);
    check("pi5-8g", 1.9);
}

/// Tokens a second of a cooled Pi come from the size of the file by 8.96 MiB/ms, which misses seven models by 4 %.
#[test]
fn a_cool_pi_is_bound_by_its_memory() {
    let cells: Vec<_> = measurements().unwrap().into_iter().filter(|of| of.source == "stratosphere").collect();
    let of_kind: Vec<_> = cells.iter().filter(|cell| cell.quantisation == "Q4_K_M").collect();
    let errors = of_kind.iter().map(|cell| (1.0 - cell.file_mib / 8.957 / cell.tpot_ms).abs());
    let (mean, most) = (errors.clone().sum::<f64>() / of_kind.len() as f64, errors.fold(0.0, f64::max));
    assert_eq!(of_kind.len(), 7);
    assert!(mean < 0.039 && most < 0.076, "{mean} {most}");
}

#[test]
fn every_row_says_where_it_is_from() {
    let table = reference().unwrap();
    let (mut imported, mut assumed) = (0, 0);
    for row in table.rows() {
        let provenance = &row.provenance;
        assert!(!provenance.source.is_empty());
        match provenance.origin {
            Origin::Imported => {
                imported += 1;
                assert!(provenance.source.contains("CC BY 4.0") && !provenance.date.is_empty());
                let grade = if row.key.class.as_str() == "orin-nano-8g" { Grade::A } else { Grade::C };
                assert_eq!(provenance.grade, Some(grade), "{}", row.name);
            }
            Origin::Assumed => assumed += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((imported, assumed), (11, 54));
    assert_eq!(Table::parse(&table.to_toml().unwrap()).unwrap(), table);
}

#[test]
fn what_makes_no_row_has_a_reason_that_holds() {
    let (cells, sources) = (measurements().unwrap(), sources().unwrap());
    for excluded in exclusions().unwrap() {
        let of: Vec<Measurement> = cells.iter().filter(|cell| excluded.is_of(cell)).cloned().collect();
        assert!(!of.is_empty() && sources.iter().any(|source| source.id == excluded.source), "{excluded:?}");
        if excluded.reason.contains("before any prompt is read") {
            let (prefill, _) = fit::prefill(&prompts(&of)).unwrap();
            assert!(prefill.p0_ms.nominal() > 3500.0, "{excluded:?} {prefill:?}");
        }
        if excluded.reason.contains("answers only") {
            assert!(of.iter().all(|cell| cell.ttft_ms.is_none()), "{excluded:?}");
        }
    }
}

/// The rows that emulated boards are made of say what the reference says, within what was rounded.
#[test]
fn emulated_boards_are_of_the_same_numbers() {
    for row in make().unwrap().rows() {
        let class = dunlin_costs::Class::find(row.key.class.as_str()).unwrap();
        let emulated = class.table.get(&row.key).unwrap();
        let pairs = [
            (&row.prefill.p0_ms, &emulated.prefill.p0_ms),
            (&row.prefill.p1_ms_per_token, &emulated.prefill.p1_ms_per_token),
            (&row.decode.batch_ms[0], &emulated.decode.batch_ms[0]),
        ];
        for (of_cells, of_class) in pairs {
            let off = (of_cells.nominal() / of_class.nominal() - 1.0).abs();
            assert!(off < 0.02, "{} {}: {of_cells:?} {of_class:?}", row.name, row.key.mode);
        }
    }
}
