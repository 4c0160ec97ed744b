//! What holds for all files and sizes, not only for those that someone thought of.

#![allow(clippy::unwrap_used, reason = "helpers of tests, to which clippy.toml's exception does not reach")]

use std::fs;

use dunlin_gguf::synth::{Mix, SynthShape, synth};
use dunlin_gguf::{
    Estimate, Gguf, GgufWriter, KvType, Limit, LoadPoint, MemoryAvailable, Model, Processor, TensorType,
    Value, WindowCache, admit,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_written_is_read(
        keys in prop::collection::btree_map("[a-z]{1,12}\\.[a-z_]{1,20}", any::<u32>(), 0..20),
        text in "[^\0]{0,200}",
    ) {
        let mut writer = dunlin_gguf::corpus::sound();
        for (key, number) in &keys {
            writer.u32(&format!("test.{key}"), *number);
        }
        writer.text("general.description", &text);
        let gguf = opened(&writer);
        for (key, number) in &keys {
            prop_assert_eq!(gguf.metadata().value(&format!("test.{key}")), Some(&Value::U32(*number)));
        }
        prop_assert_eq!(gguf.metadata().text("general.description").unwrap(), Some(text.as_str()));
    }

    #[test]
    fn tensors_lie_where_they_were_put(rows in prop::collection::vec(1u64..40, 1..8)) {
        let mut writer = dunlin_gguf::corpus::sound();
        for (index, row) in rows.iter().enumerate() {
            writer.tensor(&format!("extra.{index}"), TensorType::F32, &[*row]);
        }
        let data = writer.header().len() as u64;
        let gguf = opened(&writer);
        for (planned, tensor) in writer.tensors.iter().zip(gguf.tensors()) {
            prop_assert_eq!(data + planned.offset, tensor.offset);
            prop_assert_eq!(planned.bytes, tensor.bytes);
        }
    }

    #[test]
    fn more_of_anything_never_needs_less(
        context in 256u32..65_536,
        sequences in 1u32..64,
        micro_batch in 1u32..2048,
        outputs in 1u32..64,
    ) {
        let load = LoadPoint {
            context, sequences, micro_batch, outputs, kv_type: KvType::Q8_0, window_cache: WindowCache::Full, processor: Processor::X86 };
        let model = tiny();
        let base = Estimate::new(&model, &load);
        prop_assert_eq!(base.total, base.weights + base.kv + base.compute + base.logits + base.reserve);
        for more in [
            LoadPoint { context: context + 256, ..load },
            LoadPoint { kv_type: KvType::F16, ..load },
        ] {
            prop_assert!(Estimate::new(&model, &more).total >= base.total);
        }
        // Where all tokens of a step are outputs, nothing is added for those that are not.
        if sequences.max(outputs) + 1 < micro_batch {
            let more = LoadPoint { sequences: sequences + 1, ..load };
            prop_assert!(Estimate::new(&model, &more).total >= base.total);
        }
    }

    #[test]
    fn advice_of_a_shorter_context_is_good(context in 1024u32..65_536, share in 1u64..100) {
        let load = LoadPoint {
            context, sequences: 1, micro_batch: 512, outputs: 1, kv_type: KvType::F16, window_cache: WindowCache::Full, processor: Processor::X86 };
        let model = tiny();
        let estimate = Estimate::new(&model, &load);
        let free = |bytes| MemoryAvailable { bytes, limit: Limit::Machine };
        prop_assert!(admit(&estimate, free(estimate.total)).is_ok());
        let bytes = estimate.total * share / 100;
        let refusal = admit(&estimate, free(bytes)).unwrap_err();
        prop_assert_eq!(refusal.missing, estimate.total - bytes);
        if let dunlin_gguf::Advice::ShorterContext { tokens } = refusal.advice {
            let shorter = Estimate::new(&model, &LoadPoint { context: tokens as u32, ..load });
            prop_assert!(admit(&shorter, free(bytes)).is_ok(), "{} of {}", shorter.total, bytes);
        }
    }
}

/// The same cases in each run.
fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(20_251_120);
    ProptestConfig { cases: 64, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

fn opened(writer: &GgufWriter) -> Gguf {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, writer.bytes()).unwrap();
    Gguf::open(&path).unwrap()
}

fn tiny() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    synth(&SynthShape::TINY, Mix::Q8_0, 1, &path, |_| ()).unwrap();
    Gguf::open(&path).unwrap().model().clone()
}
