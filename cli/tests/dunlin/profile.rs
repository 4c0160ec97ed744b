//! `dunlin profile`.

use std::fs;

use dunlin_costs::{Origin, Table};

use crate::support::Home;

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
    let runs = |json: &serde_json::Value| -> Vec<_> {
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
