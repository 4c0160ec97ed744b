//! What is said of a model, and that made-up ones are what they claim.

#![allow(clippy::unwrap_used, reason = "helpers of tests, to which clippy.toml's exception does not reach")]

use std::fs;
use std::path::Path;

use dunlin_gguf::synth::{Mix, Progress, SynthShape, plan, synth};
use dunlin_gguf::{Gguf, GgufWriter, MemoryKind, Model, TensorType, ValueType, WriteError};
use expect_test::{Expect, expect};

fn written(shape: &SynthShape, mix: Mix, seed: u64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    synth(shape, mix, seed, &path, |_| ()).unwrap();
    fs::read(path).unwrap()
}

fn model_of(bytes: &[u8]) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    Gguf::open(&path).unwrap().model().clone()
}

/// The sizes of `shape` under another architecture's name, with more said about it.
fn variant(architecture: &str, change: impl FnOnce(&mut GgufWriter)) -> Model {
    let mut writer = plan(&SynthShape { layers: 6, ..SynthShape::TINY }, Mix::F16);
    for pair in &mut writer.pairs {
        if let Some(rest) = pair.key.strip_prefix(b"llama.") {
            pair.key = [architecture.as_bytes(), b".", rest].concat();
        }
    }
    writer.text("general.architecture", architecture);
    change(&mut writer);
    model_of(&writer.bytes())
}

#[test]
fn a_person_reads() {
    let check = |shape: &SynthShape, mix, expected: Expect| {
        expected.assert_eq(&model_of(&written(shape, mix, 1)).to_string());
    };
    check(
        &SynthShape::TINY,
        Mix::Q4KM,
        expect![[r#"
        name           tiny (random weights)
        architecture   llama
        quantization   Q4_K_M
        parameters     155,968
        weights        121 kB in 20 tensors (60.5 kB Q5_0, 37.0 kB Q8_0, 13.4 kB Q6_K, 9.22 kB Q4_K, 1.28 kB F32)
        context        512 tokens
        vocabulary     512 tokens, gpt2 (smollm)
        layers         2 of 64 numbers
        attention      4 heads, 2 for keys and values, of 16
        memory         attention
        chat template  yes
    "#]],
    );
}

#[test]
fn a_program_reads() {
    let json = serde_json::to_string_pretty(&model_of(&written(&SynthShape::TINY, Mix::Q8_0, 1))).unwrap();
    expect![[r#"
        {
          "architecture": "llama",
          "name": "tiny (random weights)",
          "quantization": "Q8_0",
          "parameters": 155968,
          "context_length": 512,
          "embedding_length": 64,
          "feed_forward_length": 256,
          "memory": "attention",
          "layers": [
            {
              "heads": 4,
              "kv_heads": 2,
              "key_length": 16,
              "value_length": 16,
              "windowed": false,
              "borrows_kv": false,
              "state_bytes": 0
            },
            {
              "heads": 4,
              "kv_heads": 2,
              "key_length": 16,
              "value_length": 16,
              "windowed": false,
              "borrows_kv": false,
              "state_bytes": 0
            }
          ],
          "tokenizer": {
            "model": "gpt2",
            "pre": "smollm",
            "vocabulary": 512,
            "longest_token": 17,
            "special": {
              "bos": {
                "id": 508,
                "text": "<|begin_of_text|>"
              },
              "eos": {
                "id": 511,
                "text": "<|im_end|>"
              },
              "eot": {
                "id": 511,
                "text": "<|im_end|>"
              },
              "padding": {
                "id": 509,
                "text": "<|endoftext|>"
              },
              "add_bos": false,
              "add_eos": false
            }
          },
          "chat_templates": {
            "default": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
          },
          "weights": {
            "bytes": 166656,
            "bytes_by_type": {
              "F32": 1280,
              "Q8_0": 165376
            },
            "tied": {
              "type": "Q8_0",
              "bytes": 34816
            },
            "tensors": 20
          }
        }"#]].assert_eq(&json);
}

#[test]
fn windows_are_those_of_the_architecture() {
    let windowed =
        |model: &Model| model.layers.iter().map(|layer| u8::from(layer.windowed)).collect::<Vec<_>>();
    let key = |architecture: &str, name: &str| format!("{architecture}.attention.sliding_window{name}");
    let gemma3 = variant("gemma3", |writer| {
        writer.u32(&key("gemma3", ""), 64);
    });
    assert_eq!((gemma3.memory, windowed(&gemma3)), (MemoryKind::SlidingWindow, vec![1, 1, 1, 1, 1, 0]));
    let listed = variant("gemma2", |writer| {
        writer.array(&key("gemma2", "_pattern"), ValueType::Bool, 6, &[0, 0, 1, 0, 0, 1]);
    });
    assert_eq!((listed.sliding_window, windowed(&listed)), (Some(4096), vec![0, 0, 1, 0, 0, 1]));
    let full = variant("gemma3", |_| ());
    assert_eq!((full.memory, full.sliding_window), (MemoryKind::Attention, None));
    let plain = variant("phi3", |writer| {
        writer.u32(&key("phi3", ""), 64);
    });
    assert_eq!((plain.memory, plain.sliding_window), (MemoryKind::Attention, None));
}

#[test]
fn the_mix_is_guessed_where_the_file_is_silent() {
    let model = variant("llama", |writer| {
        writer.without("general.file_type");
    });
    assert_eq!(model.quantization.name(), "F16");
}

#[test]
fn an_unknown_architecture_is_taken_for_attention() {
    let model = variant("starling9", |_| ());
    assert_eq!((model.memory, model.layers.len()), (MemoryKind::Attention, 6));
}

#[test]
fn real_shapes_have_their_published_sizes() {
    for (shape, parameters) in [
        (SynthShape::SMOLLM2_135M, 134_515_008),
        (SynthShape::QWEN2_5_0_5B, 494_032_768),
        // The published 1,235,814,400 and the 32 rotation factors that llama.cpp stores.
        (SynthShape::LLAMA_3_2_1B, 1_235_814_432),
    ] {
        let elements: u64 =
            plan(&shape, Mix::F16).tensors.iter().map(|t| t.dimensions.iter().product::<u64>()).sum();
        assert_eq!(elements, parameters, "{}", shape.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let tiny = &SynthShape::TINY;
    for mix in Mix::ALL {
        assert_eq!(written(tiny, mix, 7), written(tiny, mix, 7));
    }
    assert_ne!(written(tiny, Mix::Q4_0, 7), written(tiny, Mix::Q4_0, 8));
}

#[test]
fn the_usual_layers_get_more_bits() {
    let types = |shape: &SynthShape, part: &str| -> Vec<TensorType> {
        let plan = plan(shape, Mix::Q4KM);
        let named = plan.tensors.iter().filter(|tensor| String::from_utf8_lossy(&tensor.name).contains(part));
        named.map(|tensor| TensorType::all().find(|kind| kind.id() == tensor.kind).unwrap()).collect()
    };
    let values = types(&SynthShape::LLAMA_3_2_1B, "attn_v.weight");
    let more: Vec<usize> = (0..16).filter(|layer| values[*layer] == TensorType::Q6_K).collect();
    assert_eq!(more, [0, 1, 4, 7, 10, 13, 14, 15]);
    assert_eq!(types(&SynthShape::LLAMA_3_2_1B, "token_embd"), [TensorType::Q6_K]);
    // Rows of 576 and 896 are no whole super-blocks.
    assert_eq!(types(&SynthShape::SMOLLM2_135M, "token_embd"), [TensorType::Q8_0]);
    assert_eq!(types(&SynthShape::QWEN2_5_0_5B, "blk.3.attn_q.weight"), [TensorType::Q5_0]);
}

#[test]
fn progress_ends_at_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    synth(&SynthShape::TINY, Mix::Q8_0, 1, &folder.path().join("m.gguf"), |done| steps.push(done)).unwrap();
    assert!(steps.is_sorted_by_key(|done: &Progress| done.written));
    assert_eq!(steps.last().map(|done| done.written), steps.last().map(|done| done.total));
}

#[test]
fn nothing_is_left_of_a_file_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = plan(&SynthShape::TINY, Mix::Q8_0).write(&path, |_, _| Err(full())).unwrap_err();
    assert!(matches!(error, WriteError::NoRoom { .. }));
    let sentence = error.to_string().replace(&folder.path().display().to_string(), "");
    expect!["/m.gguf: no room for the 179 kB of it: free some, or name another place"].assert_eq(&sentence);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let nowhere = Path::new("/nowhere/at/all.gguf");
    assert!(matches!(synth(&SynthShape::TINY, Mix::F16, 1, nowhere, |_| ()), Err(WriteError::Io { .. })));
}
