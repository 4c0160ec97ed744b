//! Estimates against what llama.cpp allocated, and free memory of recorded machines.

#![allow(clippy::unwrap_used, reason = "helpers of tests, to which clippy.toml's exception does not reach")]

use std::fs;
use std::path::Path;

use dunlin_gguf::synth::{Mix, SynthShape, plan};
use dunlin_gguf::{
    Estimate, Gguf, KvType, Limit, LoadPoint, MemoryAvailable, Model, Processor, WindowCache, admit,
};
use expect_test::{Expect, expect};

const MIB: f64 = 1_048_576.0;

/// A model of `shape` without its weights on the disk: the estimate needs the header alone.
fn model(shape: &SynthShape, mix: Mix) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let writer = plan(shape, mix);
    let header = writer.header();
    fs::write(&path, &header).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(header.len() as u64 + writer.data_bytes()).unwrap();
    Gguf::open(&path).unwrap().model().clone()
}

fn load(context: u32, micro_batch: u32, sequences: u32, outputs: u32, kv_type: KvType) -> LoadPoint {
    let (window_cache, processor) = (WindowCache::Full, Processor::X86);
    LoadPoint { context, sequences, micro_batch, outputs, kv_type, window_cache, processor }
}

/// Buffers that llama.cpp of llama-cpp-sys-2 0.1.161 logged on x86-64, in MiB: cache, compute.
#[test]
fn buffers_are_bounded() {
    use KvType::{F16, F32, Q4_0, Q8_0};
    let shapes = [SynthShape::SMOLLM2_135M, SynthShape::QWEN2_5_0_5B, SynthShape::LLAMA_3_2_1B];
    let [smollm, qwen, llama] = shapes.map(|shape| model(&shape, Mix::Q4_0));
    for (model, load, cache, compute) in [
        (&smollm, load(512, 512, 1, 1, F16), 11.25, 15.14),
        (&smollm, load(32_768, 512, 1, 1, F16), 720.0, 46.64),
        (&smollm, load(8192, 512, 1, 512, F16), 180.0, 109.64),
        (&smollm, load(8192, 128, 32, 32, F16), 180.0, 9.41),
        (&smollm, load(8192, 512, 8, 8, Q8_0), 95.62, 22.67),
        (&qwen, load(512, 512, 1, 1, F16), 6.0, 37.77),
        (&qwen, load(8192, 512, 1, 512, F16), 96.0, 315.27),
        (&qwen, load(8192, 2048, 8, 8, F16), 96.0, 181.07),
        (&qwen, load(8192, 512, 1, 1, Q4_0), 27.0, 45.30),
        (&llama, load(512, 512, 1, 1, F16), 16.0, 68.52),
        (&llama, load(8192, 512, 32, 32, F16), 256.0, 76.02),
        (&llama, load(8192, 128, 32, 32, F16), 256.0, 22.66),
        (&llama, load(8192, 512, 1, 1, F32), 512.0, 76.02),
    ] {
        let estimate = Estimate::new(model, &load);
        let name = &model.architecture;
        let ratio = estimate.compute as f64 / MIB / compute;
        assert!((estimate.kv as f64 / MIB - cache).abs() < 0.01, "{name} {load:?}: {}", estimate.kv);
        assert!((1.0..1.5).contains(&ratio), "{name} {load:?}: {ratio}");
        let logits = u64::from(load.sequences.max(load.outputs)) * u64::from(model.tokenizer.vocabulary) * 4;
        assert_eq!(estimate.logits, logits);
    }
}

#[test]
fn a_matrix_that_is_copied_counts_twice() {
    let model = model(&SynthShape::QWEN2_5_0_5B, Mix::Q8_0);
    let weights = |processor| {
        Estimate::new(&model, &LoadPoint { processor, ..load(512, 512, 1, 1, KvType::F16) }).weights
    };
    assert_eq!(weights(Processor::X86), model.weights.bytes);
    assert_eq!(weights(Processor::Arm) - model.weights.bytes, model.weights.tied.unwrap().bytes);
}

#[test]
fn a_refusal_says_what_is_missing_and_what_to_do() {
    let model = model(&SynthShape::QWEN2_5_0_5B, Mix::Q4KM);
    let check = |load: &LoadPoint, megabytes: u64, expected: Expect| {
        let available = MemoryAvailable { bytes: megabytes * 1_000_000, limit: Limit::Machine };
        let refusal = admit(&Estimate::new(&model, load), available).unwrap_err();
        expected.assert_eq(&refusal.to_string());
    };
    check(
        &load(32_768, 512, 1, 1, KvType::F16),
        700,
        expect![
            "240 MB are missing: it needs 940 MB: weights 392 MB, cache 403 MB, compute 77.4 MB, logits 608 kB, reserve 67.5 MB; 700 MB are free: a context of 13,056 tokens would fit"
        ],
    );
    check(
        &load(1024, 2048, 8, 2048, KvType::F16),
        800,
        expect![
            "1.59 GB are missing: it needs 2.39 GB: weights 392 MB, cache 12.6 MB, compute 676 MB, logits 1.24 GB, reserve 65.5 MB; 800 MB are free: take fewer sequences or a smaller micro-batch"
        ],
    );
    check(
        &load(2048, 128, 1, 1, KvType::F16),
        300,
        expect![
            "195 MB are missing: it needs 495 MB: weights 392 MB, cache 25.2 MB, compute 11.9 MB, logits 608 kB, reserve 65.5 MB; 300 MB are free: take a smaller quantisation, a smaller model or a board with more memory"
        ],
    );
}

/// A machine's files under a folder, as `(path, content)`.
fn available(files: &[(&str, &str)]) -> Result<MemoryAvailable, String> {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    MemoryAvailable::read_under(root.path()).map_err(|error| without(&error.to_string(), root.path()))
}

fn without(sentence: &str, root: &Path) -> String {
    sentence.replace(&root.display().to_string(), "")
}

const PI: &str =
    "MemTotal:        8245096 kB\nMemFree:         5120000 kB\nMemAvailable:    6291456 kB\nBuffers:  1 kB\n";
const GIB: u64 = 1 << 30;

#[test]
fn a_bare_board_has_what_the_kernel_says() {
    let found = available(&[("proc/meminfo", PI), ("proc/self/cgroup", "0::/user.slice\n")]);
    assert_eq!(found, Ok(MemoryAvailable { bytes: 6 * GIB, limit: Limit::Machine }));
}

#[test]
fn a_container_of_version_2_has_what_its_limit_leaves() {
    let found = available(&[
        ("proc/meminfo", PI),
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/memory.current", "3221225472\n"),
        ("sys/fs/cgroup/memory.stat", "anon 1073741824\nfile 2147483648\ninactive_file 2147483648\n"),
    ]);
    assert_eq!(found, Ok(MemoryAvailable { bytes: 3 * GIB, limit: Limit::ControlGroup }));
}

#[test]
fn the_tightest_group_around_a_service_counts() {
    let found = available(&[
        ("proc/meminfo", PI),
        ("proc/self/cgroup", "0::/system.slice/dunlin.service\n"),
        ("sys/fs/cgroup/system.slice/dunlin.service/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/dunlin.service/memory.current", "1\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "2147483648\n"),
        ("sys/fs/cgroup/system.slice/memory.current", "1073741824\n"),
    ]);
    assert_eq!(found, Ok(MemoryAvailable { bytes: GIB, limit: Limit::ControlGroup }));
}

#[test]
fn a_container_of_version_1_finds_its_limit_at_the_root() {
    let found = available(&[
        ("proc/meminfo", PI),
        ("proc/self/cgroup", "5:cpu,cpuacct:/docker/4f\n4:memory:/docker/4f\n0::/\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "805306368\n"),
        ("sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 268435456\n"),
    ]);
    assert_eq!(found, Ok(MemoryAvailable { bytes: GIB / 2, limit: Limit::ControlGroup }));
}

#[test]
fn a_limit_of_version_1_that_is_none_is_none() {
    let found = available(&[
        ("proc/meminfo", PI),
        ("proc/self/cgroup", "4:memory:/\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n"),
    ]);
    assert_eq!(found, Ok(MemoryAvailable { bytes: 6 * GIB, limit: Limit::Machine }));
}

#[test]
fn a_machine_that_does_not_say_is_an_error() {
    let old = available(&[("proc/meminfo", "MemTotal: 1 kB\nMemFree: 1 kB\n")]);
    expect!["/proc/meminfo: has no line MemAvailable"].assert_eq(&old.unwrap_err());
    let none = available(&[]);
    expect!["/proc/meminfo: cannot be read: No such file or directory (os error 2)"]
        .assert_eq(&none.unwrap_err());
}
