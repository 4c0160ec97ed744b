//! What a node says of itself.

use std::sync::atomic::Ordering::Relaxed;

use dunlin_link::clock::unix_seconds;
use dunlin_protocol::{
    AttemptId, BlobDigest, ComponentDigest, Health, HeldAttempt, Inventory, OperatingPoint, Parameter,
    Permissions, Progress, Report, StoredModel,
    limits::{MAX_COMPONENTS, MAX_MODELS, MAX_POINTS, MAX_TEXT},
};

use super::{Held, Node, SLOTS, lock};
use crate::{LocalModel, health};

impl Node {
    pub(crate) fn report(&self, stalled_ms: u64) -> Report {
        let progress = lock(&self.attempts)
            .iter()
            .filter(|(_, held)| !held.log.has_ended())
            .map(|(id, held)| Progress {
                attempt: *id,
                offset: held.log.offset(),
                prompt_tokens: 0,
                output_tokens: held.log.output_tokens(),
                elapsed_ms: held.since.elapsed().as_millis() as u64,
            })
            .collect();
        Report {
            number: self.reports.fetch_add(1, Relaxed),
            unix_seconds: unix_seconds(),
            free_memory_bytes: self.residents.free_bytes(),
            residents: self.residents.list(),
            progress,
            loads: Vec::new(),
            health: self.health(stalled_ms),
        }
    }

    pub(crate) fn health(&self, stalled_ms: u64) -> Health {
        let mode = &self.mode();
        let health = match self.options.emulation {
            Some(_) => health::emulated(self.worker.board().borrow().as_ref(), mode, stalled_ms),
            None => Health {
                milliwatts: self.metering.board_watts().map(health::milliwatts),
                ..self.health.now(&self.options.root, mode, stalled_ms)
            },
        };
        Health { drawn: self.metering.drawn(), ..health }
    }

    pub(crate) fn inventory(&self) -> Inventory {
        let options = &self.options;
        let stored = |model: &LocalModel| StoredModel {
            digest: model.digest,
            name: model.name.clone(),
            quantization: model.quantization.clone(),
            bytes: model.bytes,
            memory_bytes: model.memory_bytes,
            kv_bytes_per_token: model.kv_bytes_per_token,
            pinned: self.residents.is_pinned(&model.digest),
            cached: self.residents.is_cached(&model.digest),
        };
        Inventory {
            incarnation: self.memory.incarnation,
            epoch: self.memory.epoch(),
            class: options.class.clone(),
            firmware: options.firmware.clone(),
            engine_build: options.build.clone(),
            emulated: options.emulation.is_some(),
            cordoned: self.cordoned.load(Relaxed),
            labels: options
                .labels
                .iter()
                .map(|(name, value)| Parameter { name: name.clone(), value: value.clone() })
                .collect(),
            memory_bytes: self.residents.memory_bytes(),
            disk_free_bytes: self.blobs.free_bytes().unwrap_or(0),
            models: lock(&self.models).values().take(MAX_MODELS).map(stored).collect(),
            components: self.components(),
            points: self.points(),
            attempts: self.held_attempts(),
            remeasures: options.remeasures,
            slots: SLOTS,
            unconfined: self.unconfined(),
            allows: Permissions { http: false, environment: true, components: true },
            state: self.report(0),
        }
    }

    /// What could not be taken from its worker.
    fn unconfined(&self) -> String {
        let confinement = self.worker.confinement();
        let mut gaps = confinement.and_then(|confinement| confinement.gaps()).unwrap_or_default();
        gaps.truncate(gaps.floor_char_boundary(MAX_TEXT));
        gaps
    }

    fn held_attempts(&self) -> Vec<HeldAttempt> {
        let held = |(id, held): (&AttemptId, &Held)| HeldAttempt {
            attempt: *id,
            offset: held.log.offset(),
            ended: held.log.has_ended(),
            epoch: held.log.epoch,
        };
        lock(&self.attempts).iter().map(held).collect()
    }

    fn components(&self) -> Vec<ComponentDigest> {
        let blobs = self.blobs.list().unwrap_or_default().into_iter();
        let component = |(blob, _)| match blob {
            BlobDigest::Blake3(component) => Some(component),
            BlobDigest::Sha256(_) => None,
        };
        blobs.filter_map(component).take(MAX_COMPONENTS).collect()
    }

    /// In the mode that it is in, then in those that it could be put into.
    fn points(&self) -> Vec<OperatingPoint> {
        let modes =
            self.options.emulation.as_ref().map_or(self.modes.allowed(), |emulation| &emulation.modes);
        let now = self.point();
        let others = modes.iter().filter(|mode| **mode != now.mode);
        let others: Vec<_> =
            others.map(|mode| OperatingPoint { mode: mode.clone(), ..now.clone() }).collect();
        std::iter::once(now).chain(others).take(MAX_POINTS).collect()
    }
}
