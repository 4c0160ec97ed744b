//! What other programs write, whole, odd and broken.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use dunlin_costs::{Backend, ModelDigest, Origin, Row, Thermal};
use dunlin_tables::{Form, Format, Imported, Model, Subject, export, import, reference};
use expect_test::{Expect, expect};

fn subject() -> Subject {
    Subject {
        class: "pi5-8g".into(),
        mode: "performance".into(),
        thermal: Thermal::Cool,
        firmware: "any".to_owned(),
        context: 4096,
        threads: (4, 2),
        model: None,
        source: "bench.json".to_owned(),
    }
}

fn demo() -> Subject {
    let model = Model {
        name: "demo".to_owned(),
        digest: ModelDigest::new([7; 32]),
        quantisation: "Q8_0".into(),
        kv_bytes_per_token: 1024,
        file_bytes: 3 << 20,
    };
    Subject { model: Some(model), ..subject() }
}

/// One test, as a build of 2025 writes it.
fn test(threads: u32, prompt: u32, output: u32, depth: u32, ms: f64) -> String {
    let (ns, rate) = (ms * 1e6, f64::from(prompt + output) / ms * 1e3);
    format!(
        r#"{{"build_commit": "a1cfb64", "build_number": 7100, "cpu_info": "Cortex-A76", "gpu_info": "", "backends": "CPU",
"model_filename": "models/llama-3.2-1b-q4_k_m.gguf", "model_type": "llama 1B Q4_K - Medium", "model_size": 799862912,
"n_threads": {threads}, "type_k": "f16", "type_v": "f16", "use_mmap": true, "n_prompt": {prompt}, "n_gen": {output},
"n_depth": {depth}, "test_time": "2026-11-20T10:00:00Z", "avg_ns": {ns}, "stddev_ns": 1000, "avg_ts": {rate},
"stddev_ts": 0.1, "samples_ns": [{ns}, {ns}, {ns}], "samples_ts": [{rate}, {rate}, {rate}]}}"#
    )
}

fn tests() -> Vec<String> {
    let prompt = |n: u32| test(4, n, 0, 0, 50.0 + 12.0 * f64::from(n) + 0.002 * f64::from(n * n));
    let answer = |depth: u32| test(2, 0, 128, depth, 128.0 * (88.0 + 0.02 * f64::from(depth + 64)));
    vec![prompt(128), prompt(512), prompt(1024), prompt(2048), answer(0), answer(512), answer(2048)]
}

fn array(tests: &[String]) -> String {
    format!("[\n{}\n]\n", tests.join(",\n"))
}

fn lines(tests: &[String]) -> String {
    tests.iter().map(|test| test.replace('\n', " ") + "\n").collect()
}

fn only(imported: &Imported) -> Row {
    assert_eq!(imported.table.len(), 1, "{imported:?}");
    imported.table.rows().next().unwrap().clone()
}

#[test]
fn llama_bench_in_both_forms() {
    for text in [array(&tests()), lines(&tests())] {
        assert_eq!(Format::of(&text).unwrap(), Format::LlamaBench);
        let imported = import(&text, None, &subject()).unwrap();
        let row = only(&imported);
        assert_eq!((row.key.prefill_threads, row.key.decode_threads), (4, 2));
        assert_eq!((row.key.backend, row.key.runtime.as_str()), (Backend::Cpu, "llama.cpp 7100-a1cfb64"));
        assert_eq!(row.key.quantisation.as_str(), "Q4_K - Medium");
        assert_eq!((row.provenance.origin, row.provenance.date.as_str()), (Origin::Imported, "2026-11-20"));
        let (p1, step) = (row.prefill.p1_ms_per_token.nominal(), row.decode.batch_ms[0].nominal());
        assert!((p1 - 12.0).abs() < 0.05 && (step - 88.0).abs() < 0.1, "{p1} {step}");
        assert!(row.power.is_none() && row.load.cold_ms.is_assumed() && row.decode.batch_ms[1].is_assumed());
        assert!(imported.notes.iter().any(|note| note.contains("its rows are found by this name only")));
    }
    let row = only(&import(&array(&tests()), None, &demo()).unwrap());
    assert_eq!((row.key.model, row.name.as_str()), (ModelDigest::new([7; 32]), "demo"));
}

#[test]
fn a_build_that_nobody_knows_yet_is_read_by_its_names() {
    let renamed = |test: &String| {
        test.replace(
            r#""use_mmap": true"#,
            r#""load_mode": "direct", "quantum_cores": 3, "n_tpu": [1, {"a": null}]"#,
        )
        .replace("7100", "99999")
        .replace(r#""gpu_info": "", "#, "")
    };
    let future: Vec<String> = tests().iter().map(renamed).collect();
    let imported = import(&array(&future), None, &subject()).unwrap();
    assert_eq!(only(&imported).key.runtime, "llama.cpp 99999-a1cfb64");
    assert!(
        imported.notes[0].contains("not known here, ignored: n_tpu, quantum_cores"),
        "{:?}",
        imported.notes
    );
}

fn check(text: &str, subject: &Subject, expected: &Expect) {
    expected.assert_eq(&import(text, None, subject).unwrap_err().to_string());
}

#[test]
fn what_is_broken_is_refused_whole() {
    let whole = array(&tests());
    check(
        &whole[..whole.len() / 2],
        &subject(),
        &expect!["it ends in line 19, in the middle of a value: it was cut off; fetch or write it again"],
    );
    let of_lines = lines(&tests());
    check(
        &of_lines[..of_lines.len() / 2],
        &subject(),
        &expect!["it ends in line 4, in the middle of a value: it was cut off; fetch or write it again"],
    );
    check(
        &whole.replacen(r#""avg_ns": 1"#, r#""avg_ns": NaN, "x": 1"#, 1),
        &subject(),
        &expect!["line 5, column 62: NaN is no number that can be measured"],
    );
    check(
        &whole.replacen(r#""avg_ns": "#, r#""avg_ns": -"#, 1),
        &subject(),
        &expect!["entry 1: a time of -1618768000 ns is none"],
    );
    check(
        &whole.replacen(r#""avg_ts": "#, r#""avg_ts": 1000"#, 1),
        &subject(),
        &expect!["entry 1: units are mixed: avg_ns says 79.072 tokens a second, avg_ts 100079.0724798118"],
    );
    check(
        &whole.replacen(r#""avg_ns": "#, r#""avg_ns": "long", "x": "#, 1),
        &subject(),
        &expect![[r#"entry 1: invalid type: string "long", expected f64"#]],
    );
    check(
        &array(&tests()[..4]),
        &subject(),
        &expect!["no answer was measured: run llama-bench with -p 0 -n 128 -d 0,512,2048"],
    );
    check(
        &array(&tests()[4..]),
        &subject(),
        &expect!["no prompt was measured alone: run llama-bench with -p 128,512,1024,2048 -n 0"],
    );
    check(
        "[]",
        &subject(),
        &expect![
            "it has neither tests of llama-bench, nor timings of llama-server, nor rows of a cost table"
        ],
    );
    check(
        "{\"a\": 1}",
        &subject(),
        &expect![
            "it has neither tests of llama-bench, nor timings of llama-server, nor rows of a cost table"
        ],
    );
    check(
        "nothing of the kind",
        &subject(),
        &expect![
            "it has neither tests of llama-bench, nor timings of llama-server, nor rows of a cost table"
        ],
    );
    check(
        "",
        &subject(),
        &expect![
            "it has neither tests of llama-bench, nor timings of llama-server, nor rows of a cost table"
        ],
    );
}

fn timings(cached: u32, prompt: u32, output: u32) -> String {
    let prompt_ms = 40.0 + 3.0 * f64::from(prompt);
    let predicted_ms = f64::from(output) * (20.0 + 0.01 * f64::from(cached + prompt + output / 2));
    format!(
        r#"{{"content":"x","timings":{{"cache_n":{cached},"prompt_n":{prompt},"prompt_ms":{prompt_ms},"predicted_n":{output},"predicted_ms":{predicted_ms},"predicted_per_second":1}}}}"#
    )
}

#[test]
fn llama_server() {
    let answers = [
        timings(0, 100, 64),
        timings(0, 400, 32),
        timings(0, 900, 64),
        timings(800, 12, 64),
        timings(0, 3, 2),
    ];
    let text = answers.join("\n") + "\n";
    assert_eq!(Format::of(&text).unwrap(), Format::LlamaServer);
    check(&text, &subject(), &expect!["it names no model file: say which it is of by --model"]);
    let imported = import(&text, None, &demo()).unwrap();
    let row = only(&imported);
    let (p1, step) = (row.prefill.p1_ms_per_token.nominal(), row.decode.batch_ms[0].nominal());
    assert!((p1 - 3.0).abs() < 0.01 && (step - 20.0).abs() < 0.01, "{p1} {step}");
    assert!(imported.notes[0].contains("1 answers shorter than 8 tokens"), "{:?}", imported.notes);
    let events: String = answers.iter().map(|answer| format!("data: {answer}\n\n")).collect();
    assert_eq!(import(&(events + "data: [DONE]\n"), None, &demo()).unwrap(), imported);
    check(
        &text.replace("\"prompt_ms\":340", "\"prompt_ms\":-340"),
        &demo(),
        &expect!["line 1: times of -340 and 1364.48 ms are none"],
    );
}

#[test]
fn our_own_tables_come_back() {
    let table = reference().unwrap();
    let work = dunlin_costs::Work { prompt_tokens: 512, cached_tokens: 0, output_tokens: 128 };
    for (form, format) in [(Form::Json, Format::Json), (Form::Toml, Format::Toml), (Form::Csv, Format::Csv)] {
        let text = export(&table, form, work).unwrap();
        assert_eq!(Format::of(&text).unwrap(), format);
        let read = import(&text, None, &subject()).unwrap().table;
        assert_eq!(read.len(), table.len());
        // JSON's numbers may differ in their last bit.
        for (a, b) in read.rows().zip(table.rows()) {
            let tpot = |row: &Row| row.steps().decode_step(3, 500.0);
            assert!(a.key == b.key && (tpot(a) / tpot(b) - 1.0).abs() < 1e-12, "{}", a.name);
        }
    }
    let json = export(&table, Form::Json, work).unwrap();
    check(
        &json[..json.len() / 2],
        &subject(),
        &expect!["it ends in line 3370, in the middle of a value: it was cut off; fetch or write it again"],
    );
    check(
        &json.replacen(
            "\"idle_w\": {\n          \"nominal\": 0.45",
            "\"idle_w\": {\n          \"nominal\": -0.45",
            1,
        ),
        &subject(),
        &expect!["line 102, column 9: expected 0 <= low <= nominal <= high"],
    );
    check(
        &json,
        &demo(),
        &expect![
            "all 47 rows are of another model than demo (0707070707070707070707070707070707070707070707070707070707070707)"
        ],
    );
    let mut of_llama = demo();
    of_llama.model.as_mut().unwrap().digest = ModelDigest::emulated("llama-3.2-1b");
    let imported = import(&json, None, &of_llama).unwrap();
    assert!(
        imported.table.len() > 4 && imported.notes[0].contains("rows of other models than demo are left out")
    );
    let markdown = export(&table, Form::Markdown, work).unwrap();
    assert!(
        markdown.lines().count() == table.len() + 4 && markdown.contains("| orin-nano-8g | 25W |"),
        "{markdown}"
    );
}
