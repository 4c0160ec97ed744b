//! `dunlin run`, when all is well.

use std::process::Stdio;

use expect_test::expect;
use regex_lite::Regex;

use crate::support::Home;

/// Says ten tokens of what the tiny model has in it.
const TEN: &str = "open tiny\ncreate\nappend 0 Hello\ngenerate 0 max=10\nstream 0\n";

#[test]
fn text_is_streamed_and_a_line_of_usage_follows() {
    let home = Home::new();
    let output = home.dunlin("run ./script.wasm --model tiny.gguf").input(TEN).output();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let (streamed, response) = stdout.split_once("ok\n").unwrap();
    assert!(!streamed.is_empty() && response.contains("StopReason"), "{stdout}");
    let usage = "^usage: 4 prompt tokens, [0-9]+ output tokens · TTFT \\[TIME\\] · TPOT \\[TIME\\], \\[RATE\\] tokens/s · \\[TIME\\] in all\n$";
    let stderr = home.stable(&String::from_utf8(output.stderr).unwrap());
    assert!(Regex::new(usage).unwrap().is_match(&stderr), "{stderr}");
}

#[test]
fn what_is_scored_is_counted() {
    let home = Home::new();
    let classify = "run classify --param choices=a,b --model tiny.gguf --text x";
    let output = home.dunlin(classify).output();
    assert!(matches!(&*output.stdout, b"a\n" | b"b\n"), "{output:?}");
    expect![[r#"
        usage: 35 tokens scored · [TIME] in all
    "#]]
    .assert_eq(&home.stable(&String::from_utf8(output.stderr).unwrap()));
}

#[test]
fn one_json_document() {
    let home = Home::new();
    let mut json = home.dunlin("run ./script.wasm --model tiny.gguf --seed 1 --json").input(TEN).json();
    assert!(json["timings_ms"]["total"].as_f64().unwrap() >= json["timings_ms"]["run"].as_f64().unwrap());
    assert!(json["usage"]["tpot_p50_us"].as_u64().unwrap() > 0, "{json}");
    for part in ["timings_ms", "usage"] {
        json[part].as_object_mut().unwrap().values_mut().for_each(|value| *value = 0.into());
    }
    json["result"] = "...".into();
    for (part, key) in [("pipeline", "digest"), ("model", "backend"), ("model", "threads"), ("model", "file")]
    {
        json[part][key] = "...".into();
    }
    expect![[r#"
        {
          "result": "...",
          "content_type": "text/plain; charset=utf-8",
          "usage": {
            "generations": 0,
            "prompt_tokens": 0,
            "cached_tokens": 0,
            "output_tokens": 0,
            "forced_tokens": 0,
            "scored_tokens": 0,
            "queue_us": 0,
            "ttft_us": 0,
            "tpot_p50_us": 0,
            "tpot_p99_us": 0,
            "tokens_per_second": 0,
            "host_calls": 0,
            "emitted_bytes": 0,
            "pipeline_memory_bytes": 0
          },
          "timings_ms": {
            "compile": 0,
            "load": 0,
            "run": 0,
            "total": 0
          },
          "pipeline": {
            "name": "script",
            "digest": "..."
          },
          "model": {
            "name": "tiny.gguf",
            "file": "...",
            "sha256": null,
            "architecture": "llama",
            "quantization": "Q8_0",
            "parameters": 155968,
            "context_length": 512,
            "threads": "...",
            "backend": "..."
          },
          "seed": 1,
          "notes": [],
          "log": ""
        }"#]]
    .assert_eq(&format!("{json:#}"));
}

#[test]
fn lines_of_json_as_they_come() {
    let home = Home::new();
    let script = "open tiny\ncreate\nappend 0 Hello\ngenerate 0 max=3\nstream 0\n";
    let lines = home.dunlin("run ./script.wasm --model tiny.gguf --json-lines").input(script).stdout();
    let kinds: Vec<_> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds.last().unwrap(), "end");
    assert!(kinds.len() > 1 && kinds[..kinds.len() - 1].iter().all(|kind| kind == "text"), "{kinds:?}");
}

#[test]
fn input_comes_from_where_it_is_said() {
    let home = Home::new();
    home.write("ask.txt", "available");
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --input ask.txt").check(&expect![[r#"
        tiny
    "#]]);
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --text available").check(&expect![[r#"
        tiny
    "#]]);
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --input -").input("available").check(&expect![
        [r#"
        tiny
    "#]
    ]);
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --input nothing.txt").check(&expect![[r#"
        exit code 2
        --- stderr
        error: cannot read the input nothing.txt: No such file or directory (os error 2)
    "#]]);
}

#[test]
fn the_same_seed_draws_the_same() {
    let home = Home::new();
    let draw = |seed: &str| {
        let chat = "run chat --param max_tokens=20 --param temperature=2 --text Hello --model tiny.gguf";
        home.dunlin(&format!("{chat} --quiet --seed {seed}")).stdout()
    };
    assert_eq!(draw("7"), draw("7"));
    assert_ne!(draw("7"), draw("8"));
}

#[test]
fn more_is_granted_by_name() {
    let home = Home::new();
    home.dunlin("run ./script.wasm --model tiny.gguf --grant model=judge=tiny.gguf --quiet --text available")
        .check(&expect![[r#"
            tiny judge
        "#]]);
}

#[test]
fn nobody_reads_on_and_nobody_complains() {
    let home = Home::new();
    let script = "open tiny\ncreate\nappend 0 Hello\ngenerate 0 max=400\nstream 0\n";
    let command = home.dunlin("run ./script.wasm --model tiny.gguf").input(script);
    let path = home.write("script.txt", script);
    let mut command = command.into_command();
    command.stdin(std::fs::File::open(path).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(141), ""));
}

#[test]
fn a_pipeline_is_compiled_once() {
    let home = Home::new();
    let cache = home.path("cache");
    let arguments = [
        "run",
        "./script.wasm",
        "--model",
        "tiny.gguf",
        "--text",
        "available",
        "--json",
        "--cache-dir",
        cache.to_str().unwrap(),
    ];
    let compile = |home: &Home| home.dunlin_with(&arguments).json()["timings_ms"]["compile"].clone();
    assert!(compile(&home).as_f64().unwrap() > 0.0);
    assert!(compile(&home).is_null());
}
