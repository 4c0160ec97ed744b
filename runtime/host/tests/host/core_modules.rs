//! Core modules by `wasi_ephemeral_nn`, as the guests that exist use it.

use std::time::Duration;

use dunlin_engine_handle::{
    Call, Constraint, EngineError, Generate, StopReason,
    fake::{Fake, Script, ScriptEnd},
};
use dunlin_host::{Budget, InvokeError};
use tokio::time::Instant;

use crate::{
    program::{Program, answer, check, ggml},
    scene::{hanging, saying},
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
