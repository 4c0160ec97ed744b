//! What the command says of itself.

use expect_test::expect;

use crate::support::Home;

#[test]
fn the_command_as_a_whole() {
    let home = Home::new();
    home.dunlin("--help").check(&expect![]);
    home.dunlin("run --help").check(&expect![]);
}

#[test]
fn what_it_was_built_of() {
    let home = Home::new();
    let version = home.dunlin("--version").stdout();
    assert!(version.starts_with("dunlin 0.") && version.contains("\nwasmtime 4"), "{version}");
    assert!(version.contains("\nllama.cpp by llama-cpp-sys-2 0."), "{version}");
}

#[test]
fn what_is_not_understood() {
    let home = Home::new();
    home.dunlin("run").check(&expect![]);
    home.dunlin("rnu").check(&expect![]);
    home.dunlin("run ./script.wasm --threads 0").check(&expect![]);
    home.dunlin("run ./script.wasm --deadline soon").check(&expect![]);
    home.dunlin("run ./script.wasm --model tiny.gguf --param choices").check(&expect![]);
    home.dunlin("run frobnicate --model tiny.gguf --text x").check(&expect![]);
    home.dunlin("run clasify --model tiny.gguf --text x").check(&expect![]);
}

#[test]
fn shells_complete_names() {
    let home = Home::new();
    home.dunlin("model add tiny.gguf --alias mine --quiet").stdout();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.dunlin(&format!("completions {shell}")).stdout().contains("dunlin"), "{shell}");
    }
    let complete = |words: &str| {
        let words: Vec<&str> = ["--"].into_iter().chain(words.split(' ')).collect();
        let index = (words.len() - 2).to_string();
        home.dunlin_with(&words).env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).stdout()
    };
    assert_eq!(complete("dunlin run chat --model mi").trim(), "mine");
    assert_eq!(complete("dunlin run class").trim(), "classify");
}
