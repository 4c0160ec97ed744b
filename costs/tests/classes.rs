//! What the embedded classes of boards say, against what was published, and in the order that papers found.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use dunlin_costs::{
    Bound, Calibration, Class, Origin, Prediction, Query, Row, Situation, TYPICAL, Thermal, Work,
    pareto_front,
};
use expect_test::{Expect, expect};

const CHAT: Work = Work { prompt_tokens: 512, cached_tokens: 0, output_tokens: 128 };

fn class(name: &str) -> Class {
    Class::find(name).unwrap()
}

fn rows<'a>(class: &'a Class, model: &str) -> Vec<&'a Row> {
    class.rows(class.model(model).unwrap().digest).collect()
}

fn alone(row: &Row, work: &Work) -> Prediction {
    row.predict(work, &Situation::default(), &Calibration::default())
}

/// Mode, seconds, joules as the board's sensor reads them, total and marginal joules at the input.
fn published(class_name: &str, model: &str) -> String {
    let class = class(class_name);
    let line = |row: &&Row| {
        let prediction = alone(row, &CHAT);
        let joules = prediction.joules.unwrap();
        format!(
            "{:<12} {:5.1} s {:6.1} J read {:6.1} J total {:6.1} J marginal\n",
            row.key.mode.as_str(),
            prediction.completion.mean,
            row.reading(&CHAT).unwrap(),
            joules.total,
            joules.marginal
        )
    };
    rows(&class, model).iter().map(line).collect()
}

#[test]
fn what_the_published_rows_say_of_512_in_and_128_out() {
    let check = |class: &str, model: &str, expected: Expect| expected.assert_eq(&published(class, model));
    check(
        "orin-nano-8g",
        "Llama-3.2-1B",
        expect![[r#"
        15W            4.2 s   25.5 J read   35.0 J total   23.6 J marginal
        25W            2.9 s   24.7 J read   31.2 J total   23.1 J marginal
        7W            11.4 s   25.8 J read   51.5 J total   21.3 J marginal
        MAXN           2.6 s   27.5 J read   33.4 J total   25.8 J marginal
    "#]],
    );
    check(
        "orin-nano-8g",
        "Bonsai-1.7B",
        expect![[r#"
        15W            7.8 s   25.5 J read   43.0 J total   22.0 J marginal
        25W            5.3 s   24.2 J read   36.1 J total   21.3 J marginal
    "#]],
    );
    check(
        "pi5-8g-hot",
        "Llama-3.2-1B",
        expect![[r#"
        performance   37.5 s  354.2 J read  427.6 J total  311.2 J marginal
    "#]],
    );
}

#[test]
fn the_filter_keeps_what_trades_speed_for_joules() {
    let check = |class_name: &str, model: &str, expected: &[&str]| {
        let class = class(class_name);
        let kept = pareto_front(rows(&class, model), &TYPICAL);
        let kept: Vec<String> =
            kept.iter().map(|row| format!("{} {}", row.key.mode, row.key.decode_threads)).collect();
        assert_eq!(kept, expected, "{class_name}");
    };
    check("orin-nano-8g", "Llama-3.2-1B", &["25W 4", "MAXN 4"]);
    check("orin-nano-8g", "Bonsai-1.7B", &["25W 4"]);
}

#[test]
fn latency_takes_maxn_and_energy_25w() {
    let class = class("orin-nano-8g");
    let front = pareto_front(rows(&class, "Llama-3.2-1B"), &TYPICAL);
    let best = |cost: fn(&Prediction) -> f64| {
        let cost = |row: &&&Row| cost(&alone(row, &CHAT));
        front.iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap().key.mode.to_string()
    };
    assert_eq!(best(|prediction| prediction.ttft.mean), "MAXN");
    assert_eq!(best(|prediction| prediction.completion.mean), "MAXN");
    assert_eq!(best(|prediction| prediction.joules.unwrap().marginal), "25W");
    assert_eq!(best(|prediction| prediction.joules.unwrap().total), "25W");
    // Over all that is assumed.
    for bound in [Bound::Low, Bound::High] {
        let marginal = |row: &&Row| {
            let steps = row.steps_at(bound);
            let on = steps.predict(&CHAT, &Situation::default(), &Calibration::default());
            on.joules.unwrap().marginal
        };
        let [slow, fast] = front[..] else { unreachable!("{front:?}") };
        assert!(marginal(&slow) < marginal(&fast), "at {bound:?}");
    }
}

/// R01 to R04 of arXiv:2503.09114v1 (5.2, 5.3, 6.1), at both ends of the ranges and in the middle.
#[test]
fn a_cool_pi_has_the_optima_that_were_found() {
    let class = class("pi5-8g");
    let model = class.model("Llama-3.2-1B").unwrap().digest;
    for bound in [Bound::Low, Bound::Nominal, Bound::High] {
        let point = |mode: &str, threads: u16| {
            let query = Query { mode: Some(mode.into()), decode_threads: Some(threads), ..Query::default() };
            let row = class.table.find(&class.name, model, &query).unwrap();
            let work = Work { prompt_tokens: 32, cached_tokens: 0, output_tokens: 256 };
            let on = row.steps_at(bound).predict(&work, &Situation::default(), &Calibration::default());
            let reading = row.power.as_ref().unwrap().read(bound);
            (on.tpot.mean, reading.decode)
        };
        for (mode, best) in [("powersave", 3), ("ondemand", 2), ("performance", 2)] {
            let fastest = (2..=4).min_by(|a, b| point(mode, *a).0.total_cmp(&point(mode, *b).0));
            assert_eq!(fastest, Some(best), "threads of {mode} at {bound:?}");
        }
        let energy = |(tpot, watts): (f64, f64)| tpot * watts;
        let action = |(tpot, watts): (f64, f64)| tpot * tpot * watts;
        let points =
            ["powersave", "ondemand", "performance"].map(|mode| [2, 3, 4].map(|threads| (mode, threads)));
        for cost in [energy, action] {
            let least = points
                .as_flattened()
                .iter()
                .min_by(|a, b| cost(point(a.0, a.1)).total_cmp(&cost(point(b.0, b.1))));
            assert_eq!(least.unwrap().0, "powersave", "at {bound:?}");
        }
    }
}

#[test]
fn a_cool_pi_reads_prompts_with_less_action_when_it_is_not_saving() {
    let class = class("pi5-8g");
    let model = class.model("Llama-3.2-1B").unwrap().digest;
    let action = |mode: &str| {
        let query = Query { mode: Some(mode.into()), ..Query::default() };
        let row = class.table.find(&class.name, model, &query).unwrap();
        let p1 = row.prefill.p1_ms_per_token.nominal();
        row.power.as_ref().unwrap().prefill_w.nominal() * p1 * p1
    };
    for mode in ["ondemand", "performance"] {
        let less = 1.0 - action(mode) / action("powersave");
        assert!((0.10..=0.18).contains(&less), "{mode}: {less}");
    }
}

#[test]
fn every_coefficient_has_a_source() {
    for name in Class::names() {
        let class = class(name);
        for row in class.table.rows() {
            let provenance = &row.provenance;
            assert!(!provenance.source.is_empty());
            let expected = if name == "pi5-8g" { Origin::Assumed } else { Origin::Emulated };
            assert_eq!(provenance.origin, expected, "{name}");
            let flags = alone(row, &CHAT).flags;
            assert_eq!(flags.assumed, name == "pi5-8g", "{name}");
            assert_eq!(flags.emulated, name != "pi5-8g", "{name}");
            let power = row.power.as_ref().unwrap();
            let others =
                [&power.idle_w, &power.load_w, &row.load.warm_ms, &row.load.cold_ms, &row.decode.contention];
            for figure in others.into_iter().chain(&row.decode.batch_ms[1..]) {
                assert!(figure.is_assumed() && figure.source().is_some(), "{name}: {figure:?}");
            }
        }
    }
}

#[test]
fn a_prior_is_a_range_around_a_relation_of_size() {
    let class = class("orin-nano-8g");
    // A model that was measured: the relation must hold it.
    for row in rows(&class, "Llama-3.2-1B") {
        let Some(guess) = class
            .prior
            .as_ref()
            .unwrap()
            .rows(class.model("llama-3.2-1b").unwrap())
            .into_iter()
            .find(|guess| guess.key.mode == row.key.mode)
        else {
            assert_eq!(row.key.mode.as_str(), "7W");
            continue;
        };
        let at = |bound| guess.steps_at(bound).predict(&CHAT, &Situation::default(), &Calibration::default());
        let measured = alone(row, &CHAT).completion.mean;
        let (low, high) = (at(Bound::Low).completion.mean, at(Bound::High).completion.mean);
        assert!(low < measured && measured < high, "{low} {measured} {high}");
        assert!(alone(&guess, &CHAT).flags.assumed && alone(&guess, &CHAT).flags.extrapolated);
    }
}

#[test]
fn a_hot_pi_is_another_board() {
    let class = class("pi5-8g-hot");
    assert_eq!(class.thermal, Thermal::Throttled);
    let names: Vec<&str> = class.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["LFM2.5-1.2B", "LFM2.5-350M", "Llama-3.2-1B", "Qwen3-0.6B", "SmolLM2-360M"]);
}

#[test]
fn a_class_that_is_not_there_is_named_with_the_nearest() {
    let error = Class::find("pi5-8gb-hot").unwrap_err().to_string();
    expect![[r#"there is no class of boards "pi5-8gb-hot"; did you mean "pi5-8g-hot"?"#]].assert_eq(&error);
    let broken = include_str!("../classes/orin-nano-8g.toml").replacen(
        "mode = \"15W\"\nprefill",
        "mode = \"16W\"\nprefill",
        1,
    );
    expect![[r#"there is no mode "16W"; there are 7W, 15W, 25W, MAXN"#]]
        .assert_eq(&Class::parse(&broken).unwrap_err().to_string());
    let broken = include_str!("../classes/generic.toml").replacen("warm_ms", "warm_m", 1);
    expect![[r#"line 15, column 1: there is no key "warm_m"; did you mean "warm_ms"?"#]]
        .assert_eq(&Class::parse(&broken).unwrap_err().to_string());
}
