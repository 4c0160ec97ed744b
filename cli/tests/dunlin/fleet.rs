//! Fleets: real schedulers, agents, workers and engines, on this machine.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::UdpSocket,
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Dunlin, Home};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// A process that is killed in the end, and what it says.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.env("DUNLIN_LOG", "info").stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (to, lines) = mpsc::channel();
        thread::spawn(move || read(stderr, &to));
        Self { child, lines }
    }

    /// Waits until it says something with these words.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> String {
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => said += &(line + "\n"),
                Err(_) => panic!("it never said {words:?}, but:\n{said}"),
            }
        }
    }

    /// As a power cut would end it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn read(stderr: ChildStderr, to: &mpsc::Sender<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // A test that has ended listens no more.
        drop(to.send(line));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) struct Fleet {
    home: Home,
    port: u16,
    pub(crate) scheduler: Running,
    options: String,
    pub(crate) nodes: BTreeMap<String, Running>,
}

impl Fleet {
    pub(crate) fn found(home: Home) -> Self {
        Self::found_with(home, "")
    }

    /// With more options of the scheduler.
    pub(crate) fn found_with(home: Home, options: &str) -> Self {
        let port = two_ports();
        let scheduler = start(&home, port, options);
        scheduler.says("you are logged in");
        Self { home, port, scheduler, options: options.to_owned(), nodes: BTreeMap::new() }
    }

    pub(crate) fn dunlin(&self, arguments: &str) -> Dunlin<'_> {
        self.home.dunlin(arguments)
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// One that has joined before, and died.
    pub(crate) fn start_again(&mut self, name: &str, more: &str) {
        let folder = self.home.path(name).display().to_string();
        let arguments = format!("agent --name {name} --folder {folder} {more}");
        let node = Running::start(self.home.dunlin(&arguments).into_command());
        node.says("connected scheduler");
        self.nodes.insert(name.to_owned(), node);
    }

    /// With a token, a folder and a name of its own.
    pub(crate) fn join(&mut self, name: &str, more: &str) {
        let token = self.dunlin("token new").stdout();
        let folder = self.home.path(name).display().to_string();
        let Self { home, port, .. } = self;
        let arguments = format!(
            "agent --join {} --scheduler 127.0.0.1:{port} --name {name} --folder {folder} {more}",
            token.trim()
        );
        let node = Running::start(home.dunlin(&arguments).into_command());
        node.says("connected scheduler");
        self.nodes.insert(name.to_owned(), node);
    }

    /// One that can serve the model right away.
    pub(crate) fn join_and_load(&mut self, name: &str, model: &str) {
        self.join(name, "--threads 1");
        let label = format!("invoke chat --model {model} --text hello --param max_tokens=1 --json");
        // Its first invocation loads it; others are cordoned off meanwhile.
        let others: Vec<String> = self.nodes.keys().filter(|other| *other != name).cloned().collect();
        others.iter().for_each(|other| drop(self.dunlin(&format!("cordon {other}")).output()));
        let answer: Value = serde_json::from_str(&self.dunlin(&label).stdout()).unwrap();
        assert_eq!(answer["usage"]["node"], *name, "{answer:#}");
        others.iter().for_each(|other| drop(self.dunlin(&format!("cordon {other} --undo")).output()));
    }

    /// Returns once a model is in the memory of so many nodes.
    pub(crate) fn keep_resident(&self, alias: &str, nodes: u64) {
        let find = || {
            let models = self.json("models ls --json");
            let model =
                models.as_array().unwrap().iter().find(|model| model["alias"] == alias).cloned().unwrap();
            model["variants"][0].clone()
        };
        let digest = find()["digest"].as_str().unwrap().to_owned();
        self.dunlin(&format!("models alias {alias} {digest} --resident-on {nodes}")).stdout();
        let began = Instant::now();
        while find()["resident"] != nodes {
            assert!(began.elapsed() < PATIENCE, "{alias} is not on {nodes} nodes");
        }
    }

    #[track_caller]
    /// Kills it, does something while it is away, and starts it again.
    pub(crate) fn restart_scheduler(&mut self, meanwhile: impl FnOnce()) {
        self.scheduler.kill();
        meanwhile();
        self.scheduler = start(&self.home, self.port, &self.options);
    }

    pub(crate) fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.dunlin(arguments).stdout()).unwrap()
    }

    /// What a call that fails says.
    #[track_caller]
    pub(crate) fn error(&self, arguments: &str) -> (i32, String) {
        let output = self.dunlin(arguments).output();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code().unwrap();
        assert_ne!(code, 0, "{arguments} worked");
        (code, self.home.stable(&stderr))
    }
}

fn start(home: &Home, port: u16, options: &str) -> Running {
    let arguments = format!("scheduler --listen 127.0.0.1 --port {port} --fleet shed {options}");
    Running::start(home.dunlin(&arguments).into_command())
}

/// A port that is free, and the one above it.
pub(crate) fn two_ports() -> u16 {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

#[test]
fn a_fleet_from_nothing() {
    let mut fleet = Fleet::found(Home::new());
    // Nobody knows what draws the machine that runs this test: watts are declared.
    let watts = "[declared]\nidle_w = 3\nload_w = 5\nprefill_w = 9\ndecode_w = 8\n";
    fleet.home.write("meters.toml", format!("prefer = \"declared\"\n{watts}"));
    fleet.join("ada", "--threads 1 --label site=roof --meters meters.toml");
    fleet.dunlin("models push ./tiny.gguf --alias tiny").stdout();
    let answer = fleet.json("invoke chat --model tiny --text hello --param max_tokens=8 --json --explain");
    assert_eq!((&answer["usage"]["node"], &answer["usage"]["output_tokens"]), (&"ada".into(), &8.into()));
    assert_eq!(answer["usage"]["emulated"], false);
    let energy = &answer["usage"]["energy"];
    assert_eq!(
        (&energy["source"], &energy["scope"]),
        (&"modelled".into(), &"board-input".into()),
        "{answer:#}"
    );
    assert!(
        energy["prefill_millijoules"].as_u64() > Some(0) || energy["decode_millijoules"].as_u64() > Some(0)
    );
    let decision = &answer["explanation"]["decisions"][0];
    assert_eq!((&decision["recomputed"], &decision["candidates"][0]["chosen"]), (&true.into(), &true.into()));
    // What was asked for later can still be explained.
    let explained = fleet.json(&format!("explain {} --json", answer["invocation"].as_str().unwrap()));
    assert_eq!(explained["decisions"][0]["candidates"], decision["candidates"]);
    let nodes = fleet.json("nodes --json");
    assert_eq!((&nodes[0]["name"], &nodes[0]["labels"]["site"]), (&"ada".into(), &"roof".into()));
    let models = fleet.json("models ls --json");
    assert_eq!((&models[0]["alias"], &models[0]["variants"][0]["stored"]), (&"tiny".into(), &1.into()));
    // A component of one's own.
    fleet.dunlin("deploy ./script.wasm --name actor").stdout();
    let said = fleet.dunlin("invoke actor --model tiny --quiet").input("say from the fleet").stdout();
    assert_eq!(said, "from the fleet\nok\n");
    // A pipeline that fails says so, and what it wrote.
    let output = fleet.dunlin("invoke actor --model tiny").input("print some words\npanic here").output();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && stderr.contains("some words") && stderr.contains("trapped"),
        "{stderr}"
    );
}

#[test]
fn what_people_get_wrong() {
    let mut fleet = Fleet::found(Home::new());
    let token = fleet.dunlin("token new").stdout();
    let folder = fleet.home.path("ada").display().to_string();
    let join = format!(
        "agent --join {} --scheduler 127.0.0.1:{} --name ada --folder {folder} --drain 1s",
        token.trim(),
        fleet.port
    );
    let node = Running::start(fleet.dunlin(&join).into_command());
    node.says("connected scheduler");
    // A token is good for one.
    let again = join.replace("--name ada", "--name eve").replace(&folder, &format!("{folder}-2"));
    let (code, error) = fleet.error(&again);
    assert!(code == 1 && error.contains("an operator makes a new token"), "{error}");
    fleet.nodes.insert("ada".into(), node);
    let check = |arguments: &str, code: i32, words: &str| {
        let (got, error) = fleet.error(arguments);
        assert!(got == code && error.contains(words), "{arguments}: exit code {got}\n{error}");
    };
    check("invoke chat --model tinny --text x", 2, "no model has the alias \"tinny\"");
    check("invoke chatt --text x", 2, "no pipeline is called \"chatt\"; there are chat, classify");
    check("invoke chat --text x --policy fast", 2, "no policy is called \"fast\"; there are balanced");
    check("drain bob", 2, "no node is called bob; there are ada");
    check("explain aaaaaaaaaaaaaaaaaaaaaabjcu", 2, "no invocation aaaaaaaaaaaaaaaaaaaaaabjcu is known");
    check("deploy ./tiny.gguf", 7, "is not a WebAssembly component");
    check("agent --join rubbish", 2, "rubbish");
    check("agent --emulate pi6 --folder ./pi", 2, "no class of boards \"pi6\"; there are generic");
    let second = format!("scheduler --listen 127.0.0.1 --port {} --folder second", fleet.port);
    check(&second, 1, "Address already in use (os error 98)\n  hint: a scheduler may run here already");
    fleet.home.write("bad.toml", "objective = \"speed\"\n");
    check("policy check bad.toml", 2, "line 1, column 13");
    check("policy set bad.toml", 2, "line 1, column 13");
    // Nobody is there to ask, and nobody is logged in.
    let other = Home::new();
    let output = other.dunlin("nodes").output();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && stderr.contains("you are not logged in to a fleet"),
        "{stderr}"
    );
    fleet.scheduler.kill();
    let (code, error) = fleet.error("nodes");
    assert!(code == 1 && error.contains("is `dunlin scheduler` running?"), "{error}");
}

#[test]
fn nodes_come_and_go() {
    let mut fleet = Fleet::found(Home::new());
    fleet.join("ada", "--threads 1");
    fleet.join("bob", "--threads 1");
    fleet.dunlin("models push ./tiny.gguf --alias tiny").stdout();
    let invoke = "invoke chat --model tiny --text hello --param max_tokens=4 --json";
    let ran_on = |fleet: &Fleet| fleet.json(invoke)["usage"]["node"].as_str().unwrap().to_owned();
    fleet.dunlin("cordon ada").stdout();
    assert_eq!(ran_on(&fleet), "bob");
    fleet.dunlin("cordon ada --undo").stdout();
    fleet.dunlin("drain bob").stdout();
    assert_eq!(ran_on(&fleet), "ada");
    // Nobody is left: it waits, and its time passes.
    fleet.dunlin("cordon ada").stdout();
    let (code, error) = fleet.error("invoke chat --model tiny --text hello --deadline 300ms");
    assert!(code == 6 && error.contains("the deadline passed"), "{error}");
    // After some seconds one is told that it waits.
    let waiting = fleet.dunlin("invoke chat --model tiny --text hello").into_command();
    let mut waiting = Running::start(waiting);
    waiting.says("queued: no board takes it yet");
    waiting.kill();
    // SIGTERM lets a node end what it runs.
    let node = fleet.nodes.get_mut("bob").unwrap();
    let pid = rustix::process::Pid::from_child(&node.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(node.child.wait().unwrap().success());
    // A scheduler that was killed knows its fleet when it comes back, and its nodes come by themselves.
    fleet.scheduler.kill();
    fleet.scheduler = start(&fleet.home, fleet.port, "");
    fleet.scheduler.says("joined node=ada");
    // What was said of a node stays.
    assert_eq!(fleet.json("nodes --json")[0]["state"], "cordoned");
    fleet.dunlin("cordon ada --undo").stdout();
    assert_eq!(ran_on(&fleet), "ada");
    // Who is denied is cut, and told what would let him in again.
    fleet.dunlin("deny ada").stdout();
    fleet.nodes["ada"].says("denies this certificate; join again with a new token");
    assert_ne!(fleet.json("nodes --json")[0]["state"], "ready");
    let (code, error) = fleet.error("deny ada --role client");
    assert!(code == 2 && error.contains("the catalog has no client ada"), "{error}");
}

#[test]
fn what_was_measured_here_is_what_placements_rest_on() {
    let home = Home::new();
    home.dunlin("profile --model tiny.gguf --quick --points 1 --quiet").stdout();
    let mut fleet = Fleet::found(home);
    fleet.join("ada", "");
    fleet.scheduler.says("rows that were measured");
    fleet.dunlin("models push ./tiny.gguf --alias tiny").stdout();
    let invoke = "invoke chat --model tiny --text hello --param max_tokens=4 --json --explain";
    let chosen = |fleet: &Fleet| fleet.json(invoke)["explanation"]["decisions"][0]["candidates"][0].clone();
    let candidate = chosen(&fleet);
    let point = &candidate["point"];
    let expected = (&Value::from("measured"), &Value::from(1), &Value::from(1));
    assert_eq!((&candidate["row"], &point["prefill_threads"], &point["decode_threads"]), expected);
    // Another kind of board has no use for them, and says so.
    let token = fleet.dunlin("token new").stdout();
    let (port, folder) = (fleet.port, fleet.home.path("bob").display().to_string());
    let join = format!(
        "agent --join {} --scheduler 127.0.0.1:{port} --name bob --class shed --folder {folder}",
        token.trim()
    );
    let bob = Running::start(fleet.dunlin(&join).into_command());
    bob.says("not used: 1 row of another class (generic; this is shed)");
    bob.says("connected scheduler");
    fleet.nodes.insert("bob".to_owned(), bob);
    fleet.dunlin("cordon ada").stdout();
    let candidate = chosen(&fleet);
    assert_eq!((&candidate["node"], &candidate["row"]), (&"bob".into(), &"assumed (file size)".into()));
}

/// With the model in the memory of both and nothing learned yet: what is learned, and what is loaded, may count more.
#[test]
fn policies_choose_between_emulated_boards() {
    for (policy, node) in [("latency", "fast"), ("energy", "frugal")] {
        let mut fleet = Fleet::found(Home::new());
        fleet.join("fast", "--emulate orin-nano-8g --mode MAXN");
        fleet.join("frugal", "--emulate orin-nano-8g --mode 25W");
        fleet.keep_resident("llama-3.2-1b", 2);
        let answer = fleet.json(&format!(
            "invoke chat --model llama-3.2-1b --text hello --param max_tokens=64 --policy {policy} --json --explain"
        ));
        assert_eq!(answer["usage"]["node"], *node, "{answer:#}");
        assert_eq!(answer["usage"]["emulated"], true);
        let candidates = answer["explanation"]["decisions"][0]["candidates"].as_array().unwrap();
        let emulated = candidates.iter().filter(|candidate| candidate["emulated"] == true).count();
        assert_eq!((candidates.len(), emulated), (2, 2), "{candidates:#?}");
        joules_are_emulated(&fleet);
        a_mode_is_changed(&fleet);
    }
}

fn a_mode_is_changed(fleet: &Fleet) {
    let (code, said) = fleet.error("mode frugal 60W");
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("frugal may not be put into \"60W\", only into 25W, "), "{said}");
    // The command ends when the board is in it.
    fleet.dunlin("mode frugal 15W").stdout();
    let nodes = fleet.json("nodes --json");
    let frugal = nodes.as_array().unwrap().iter().find(|node| node["name"] == "frugal").unwrap();
    assert_eq!((&frugal["health"]["mode"], &frugal["state"]), (&"15W".into(), &"ready".into()));
}

/// A prompt and an answer have joules by the board's own meter, and are explained with them.
fn joules_are_emulated(fleet: &Fleet) {
    fleet.home.write("prompt.txt", "one two three four five six ".repeat(40));
    let answer =
        fleet.json("invoke chat --model llama-3.2-1b --input prompt.txt --param max_tokens=64 --json");
    let energy = &answer["usage"]["energy"];
    assert_eq!((&energy["source"], &energy["scope"]), (&"emulated".into(), &"board-input".into()));
    let joules = |name: &str| energy[name].as_u64().unwrap();
    let (prefill, decode) = (joules("prefill_millijoules"), joules("decode_millijoules"));
    // An answer of made-up words may end with its first one.
    let wrote = answer["usage"]["output_tokens"].as_u64() > Some(1);
    assert!(prefill > 0 && (decode > 0 || !wrote) && energy["error_thousandths"].is_u64(), "{answer:#}");
    assert!(joules("marginal_millijoules").abs_diff(prefill + decode) <= 1, "{energy:#}");
    assert!(joules("total_millijoules") > joules("marginal_millijoules"), "{energy:#}");
    let shown = fleet.dunlin(&format!("explain {}", answer["invocation"].as_str().unwrap())).stdout();
    assert!(shown.contains(" predicted above idle (") && shown.contains("board input emulated"), "{shown}");
    // Boards that do not exist have a temperature of their own, and no battery.
    let nodes = fleet.json("nodes --json");
    for health in nodes.as_array().unwrap().iter().map(|node| &node["health"]) {
        let degrees = health["temperature"].as_i64().unwrap();
        assert!((220..990).contains(&degrees) && health["milliwatts"].as_u64() > Some(500), "{health:#}");
        assert_eq!((&health["on_battery"], &health["battery_percent"]), (&false.into(), &Value::Null));
        let drawn = |name: &str| health["drawn"][name].as_i64().unwrap();
        let parts = drawn("requests_millijoules") + drawn("idle_millijoules");
        assert!((drawn("millijoules") - parts).abs() <= 1, "{health:#}");
    }
}
