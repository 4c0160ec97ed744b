//! What a hostile core module can try: pointers, lengths and handles of every kind, and what hurts only itself.

use std::time::Duration;

use dunlin_host::{InvokeError, MAX_MEMORY_BYTES, PipelineSource};

use crate::{
    program::{Program, answer},
    scene::{host, saying},
};

/// Calls every function with numbers as they come to one that means harm. What each answered is stored from 1024 on,
/// a word each, and written out.
fn hostile(calls: &[(&str, &[i64])]) -> Vec<u8> {
    let mut imports = String::new();
    let mut body = String::new();
    for (index, (function, arguments)) in calls.iter().enumerate() {
        let parameters = "i32 ".repeat(arguments.len());
        imports += &format!(
            r#"(import "wasi_ephemeral_nn" "{function}" (func $f{index} (param {parameters}) (result i32)))"#
        );
        let constants: String = arguments.iter().map(|argument| format!("(i32.const {argument})")).collect();
        body += &format!("(i32.store8 (i32.const {}) (call $f{index} {constants}))", 1024 + index);
    }
    let count = calls.len();
    let text = format!(
        r#"(module {imports}
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 256) "default{{\"temp\": 1}}")
            (data (i32.const 512) "\00\00\00\00\ff\ff\ff\ff\03\00\00\00\00\01\00\00\07\00\00\00")
            (func (export "_start") {body}
                (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const {count}))
                (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#
    );
    wat::parse_str(text).unwrap()
}

async fn answers(calls: &[(&str, &[i64])]) -> Vec<u8> {
    let program = host().load(PipelineSource::bytes("hostile", hostile(calls))).await.unwrap();
    let outcome = Program::new(&saying("hello").start(), &[]).outcome(program).await;
    outcome.result.unwrap_or_else(|error| panic!("{error}: {:?}", outcome.log)).body
}

/// Pointers that are null, at the end, over the end, and as far as they go.
const POINTERS: [i64; 7] = [0, 1, 65_533, 65_536, 0x7fff_ffff, -4, -1];

#[tokio::test(start_paused = true)]
async fn pointers_that_lead_nowhere() {
    for pointer in POINTERS.into_iter().filter(|&pointer| pointer != 1) {
        let calls: [(&str, &[i64]); 13] = [
            ("load", &[pointer, 1, 5, 0, 8]),
            ("load", &[256, 1, 99, 99, pointer]),
            ("load_by_name", &[pointer, 7, 8]),
            ("load_by_name", &[256, 7, pointer]),
            ("load_by_name_with_config", &[256, 7, pointer, 11, 8]),
            ("load_by_name", &[256, 7, 8]),
            ("init_execution_context", &[1, pointer]),
            ("init_execution_context", &[1, 12]),
            ("set_input", &[2, 0, pointer]),
            ("get_output", &[2, 1, pointer, 100, 12]),
            ("get_output", &[2, 1, 2048, 512, pointer]),
            ("get_output_single", &[2, 0, pointer, 4, 12]),
            ("set_input", &[2, 1, 512]),
        ];
        // The last gives "default" as options, which is no JSON.
        assert_eq!(answers(&calls).await, [1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 2], "{pointer}");
    }
}

#[tokio::test(start_paused = true)]
async fn lengths_without_end() {
    for length in [0x7fff_ffff, -1, 65_536] {
        let calls: [(&str, &[i64]); 6] = [
            ("load", &[256, length, 5, 0, 8]),
            ("load_by_name", &[256, length, 8]),
            ("load_by_name_with_config", &[256, 7, 263, length, 8]),
            ("load_by_name", &[256, 7, 8]),
            ("init_execution_context", &[1, 12]),
            ("get_output", &[2, 0, 2048, length, 12]),
        ];
        assert_eq!(answers(&calls).await, [1, 1, 1, 0, 0, 1], "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_none_and_regions_that_overlap() {
    let stale: [(&str, &[i64]); 15] = [
        ("init_execution_context", &[0, 12]),
        ("set_input", &[1, 0, 512]),
        ("compute", &[-1]),
        ("compute_single", &[7]),
        ("get_output", &[0, 0, 2048, 8, 12]),
        ("fini_single", &[1]),
        ("unload", &[1]),
        ("finalize_execution_context", &[1]),
        // The graph's handle is no context, and the other way round; names, prompts and places may overlap.
        ("load_by_name_with_config", &[256, 7, 263, 11, 256]),
        ("compute", &[1]),
        ("init_execution_context", &[1, 13]),
        ("unload", &[2]),
        ("finalize_execution_context", &[2]),
        ("finalize_execution_context", &[2]),
        ("compute", &[2]),
    ];
    assert_eq!(answers(&stale).await, [1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1]);
    let overlapping: [(&str, &[i64]); 6] = [
        ("load_by_name", &[256, 7, 8]),
        ("init_execution_context", &[1, 12]),
        ("set_input", &[2, 0, 512]),
        ("compute", &[2]),
        // Where the text goes, its length goes, too; and into the tensor that it came from.
        ("get_output", &[2, 0, 2048, 8, 2049]),
        ("get_output", &[2, 1, 500, 512, 512]),
    ];
    assert_eq!(answers(&overlapping).await, [0; 6]);
}

#[tokio::test(start_paused = true)]
async fn too_many_graphs() {
    let calls = vec![("load_by_name", &[256, 7, 8][..]); 66];
    let answers = answers(&calls).await;
    assert!(answers[..64].iter().all(|&answer| answer == 0), "{answers:?}");
    assert_eq!(answers[64..], [7, 7]);
}

async fn run(text: &str) -> InvokeError {
    let program = host().load(PipelineSource::bytes("module", wat::parse_str(text).unwrap())).await.unwrap();
    Program::bare(&[]).wall_time(Duration::from_millis(300)).error(program).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_core_modules_can_do_to_themselves() {
    let looping = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;
    assert_eq!(run(looping).await, InvokeError::Deadline);
    let starting = r#"(module (func $spin (loop (br 0))) (start $spin) (func (export "_start")))"#;
    assert_eq!(run(starting).await, InvokeError::Deadline);
    let greedy =
        r#"(module (memory 1) (func (export "_start") (loop (drop (memory.grow (i32.const 100))) (br 0))))"#;
    assert_eq!(run(greedy).await, InvokeError::Memory { limit_bytes: MAX_MEMORY_BYTES });
    let tables = r#"(module (table $t 1 funcref) (func (export "_start")
        (loop (drop (table.grow $t (ref.null func) (i32.const 1000))) (br 0))))"#;
    assert!(matches!(run(tables).await, InvokeError::Table { .. }));
    let deep = r#"(module (func $f (result i32) (i32.add (call $f) (i32.const 1))) (func (export "_start") (drop (call $f))))"#;
    assert!(
        matches!(run(deep).await, InvokeError::Trap { reason, .. } if reason.contains("call stack exhausted"))
    );
    // An hour of sleep: a clock, relative, of 3,600 s.
    let sleeping = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (i32.store (i32.const 80) (i32.const 1)) (i64.store (i32.const 88) (i64.const 3600000000000))
            (drop (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512)))
            unreachable))"#;
    assert_eq!(run(sleeping).await, InvokeError::Deadline);
}

#[tokio::test]
async fn a_module_without_memory_has_its_number() {
    let module = r#"(module
        (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
        (func (export "_start")
            (if (i32.ne (call $load (i32.const 1) (i32.const 1) (i32.const 1)) (i32.const 3)) (then unreachable))))"#;
    let source = PipelineSource::bytes("module", wat::parse_str(module).unwrap());
    let outcome = Program::bare(&[]).outcome(host().load(source).await.unwrap()).await;
    assert_eq!(answer(&outcome), "");
}

#[tokio::test]
async fn modules_that_are_not_for_this_host() {
    let refusal = async |text: &str| {
        let source = PipelineSource::bytes("it", wat::parse_str(text).unwrap());
        host().load(source).await.unwrap_err().to_string()
    };
    let said =
        refusal(r#"(module (import "wasi_unstable" "fd_write" (func)) (func (export "_start")))"#).await;
    assert_eq!(
        said,
        "it is not a pipeline for this host: it is a core module that imports wasi_unstable.fd_write; core modules get wasi_snapshot_preview1 and wasi_ephemeral_nn"
    );
    let said =
        refusal(r#"(module (import "wasi_ephemeral_nn" "dream" (func)) (func (export "_start")))"#).await;
    assert!(said.contains("dream"), "{said}");
    let said = refusal("(module)").await;
    assert!(said.contains("a core module without _start"), "{said}");
    let said = refusal(r#"(module (memory 3000) (func (export "_start")))"#).await;
    assert!(said.starts_with("it is too large for this host"), "{said}");
}
