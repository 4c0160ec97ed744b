//! `dunlin costs`.

use std::fs;

use dunlin_costs::{Origin, Table};
use expect_test::expect;
use serde_json::Value;

use crate::support::Home;

const ORIN: &str = "--reference --class orin-nano-8g --model llama-3.2-1b";

#[test]
fn rows_as_people_see_them() {
    let home = Home::new();
    home.dunlin(&format!("costs show {ORIN} --quiet")).check(&expect![[""]]);
    home.dunlin(&format!("costs report {ORIN} --mode 25W")).check(&expect![[""]]);
    home.dunlin("costs compare orin-nano-8g:25W orin-nano-8g:MAXN --model llama-3.2-1b")
        .check(&expect![[""]]);
    home.dunlin(&format!("costs explain {ORIN} --mode MAXN --prompt 4000")).check(&expect![[""]]);
    home.dunlin(&format!("costs pareto {ORIN} --quiet")).check(&expect![[""]]);
}

#[test]
fn what_a_board_is_worth() {
    let home = Home::new();
    let prices = "--price orin-nano-8g=598.80 --price pi5-8g-hot=97";
    let json = home.dunlin(&format!("costs report --reference {prices} --json")).json();
    let even = &json["break_even"][0];
    assert_eq!((&even["model"], &even["dearer"]), (&"Llama-3.2-1B Q4_K_M".into(), &"orin-nano-8g".into()));
    let years = even["break_even"]["years"].as_f64().unwrap();
    // 2.1 years beside a throttled board; half of the time takes twice as long.
    let half = home.dunlin(&format!("costs report --reference {prices} --share 0.5 --json")).json();
    let longer = half["break_even"][0]["break_even"]["years"].as_f64().unwrap();
    assert!(years > 1.5 && (longer / years - 2.0).abs() < 1e-9, "{years} {longer}");
    let rows = json["rows"].as_array().unwrap();
    let cents = |row: &Value| row["cents_per_million"]["output"]["nominal"].as_f64();
    let joules = |row: &Value| row["economy"]["joules"]["per_output_token"]["nominal"].as_f64();
    for row in rows {
        let (cents, joules) = (cents(row).unwrap(), joules(row).unwrap());
        assert!((cents * 180_000.0 / 1e6 / joules - 1.0).abs() < 1e-9, "{row:#}");
    }
}

#[test]
fn rules_are_looked_for() {
    let home = Home::new();
    let findings = home.dunlin("costs lint --reference --json").json();
    let findings = findings.as_array().unwrap();
    assert_eq!(findings.len(), 24);
    assert_eq!((&findings[5]["id"], &findings[5]["verdict"]), (&"R06".into(), &"holds".into()));
    let said = home.dunlin("costs lint --reference").stdout();
    assert!(
        said.contains("R14 does not ") && said.contains("4 are built in") | said.contains("built in"),
        "{said}"
    );
}

#[test]
fn pictures_are_written_whole() {
    let home = Home::new();
    home.dunlin("costs show --reference --svg front.svg --html page.html --quiet").stdout();
    let (picture, page) = (home.path("work/front.svg"), home.path("work/page.html"));
    assert!(fs::read_to_string(picture).unwrap().trim_end().ends_with("</svg>"));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.trim_end().ends_with("</html>") && page.matches("<svg ").count() == 4);
    home.dunlin(&format!("costs show {ORIN} --plot threads")).check(&expect![[""]]);
}

fn bench(threads: u32, prompt: u32, output: u32, ms: f64) -> String {
    format!(
        r#"{{"build_commit":"abc","build_number":7000,"backends":"CPU","model_filename":"tiny.gguf","model_type":"llama 0B Q8_0","model_size":500000,"n_threads":{threads},"n_prompt":{prompt},"n_gen":{output},"n_depth":0,"avg_ns":{},"avg_ts":{}}}"#,
        ms * 1e6,
        f64::from(prompt + output) / ms * 1e3
    )
}

#[test]
fn what_others_measured_is_taken_whole_or_not_at_all() {
    let home = Home::new();
    let lines = [bench(2, 128, 0, 20.0), bench(2, 512, 0, 80.0), bench(1, 0, 64, 128.0)].join("\n");
    home.write("bench.jsonl", &lines);
    let said = home.dunlin("costs import bench.jsonl --model tiny.gguf --json").json();
    assert_eq!((&said["rows"], &said["changed"]), (&1.into(), &1.into()), "{said:#}");
    let costs = home.path("data/dunlin/costs.toml");
    let kept = fs::read_to_string(&costs).unwrap();
    let table = Table::parse(&kept).unwrap();
    let row = table.rows().next().unwrap();
    assert_eq!(
        (row.provenance.origin, row.key.prefill_threads, row.key.decode_threads),
        (Origin::Imported, 2, 1)
    );
    // The same again changes nothing; what is broken leaves all as it was.
    assert_eq!(home.dunlin("costs import bench.jsonl --model tiny.gguf --json").json()["changed"], 0);
    home.write("half.jsonl", &lines[..lines.len() - 20]);
    home.write("nan.jsonl", lines.replacen("\"avg_ns\":", "\"avg_ns\":NaN,\"x\":", 1));
    home.dunlin("costs import half.jsonl --model tiny.gguf").check(&expect![[""]]);
    home.dunlin("costs import nan.jsonl --model tiny.gguf").check(&expect![[""]]);
    home.dunlin("costs import nowhere.json").check(&expect![[""]]);
    // Of another model.
    home.dunlin("costs export --reference --class orin-nano-8g -o orin.json --quiet").stdout();
    home.dunlin("costs import orin.json --model tiny.gguf").check(&expect![[""]]);
    assert_eq!(fs::read_to_string(&costs).unwrap(), kept);
    // What was exported comes back.
    home.dunlin("costs import orin.json -o other.toml --quiet").stdout();
    let other = Table::parse(&fs::read_to_string(home.path("work/other.toml")).unwrap()).unwrap();
    assert_eq!(other.len(), 6);
}

#[test]
fn what_is_not_there_is_said() {
    let home = Home::new();
    home.dunlin("costs show --own").check(&expect![[""]]);
    home.dunlin("costs show --model lama-3.2-1b").check(&expect![[""]]);
    home.dunlin("costs show --table nowhere.toml").check(&expect![[""]]);
    home.dunlin("costs compare orin-nano-8g pi6").check(&expect![[""]]);
    home.dunlin("costs report --price pi5-8g=97").check(&expect![[""]]);
    home.dunlin("costs explain --reference").check(&expect![[""]]);
    home.write("bad.toml", "[[row]]\nname = 3\n");
    home.dunlin("costs lint --table bad.toml").check(&expect![[""]]);
}
