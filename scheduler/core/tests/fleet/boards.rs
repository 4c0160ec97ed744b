//! Boards and models to schedule on: round figures, of no real board.

use std::sync::Arc;

use dunlin_costs::{
    Backend, Decode, LoadCosts, Memory, Method, Mode, ModelDigest, Origin, Power, Prefill, Provenance,
    Quality, Row, RowKey, RowParts, Scope, Thermal,
};
use dunlin_scheduler_core::{Alias, Grants, Inventory, LoadPoint, ModelReport, Report, Residency, Variant};

/// What a board is like with a model of 1 GB: the rest follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Board {
    pub(crate) class: &'static str,
    pub(crate) mode: &'static str,
    /// Milliseconds a token, read and generated.
    pub(crate) read_ms: f64,
    pub(crate) token_ms: f64,
    /// Watts above idle.
    pub(crate) watts: f64,
}

pub(crate) const SLOW: Board =
    Board { class: "slow", mode: "ondemand", read_ms: 10.0, token_ms: 90.0, watts: 4.0 };
pub(crate) const FAST: Board =
    Board { class: "fast", mode: "max", read_ms: 1.0, token_ms: 20.0, watts: 16.0 };
pub(crate) const FAST_SAVING: Board =
    Board { class: "fast", mode: "25W", read_ms: 1.2, token_ms: 23.0, watts: 9.0 };

pub(crate) const CONTEXT: u32 = 4096;

pub(crate) fn digest(model: u8) -> ModelDigest {
    ModelDigest::new([model; 32])
}

/// Model n is of n GB: as many times slower, and better.
pub(crate) fn row(board: &Board, model: u8, threads: u16) -> Arc<Row> {
    let size = f64::from(model) * if threads == 4 { 1.0 } else { 1.6 };
    let watts = board.watts * if threads == 4 { 1.0 } else { 0.5 };
    let batch = [1.0, 1.2, 1.6, 2.4].map(|by| (by * board.token_ms * size).into());
    let power = Power {
        scope: Scope::BoardInput,
        idle_w: 3.0.into(),
        load_w: (3.0 + watts / 2.0).into(),
        prefill_w: (3.0 + watts).into(),
        decode_w: (3.0 + watts * 0.8).into(),
        correction: None,
    };
    let parts = RowParts {
        name: format!("model-{model}"),
        key: RowKey {
            class: board.class.into(),
            model: digest(model),
            mode: board.mode.into(),
            thermal: Thermal::Cool,
            prefill_threads: threads,
            decode_threads: threads,
            backend: Backend::Cpu,
            quantisation: "Q4_0".into(),
            kv_type: "f16".into(),
            context: CONTEXT,
            firmware: "1".to_owned(),
            runtime: "1".to_owned(),
        },
        provenance: Provenance {
            origin: Origin::Assumed,
            method: Method::Usual,
            grade: None,
            source: "a test".to_owned(),
            date: String::new(),
        },
        load: LoadCosts {
            cold_ms: (4000.0 * f64::from(model)).into(),
            warm_ms: (1000.0 * f64::from(model)).into(),
            ..LoadCosts::default()
        },
        memory: Memory {
            weights_bytes: u64::from(model) << 30,
            kv_bytes_per_token: 32 << 10,
            ..Memory::default()
        },
        prefill: Prefill {
            p0_ms: 5.0.into(),
            p1_ms_per_token: (board.read_ms * size).into(),
            p2_ms_per_token2: 1e-4.into(),
            measured: [16, CONTEXT],
        },
        decode: Decode {
            batch_ms: batch.to_vec(),
            between_ms: Vec::new(),
            depth_ms_per_token: 1e-3.into(),
            depth_shared: Default::default(),
            contention: 0.5.into(),
            measured_depth: CONTEXT,
        },
        power: Some(power),
        quality: Quality { accuracy: Some(quality(model)), ..Quality::default() },
        fit: dunlin_costs::Fit::default(),
    };
    Arc::new(Row::try_from(parts).expect("a sound row"))
}

pub(crate) fn quality(model: u8) -> f64 {
    1.0 - 0.5 / f64::from(model)
}

/// Rows of all boards and models, at four threads and at two.
pub(crate) fn rows(boards: &[Board], models: &[u8]) -> Vec<Arc<Row>> {
    let of = |board| models.iter().flat_map(move |&model| [4, 2].map(|threads| row(board, model, threads)));
    boards.iter().flat_map(of).collect()
}

/// The largest variant is named first.
pub(crate) fn alias(name: &str, models: &[u8]) -> Alias {
    let variant =
        |&model: &u8| Variant { model: digest(model), bytes: u64::from(model) << 30, quality: None };
    Alias { name: name.into(), variants: models.iter().map(variant).collect(), resident_on: 0 }
}

pub(crate) fn resident(model: u8, sequences: u16) -> ModelReport {
    let point = LoadPoint { backend: Backend::Cpu, kv_type: "f16".into(), context: CONTEXT };
    report(model, Residency::Resident { point, sequences }, u64::from(model) << 30)
}

pub(crate) fn on_disk(model: u8) -> ModelReport {
    report(model, Residency::OnDisk { cached: false }, 0)
}

fn report(model: u8, residency: Residency, bytes: u64) -> ModelReport {
    ModelReport { model: digest(model), residency, bytes, pinned: false, prefixes: None }
}

pub(crate) fn inventory(board: &Board, models: Vec<ModelReport>) -> Inventory {
    Inventory {
        class: board.class.into(),
        firmware: "1".to_owned(),
        runtime: "1".to_owned(),
        labels: Arc::default(),
        grants: Grants(u32::MAX),
        slots: 8,
        sequences: 4,
        report: Report {
            mode: Mode::new(board.mode),
            thermal: Thermal::Cool,
            battery: None,
            free_bytes: 4 << 30,
            models,
            attempts: Vec::new(),
        },
    }
}
