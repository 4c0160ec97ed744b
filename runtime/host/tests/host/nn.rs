//! Components by `wasi:nn`.

use std::time::Duration;

use dunlin_engine_handle::{Call, fake::Fake};
use dunlin_host::{InvokeError, MAX_MEMORY_BYTES, PipelineSource};

use crate::{
    program::{Program, answer, component},
    scene::{Scene, hanging, host, saying},
};

const METADATA: &str = "{\"input_tokens\": 3, \"output_tokens\": 2, \"llama_build_number\": 0, \"llama_commit\": \"unknown\", \"stop_reason\": \"complete\"}";

/// What the component prints must be this.
async fn check(fake: &Fake, arguments: &[&str], expected: &str) {
    let outcome = Program::new(&fake.start(), arguments).outcome(component().await).await;
    assert_eq!(answer(&outcome), expected, "{arguments:?}");
}

/// The code and the sentence of an error.
async fn refused(fake: &Fake, arguments: &[&str]) -> String {
    let (chunks, outcome) = Program::new(&fake.start(), arguments).chunks(component().await).await;
    assert_eq!(outcome.result, Err(InvokeError::Exited(1)), "{arguments:?}: {chunks:?}");
    chunks.concat()
}

#[tokio::test(start_paused = true)]
async fn a_prompt_becomes_text() {
    let expected = format!(
        "text TensorType::U8 [2]: ok\nmetadata TensorType::U8 [{0}]: {METADATA}\n0 TensorType::U8 [2]: ok\n1 TensorType::U8 [{0}]: {METADATA}\n",
        METADATA.len()
    );
    check(&saying("ok"), &["default", "prompt=hi"], &expected).await;
    check(&saying("ok"), &["default", "0=hi"], &expected).await;
}

#[tokio::test(start_paused = true)]
async fn options_stay_for_the_calls_that_follow() {
    let fake = saying("a b c d");
    let program = Program::new(
        &fake.start(),
        &["default", r#"options={"n-predict": 3}"#, "prompt=one", "then", "prompt=two", "then"],
    );
    let said = program.output(component().await).await;
    assert_eq!(said.matches("text TensorType::U8 [3]: a b\n").count(), 3, "{said}");
    let prompts: Vec<String> = fake
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Generate(generate) => Some(dunlin_engine_handle::fake::text(&generate.prompt)),
            _ => None,
        })
        .collect();
    assert_eq!(prompts, ["one", "two", "two"]);
    let full = Program::new(&saying("abcdef").start(), &["default", r#"1={"ctx-size": 8}"#, "prompt=abc"]);
    assert!(full.output(component().await).await.contains(r#""stop_reason": "context-full""#));
}

#[tokio::test(start_paused = true)]
async fn an_embedding_is_a_tensor() {
    let program =
        Program::new(&Fake::default().start(), &["default", r#"options={"embedding": true}"#, "prompt=b"]);
    let said = program.output(component().await).await;
    assert!(said.starts_with("embedding TensorType::Fp32 [1, 26]: [0.000, 1.000, 0.000,"), "{said}");
    assert!(said.contains("\nmetadata "), "{said}");
}

#[tokio::test(start_paused = true)]
async fn errors_are_told_apart() {
    let cases: [(&[&str], &str); 9] = [
        (&["other", "prompt=x"], "ErrorCode::NotFound: no model \"other\" is granted\n"),
        (
            &["bytes:GGUF"],
            "ErrorCode::Security: not permitted: weights from a guest; load a granted model by its name\n",
        ),
        (&["default"], "ErrorCode::InvalidArgument: invalid argument: no prompt was set before\n"),
        (
            &["default", "image=x"],
            "ErrorCode::InvalidArgument: invalid argument: there is no input \"image\"; there are prompt (0) and options (1)\n",
        ),
        (
            &["default", "prompt:I32=x"],
            "ErrorCode::InvalidArgument: invalid argument: the elements of \"prompt\" are not U8\n",
        ),
        (
            &["default", "prompt=x", "0=x"],
            "ErrorCode::InvalidArgument: invalid argument: the input \"0\" is given twice\n",
        ),
        (
            &["default", "options={", "0=x"],
            "ErrorCode::InvalidEncoding: invalid encoding: the options are not JSON: EOF while parsing an object at line 1 column 1\n",
        ),
        (
            &["default", r#"options={"image": "x.jpg"}"#, "0=x"],
            "ErrorCode::UnsupportedOperation: not supported: the option image: models read text here, no images\n",
        ),
        (
            &["default", r#"options={"ctx-size": 8}"#, "0=0123456789"],
            "ErrorCode::TooLarge: the prompt has 11 tokens, at most 4 are possible\n",
        ),
    ];
    for (arguments, expected) in cases {
        assert_eq!(refused(&Fake::default(), arguments).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_a_cancel_end_a_call() {
    let engine = hanging().start();
    let program = Program::new(&engine, &["default", "prompt=x"]).wall_time(Duration::from_secs(2));
    let (chunks, outcome) = program.chunks(component().await).await;
    assert_eq!(chunks, ["ErrorCode::Timeout: the deadline passed\n"]);
    assert_eq!(outcome.result, Err(InvokeError::Deadline));

    let program = Program::new(&engine, &["default", "prompt=x"]);
    let cancel = program.invocation.cancel.clone();
    let (error, ()) = tokio::join!(program.error(component().await), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    assert_eq!(error, InvokeError::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn tensors_count_as_memory() {
    let large = format!("image={}", "x".repeat(3 << 20));
    let run = async |limit: u64| {
        let program = Program::new(&Fake::default().start(), &["default", &large]);
        program.limits(|limits| limits.memory_bytes = limit).outcome(component().await).await
    };
    let outcome = run(MAX_MEMORY_BYTES).await;
    assert_eq!(outcome.result, Err(InvokeError::Exited(1)));
    // What the guest holds itself, and not half of the tensor.
    let limit_bytes = outcome.spent.memory_bytes + (1 << 20);
    assert_eq!(run(limit_bytes).await.result, Err(InvokeError::Memory { limit_bytes }));
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_may_use_it_too() {
    let scene = Scene::new(&Fake::default().start(), "nn demo words to repeat\nnn other x");
    assert_eq!(
        scene.transcript().await,
        ["words to repeat", "ErrorCode::NotFound: no model \"other\" is granted"]
    );
}

#[tokio::test]
async fn another_draft_is_named() {
    let text = r#"(component (import "wasi:nn/graph@0.2.0-rc-2024-08-19" (instance))
        (instance $i) (export "wasi:cli/run@0.2.3" (instance $i)))"#;
    let source = PipelineSource::bytes("it", wat::parse_str(text).unwrap());
    assert_eq!(
        host().load(source).await.unwrap_err().to_string(),
        "it is not a pipeline for this host: it imports wasi:nn/graph@0.2.0-rc-2024-08-19, and this host has wasi:nn@0.2.0-rc-2024-10-28; build it against that draft"
    );
}
