//! The page of the scheduler, in a browser that somebody else made. `./x test` installs it.

use std::{env, path::PathBuf, process::Command};

use crate::{
    clients::up_at,
    fleet::{Running, two_ports},
    support::Home,
};

/// A name that would like to be more, in one word.
const EVIL: &str = "<img/src=x/onerror='document.title=7'>";

#[test]
fn the_console_in_a_browser() {
    let Some(folder) = env::var_os("DUNLIN_CLIENTS").map(PathBuf::from) else {
        eprintln!(
            "SKIPPED: DUNLIN_CLIENTS is not set; `./x test` installs a browser and what drives it, and sets it"
        );
        return;
    };
    let home = Home::new();
    let port = two_ports();
    let (mut up, url) = up_at(&home, port, 0, "--require-key");
    let token = home.dunlin("token new").stdout();
    let login = std::fs::read_to_string(home.path("data/dunlin/fleet/login/scheduler")).unwrap();
    let agent = home.path("pi").display().to_string();
    let (token, login) = (token.trim(), login.trim());
    let join = format!(
        "agent --join {token} --scheduler {login} --name pi --emulate pi5-8g --folder {agent} --label place={EVIL}"
    );
    let mut board = Running::start(home.dunlin(&join).into_command());
    board.says("connected scheduler");
    let models = home.dunlin("models ls --json").json();
    let digest = models[0]["variants"][0]["digest"].as_str().unwrap();
    home.dunlin_with(&["models", "alias", EVIL, digest]).stdout();
    let link = home.dunlin("console").stdout();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scheduler/door/tests/clients/console.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(link.trim()).arg(folder).args(env::var_os("DUNLIN_PICTURES"));
    let page = Running::start(command);
    page.says("now a board may die");
    board.kill();
    page.says("now the scheduler may go");
    up.kill();
    page.says("now the scheduler may come back");
    let http = url.rsplit(':').next().unwrap().parse().unwrap();
    let (_up, _url) = up_at(&home, port, http, "--require-key");
    page.says("the console is well");
}
