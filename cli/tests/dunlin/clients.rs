//! Clients that nobody here wrote, against `dunlin up` with the demo model. `./x test` installs them.

use std::{env, path::PathBuf, process::Command};

use crate::{
    fleet::{Running, two_ports},
    support::Home,
};

/// What they find wrong, or that they are not there.
/// In a folder of the home, since some leave files where they run.
fn check(home: &Home, client: &str, script: &str, url: &str) {
    let folder = env::var("DUNLIN_CLIENTS").map(PathBuf::from).unwrap();
    let scripts = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scheduler/door/tests/clients"));
    let program = if client == "node" { PathBuf::from("node") } else { folder.join("bin").join(client) };
    let mut command = Command::new(program);
    command.arg(scripts.join(script)).args([url, "demo"]).arg(&folder).current_dir(home.path("work"));
    let output = command.output().unwrap();
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}:\n{}{}", said(&output.stdout), said(&output.stderr));
}

/// What the OpenAPI document says may be asked, asked by a program that makes up requests from it.
#[test]
fn no_request_that_the_document_allows_breaks_the_server() {
    if env::var_os("DUNLIN_CLIENTS").is_none() {
        eprintln!(
            "SKIPPED: DUNLIN_CLIENTS is not set; `./x test` installs what makes up requests, and sets it"
        );
        return;
    }
    let home = Home::new();
    let (_up, url) = up(&home, "");
    check(&home, "python", "document.py", &url);
}

/// The same prompts by `dunlin bench` and by the client of OpenAI, one after another: they say the same of one server. It answers at
/// the pace of an emulated board, which is slow enough that neither client counts for much.
#[test]
fn bench_measures_what_another_client_measures() {
    let Some(folder) = env::var_os("DUNLIN_CLIENTS").map(PathBuf::from) else {
        eprintln!(
            "SKIPPED: DUNLIN_CLIENTS is not set; `./x test` installs the clients of others and sets it"
        );
        return;
    };
    let home = Home::new();
    let (_up, url) = up(&home, "");
    let token = home.dunlin("token new").stdout();
    let login = std::fs::read_to_string(home.path("data/dunlin/fleet/login/scheduler")).unwrap();
    let agent = home.path("orin").display().to_string();
    let (token, login) = (token.trim(), login.trim());
    let join = format!(
        "agent --join {token} --scheduler {login} --name orin --emulate orin-nano-8g --folder {agent}"
    );
    let board = Running::start(home.dunlin(&join).into_command());
    board.says("connected scheduler");
    let lines: String = (0..8)
        .map(|number| {
            let prompt = format!("{number} {}", "a bird on the shore ".repeat(20));
            format!("{}\n", serde_json::json!({ "arrival": 0, "prompt": prompt, "max_tokens": 24 }))
        })
        .collect();
    let trace = home.write("trace.jsonl", lines);
    let model = "llama-3.2-1b";
    // Loaded, and its time learned.
    home.dunlin(&format!("invoke chat --model {model} --text hello --param max_tokens=4")).stdout();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scheduler/door/tests/clients/bench_check.py");
    let output =
        Command::new(folder.join("bin/python")).arg(script).args([&url, model]).arg(&trace).output().unwrap();
    let theirs: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let command = format!(
        "bench --url {url} --model {model} --trace trace.jsonl --concurrency 1 --field seed=7 --json"
    );
    let ours = home.dunlin(&command).json();
    assert_eq!(ours["good"], 8, "{ours:#}");
    // The words of an emulated board depend on the seed and the place alone.
    assert_eq!(
        ours["tokens"]["output"].as_f64(),
        theirs["tokens"].as_f64(),
        "tokens by bench, and by openai"
    );
    for name in ["ttft_ms", "tpot_ms"] {
        let (ours, theirs) = (ours[name]["p50"]["value"].as_f64().unwrap(), theirs[name].as_f64().unwrap());
        // Of a machine that does other things too; both wait for the same board.
        let apart = (ours - theirs).abs();
        assert!(apart <= 0.25 * theirs.max(ours) + 10.0, "{name}: {ours} ms by bench, {theirs} ms by openai");
    }
}

/// A fleet of one that speaks HTTP, and where.
pub(crate) fn up(home: &Home, more: &str) -> (Running, String) {
    up_at(home, two_ports(), 0, more)
}

/// The same on given ports: of members, and of HTTP.
pub(crate) fn up_at(home: &Home, port: u16, http: u16, more: &str) -> (Running, String) {
    let arguments = format!("up --port {port} --http {http} {more}");
    let mut command = home.dunlin(&arguments).into_command();
    command.env("DUNLIN_BUNDLED_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/../models"));
    let up = Running::start(command);
    let line = up.says("speaks OpenAI's API");
    let url = line.split("/v1 ").next().unwrap().to_owned();
    up.says("is up, on UDP");
    (up, url)
}

#[test]
fn clients_of_others_find_what_they_know() {
    if env::var_os("DUNLIN_CLIENTS").is_none() {
        eprintln!(
            "SKIPPED: DUNLIN_CLIENTS is not set; `./x test` installs the clients of others and sets it"
        );
        return;
    }
    let home = Home::new();
    let (_up, url) = up(&home, "");
    check(&home, "python", "openai_client.py", &url);
    check(&home, "python", "others.py", &url);
    check(&home, "node", "openai_client.mjs", &url);
}
