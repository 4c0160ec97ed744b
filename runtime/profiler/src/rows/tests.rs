//! Rows of made-up samples.

use std::{path::PathBuf, time::Duration};

use dunlin_costs::{Backend, Correction, KvType, Mode, ModelDigest, NodeClass, Quantisation, Thermal};
use dunlin_meters::{Description, Sampler, Source};

use super::*;
use crate::{Measured, Sample};

fn subject() -> Subject {
    Subject {
        name: "test".to_owned(),
        key: RowKey {
            class: NodeClass::new("pi5-8g"),
            model: ModelDigest::new([1; 32]),
            mode: Mode::new("performance"),
            thermal: Thermal::Cool,
            prefill_threads: 4,
            decode_threads: 4,
            backend: Backend::Cpu,
            quantisation: Quantisation::new("Q4_0"),
            kv_type: KvType::new("f16"),
            context: 4096,
            firmware: String::new(),
            runtime: String::new(),
        },
        memory: Memory { weights_bytes: 1 << 28, kv_bytes_per_token: 1 << 14, ..Memory::default() },
        origin: Origin::Measured,
        method: Method::Usual,
        source: "test".to_owned(),
        date: "2026-11-29".to_owned(),
    }
}

/// A prompt token takes 10 ms, an answer's 100 ms; the sensor reads `watts` of idle, prompts and answers, if any.
fn state(watts: Option<[f64; 3]>) -> State {
    let mut state = State::new("test", 1);
    let mut record = |cell, seconds, context, phase: usize| {
        let joules = watts.map(|watts| (watts[phase] * 2.0, 2.0));
        let measured = Measured { seconds, context, joules, ..Measured::default() };
        state.samples.push(Sample { cell, measured, spoilt: None, warm_up: false });
    };
    record(Cell::Idle, 2.0, 0, 0);
    for prompt in [128, 512, 1024, 2048] {
        record(Cell::Prefill { threads: 4, prompt }, f64::from(prompt) / 100.0, 0, 1);
    }
    for depth in [16, 512, 2048] {
        record(Cell::Decode { threads: 4, depth, batch: 1 }, 0.1, depth, 2);
    }
    state
}

fn joules_of(profile: &Profile, cell: Cell) -> f64 {
    profile.cells.iter().find(|of| of.cell == cell).and_then(|of| of.joules_per_token).unwrap_or(f64::NAN)
}

const ANSWER: Cell = Cell::Decode { threads: 4, depth: 512, batch: 1 };

#[test]
fn rows_keep_what_the_sensor_reads_and_tokens_cost_what_the_board_draws() {
    let by = Correction::pi5_pmic();
    let description = Description {
        name: "pmic".to_owned(),
        source: Source::RailSensor,
        scope: Scope::PmicRails,
        sees: String::new(),
        correction: Some(by.clone()),
        error: Figure::known(0.05),
        refresh: Duration::from_millis(35),
        place: PathBuf::new(),
    };
    let (_feed, sampler) = Sampler::fed(description, Duration::from_millis(100));
    let profile = rows(&subject(), &state(Some([2.0, 8.0, 6.0])), &Joules::Metered(sampler));
    let power = profile.rows[0].power.as_ref().expect("metered");
    assert_eq!((power.scope, &power.correction), (Scope::PmicRails, &Some(by)));
    assert_eq!((power.idle_w.nominal(), power.decode_w.nominal()), (2.0, 6.0));
    // 0.1 s at 1.1451 x 6 + 0.5879 W.
    assert!((joules_of(&profile, ANSWER) - 0.74585).abs() < 1e-5, "{profile:?}");
    assert_eq!(profile.joules_of, Some(Scope::BoardInput));
    assert_eq!(profile.meter.as_deref(), Some("pmic, rail sensor"));
}

#[test]
fn declared_watts_make_rows_that_say_they_are_assumed() {
    let watts = Declared { idle_w: 3.0, load_w: 5.0, prefill_w: 9.0, decode_w: 8.0 };
    let profile = rows(&subject(), &state(None), &Joules::Declared(watts));
    let power = profile.rows[0].power.as_ref().expect("declared");
    assert!(power.decode_w.is_assumed() && power.scope == Scope::BoardInput);
    assert!((joules_of(&profile, ANSWER) - 0.8).abs() < 1e-9);
    assert!(profile.notes.iter().any(|note| note.contains("declared, not measured")), "{:?}", profile.notes);
    let unknown = rows(&subject(), &state(None), &Joules::Unknown);
    assert!(unknown.rows[0].power.is_none() && unknown.meter.is_none());
    assert!(joules_of(&unknown, ANSWER).is_nan());
}
