//! Models that guests of wasi-nn bring as bytes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use dunlin_engine_handle::{EngineError, fake::Fake};
use dunlin_host::{InvokeError, PipelineSource, WeightsGrant};

use crate::{
    program::{Program, answer, component},
    scene::{host, saying},
};

/// What engines were started on: the file, and what was in it.
type Started = Arc<Mutex<Vec<(PathBuf, Vec<u8>)>>>;

fn granting(fake: Fake, folder: &Path, bytes: u64) -> (WeightsGrant, Started) {
    let started = Started::default();
    let noted = started.clone();
    let start = move |file: &Path| {
        noted.lock().unwrap().push((file.to_owned(), fs::read(file)?));
        Ok(fake.start())
    };
    (WeightsGrant { bytes, folder: folder.into(), start: Arc::new(start) }, started)
}

#[tokio::test(start_paused = true)]
async fn a_component_brings_its_model_and_the_file_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (grant, started) = granting(saying("ok"), folder.path(), 1 << 20);
    let mut program = Program::bare(&["bytes:GGUF and more", "prompt=hi"]);
    program.invocation.grants.weights = Some(grant);
    let said = program.output(component().await).await;
    assert!(said.starts_with("text TensorType::U8 [2]: ok\n"), "{said}");
    let started = started.lock().unwrap();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].1, b"GGUF and more");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |fake: Fake, bytes: u64, model: String| {
        let (grant, started) = granting(fake, folder.path(), bytes);
        let mut program = Program::bare(&[&model, "prompt=hi"]);
        program.invocation.grants.weights = Some(grant);
        let (chunks, outcome) = program.chunks(component().await).await;
        assert_eq!(outcome.result, Err(InvokeError::Exited(1)), "{chunks:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        (chunks.concat(), started.lock().unwrap().len())
    };
    let large = format!("bytes:{}", "x".repeat(5 << 10));
    assert_eq!(
        refused(saying("ok"), 4 << 10, large).await,
        (
            "ErrorCode::TooLarge: too large: a model of 5120 bytes; at most 4096 may be loaded at a time from bytes of the guest\n"
                .to_owned(),
            0
        )
    );
    let damaged = Fake::default().refusing(EngineError::Model("it is cut off".into()));
    assert_eq!(
        refused(damaged, 1 << 20, "bytes:GGUF".to_owned()).await,
        ("ErrorCode::InvalidArgument: invalid argument: the model is refused: it is cut off\n".to_owned(), 1)
    );
}

/// Three loads of 3 KiB with options, of which two fit at a time, and an unload before the last one.
const CORE: &str = r#"(module
    (import "wasi_ephemeral_nn" "load" (func $load (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "unload" (func $unload (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "\00\10\00\00\00\0c\00\00\00\02\00\00\11\00\00\00")
    (data (i32.const 512) "{\"mirostat\": 2.5}")
    (func $try (param $at i32) (param $encoding i32)
        (i32.store8 (local.get $at)
            (call $load (i32.const 64) (i32.const 2) (local.get $encoding) (i32.const 3) (i32.const 8))))
    (func (export "_start")
        (call $try (i32.const 1024) (i32.const 6))
        (call $try (i32.const 1025) (i32.const 5))
        (call $try (i32.const 1026) (i32.const 6))
        (i32.store8 (i32.const 1027) (call $unload (i32.const 1)))
        (call $try (i32.const 1028) (i32.const 2))
        (call $try (i32.const 1029) (i32.const 6))
        (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 6))
        (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#;

#[tokio::test(start_paused = true)]
async fn a_core_module_has_room_for_so_much_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (grant, started) = granting(Fake::default(), folder.path(), 7 << 10);
    let mut program = Program::bare(&[]);
    program.invocation.grants.weights = Some(grant);
    let module = PipelineSource::bytes("brings", wat::parse_str(CORE).unwrap());
    let outcome = program.outcome(host().load(module).await.unwrap()).await;
    assert_eq!(answer(&outcome).as_bytes(), [0, 0, 7, 0, 2, 0], "{}", outcome.log.text);
    let sizes: Vec<usize> = started.lock().unwrap().iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sizes, [3072; 3]);
    assert_eq!(outcome.log.text.matches("the option mirostat has no effect on this host").count(), 1);
}
