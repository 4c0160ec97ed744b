//! Manifests: what a component asks for, and what it is granted.

use expect_test::expect;

use crate::support::Home;

#[test]
fn a_model_is_granted_by_the_name_that_is_asked_for() {
    let home = Home::new();
    home.write("script.toml", "models = [\"judge\"]");
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --text available").check(&expect![[r#"
        judge
    "#]]);
    home.write("script.toml", "models = [\"judge\", \"writer\"]");
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --text available").check(&expect![[r#"
        exit code 2
        --- stderr
        error: it asks for a model "writer", which was not granted
          hint: --grant model=writer=ALIAS, or =FILE; or --grant all if there is an alias "writer"
    "#]]);
    home.dunlin(
        "run ./script.wasm --model tiny.gguf --grant model=writer=tiny.gguf --quiet --text available",
    )
    .check(&expect![[r#"
            judge writer
        "#]]);
}

#[test]
fn budgets_are_those_asked_for_unless_told_otherwise() {
    let home = Home::new();
    home.write("script.toml", "[budget]\ntokens = 7\ntime = \"200ms\"");
    let run = "run ./script.wasm --model tiny.gguf --quiet";
    home.dunlin(&format!("{run} --deadline 1m")).input("remaining tokens").check(&expect![[r#"
        Some(7)
    "#]]);
    home.dunlin(&format!("{run} --deadline 1m --limit tokens=9")).input("remaining tokens").check(&expect![
        [r#"
        Some(9)
    "#]
    ]);
    home.dunlin(run).input("spin").check(&expect![[r#"
        exit code 6
        --- stderr
        error: script was not done within [TIME]
          hint: --deadline gives it longer
    "#]]);
}

#[test]
fn a_typo_is_named_with_what_was_meant() {
    let home = Home::new();
    home.write("script.toml", "modles = [\"demo\"]");
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --text available").check(&expect![[r#"
        exit code 2
        --- stderr
        error: ./script.toml is not understood: there is no key "modles"; did you mean "models"?
    "#]]);
}

#[test]
fn what_is_asked_for_is_shown_before_it_is_granted() {
    let home = Home::new();
    home.write(
        "script.toml",
        "models = [\"demo\"]\nhttp = [\"api.example.com\"]\nenvironment = [\"LANG\"]\n[budget]\ntokens = 7",
    );
    let shown = home.dunlin("check script.wasm").stdout();
    let asked = "models    demo\nrequests  HTTP to api.example.com\nenviron.  LANG\nbudget    tokens 7\n";
    assert!(shown.ends_with(asked), "{shown}");
    let json = home.dunlin("check script.wasm --json").json();
    assert_eq!(json["manifest"]["http"][0], "api.example.com");
    let run = home.dunlin("run ./script.wasm --model tiny.gguf --text available").output();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(said.contains("requests to api.example.com, which was not granted (--grant http)"), "{said}");
}
