//! A class as it is written, and how it becomes rows.

use serde::Deserialize;

use super::{Class, ClassMode};
use crate::{
    Backend, Correction, Decode, Figure, Fit, Grade, KvType, LoadCosts, Memory, Method, Mode, ModelDigest,
    ModelFacts, NodeClass, Origin, Power, Prefill, Prior, PriorPoint, Provenance, Quality, Quantisation, Row,
    RowKey, RowParts, Scope, Thermal, document,
    prior::{MIB, Sharing},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassFile {
    name: NodeClass,
    description: String,
    firmware: String,
    runtime: String,
    backend: Backend,
    kv_type: KvType,
    context: u32,
    memory_bytes: u64,
    cores: u16,
    thermal: Thermal,
    default_mode: Mode,
    power: Option<PowerFile>,
    load: LoadFile,
    sharing: Sharing,
    mode: Vec<ModeFile>,
    model: Vec<ModelFile>,
    #[serde(default)]
    row: Vec<RowFile>,
    prior: Option<PriorFile>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PowerFile {
    scope: Scope,
    load_w: Figure,
    /// Watts of reading by watts of decoding.
    prefill_ratio: Figure,
    correction: Correction,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadFile {
    warm_ms: Figure,
    cold_ms_per_mib: Figure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeFile {
    name: Mode,
    idle_w: Option<Figure>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    name: String,
    quantisation: Quantisation,
    mib: f64,
    kv_bytes_per_token: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowFile {
    model: String,
    mode: Mode,
    prefill_threads: u16,
    decode_threads: u16,
    p0_ms: Figure,
    p1_ms_per_token: Figure,
    p2_ms_per_token2: Figure,
    d0_ms: Figure,
    d1_ms_per_token: Figure,
    measured: [u32; 2],
    measured_depth: u32,
    decode_w: Figure,
    prefill_mape_pct: f64,
    decode_mape_pct: f64,
    grade: Grade,
    source: String,
    date: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriorFile {
    /// The model that the coefficients are of.
    reference: String,
    source: String,
    /// Whether the models of the class get rows by it.
    #[serde(default)]
    rows: bool,
    p0_ms: Figure,
    decode_ms_per_mib: Figure,
    p1_ms_per_token: Figure,
    p2_ms_per_token2: Figure,
    d1_ms_per_token: Figure,
    point: Vec<PointFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PointFile {
    mode: Mode,
    prefill_threads: u16,
    decode_threads: u16,
    /// Times by which reading and decoding are slower than the coefficients say.
    prefill: Figure,
    decode: Figure,
    prefill_w: Option<Figure>,
    decode_w: Option<Figure>,
}

impl ClassFile {
    pub(super) fn build(self) -> Result<Class, String> {
        let models: Vec<ModelFacts> = self.model.iter().map(ModelFile::build).collect();
        let modes: Vec<ClassMode> = self
            .mode
            .iter()
            .map(|mode| ClassMode { name: mode.name.clone(), idle_w: mode.idle_w.clone() })
            .collect();
        self.mode_named(&self.default_mode)?;
        let prior = self.prior.as_ref().map(|prior| self.prior(prior, &models)).transpose()?;
        let mut rows =
            self.row.iter().map(|row| self.row(row, &models)).collect::<Result<Vec<Row>, String>>()?;
        if let (Some(prior), true) = (&prior, self.prior.as_ref().is_some_and(|prior| prior.rows)) {
            rows.extend(models.iter().flat_map(|model| prior.rows(model)));
        }
        let Self { name, description, backend, thermal, memory_bytes, cores, default_mode, .. } = self;
        let table = rows.into_iter().collect();
        let mode = default_mode;
        Ok(Class {
            name,
            description,
            backend,
            thermal,
            memory_bytes,
            cores,
            modes,
            mode,
            models,
            table,
            prior,
        })
    }

    fn mode_named(&self, name: &Mode) -> Result<&ModeFile, String> {
        let known: Vec<&str> = self.mode.iter().map(|mode| mode.name.as_str()).collect();
        let found = self.mode.iter().find(|mode| mode.name == *name);
        found.ok_or_else(|| document::unknown("mode", name.as_str(), &known))
    }

    fn row(&self, row: &RowFile, models: &[ModelFacts]) -> Result<Row, String> {
        let model = model_named(models, &row.model)?;
        let prefill = Prefill {
            p0_ms: row.p0_ms.clone(),
            p1_ms_per_token: row.p1_ms_per_token.clone(),
            p2_ms_per_token2: row.p2_ms_per_token2.clone(),
            measured: row.measured,
        };
        let decode = Decode {
            batch_ms: self.sharing.batch(&row.d0_ms, &row.p1_ms_per_token),
            between_ms: Vec::new(),
            depth_ms_per_token: row.d1_ms_per_token.clone(),
            depth_shared: Figure::default(),
            contention: self.sharing.contention.clone(),
            measured_depth: row.measured_depth,
        };
        let fit = Fit {
            prefill_mape_pct: Some(row.prefill_mape_pct),
            decode_mape_pct: Some(row.decode_mape_pct),
            residual_q90: if row.grade == Grade::C { 0.3 } else { Fit::default().residual_q90 },
            ..Fit::default()
        };
        let (grade, source, date) = (Some(row.grade), row.source.clone(), row.date.clone());
        let parts = RowParts {
            name: model.name.clone(),
            key: self.key(&row.mode, (row.prefill_threads, row.decode_threads), model),
            provenance: Provenance { origin: Origin::Emulated, method: Method::Usual, grade, source, date },
            load: self.load(model.file_bytes),
            memory: Memory {
                weights_bytes: model.file_bytes,
                kv_bytes_per_token: model.kv_bytes_per_token,
                ..Memory::default()
            },
            prefill,
            decode,
            power: self.power(&row.mode, None, Some(&row.decode_w))?,
            quality: Quality::default(),
            fit,
        };
        Row::try_from(parts).map_err(|fault| format!("row {} in {}: {fault}", row.model, row.mode))
    }

    fn key(&self, mode: &Mode, (prefill_threads, decode_threads): (u16, u16), model: &ModelFacts) -> RowKey {
        RowKey {
            class: self.name.clone(),
            model: model.digest,
            mode: mode.clone(),
            thermal: self.thermal,
            prefill_threads,
            decode_threads,
            backend: self.backend,
            quantisation: model.quantisation.clone(),
            kv_type: self.kv_type.clone(),
            context: self.context,
            firmware: self.firmware.clone(),
            runtime: self.runtime.clone(),
        }
    }

    fn load(&self, file_bytes: u64) -> LoadCosts {
        let mib = file_bytes as f64 / MIB;
        let cold_ms = self.load.cold_ms_per_mib.map(|ms| ms * mib).plus(&self.load.warm_ms);
        LoadCosts { cold_ms, warm_ms: self.load.warm_ms.clone(), ..LoadCosts::default() }
    }

    /// `None` if the class says nothing of power.
    fn power(
        &self,
        mode: &Mode,
        prefill_w: Option<&Figure>,
        decode_w: Option<&Figure>,
    ) -> Result<Option<Power>, String> {
        let mode = self.mode_named(mode)?;
        let (Some(power), Some(idle_w), Some(decode_w)) = (&self.power, &mode.idle_w, decode_w) else {
            return Ok(None);
        };
        Ok(Some(Power {
            scope: power.scope,
            idle_w: idle_w.clone(),
            load_w: power.load_w.clone(),
            prefill_w: prefill_w.cloned().unwrap_or_else(|| decode_w.times(&power.prefill_ratio)),
            decode_w: decode_w.clone(),
            correction: Some(power.correction.clone()),
        }))
    }

    fn prior(&self, prior: &PriorFile, models: &[ModelFacts]) -> Result<Prior, String> {
        let reference = model_named(models, &prior.reference)?;
        let points = prior.point.iter().map(|point| self.point(point, reference));
        Ok(Prior {
            source: prior.source.clone(),
            reference: reference.clone(),
            p0_ms: prior.p0_ms.clone(),
            decode_ms_per_mib: prior.decode_ms_per_mib.clone(),
            p1_ms_per_token: prior.p1_ms_per_token.clone(),
            p2_ms_per_token2: prior.p2_ms_per_token2.clone(),
            d1_ms_per_token: prior.d1_ms_per_token.clone(),
            warm_ms: self.load.warm_ms.clone(),
            cold_ms_per_mib: self.load.cold_ms_per_mib.clone(),
            sharing: self.sharing.clone(),
            points: points.collect::<Result<_, _>>()?,
        })
    }

    fn point(&self, point: &PointFile, reference: &ModelFacts) -> Result<PriorPoint, String> {
        let threads = (point.prefill_threads, point.decode_threads);
        Ok(PriorPoint {
            key: self.key(&point.mode, threads, reference),
            prefill: point.prefill.clone(),
            decode: point.decode.clone(),
            power: self.power(&point.mode, point.prefill_w.as_ref(), point.decode_w.as_ref())?,
        })
    }
}

fn model_named<'a>(models: &'a [ModelFacts], name: &str) -> Result<&'a ModelFacts, String> {
    let known: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    models.iter().find(|model| model.name == name).ok_or_else(|| document::unknown("model", name, &known))
}

impl ModelFile {
    fn build(&self) -> ModelFacts {
        ModelFacts {
            name: self.name.clone(),
            digest: ModelDigest::emulated(&self.name),
            quantisation: self.quantisation.clone(),
            file_bytes: (self.mib * MIB) as u64,
            kv_bytes_per_token: self.kv_bytes_per_token,
        }
    }
}
