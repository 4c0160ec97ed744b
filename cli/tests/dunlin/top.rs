//! `dunlin top`, on a real fleet: in a terminal, and once.

use std::num::NonZero;

use crate::{fleet::Fleet, support::Home, terminal::Terminal};

#[test]
fn a_fleet_is_watched_while_its_scheduler_comes_and_goes() {
    let mut fleet = Fleet::found(Home::new());
    fleet.join("ada", "--emulate orin-nano-8g");
    let answer = fleet.json("invoke chat --model llama-3.2-1b --text hello --param max_tokens=4 --json");
    let invocation = answer["invocation"].as_str().unwrap().to_owned();

    let once = fleet.json("top --once --json");
    assert_eq!((&once["boards"], &once["connected"]), (&1.into(), &1.into()), "{once:#}");
    assert_eq!(once["nodes"][0]["name"], "ada");
    let known = &once["invocations"][0];
    assert_eq!((&known["id"], &known["state"]), (&invocation.as_str().into(), &"done".into()), "{once:#}");
    assert_eq!(
        (&known["node"], &known["tokens"], &known["emulated"]),
        (&"ada".into(), &4.into(), &true.into())
    );
    let text = fleet.dunlin("top --once").stdout();
    assert!(text.starts_with("1 of 1 board connected") && text.contains("~orin-nano-8g"), "{text}");

    let mut top = Terminal::start(fleet.home(), "top --interval 200ms");
    top.wait_for("live");
    top.wait("the board and what it ran", |screen| screen.contains("ada") && screen.contains("done"));
    top.type_keys("\t\r");
    top.wait_for("attempt 0");
    top.wait_for("ran on ada, emulated");
    top.type_keys("\u{1b}");
    top.wait_for("INVOCATION");
    // A smaller terminal has fewer columns.
    top.resize(NonZero::new(12).unwrap(), NonZero::new(50).unwrap());
    top.wait("fewer columns", |screen| screen.contains("ada") && !screen.contains("BATTERY"));
    fleet.restart_scheduler(|| top.wait_for("no scheduler"));
    top.wait_for("live");
    top.leave("q");
}

#[test]
fn without_a_terminal_or_a_fleet_it_says_so() {
    let home = Home::new();
    let said = |arguments: &str| String::from_utf8(home.dunlin(arguments).output().stderr).unwrap();
    assert!(said("top").contains("--once prints what there is now"));
    assert!(said("top --once").contains("you are not logged in to a fleet"));
    assert!(said("top --json").contains("--once"));
    assert!(said("top --interval 1ms").contains("from 100ms to 1m"));
}
