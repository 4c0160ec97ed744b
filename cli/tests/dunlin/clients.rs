//! Clients that nobody here wrote, against `dunlin up` with the demo model. `./x test` installs them.

use std::{env, path::PathBuf, process::Command};

use crate::{
    fleet::{Running, two_ports},
    support::Home,
};

/// What they find wrong, or that they are not there.
fn check(client: &str, script: &str, url: &str) {
    let folder = env::var("DUNLIN_CLIENTS").map(PathBuf::from).unwrap();
    let scripts = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scheduler/door/tests/clients"));
    let program = if client == "node" { PathBuf::from("node") } else { folder.join("bin").join(client) };
    let output =
        Command::new(program).arg(scripts.join(script)).args([url, "demo"]).arg(&folder).output().unwrap();
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}:\n{}{}", said(&output.stdout), said(&output.stderr));
}

/// A fleet of one that speaks HTTP, and where.
pub(crate) fn up(home: &Home, more: &str) -> (Running, String) {
    let arguments = format!("up --port {} --http 0 {more}", two_ports());
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
    check("python", "openai_client.py", &url);
    check("python", "others.py", &url);
    check("node", "openai_client.mjs", &url);
}
