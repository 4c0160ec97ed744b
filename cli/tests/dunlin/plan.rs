//! What a scheduler does to nodes by itself: modes that are planned, boards that rest.

use std::time::Instant;

use serde_json::Value;

use crate::{
    fleet::{Fleet, PATIENCE},
    support::Home,
};

const ENERGY: &str = "objective = \"energy\"\n";
const QUICK: &str = "every_s = 0.2\n[modes]\nrounds = 2\nrest_s = 0.5\n";

fn fleet(policy: &str, plan: &str) -> Fleet {
    let home = Home::new();
    home.write("now.toml", policy);
    home.write("plan.toml", plan);
    Fleet::found_with(home, "--policy now.toml --plan plan.toml")
}

fn node(fleet: &Fleet, name: &str) -> Value {
    let nodes = fleet.json("nodes --json");
    nodes.as_array().unwrap().iter().find(|node| node["name"] == name).cloned().unwrap_or_default()
}

#[track_caller]
fn wait_until(fleet: &Fleet, name: &str, what: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let node = node(fleet, name);
        if what(&node) {
            return node;
        }
        assert!(began.elapsed() < PATIENCE, "it never came to that: {node:#}");
    }
}

/// An idle board goes low where joules count, and comes up when requests want more than that gives.
#[test]
fn modes_follow_what_is_asked_for() {
    let mut fleet = fleet(ENERGY, QUICK);
    fleet.join("fast", "--emulate orin-nano-8g --mode MAXN");
    let line = fleet.scheduler.says("changes its mode");
    assert!(line.contains("saves 9 % of watts (2.90 W now, 2.65 W then)"), "{line}");
    let idle = wait_until(&fleet, "fast", |node| node["health"]["mode"] == "7W" && node["state"] == "ready");
    // What else it could be in, and what that would take.
    let modes = idle["plan"]["modes"].as_array().unwrap();
    let names: Vec<&str> = modes.iter().map(|mode| mode["mode"].as_str().unwrap()).collect();
    assert_eq!(names, ["15W", "25W", "7W", "MAXN"]);
    assert!(modes.iter().all(|mode| mode["suffices"] == true && mode["watts_assumed"] == true), "{idle:#}");
    let shown = fleet.dunlin("nodes --plan").stdout();
    assert!(shown.contains("7W") && shown.contains("now") && shown.contains("~2.65 W"), "{shown}");
    // The lowest mode takes some 200 ms a token with this model.
    let invoke = "invoke chat --model llama-3.2-1b --text hello --param max_tokens=8 --tpot 60ms --json";
    let answer = fleet.json(invoke);
    assert_eq!(answer["usage"]["node"], "fast", "{answer:#}");
    let line = fleet.scheduler.says("changes its mode");
    assert!(line.contains("is quicker: now requests take"), "{line}");
    let quick = wait_until(&fleet, "fast", |node| node["health"]["mode"] != "7W" && node["state"] == "ready");
    let of = |mode: &str| {
        let modes = quick["plan"]["modes"].as_array().unwrap();
        modes.iter().find(|of| of["mode"] == mode).cloned().unwrap()
    };
    assert_eq!(of("7W")["suffices"], false, "{quick:#}");
    assert_eq!(of(quick["health"]["mode"].as_str().unwrap())["suffices"], true, "{quick:#}");
    assert!(quick["plan"]["requests_per_hour"].as_f64() > Some(1.0), "{quick:#}");
}
