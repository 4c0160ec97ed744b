//! `dunlin run` with guests of wasi-nn, on a real engine.

use expect_test::expect;

use crate::support::Home;

const METADATA: &str = r#""llama_build_number": 0"#;

#[test]
fn a_core_module_completes_a_prompt() {
    let home = Home::new();
    let run = |args: &str| {
        home.dunlin_with(&[
            "run",
            "ggml.wasm",
            "--nn-model",
            "default=tiny.gguf",
            "--seed",
            "1",
            "--args",
            args,
        ])
        .stdout()
    };
    let said = run(r#"basic default 'Once upon a time' '{"n-predict": 8}'"#);
    assert!(said.contains(r#""output_tokens": 8"#) && said.contains(METADATA), "{said}");
    assert_eq!(run(r#"basic default 'Once upon a time' '{"n-predict": 8}'"#), said);
    let streamed = run(r#"stream-stdout default 'Once upon a time' '{"n-predict": 8}'"#);
    assert!(streamed.starts_with("Answer:\n") && streamed.trim_end().ends_with(" bytes"), "{streamed}");
    let single = run("single default 'Once upon a time'");
    assert!(single.contains("EndOfSequence after") || single.contains("ContextFull after"), "{single}");
}

#[test]
fn constraints_hold_for_core_modules() {
    let home = Home::new();
    let run = |args: &str| {
        home.dunlin_with(&["run", "ggml.wasm", "--nn-model", "default=tiny.gguf", "--args", args]).stdout()
    };
    let grammar = run(
        r#"basic default Hello '{"grammar": "root ::= (\"ab\" | \"cd\"){2} tail\ntail ::= \"!\" | \"(\" tail \")\""}'"#,
    );
    let text = grammar.lines().next().unwrap();
    let letters = text.trim_end_matches([')', '!']).trim_end_matches('(');
    assert!(["abab", "abcd", "cdab", "cdcd"].contains(&letters), "{text}");
    let schema = run(r#"basic default Hello '{"json-schema": {"type": "boolean"}}'"#);
    assert!(["true", "false"].contains(&schema.lines().next().unwrap()), "{schema}");
}

#[test]
fn a_component_of_wasi_nn_completes_a_prompt() {
    let home = Home::new();
    let args = r#"default 'prompt=Once upon a time' 'options={"n-predict": 4}'"#;
    let said = home
        .dunlin_with(&["run", "component.wasm", "--nn-model", "default=tiny.gguf", "--args", args])
        .stdout();
    assert!(said.starts_with("text TensorType::U8") && said.contains(r#""output_tokens": 4"#), "{said}");
}

#[test]
fn a_guest_may_be_granted_to_bring_what_is_no_model() {
    let home = Home::new();
    let run = |grants: &[&str]| {
        let fixed =
            ["run", "component.wasm", "--nn-model", "default=tiny.gguf", "--args", "'bytes:GGUF' prompt=x"];
        let output = home.dunlin_with(&[&fixed, grants].concat()).output();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&[]).starts_with("ErrorCode::Security: "), "{}", run(&[]));
    let refused = run(&["--grant", "nn-load=1"]);
    assert!(
        refused.starts_with("ErrorCode::InvalidArgument: invalid argument: the model is refused: "),
        "{refused}"
    );
}

#[test]
fn what_a_guest_of_wasi_nn_does_wrong() {
    let home = Home::new();
    home.dunlin_with(&["run", "ggml.wasm", "--nn-model", "default=tiny.gguf", "--args", "basic other x"])
        .check(&expect![[r#"
            exit code 1
            Backend Error: WASI-NN Backend Error: Model Not Found
            --- stderr
            log: wasi_ephemeral_nn.load_by_name: no model "other" is granted
            error: ggml: the guest exited with code 1
        "#]]);
    home.dunlin_with(&["run", "ggml.wasm", "--nn-model", "tiny.gguf", "--args", "x"]).check(&expect![[r#"
            exit code 2
            --- stderr
            error: --nn-model "tiny.gguf" names no model
              hint: write --nn-model default=demo, or --nn-model default=./model.gguf
        "#]]);
    home.dunlin_with(&["run", "ggml.wasm", "--model", "tiny.gguf", "--args", "basic 'x"]).check(&expect![[
        r#"
            exit code 2
            --- stderr
            error: --args "basic 'x" has a quote that is not closed
        "#
    ]]);
}

#[test]
fn a_folder_of_guests_of_others() {
    let home = Home::new();
    let rows = home.dunlin("run --foreign-guests . --model tiny.gguf --json").json();
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["file"].as_str().unwrap()).collect();
    assert_eq!(names, ["./component.wasm", "./ggml.wasm", "./script.wasm"]);
    assert!(
        rows.as_array().unwrap().iter().all(|row| row["guest"].is_null() && row["passed"] == false),
        "{rows}"
    );
    home.dunlin("run --foreign-guests bundled --model tiny.gguf").check(&expect![[r#"
        exit code 1
        --- stderr
        error: cannot read bundled: No such file or directory (os error 2)
    "#]]);
}
