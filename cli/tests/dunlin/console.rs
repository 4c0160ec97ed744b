//! The page of the scheduler, in a browser that somebody else made. `./x test` installs it.

use std::{env, path::PathBuf, process::Command};

use crate::{clients::up, fleet::Running, support::Home};

#[test]
fn the_console_in_a_browser() {
    let Some(folder) = env::var_os("DUNLIN_CLIENTS").map(PathBuf::from) else {
        eprintln!(
            "SKIPPED: DUNLIN_CLIENTS is not set; `./x test` installs a browser and what drives it, and sets it"
        );
        return;
    };
    let home = Home::new();
    let (mut up, _url) = up(&home, "--require-key");
    let token = home.dunlin("token new").stdout();
    let login = std::fs::read_to_string(home.path("data/dunlin/fleet/login/scheduler")).unwrap();
    let agent = home.path("pi").display().to_string();
    let (token, login) = (token.trim(), login.trim());
    let join =
        format!("agent --join {token} --scheduler {login} --name pi --emulate pi5-8g --folder {agent}");
    let mut board = Running::start(home.dunlin(&join).into_command());
    board.says("connected scheduler");
    let link = home.dunlin("console").stdout();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scheduler/door/tests/clients/console.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(link.trim()).arg(folder).args(env::var_os("DUNLIN_PICTURES"));
    let page = Running::start(command);
    page.says("now a board may die");
    board.kill();
    page.says("now the scheduler may go");
    up.kill();
    page.says("the console is well");
}
