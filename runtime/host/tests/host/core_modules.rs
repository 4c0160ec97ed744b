//! Core modules by `wasi_ephemeral_nn`: as the guests that exist use it, and as a hostile one may.

use std::time::Duration;

use dunlin_engine_handle::{
    Call, Constraint, EngineError, Generate, StopReason,
    fake::{Fake, Script, ScriptEnd},
};
use dunlin_host::{Budget, InvokeError, MAX_MEMORY_BYTES, PipelineSource};
use tokio::time::Instant;

use crate::{
    program::{Program, answer, check, ggml},
    scene::{hanging, host, saying},
};

/// The one generation that a fake was asked for.
fn generated(fake: &Fake) -> Generate {
    let mut generations = fake.calls().into_iter().filter_map(|call| match call {
        Call::Generate(generate) => Some(generate),
        _ => None,
    });
    let first = generations.next().unwrap();
    assert!(generations.next().is_none());
    first
}

#[tokio::test(start_paused = true)]
async fn a_prompt_becomes_text() {
    let fake = saying("the cat sat");
    let expected = "the cat sat\n{\"input_tokens\": 6, \"output_tokens\": 11, \"llama_build_number\": 0, \"llama_commit\": \"unknown\"}\n";
    check(&fake, &["basic", "default", "<hi>!"], expected).await;
    let asked = generated(&fake);
    assert_eq!((asked.prompt.len(), asked.max_tokens), (6, 4090));
    let sampling = asked.sampling.unwrap();
    assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p), (0.8, 40, 0.95, 0.05));
    let tokenized = fake.calls().into_iter().find_map(|call| match call {
        Call::Tokenize(tokenize) => Some(tokenize),
        _ => None,
    });
    assert!(tokenized.is_some_and(|tokenize| tokenize.add_special && tokenize.parse_special));
}

#[tokio::test(start_paused = true)]
async fn options_reach_the_engine() {
    let fake = saying("x");
    let options = r#"{"n-predict": 9, "temp": 0.0, "top-p": 0.0, "top-k": 3, "seed": 5, "reverse-prompt": "USER",
        "grammar": "", "n-gpu-layers": 100, "mmproj": "", "no-such-key": [1]}"#;
    Program::new(&fake.start(), &["basic", "default", "x", options]).output(ggml().await).await;
    let asked = generated(&fake);
    let sampling = asked.sampling.unwrap();
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (0.0, 0.0, 3));
    assert_eq!(
        (asked.max_tokens, asked.seed, asked.stop, asked.constraint),
        (9, 5, vec!["USER".to_owned()], None)
    );
}

#[tokio::test(start_paused = true)]
async fn schemas_and_grammars_constrain() {
    let cases = [
        (r#"{"json-schema": {"type": "object"}}"#, Constraint::JsonSchema(r#"{"type":"object"}"#.into())),
        (r#"{"json-schema": "{}"}"#, Constraint::JsonSchema("{}".into())),
        (
            r#"{"grammar": "root ::= [ab]"}"#,
            Constraint::Lark("start: ROOT\nROOT: /[\\x{61}-\\x{61}\\x{62}-\\x{62}]/\n".into()),
        ),
    ];
    for (options, expected) in cases {
        let fake = saying("{}");
        Program::new(&fake.start(), &["basic", "default", "x", options]).output(ggml().await).await;
        assert_eq!(generated(&fake).constraint, Some(expected));
    }
    let outcome =
        Program::new(&saying("x").start(), &["basic", "default", "x", r#"{"grammar": "root := x"}"#])
            .outcome(ggml().await)
            .await;
    assert!(answer(&outcome).starts_with("InvalidArgument\n"));
    assert!(
        outcome.log.text.contains("compute: invalid argument: the grammar cannot be read: line 1"),
        "{:?}",
        outcome.log
    );
}

#[tokio::test(start_paused = true)]
async fn text_streams_to_the_guests_stdout() {
    let engine = saying("one two three").start();
    let (chunks, outcome) =
        Program::new(&engine, &["stream-stdout", "default", "x"]).chunks(ggml().await).await;
    assert_eq!(chunks, ["Answer:\n", "one ", "two ", "three", "\n", "13 bytes\n"]);
    assert_eq!(answer(&outcome), chunks.concat());
    assert_eq!((outcome.usage.generations, outcome.usage.output_tokens), (1, 13));
}

#[tokio::test(start_paused = true)]
async fn a_token_a_call() {
    let fake = saying("one two three");
    let expected = "one two three\nEndOfSequence after 3\n{\"input_tokens\": 2, \"output_tokens\": 13, \"llama_build_number\": 0, \"llama_commit\": \"unknown\"}\n";
    check(&fake, &["single", "default", "x"], expected).await;
    assert_eq!(generated(&fake).stop, [""; 0]);
    let both = Fake::default();
    check(&both, &["many", "default", "words of "], "words of 0\nwords of 1\n").await;
}

#[tokio::test(start_paused = true)]
async fn metadata_comes_before_the_prompt_and_before_the_text() {
    let meta = |input| {
        format!(
            "{{\"input_tokens\": {input}, \"output_tokens\": 0, \"llama_build_number\": 0, \"llama_commit\": \"unknown\"}}\n"
        )
    };
    let expected = meta(0) + &meta(6) + "abc\nInvalidEncoding\nInvalidArgument\n";
    check(&saying("abcdef"), &["metadata-first", "default", "hello"], &expected).await;
}

#[tokio::test(start_paused = true)]
async fn an_embedding_is_json() {
    let said =
        Program::new(&Fake::default().start(), &["embedding", "default", "ab"]).output(ggml().await).await;
    assert!(
        said.starts_with(r#"{"n_embedding": 26, "embedding": [7.071067691e-1,7.071067691e-1,0.000000000e0,"#),
        "{said}"
    );
    check(&Fake::default(), &["embedding", "default", &"a".repeat(64)], "PromptTooLong\n").await;
}

#[tokio::test(start_paused = true)]
async fn graphs_come_and_go() {
    let gone = "InvalidArgument\n".repeat(3);
    check(&saying("ok"), &["unload", "default", "x"], &format!("ok\n{gone}").repeat(4)).await;
    check(&Fake::default(), &["set-input-twice", "default", "x"], "x\n\"\"\nonce more\n").await;
}

#[tokio::test(start_paused = true)]
async fn models_that_are_not_there() {
    let outcome =
        Program::new(&Fake::default().start(), &["model-not-found", "other"]).outcome(ggml().await).await;
    assert_eq!(answer(&outcome), "ModelNotFound\n");
    assert_eq!(
        outcome.log.text,
        "wasi_ephemeral_nn.load_by_name_with_config: no model \"other\" is granted\n"
    );
    let refusing = Fake::default().refusing(EngineError::Model("it is damaged".into()));
    check(&refusing, &["model-not-found", "default"], "RuntimeError\n").await;
    check(&Fake::default(), &["bytes"], "UnsupportedOperation\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_buffer_that_is_too_small_is_left_alone() {
    check(&saying("hello"), &["small-buffer", "default", "x"], "TooLarge [0, 0, 0, 0]\nhello\n").await;
}

#[tokio::test(start_paused = true)]
async fn prompts_that_do_not_fit_and_texts_that_run_out_of_room() {
    let prompt = "x".repeat(60);
    check(
        &saying("x"),
        &["basic", "default", &prompt, r#"{"ctx-size": 64}"#],
        &format!("PromptTooLong\n\n{}", meta(61, 0)),
    )
    .await;
    let cut = format!("ContextFull\none \n{}", meta(61, 4));
    check(&saying("one two"), &["basic", "default", &prompt, r#"{"ctx-size": 65}"#], &cut).await;
    let short = format!("one\n{}", meta(61, 3));
    check(&saying("one two"), &["basic", "default", &prompt, r#"{"n-predict": 3}"#], &short).await;
    check(
        &saying("one two"),
        &["basic", "default", &prompt, r#"{"n-predict": 0}"#],
        &format!("\n{}", meta(61, 0)),
    )
    .await;
}

fn meta(input: u32, output: u32) -> String {
    format!(
        "{{\"input_tokens\": {input}, \"output_tokens\": {output}, \"llama_build_number\": 0, \"llama_commit\": \"unknown\"}}\n"
    )
}

#[tokio::test(start_paused = true)]
async fn calls_in_the_wrong_order_are_answered() {
    let expected = "\"\"\nInvalidArgument\nInvalidArgument\nok\nInvalidArgument\nErr(\"InvalidArgument\")\n";
    check(&Fake::default(), &["wrong-order", "default"], expected).await;
}

#[tokio::test(start_paused = true)]
async fn standard_input_is_the_request() {
    let program = Program::new(&Fake::default().start(), &["interactive", "default"]).input("one\ntwo\n");
    assert_eq!(program.output(ggml().await).await, "one: one\ntwo: two\n");
}

#[tokio::test(start_paused = true)]
async fn how_a_program_ends() {
    let outcome = Program::bare(&["exit", "", "0"]).outcome(ggml().await).await;
    assert_eq!(answer(&outcome), "");
    assert_eq!(Program::bare(&["exit", "", "7"]).error(ggml().await).await, InvokeError::Exited(7));
    let unknown = Program::bare(&["nothing"]).outcome(ggml().await).await;
    assert_eq!(
        (unknown.result, unknown.log.text.as_str()),
        (Err(InvokeError::Exited(64)), "there is no scenario \"nothing\"\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_reads_the_end_of_its_input_for_ever_is_ended() {
    let began = Instant::now();
    let program = Program::bare(&["spin"]).wall_time(Duration::from_millis(200));
    assert_eq!(program.error(ggml().await).await, InvokeError::Deadline);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_a_cancel_end_a_text() {
    for scenario in ["basic", "single", "stream-stdout"] {
        let engine = hanging().start();
        let began = Instant::now();
        let program = Program::new(&engine, &[scenario, "default", "x"]).wall_time(Duration::from_secs(3));
        assert_eq!(program.error(ggml().await).await, InvokeError::Deadline, "{scenario}");
        assert!(began.elapsed() < Duration::from_millis(3200), "{scenario}: {:?}", began.elapsed());

        let program = Program::new(&engine, &[scenario, "default", "x"]);
        let cancel = program.invocation.cancel.clone();
        let (error, ()) = tokio::join!(program.error(ggml().await), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cancel.cancel();
        });
        assert_eq!(error, InvokeError::Cancelled, "{scenario}");
    }
    let dying = Fake::default().answering(|_| Script::say("x").then(ScriptEnd::Die));
    let said = Program::new(&dying.start(), &["basic", "default", "x"]).output(ggml().await).await;
    assert!(said.starts_with("RuntimeError\nx\n"), "{said}");
    let stopped =
        Fake::default().answering(|_| Script::say("x").then(ScriptEnd::Stop(StopReason::StopString)));
    check(&stopped, &["single", "default", "x"], &format!("x\nEndOfSequence after 1\n{}", meta(2, 1))).await;
}

#[tokio::test(start_paused = true)]
async fn budgets_hold_for_core_modules() {
    let engine = saying("one two three").start();
    let program = |arguments: &[&str]| Program::new(&engine, arguments);
    let cut =
        program(&["basic", "default", "x"]).limits(|limits| limits.tokens = 4).output(ggml().await).await;
    assert!(cut.starts_with("ContextFull\none \n"), "{cut}");
    let cases = [
        (program(&["basic", "default", "x"]).limits(|limits| limits.tokens = 0), Budget::Tokens),
        (program(&["basic", "default", "x"]).limits(|limits| limits.contexts = 0), Budget::Contexts),
        (program(&["basic", "default", "xxxxxx"]).limits(|limits| limits.kv_cells = 5), Budget::KvCells),
        (program(&["many", "default", "x"]).limits(|limits| limits.generations = 1), Budget::Generations),
        (program(&["basic", "default", "x"]).limits(|limits| limits.host_calls = 3), Budget::HostCalls),
        (
            program(&["basic", "default", "x"]).limits(|limits| limits.emitted_bytes = 20),
            Budget::EmittedBytes,
        ),
    ];
    for (program, budget) in cases {
        assert_eq!(program.error(ggml().await).await, InvokeError::Exhausted(budget));
    }
    let large =
        program(&["basic", "default", &"x".repeat(20_000)]).limits(|limits| limits.call_bytes = 16_384);
    let outcome = large.outcome(ggml().await).await;
    assert_eq!(outcome.result, Err(InvokeError::Exited(1)));
    assert!(
        outcome.log.text.contains("too large: an input of 20000 bytes, at most 16384 are taken"),
        "{:?}",
        outcome.log
    );
    let memory = program(&["basic", "default", "x"]).limits(|limits| limits.memory_bytes = 1 << 16);
    assert_eq!(memory.error(ggml().await).await, InvokeError::Memory { limit_bytes: 1 << 16 });
}

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
