//! From bytes to a pipeline, or to a sentence that says why not.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Mutex};

use dunlin_host::{CacheConfig, Compile, Host, HostConfig, LoadError, Pipeline, PipelineSource};
use tempfile::TempDir;

use crate::scene::host;

async fn refusal(bytes: &[u8]) -> String {
    host().load(PipelineSource::bytes("it", bytes.to_vec())).await.unwrap_err().to_string()
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

#[tokio::test]
async fn what_is_not_a_component_is_told_what_it_is() {
    let cases: [(&[u8], &str); 9] = [
        (b"", "the file is empty"),
        (b"GGUF\x03\0\0\0", "it is a GGUF model"),
        (b"\x7fELF\x02", "it is native code"),
        (b"PK\x03\x04", "it is an archive"),
        (b"#!/bin/sh\n", "it is a script"),
        (b"  (component)", "wasm-tools parse"),
        (b"fn main() {}", "it is text"),
        (b"\xff\xfe\0\0", "it does not begin like WebAssembly"),
        (b"\0asm\x09\0\0\0", "of a kind or version"),
    ];
    for (bytes, what) in cases {
        let said = refusal(bytes).await;
        assert!(said.starts_with("it is not a WebAssembly component: "), "{said}");
        assert!(said.contains(what), "{said}");
    }
}

#[tokio::test]
async fn what_is_damaged_is_refused() {
    let script = dunlin_host_guests::SCRIPT;
    for end in [9, 100, script.len() / 2, script.len() - 1] {
        let said = refusal(&script[..end]).await;
        assert!(said.starts_with("it is damaged"), "{said}");
    }
}

#[tokio::test]
async fn another_world_is_named() {
    assert_eq!(
        refusal(&component("")).await,
        "it is not a pipeline for this host: it exports nothing; a pipeline exports dunlin:llm/handler@0.1.0 (world dunlin:llm/pipeline), a command wasi:cli/run@0.2.12"
    );
    let command = component(r#"(instance $i) (export "wasi:cli/run@0.3.0" (instance $i))"#);
    let said = refusal(&command).await;
    assert!(
        said.contains("it exports wasi:cli/run@0.3.0: it is a command-line program for another"),
        "{said}"
    );
    let newer = component(r#"(instance $i) (export "dunlin:llm/handler@0.2.0" (instance $i))"#);
    let said = refusal(&newer).await;
    assert!(
        said.contains("it is made for dunlin:llm/handler@0.2.0, and this host runs dunlin:llm/handler@0.1.0"),
        "{said}"
    );
}

#[tokio::test]
async fn imports_that_are_not_offered_are_named() {
    let stored = component(
        r#"(import "wasi:keyvalue/store@0.2.0" (instance))
           (instance $i) (export "dunlin:llm/handler@0.1.0" (instance $i))"#,
    );
    let said = refusal(&stored).await;
    assert!(said.contains("it imports wasi:keyvalue/store@0.2.0, which guests do not get"), "{said}");
}

#[tokio::test]
async fn versions_that_do_not_fit_are_named() {
    let handler = r#"(instance $i) (export "dunlin:llm/handler@0.1.7" (instance $i))"#;
    for (import, why) in [
        (
            "dunlin:llm/models@0.2.0",
            "it is made for dunlin:llm/models@0.2.0, and this host has version 0.1.0",
        ),
        (
            "wasi:clocks/monotonic-clock@0.3.0",
            "it imports wasi:clocks/monotonic-clock@0.3.0, which guests do not get",
        ),
    ] {
        let said = refusal(&component(&format!(r#"(import "{import}" (instance)) {handler}"#))).await;
        assert!(said.contains(why), "{said}");
    }
}

/// What is left out of wasmtime, so that what is wrong with it cannot be reached.
#[tokio::test]
async fn parts_of_webassembly_that_are_off_are_refused() {
    let parts = [
        ("threads", "(memory 1 1 shared)"),
        ("memory64", "(memory i64 1)"),
        ("several memories", "(memory 1) (memory 1)"),
        ("relaxed simd", "(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))"),
        ("gc", "(type (struct (field i32))) (func (result (ref 0)) (struct.new_default 0))"),
        ("exceptions", "(tag) (func (throw 0))"),
    ];
    let handler = r#"(instance $i) (export "dunlin:llm/handler@0.1.0" (instance $i))"#;
    for (part, text) in parts {
        let said = refusal(&component(&format!("(core module {text}) {handler}"))).await;
        assert!(said.starts_with("it is damaged, or not a valid component"), "{part}: {said}");
    }
    let asynchronous = r#"(core module $m (func (export "f"))) (core instance $m (instantiate $m))
        (func (export "f") async (canon lift (core func $m "f") async))"#;
    let said = refusal(&component(&format!("{asynchronous} {handler}"))).await;
    assert!(said.starts_with("it is damaged, or not a valid component"), "{said}");
}

#[tokio::test]
async fn a_handler_of_another_shape_is_refused() {
    let hollow = component(r#"(instance $i) (export "dunlin:llm/handler@0.1.0" (instance $i))"#);
    let said = refusal(&hollow).await;
    assert!(said.starts_with("it is not a pipeline for this host: ") && said.contains("run"), "{said}");
}

#[tokio::test]
async fn files_are_named_and_missing_ones_too() {
    let missing = host().load(PipelineSource::file("/nowhere/it.wasm")).await.unwrap_err();
    assert_eq!(missing.to_string(), "cannot read /nowhere/it.wasm: No such file or directory (os error 2)");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("shout.wasm");
    fs::write(&path, dunlin_host_guests::SCRIPT).unwrap();
    let pipeline = host().load(PipelineSource::file(path)).await.unwrap();
    assert_eq!(pipeline.name(), "shout");
    assert!(pipeline.imports().contains(&"dunlin:llm/models@0.1.0".to_owned()), "{:?}", pipeline.imports());
    assert_eq!(pipeline.notes(), [""; 0]);
}

#[tokio::test]
async fn a_component_over_the_size_limit_is_not_read() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("huge.wasm");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = host().load(PipelineSource::file(path)).await.unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { bytes, .. } if bytes == 1 << 40), "{error}");
}

#[tokio::test]
async fn what_cannot_fit_is_refused_before_it_is_compiled() {
    let memory = crate::hostile::component(r#"(memory (export "memory") 65536)"#, "unreachable");
    let said = refusal(&memory).await;
    assert!(said.ends_with("its memory begins with 4096 MiB, at most 128 are possible"), "{said}");
    let table =
        crate::hostile::component(r#"(memory (export "memory") 1) (table 100000000 funcref)"#, "unreachable");
    let said = refusal(&table).await;
    assert!(said.ends_with("its table begins with 100000000 elements, at most 65536 are possible"), "{said}");
}

/// A small component that is a pipeline, and another for each number.
fn small(number: u32) -> Vec<u8> {
    crate::hostile::component(
        r#"(memory (export "memory") 1)"#,
        &format!("(i32.const {number}) drop unreachable"),
    )
}

fn host_with(cache: CacheConfig) -> Host {
    Host::new(HostConfig::new(Compile::InProcess).cache(cache)).unwrap()
}

/// How often it was compiled for this load, and what was noted.
async fn load(host: &Host, bytes: Vec<u8>) -> (usize, Vec<String>) {
    let (compiled, pipeline) = load_and_keep(host, bytes).await;
    (compiled, pipeline.notes().to_vec())
}

async fn load_and_keep(host: &Host, bytes: Vec<u8>) -> (usize, Pipeline) {
    let compiled = Mutex::new(0);
    let source = PipelineSource::bytes("small", bytes);
    let watch = |compiling: dunlin_host::Compiling| {
        if compiling.elapsed.as_millis() < 100 {
            *compiled.lock().unwrap() += 1;
        }
    };
    let pipeline = host.load_watched(source, watch).await.unwrap();
    (compiled.into_inner().unwrap(), pipeline)
}

fn files(directory: &Path) -> Vec<fs::DirEntry> {
    fs::read_dir(directory).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn what_was_compiled_is_found_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a/b");
    let nothing: Vec<String> = Vec::new();
    assert_eq!(load(&host_with(CacheConfig::new(&path)), small(1)).await, (1, nothing.clone()));
    assert_eq!(load(&host_with(CacheConfig::new(&path)), small(1)).await, (0, nothing.clone()));
    assert_eq!(load(&host_with(CacheConfig::new(&path)), small(2)).await, (1, nothing));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(files(&path).len(), 2);
}

#[tokio::test]
async fn damage_in_the_cache_is_found_and_mended() {
    let directory = TempDir::new().unwrap();
    load(&host_with(CacheConfig::new(directory.path())), small(1)).await;
    let file = files(directory.path())[0].path();
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [damaged, whole[..whole.len() / 2].to_vec(), Vec::new()] {
        fs::write(&file, bad).unwrap();
        assert_eq!(load(&host_with(CacheConfig::new(directory.path())), small(1)).await.0, 1);
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
}

#[tokio::test]
async fn a_cache_that_others_can_write_to_is_not_used() {
    let directory = TempDir::new().unwrap();
    load(&host_with(CacheConfig::new(directory.path())), small(1)).await;
    let file = files(directory.path())[0].path();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(
        load(&host_with(CacheConfig::new(directory.path())), small(1)).await.0,
        1,
        "nor is such a file"
    );
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (compiled, notes) = load(&host_with(CacheConfig::new(directory.path())), small(1)).await;
    assert_eq!(compiled, 1);
    assert!(notes[0].contains("others may write to it (chmod go-w)"), "{notes:?}");
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_a_note() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let (compiled, notes) = load(&host_with(CacheConfig::new(file.join("cache"))), small(1)).await;
    assert_eq!(compiled, 1);
    assert!(
        notes[0].starts_with("compiled code is not kept in ") && notes[0].contains("Not a directory"),
        "{notes:?}"
    );
}

#[tokio::test]
async fn the_cache_keeps_what_was_used_last() {
    let directory = TempDir::new().unwrap();
    load(&host_with(CacheConfig::new(directory.path())), small(0)).await;
    let bytes = files(directory.path())[0].metadata().unwrap().len();
    let config = CacheConfig { directory: directory.path().into(), capacity_bytes: 3 * bytes + bytes / 2 };
    for number in 1..6 {
        load(&host_with(config.clone()), small(number)).await;
        // Used again and again, so it stays.
        assert_eq!(load(&host_with(config.clone()), small(0)).await.0, 0, "{number}");
    }
    assert_eq!(files(directory.path()).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_at_the_same_time_compile_once() {
    let host = Host::new(HostConfig::new(Compile::InProcess)).unwrap();
    let loads: Vec<_> = (0..8)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { load_and_keep(&host, small(7)).await })
        })
        .collect();
    let mut loaded = Vec::new();
    for load in loads {
        loaded.push(load.await.unwrap());
    }
    assert_eq!(loaded.iter().map(|(compiled, _)| compiled).sum::<usize>(), 1);
}
