//! What a scheduler does to nodes by itself: modes that are planned, boards that rest.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    fleet::{Fleet, PATIENCE},
    http::{get, post},
    support::Home,
};

const ENERGY: &str = "objective = \"energy\"\n";
const QUICK: &str = "every_s = 0.2\n[modes]\nrounds = 2\nrest_s = 0.5\n";

/// It is loaded soonest.
const SMALL: &str = "bonsai-1.7b";

fn invoke(model: &str) -> String {
    format!("invoke chat --model {model} --text hello --param max_tokens=1 --json")
}

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

#[test]
fn plans_that_cannot_be_used() {
    let home = Home::new();
    home.write("plan.toml", "[mode]\nrounds = 3\n");
    let problem = "line 1, column 2: there is no key \"mode\"; did you mean \"modes\"?";
    for arguments in [
        "policy check plan.toml --plan",
        "scheduler --port 0 --plan plan.toml",
        "up --port 0 --plan plan.toml",
    ] {
        let output = home.dunlin(arguments).output();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(problem), "{arguments}: {said}");
        assert!(said.contains("examples/plans"), "{said}");
    }
    home.write("plan.toml", "[modes]\nrounds = 3\n");
    home.dunlin("policy check plan.toml --plan").stdout();
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
    let quickly = "invoke chat --model llama-3.2-1b --text hello --param max_tokens=8 --tpot 60ms --json";
    let answer = fleet.json(quickly);
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

/// A board that is lost while it changes its mode: what ran goes on elsewhere, and it takes work when it is back.
#[test]
fn a_board_that_is_lost_in_mid_change_is_not_held() {
    let mut fleet = fleet(ENERGY, "");
    for (name, other) in [("ann", None), ("bob", Some("ann"))] {
        fleet.join(name, "--emulate orin-nano-8g --mode MAXN");
        load_on(&fleet, "llama-3.2-1b", name, other);
    }
    fleet.dunlin("cordon ann").stdout();
    let long = "invoke chat --model llama-3.2-1b --text hello --param max_tokens=2000 --json-lines --quiet";
    // Emulated answers end by chance, after 160 tokens on average: of so many, some go on for long enough.
    let answer = || {
        let mut command = fleet.dunlin(long).into_command();
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut answers: Vec<Child> = (0..16).map(|_| answer()).collect();
    // Once it says something it runs, and on bob; what a node was last heard to run may be what came before.
    let mut said = BufReader::new(answers[0].stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    fleet.dunlin("cordon ann --undo").stdout();
    // The plan is read again when it changes; one name in it is wrong.
    let boards = "[[board]]\nname = \"ann\"\nmodes = [\"MAXN\", \"25w\"]\n";
    fleet.home().write("plan.toml", format!("every_s = 0.2\n[modes]\nrounds = 1\n{boards}"));
    fleet.scheduler.says("there is no mode \"25w\"; did you mean \"25W\"?");
    fleet.scheduler.says("changes its mode");
    wait_until(&fleet, "bob", |node| node["state"] == "draining");
    fleet.nodes.get_mut("bob").unwrap().kill();
    fleet.scheduler.says("planned, and not taken");
    fleet.start_again("bob", "--emulate orin-nano-8g --mode MAXN");
    let back = wait_until(&fleet, "bob", |node| node["state"] == "ready");
    let failure = back["plan"]["failure"].as_str().unwrap();
    assert!(failure.contains("7W was not taken: the connection of bob was lost"), "{failure}");
    assert!(fleet.dunlin("nodes").stderr().contains("plan: bob: 7W was not taken"));
    assert_eq!(node(&fleet, "ann")["health"]["mode"], "MAXN", "its plan does not let it");
    for answer in &mut answers {
        // One that has ended is not killed.
        drop(answer.kill());
        answer.wait().unwrap();
    }
}

/// Its first invocation loads the model there.
fn load_on(fleet: &Fleet, model: &str, name: &str, other: Option<&str>) {
    other.iter().for_each(|other| drop(fleet.dunlin(&format!("cordon {other}")).stdout()));
    let answer = fleet.json(&invoke(model));
    assert_eq!(answer["usage"]["node"], name, "{answer:#}");
    other.iter().for_each(|other| drop(fleet.dunlin(&format!("cordon {other} --undo")).stdout()));
}

/// Of two boards that do nothing, one rests, and is there again when it is needed.
#[test]
fn boards_that_do_nothing_rest_in_their_lowest_mode() {
    let mut fleet = fleet(ENERGY, "every_s = 0.2\n[parking]\nlevel = \"low-mode\"\nafter_s = 2\n");
    for name in ["ann", "bob"] {
        fleet.join(name, "--emulate orin-nano-8g");
    }
    let line = fleet.scheduler.says(" rests ");
    let (parked, awake) = if line.contains("ann") { ("ann", "bob") } else { ("bob", "ann") };
    let rests = wait_until(&fleet, parked, |node| node["state"] == "parked");
    assert_eq!(
        (&rests["health"]["mode"], &rests["plan"]["parked"]["level"]),
        (&"7W".into(), &"low-mode".into())
    );
    assert_eq!(node(&fleet, awake)["state"], "ready", "one stays awake");
    // The next scheduler knows of it, and in which mode it was.
    fleet.restart_scheduler(|| ());
    wait_until(&fleet, awake, |node| node["state"] == "ready");
    let rests = wait_until(&fleet, parked, |node| node["health"]["mode"] == "7W");
    assert_eq!(rests["state"], "parked", "{rests:#}");
    // Nobody else may serve it.
    fleet.dunlin(&format!("cordon {awake}")).stdout();
    let answer = fleet.json(&invoke(SMALL));
    assert_eq!(answer["usage"]["node"], parked, "{answer:#}");
    fleet.scheduler.says("is needed, and woken");
    assert_eq!(node(&fleet, parked)["health"]["mode"], "25W");
}

/// Of two boards that have a model in memory and do nothing, one lets go of it.
#[test]
fn models_that_nobody_asks_for_leave_memory() {
    let mut fleet = fleet(ENERGY, "");
    for (name, other) in [("ann", None), ("bob", Some("ann"))] {
        fleet.join(name, "--emulate orin-nano-8g");
        load_on(&fleet, SMALL, name, other);
    }
    fleet.home().write("plan.toml", "every_s = 0.2\n[parking]\nafter_s = 1\n");
    fleet.scheduler.says("its models leave its memory");
    let resident = |fleet: &Fleet| {
        let nodes = fleet.json("nodes --json");
        let count = |node: &Value| node["residents"].as_array().unwrap().len();
        (nodes.as_array().unwrap().iter().map(count).sum::<usize>(), nodes)
    };
    let began = Instant::now();
    let nodes = loop {
        let (count, nodes) = resident(&fleet);
        if count == 1 {
            break nodes;
        }
        assert!(began.elapsed() < PATIENCE, "{nodes:#}");
    };
    assert!(nodes.as_array().unwrap().iter().all(|node| node["state"] == "ready"), "{nodes:#}");
    // By hand, also the last one.
    let last =
        nodes.as_array().unwrap().iter().find(|node| node["residents"] != serde_json::json!([])).unwrap();
    fleet.dunlin(&format!("park {} --level unload", last["name"].as_str().unwrap())).stdout();
    assert_eq!(resident(&fleet).0, 0);
}

/// A board that is put off is parked and not lost, also for the next scheduler, and comes back when somebody waits for it.
#[test]
fn boards_are_put_off_and_woken_by_the_commands_of_the_operator() {
    let home = Home::new();
    home.write("off.sh", "kill \"$(cat \"$1.pid\")\"\n");
    home.write(
        "wake.sh",
        "if test -e refuse; then echo \"no plug is called $1\" >&2; exit 3; fi\ntouch \"$1.wanted\"\n",
    );
    let command = |script: &str| format!("[\"sh\", {script:?}, \"{{node}}\"]");
    let board = format!(
        "[[board]]\nname = \"bob\"\noff = {}\noff_delay_s = 4\nwake = {}\nwake_delay_s = 60\n",
        command("off.sh"),
        command("wake.sh")
    );
    home.write("plan.toml", &board);
    let mut fleet = Fleet::found_with(home, "--plan plan.toml");
    fleet.join("ann", "--emulate orin-nano-8g");
    fleet.join("bob", "--emulate orin-nano-8g");
    let put_off = |fleet: &Fleet| {
        let pid = fleet.nodes["bob"].child.id();
        fleet.home().write("bob.pid", pid.to_string());
        fleet.dunlin("park bob --level off").stdout();
        let bob = node(fleet, "bob");
        assert_eq!((&bob["state"], &bob["plan"]["parked"]["level"]), (&"parked".into(), &"off".into()));
    };
    let is_called = |fleet: &mut Fleet| {
        let (wanted, began) = (fleet.home().path("work/bob.wanted"), Instant::now());
        while !wanted.exists() {
            assert!(began.elapsed() < PATIENCE, "nobody has called it");
        }
        std::fs::remove_file(wanted).unwrap();
        fleet.start_again("bob", "--emulate orin-nano-8g");
    };
    put_off(&fleet);
    for (arguments, words) in [
        ("park bob", "bob is parked already"),
        ("park ann --level off", "there are no commands that put ann off"),
        ("wake eve", "no node is called eve"),
    ] {
        let (_, error) = fleet.error(arguments);
        assert!(error.contains(words), "{arguments}: {error}");
    }
    // Somebody waits, and nobody who is awake may serve them.
    fleet.dunlin("cordon ann").stdout();
    let invoked = fleet.dunlin(&invoke(SMALL)).into_command().stdout(Stdio::piped()).spawn().unwrap();
    fleet.scheduler.says("is needed, and woken");
    is_called(&mut fleet);
    let answer: Value = serde_json::from_slice(&invoked.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(answer["usage"]["node"], "bob", "{answer:#}");
    assert_eq!(node(&fleet, "bob")["state"], "ready");
    // The next scheduler knows of it.
    put_off(&fleet);
    fleet.restart_scheduler(|| ());
    assert_eq!(node(&fleet, "bob")["state"], "parked");
    fleet.home().write("refuse", "");
    let (_, error) = fleet.error("wake bob");
    assert!(error.contains("bob: sh failed (exit status: 3): no plug is called bob"), "{error}");
    assert_eq!(node(&fleet, "bob")["state"], "parked");
    let failure = node(&fleet, "bob")["plan"]["failure"].clone();
    assert!(failure.as_str().unwrap().contains("no plug is called bob"), "{failure}");
    std::fs::remove_file(fleet.home().path("work/refuse")).unwrap();
    // It is called, and does not come; the failure before does not keep anybody from trying.
    fleet.home().write("plan.toml", board.replace("wake_delay_s = 60", "wake_delay_s = 0.2"));
    fleet.scheduler.says("read again, and in force");
    let (_, error) = fleet.error("wake bob");
    assert!(error.contains("bob has not joined within [TIME] after its command"), "{error}");
    std::fs::remove_file(fleet.home().path("work/bob.wanted")).unwrap();
    fleet.home().write("plan.toml", &board);
    fleet.scheduler.says("read again, and in force");
    let mut woken = fleet.dunlin("wake bob").into_command().stderr(Stdio::piped()).spawn().unwrap();
    is_called(&mut fleet);
    assert!(woken.wait().unwrap().success());
    assert_eq!(node(&fleet, "bob")["state"], "ready");
    // Nobody wakes a board that is denied, and the next scheduler knows nothing of it.
    put_off(&fleet);
    fleet.dunlin("deny bob").stdout();
    assert_eq!(node(&fleet, "bob")["state"], "lost");
    let (_, error) = fleet.error("wake bob");
    assert!(error.contains("bob was not parked"), "{error}");
    fleet.restart_scheduler(|| ());
    assert_eq!(node(&fleet, "bob"), Value::Null);
}

/// Reads what pages are told until a line has these words.
#[track_caller]
fn told(events: &mut impl BufRead, words: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(events.read_line(&mut line).unwrap() > 0, "it ended before {words}");
        if line.contains(words) {
            return line;
        }
    }
}

/// What is planned is told by HTTP as it is by the command, pages hear of each step, and boards are parked and woken there.
#[test]
fn plans_are_told_and_boards_parked_by_http() {
    let home = Home::new();
    home.write("now.toml", ENERGY);
    // A wish that is not followed stays to be looked at.
    home.write("plan.toml", "every_s = 0.5\n[modes]\nrounds = 1000\n");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut fleet = Fleet::found_with(home, &format!("--policy now.toml --plan plan.toml --http {address}"));
    fleet.join("ann", "--emulate orin-nano-8g --mode MAXN");
    let url = format!("http://{address}/v1/fleet");
    let board = || get(&url).json()["nodes"][0].clone();
    let began = Instant::now();
    while board()["plan"]["wish"] != "7W" {
        assert!(began.elapsed() < PATIENCE, "nothing is wished for: {:#}", board());
    }
    let (by_http, by_command) = (board()["plan"].clone(), node(&fleet, "ann")["plan"].clone());
    let saves =
        json!({ "part": 0.086, "of": "watts", "watts_now": 2.9, "watts_then": 2.65, "assumed": true });
    for name in ["wish", "saves", "modes", "parked", "changes_to", "failure"] {
        assert_eq!(by_http[name], by_command[name], "{name}");
    }
    assert_eq!(by_http["saves"], saves, "{by_http:#}");
    assert!(by_http["says"].as_str().unwrap().contains("by assumed figures; "), "{by_http:#}");
    assert!(by_http["wished_unix_seconds"].as_u64() > Some(1_700_000_000), "{by_http:#}");

    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /v1/events HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut events = BufReader::new(stream);
    told(&mut events, "\"wish\":\"7W\"");
    let order =
        |what: &str, body: &str| post(&format!("http://{address}/v1/fleet/nodes/ann/{what}"), "", body);
    let parked = order("park", r#"{"level": "low-mode"}"#);
    assert_eq!(parked.status, 200, "{parked:?}");
    let parked = parked.json();
    assert_eq!((&parked["state"], &parked["mode"]), (&"parked".into(), &"7W".into()), "{parked:#}");
    let rest = &parked["plan"]["parked"];
    assert_eq!((&rest["level"], &rest["stage"]), (&"low-mode".into(), &"rests".into()), "{parked:#}");
    told(&mut events, "\"stage\":\"rests\"");
    let again = order("park", "");
    assert!(again.status == 409 && again.body.contains("ann is parked already"), "{again:?}");
    assert_eq!(fleet.json("top --once --json")["resting"], 1);
    let once = fleet.dunlin("top --once").stdout();
    assert!(once.contains("1 rest") && once.contains("parked"), "{once}");
    let awake = order("wake", "");
    assert_eq!(awake.status, 200, "{awake:?}");
    let awake = awake.json();
    assert_eq!((&awake["state"], &awake["mode"]), (&"ready".into(), &"MAXN".into()), "{awake:#}");
    assert_eq!(awake["plan"]["parked"], Value::Null, "{awake:#}");
    told(&mut events, "\"parked\":null");
}
