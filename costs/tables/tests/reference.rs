//! The shipped rows against what was published.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use dunlin_costs::{Calibration, Grade, Origin, Situation, Table, Work, fit};
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
    check(
        &of,
        &expect![[r#"
        Llama-3.2-1B 25W: 12 cells, TTFT 52.2 + 0.4339 n + 9.81e-6 n^2 0.09 %, TPOT 20.28 + 0.000430 k 0.06 %
        Llama-3.2-1B 7W: 12 cells, TTFT 186.1 + 1.7481 n + 5.63e-5 n^2 0.20 %, TPOT 80.74 + 0.001040 k 0.08 %
        Llama-3.2-1B MAXN: 11 cells, TTFT 46.0 + 0.3919 n + 9.21e-6 n^2 0.19 %, TPOT 18.34 + 0.000370 k 0.26 %
    "#]],
    );
    for (class, model, mode) in of {
        let cells = cells(class, model, mode);
        assert!(fit::prefill(&prompts(&cells)).unwrap().1.mape_pct <= 0.205, "{mode}");
        assert!(fit::decode(&answers(&cells)).unwrap().1.mape_pct <= 0.3, "{mode}");
    }
    check(
        &[
            ("orin-nano-8g", "Llama-3.2-1B", "15W"),
            ("orin-nano-8g", "Bonsai-1.7B", "15W"),
            ("orin-nano-8g", "Bonsai-1.7B", "25W"),
        ],
        &expect![[r#"
            Llama-3.2-1B 15W: 8 cells, TTFT 67.3 + 0.6397 n + 1.29e-5 n^2 0.03 %, TPOT 29.69 + 0.000615 k 0.06 %
            Bonsai-1.7B 15W: 4 cells, TTFT 67.0 + 0.8953 n + 1.98e-5 n^2 0.12 %, TPOT 55.87 + 0.002263 k 0.04 %
            Bonsai-1.7B 25W: 4 cells, TTFT 51.8 + 0.6135 n + 1.03e-5 n^2 0.20 %, TPOT 37.99 + 0.001539 k 0.03 %
        "#]],
    );
}

#[test]
fn a_hot_pi_is_fitted_to_a_few_hundredths() {
    let models = ["LFM2.5-1.2B", "LFM2.5-350M", "Llama-3.2-1B", "Qwen3-0.6B", "SmolLM2-360M"];
    let of = models.map(|model| ("pi5-8g-hot", model, "performance"));
    check(
        &of,
        &expect![[r#"
        LFM2.5-1.2B performance: 12 cells, TTFT 223.3 + 20.7435 n + 1.35e-3 n^2 2.02 %, TPOT 188.86 + 0.012999 k 0.53 %
        LFM2.5-350M performance: 12 cells, TTFT 303.9 + 5.7011 n + 5.25e-4 n^2 0.51 %, TPOT 130.28 + 0.008753 k 0.38 %
        Llama-3.2-1B performance: 12 cells, TTFT 1108.9 + 16.9104 n + 3.47e-3 n^2 0.85 %, TPOT 193.37 + 0.030822 k 0.49 %
        Qwen3-0.6B performance: 12 cells, TTFT 952.4 + 7.1381 n + 3.55e-3 n^2 0.49 %, TPOT 257.06 + 0.070949 k 1.52 %
        SmolLM2-360M performance: 12 cells, TTFT 392.9 + 5.6032 n + 1.91e-3 n^2 0.85 %, TPOT 237.46 + 0.022010 k 1.32 %
    "#]],
    );
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
    let cells: Vec<_> =
        measurements().unwrap().into_iter().filter(|of| of.source == "stratosphere").collect();
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
    assert_eq!((imported, assumed), (11, 36));
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
        let work = Work { prompt_tokens: 1024, cached_tokens: 0, output_tokens: 128 };
        let [ours, theirs] =
            [row, emulated].map(|row| row.predict(&work, &Situation::default(), &Calibration::default()));
        for (of_cells, of_class) in [(ours.ttft.mean, theirs.ttft.mean), (ours.tpot.mean, theirs.tpot.mean)] {
            let off = (of_cells / of_class - 1.0).abs();
            assert!(off < 0.01, "{} {}: {of_cells} {of_class}", row.name, row.key.mode);
        }
    }
}
