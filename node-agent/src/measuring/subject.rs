//! What a row of this node is of.

use dunlin_costs::{
    Backend, Class, KvType, Memory, Method, Mode, ModelDigest, NodeClass, Origin, Quantisation, RowKey,
    Thermal,
};
use dunlin_engine_handle::{ModelInfo, Threads};
use dunlin_profiler::Subject;

use crate::{LocalModel, node::Node};

impl Node {
    pub(super) fn subject(
        &self,
        model: &LocalModel,
        info: &ModelInfo,
        threads: Threads,
        method: Method,
    ) -> Subject {
        let options = &self.options;
        let emulated = options.emulation.is_some();
        Subject {
            name: model.name.clone(),
            key: self.row_key(model, info, threads),
            memory: Memory {
                weights_bytes: info.weights_bytes,
                kv_bytes_per_token: info.kv_bytes_per_token,
                ..Memory::default()
            },
            origin: if emulated { Origin::Emulated } else { Origin::Measured },
            method,
            source: format!("{}, {}, Dunlin {}", self.name, options.firmware, options.build),
            date: jiff::Zoned::now().date().to_string(),
        }
    }

    fn row_key(&self, model: &LocalModel, info: &ModelInfo, threads: Threads) -> RowKey {
        let options = &self.options;
        let digest = ModelDigest::new(model.digest.0);
        let key = RowKey {
            class: NodeClass::new(&options.class),
            model: digest,
            mode: Mode::new(&self.mode()),
            thermal: Thermal::Cool,
            prefill_threads: threads.prefill as u16,
            decode_threads: threads.decode as u16,
            backend: Backend::Cpu,
            quantisation: Quantisation::new(&model.quantization),
            kv_type: KvType::new("f16"),
            context: info.context_length,
            firmware: options.firmware.clone(),
            runtime: options.build.clone(),
        };
        // An emulated board loads models as the rows of its class say.
        let class = options.emulation.as_ref().and_then(|of| Class::find(&of.class).ok());
        let of_class = class.and_then(|class| class.rows(digest).next().map(|row| row.key.clone()));
        match of_class {
            Some(RowKey { backend, quantisation, kv_type, context, thermal, .. }) => {
                RowKey { backend, quantisation, kv_type, context, thermal, ..key }
            }
            None => key,
        }
    }
}
