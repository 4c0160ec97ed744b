//! `dunlin profile`.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use dunlin_costs::{Origin, Table};
use serde_json::{Value, json};

use crate::support::{Home, on_a_busy_machine};

#[test]
fn rows_of_what_was_measured() {
    let home = Home::new();
    let json = home.dunlin("profile --model tiny.gguf --quick --points 1 -o rows.toml --json --quiet").json();
    assert_eq!(json["rows"].as_array().unwrap().len(), 1, "{json:#}");
    let cells = json["profile"]["cells"].as_array().unwrap();
    assert!(cells.iter().all(|cell| cell["median"].as_f64().unwrap() > 0.0), "{json:#}");
    let table = Table::parse(&fs::read_to_string(home.path("work/rows.toml")).unwrap()).unwrap();
    let row = table.rows().next().unwrap();
    assert_eq!((row.provenance.origin, row.key.decode_threads), (Origin::Measured, 1));
    // What is there counts: a second time measures nothing, and says the same.
    let again =
        home.dunlin("profile --model tiny.gguf --quick --points 1 -o rows.toml --json --quiet").json();
    let runs = |json: &Value| -> Vec<_> {
        json["profile"]["cells"].as_array().unwrap().iter().map(|cell| cell["runs"].clone()).collect()
    };
    assert_eq!(runs(&again), runs(&json));
}

#[test]
fn a_table_that_is_none_stays_as_it_is() {
    let home = Home::new();
    home.write("rows.toml", "[[row]]\nname = 3\n");
    let output = home.dunlin("profile --model tiny.gguf --quick -o rows.toml").output();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("rows.toml: ") && said.contains("hint: "), "{said}");
    assert_eq!(fs::read_to_string(home.path("work/rows.toml")).unwrap(), "[[row]]\nname = 3\n");
}

/// In the tree.
fn demo(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/demo").join(file)
}

/// The first questions of the evaluation set that have choices.
fn questions(count: usize) -> String {
    let lines = fs::read_to_string(demo("eval.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.filter(|line| !line["choices"].is_null()).take(count);
    lines.map(|line| line.to_string() + "\n").collect()
}

/// The figures of `llama-perplexity` (llama-cpp-python 0.3.36, `-c 512`, and `--multiple-choice`) for the same weights, text
/// and questions.
#[test]
fn quality_is_what_llama_perplexity_counts() {
    const PERPLEXITY: (f64, f64) = (776.6795, 126.82636);
    const ACCURACY: (f64, f64) = (0.7125, 0.050921);
    let home = Home::new();
    home.write("questions.jsonl", questions(80));
    let (model, text) = (demo("demo-small-q8_0.gguf"), demo("corpus/smalltalk.txt"));
    let profile = format!("profile --model {} --quick --points 1 --json --quiet", model.display());
    let judged =
        home.dunlin(&format!("{profile} --perplexity {} --accuracy questions.jsonl", text.display())).json();
    let quality = &judged["profile"]["quality"];
    for (what, (value, error)) in [("perplexity", PERPLEXITY), ("accuracy", ACCURACY)] {
        let close = |name: &str, expected: f64| {
            let found = quality[what][name].as_f64().unwrap();
            assert!((found / expected - 1.0).abs() <= 0.005, "{what}: {found}, not {expected}");
        };
        // One question of eighty is more than half a percent: none may be judged otherwise.
        close("value", value);
        close("error", error);
    }
    // It is the model's: a profile that does not judge keeps it, and commands show it.
    home.dunlin(&format!("{profile} --again")).json();
    let rows = home.dunlin("costs show --own --json").json();
    let row = &rows[0];
    assert_eq!(row["quality"]["accuracy"], json!(ACCURACY.0), "{row:#}");
    let of = row["quality"]["perplexity_of"].as_str().unwrap();
    assert!(of.starts_with("smalltalk.txt ") && of.ends_with(", 6 windows of 512"), "{of}");
    assert!(row["fit"]["prefill_cv_pct"].as_f64() > Some(0.0), "{row:#}");
    assert!(row["memory"]["decode_peak_bytes"].as_f64() > Some(1e6), "{row:#}");
    let shown = home.dunlin("costs show --own").stdout();
    assert!(shown.contains("ACCURACY") && shown.contains("0.713") && shown.contains("CV IN"), "{shown}");
    let csv = home.dunlin("costs export --own --form csv").stdout();
    assert!(csv.contains("perplexity_of") && csv.contains("smalltalk.txt"), "{csv}");
}

#[test]
fn what_cannot_be_judged_is_said_before_anything_is_measured() {
    let home = Home::new();
    home.write("short.txt", "Not enough.");
    home.write(
        "questions.jsonl",
        "{\"question\": \"2 + 2 =\", \"choices\": [\"3\", \"4\"], \"answer\": 2}\n",
    );
    for (arguments, words) in [
        ("--perplexity short.txt", "at least 512 are needed"),
        ("--perplexity nowhere.txt", "nowhere.txt: "),
        ("--accuracy questions.jsonl", "questions.jsonl: line 1: answer 2 of 2 choices"),
    ] {
        let output = home.dunlin(&format!("profile --model tiny.gguf --quick {arguments}")).output();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(words), "{arguments}: {said}");
    }
    assert!(!home.path("data/dunlin/costs.toml").exists());
}

#[test]
fn operators_have_their_shares_of_both_phases() {
    let home = Home::new();
    let profile = "profile --model tiny.gguf --quick --points 1 --budget 1s --operators";
    let json = home.dunlin(&format!("{profile} --json --quiet")).json();
    let operators = &json["profile"]["operators"];
    for phase in ["prefill", "decode"] {
        let kinds = operators[phase]["kinds"].as_array().unwrap();
        let shares: f64 = kinds.iter().map(|kind| kind["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{operators:#}");
        assert!(kinds.iter().any(|kind| kind["of"] == "matrix-product"), "{operators:#}");
        assert!(operators[phase]["stretched"].as_f64() > Some(0.0), "{operators:#}");
    }
    let shown = home.dunlin(profile).stdout();
    assert!(shown.contains("matrix products") && shown.contains("ANSWER AT DEPTH"), "{shown}");
}

/// Others take all processors meanwhile: the rows say so, and so does what shows them.
#[test]
fn rows_of_a_busy_machine_are_marked() {
    if !Path::new("/proc/self/schedstat").exists() {
        eprintln!("skipped: this kernel does not tell how long threads wait for a processor");
        return;
    }
    let home = Home::new();
    let cores = thread::available_parallelism().unwrap().get();
    let profile = format!("profile --model tiny.gguf --quick --points {cores} --json --quiet");
    let json = on_a_busy_machine(|| home.dunlin(&profile).json());
    assert!(json["profile"]["disturbed"].as_f64() > Some(0.1), "{json:#}");
    assert!(json["profile"]["notes"].to_string().contains("measure again on a quiet board"), "{json:#}");
    let row = &home.dunlin("costs show --own --json").json()[0];
    assert!(row["fit"]["disturbed"].as_f64() > Some(0.1), "{row:#}");
    let shown = home.dunlin("costs show --own").stdout();
    assert!(shown.contains("DISTURBED"), "{shown}");
    let explained = home.dunlin("costs explain --own").stdout();
    assert!(explained.contains("disturbed  in "), "{explained}");
}
