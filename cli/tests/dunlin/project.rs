//! `dunlin new`, `build` and `check`: from nothing to a pipeline that runs, in every language.

use std::{fs, path::Path};

use expect_test::expect;

use crate::support::Home;

#[test]
fn a_project_is_made_where_nothing_is() {
    let home = Home::new();
    home.dunlin("new hello --lang python").check(&expect![[r#"
        --- stderr
        made hello: its pipeline is app.py, its README says the rest; next
          cd hello && dunlin build && echo "some text" | dunlin run hello.wasm
    "#]]);
    let manifest = fs::read_to_string(home.path("work/hello/dunlin.toml")).unwrap();
    assert_eq!(manifest, "name = \"hello\"\nlang = \"python\"\n");
    assert!(home.path("work/hello/dunlin/wit/dunlin-llm.wit").is_file());
    home.dunlin("new hello").check(&expect![[r#"
        exit code 2
        --- stderr
        error: hello is there already
          hint: choose another name, or empty the folder first
    "#]]);
    home.dunlin("new Hello").check(&expect![[r#"
        exit code 2
        --- stderr
        error: "Hello" is no name for a pipeline: small letters of a to z, digits and hyphens, a letter first, at most 64
    "#]]);
}

#[test]
fn a_project_in_rust_brings_its_crate_along() {
    let home = Home::new();
    home.dunlin("new deep/inside/log-reader --quiet").check(&expect![""]);
    let folder = home.path("work/deep/inside/log-reader");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"log-reader\""), "{manifest}");
    assert!(manifest.contains("path = \"dunlin/guest\""), "{manifest}");
    assert!(folder.join("dunlin/guest/src/ctx.rs").is_file());
    assert!(!folder.join("Cargo.lock").exists());
}

#[test]
fn what_is_no_project_is_not_built() {
    let home = Home::new();
    home.dunlin("build").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no project in .
          hint: a project has a dunlin.toml; `dunlin new NAME --lang rust` makes one
    "#]]);
    home.write("dunlin.toml", "name = \"x\"\nlanguage = \"rust\"\n");
    home.dunlin("build").check(&expect![[r#"
        exit code 2
        --- stderr
        error: [HOME]/work/dunlin.toml: TOML parse error at line 2, column 1
            |
          2 | language = "rust"
            | ^^^^^^^^
          unknown field `language`, expected `name` or `lang`
    "#]]);
    home.write("dunlin.toml", "name = \"x\"\nlang = \"rust\"\n");
    home.dunlin("check").check(&expect![[r#"
        exit code 2
        --- stderr
        error: [HOME]/work/x.wasm is not there
          hint: `dunlin build` makes it
    "#]]);
}

#[test]
fn what_is_missing_is_named_with_how_to_get_it() {
    let home = Home::new();
    for (language, tool) in [("python", "python3"), ("js", "npm"), ("c", "python3"), ("rust", "rustc")] {
        home.dunlin(&format!("new in-{language} --lang {language} --quiet")).stdout();
        let build = home.dunlin(&format!("build in-{language}")).env("PATH", "/nonexistent");
        let output = build.env("DUNLIN_TOOLCHAINS", home.path("toolchains")).output();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("error: {tool} is missing\n  hint: ")), "{said}");
    }
}

#[test]
fn a_component_says_what_it_is() {
    let home = Home::new();
    let shown = home.dunlin("check script.wasm").stdout();
    assert!(shown.starts_with("imports   "), "{shown}");
    assert!(shown.contains("\nexports   dunlin:llm/handler@0.1.0\n"), "{shown}");
    assert!(shown.contains("\nmade for  dunlin:llm 0.1.0; this host runs 0.1.0\n"), "{shown}");
    let json = home.dunlin("check script.wasm --json").json();
    assert_eq!((&json["runs_here"], &json["error"]), (&true.into(), &serde_json::Value::Null));
    assert!(json["imports"].as_array().unwrap().iter().all(|import| import["offered"] == true), "{json}");
    assert!(json["memory_bytes"].as_u64().unwrap() > 0 && json["modules"].as_u64().unwrap() > 0, "{json}");
    home.dunlin("check tiny.gguf").check(&expect![[r#"
        exit code 7
        --- stderr
        error: tiny is not a WebAssembly component: it is a GGUF model, which goes where a model is asked for
          hint: a pipeline is a component of the world dunlin:llm/pipeline (in Rust, the crate dunlin-guest built for wasm32-wasip2); programs for wasm32-wasip2 and wasm32-wasip1 run, too
    "#]]);
}

#[test]
fn a_component_for_another_version_says_which() {
    let home = Home::new();
    let replaced = |bytes: &[u8], from: &[u8], to: &[u8]| {
        let mut bytes = bytes.to_vec();
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|&at| &bytes[at..at + from.len()] == from).collect();
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        bytes
    };
    home.write("newer.wasm", replaced(dunlin_host_guests::SCRIPT, b"@0.1.0", b"@0.2.0"));
    let output = home.dunlin("check newer.wasm").output();
    assert_eq!(output.status.code(), Some(7));
    expect![[r#"
        error: newer is not a pipeline for this host: it is made for dunlin:llm/handler@0.2.0, and this host runs dunlin:llm/handler@0.1.0; build it against that version
          hint: `dunlin build` in its project builds it for this version; without a project, build it against the WIT of this version, which `dunlin new` writes
    "#]]
    .assert_eq(&String::from_utf8(output.stderr).unwrap());
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("dunlin:llm/models@0.2.0  not here\n"), "{shown}");
}

/// The languages, each from `dunlin new` to an answer, by the test that comes with the project.
mod examples {
    use std::process::Command;

    use super::*;

    const TEXT: &str = "sshd[411]: Failed password for root from 10.0.0.7";

    fn check(language: &str, test: &[&str]) {
        let home = Home::new();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/demo-small-q8_0.gguf");
        home.dunlin(&format!("new hello --lang {language} --quiet")).stdout();
        let folder = home.path("work/hello");
        let mut command = Command::new(test[0]);
        command.args(&test[1..]).current_dir(&folder).env_clear().envs(home.environment()).envs(outside());
        command.env("DUNLIN", env!("CARGO_BIN_EXE_dunlin")).env("DUNLIN_MODEL", &model);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let run = |pipeline: &str| {
            let run = home.dunlin_with(&["run", pipeline, "--text", TEXT, "--param", "model=demo", "--json"]);
            run.env("DUNLIN_MODEL", demo(&home, &model)).json()
        };
        // The same words are asked for, so the same words come.
        let (ours, theirs) = (run("hello/hello.wasm"), run("summarize"));
        assert!(!ours["result"].as_str().unwrap().is_empty(), "{ours}");
        assert_eq!(ours["result"], theirs["result"], "{ours}");
    }

    /// The model under a name of its own.
    fn demo(home: &Home, model: &Path) -> &'static str {
        if !home.path("work/demo.gguf").exists() {
            fs::copy(model, home.path("work/demo.gguf")).unwrap();
        }
        "demo.gguf"
    }

    /// What compilers need that is not in the test's own home.
    fn outside() -> Vec<(&'static str, String)> {
        let home = std::env::var("HOME").unwrap();
        let or = |name: &str, default: String| std::env::var(name).unwrap_or(default);
        vec![
            ("CARGO_HOME", or("CARGO_HOME", format!("{home}/.cargo"))),
            ("RUSTUP_HOME", or("RUSTUP_HOME", format!("{home}/.rustup"))),
            // What is compiled once is not compiled for each run of the test.
            ("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/hello-rust").into()),
            ("DUNLIN_TOOLCHAINS", or("DUNLIN_TOOLCHAINS", format!("{home}/.cache/dunlin/toolchains"))),
        ]
    }

    #[test]
    fn rust() {
        check("rust", &["cargo", "test"]);
    }

    /// A program that knows nothing of Dunlin, built by cargo alone.
    #[test]
    fn wasi_nn() {
        let home = Home::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/wasi-nn");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--quiet", "--target", "wasm32-wasip2"]).current_dir(&folder);
        cargo.env_clear().envs(home.environment()).envs(outside());
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built = concat!(env!("CARGO_TARGET_TMPDIR"), "/hello-rust/wasm32-wasip2/release/wasi-nn.wasm");
        let run =
            home.dunlin_with(&["run", built, "--nn-model", "default=tiny.gguf", "--input", "-", "--json"]);
        let said = run.input(TEXT).json();
        assert_eq!(said["error"], serde_json::Value::Null, "{said}");
        let tokens = said["usage"]["output_tokens"].as_u64().unwrap();
        assert!((1..=64).contains(&tokens), "{said}");
    }

    #[test]
    fn python() {
        check("python", &["python3", "-m", "unittest"]);
    }

    #[test]
    fn js() {
        check("js", &["node", "--test"]);
    }

    #[test]
    fn c() {
        check("c", &["./test.sh"]);
    }
}
