//! The component itself, in `dunlin`: the one that DUNLIN names, or of the PATH. DUNLIN_MODEL says on which model.

use std::process::{Command, Output};

fn dunlin(arguments: &[&str]) -> Output {
    let program = std::env::var_os("DUNLIN").unwrap_or("dunlin".into());
    Command::new(program).args(arguments).output().expect("dunlin is in the PATH")
}

#[test]
fn it_is_built_fits_and_answers() {
    let built = dunlin(&["build", "--quiet"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert!(dunlin(&["check"]).status.success());
    let ran = dunlin(&["run", "./hello-rust.wasm", "--json-lines", "--quiet", "--text", "sshd: Accepted key for ana"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    let lines: Vec<serde_json::Value> =
        ran.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let (end, chunks) = lines.split_last().expect("there is an end");
    let streamed: String = chunks.iter().filter_map(|chunk| chunk["text"].as_str()).collect();
    assert!(!streamed.is_empty());
    assert_eq!(end["result"], streamed.as_str());
}
