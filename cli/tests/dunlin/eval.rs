//! `dunlin eval`.

use expect_test::expect;

use crate::support::Home;

const ITEMS: &str = r#"{"id":1,"task":"classify","subtask":"severity","split":"seen","prompt":"Severity of this line: ok, warning or critical?","text":"disk full","choices":["ok","warning","critical"],"answer":"critical"}
{"id":2,"task":"classify","subtask":"severity","split":"unseen","text":"all is well","choices":["ok","bad"],"answer":"ok"}
{"id":3,"task":"extract","subtask":"fields","split":"seen","prompt":"Extract as JSON: host","text":"on pump6","keys":["host"],"answer":{"host":"pump6"}}

{"id":4,"task":"qa","subtask":"ip","split":"seen","prompt":"Which ip is named?","text":"from 10.0.0.1","answer":"10.0.0.1"}
"#;

#[test]
fn accuracy_by_kind_of_item() {
    let home = Home::new();
    home.write("items.jsonl", ITEMS);
    let shown = home.dunlin("eval items.jsonl --model tiny.gguf --quiet").stdout();
    let heading = shown.lines().next().unwrap();
    expect!["TASK      SUBTASK   SPLIT   N  tiny                          CHANCE"].assert_eq(heading);
    assert_eq!(shown.lines().count(), 8, "{shown}");
    let json = home.dunlin("eval items.jsonl --model tiny.gguf --json --limit 2").json();
    assert_eq!(json["items"], 2);
    let scores = json["models"][0]["scores"].as_array().unwrap();
    assert!((scores[0]["chance"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9, "{json:#}");
}

#[test]
fn what_is_not_understood() {
    let home = Home::new();
    home.write("items.jsonl", "{\"task\":\"classify\",\"text\":\"x\",\"answer\":\"ok\"}\n");
    home.dunlin("eval items.jsonl --model tiny.gguf").check(&expect![[r#"
        exit code 2
        --- stderr
        error: items.jsonl, line 1: an item to classify has choices
          hint: `dunlin eval --help` says what a line has
    "#]]);
    home.dunlin("eval nothing.jsonl --model tiny.gguf").check(&expect![[r#"
        exit code 2
        --- stderr
        error: cannot read nothing.jsonl: No such file or directory (os error 2)
    "#]]);
    home.write("none.jsonl", "\n");
    home.dunlin("eval none.jsonl --model tiny.gguf").check(&expect![[r#"
        exit code 2
        --- stderr
        error: none.jsonl has no items
    "#]]);
}
