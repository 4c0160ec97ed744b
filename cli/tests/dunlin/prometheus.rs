//! Metrics, dashboards and alert rules, against a real Prometheus that watches a fleet at work.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    fleet::{PATIENCE, Running, two_ports},
    http::{get, post, quoted},
    support::Home,
};

fn deploy() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"))
}

fn is_there(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

#[track_caller]
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(deploy().join("prometheus"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let said = said(&output.stdout) + &said(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

/// A board that does not exist, with metrics, and where those are.
fn board(home: &Home, name: &str, class: &str) -> (Running, String) {
    let token = home.dunlin("token new").stdout();
    let login = fs::read_to_string(home.path("data/dunlin/fleet/login/scheduler")).unwrap();
    let (token, login, folder) = (token.trim(), login.trim(), home.path(name).display().to_string());
    let arguments = format!(
        "agent --join {token} --scheduler {login} --name {name} --emulate {class} --folder {folder} --metrics 0"
    );
    let board = Running::start(home.dunlin(&arguments).into_command());
    let url = exposed(&board);
    board.says("connected scheduler");
    (board, url)
}

/// A fleet of one, where it speaks HTTP, and where its node shows metrics.
fn up(home: &Home) -> (Running, String, String) {
    let arguments = format!("up --port {} --http 0 --metrics 0", two_ports());
    let mut command = home.dunlin(&arguments).into_command();
    command.env("DUNLIN_BUNDLED_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/../models"));
    let up = Running::start(command);
    let url = up.says("speaks OpenAI's API").split("/v1 ").next().unwrap().to_owned();
    let metrics = exposed(&up);
    up.says("is up, on UDP");
    (up, url, metrics)
}

/// Where a process shows the metrics of its node.
fn exposed(of: &Running) -> String {
    let line = of.says("shows what this node does");
    line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
}

fn host(url: &str) -> &str {
    url.strip_prefix("http://").unwrap().split('/').next().unwrap()
}

/// The configuration that is shipped, with the addresses and the pace of this test.
fn configuration(home: &Home, scheduler: &str, boards: &[&str]) -> PathBuf {
    let shipped = deploy().join("prometheus");
    let text = fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
    let boards: Vec<String> = boards.iter().map(|url| format!("{:?}", host(url))).collect();
    let mut text = text.replace("\"127.0.0.1:4749\"", &format!("{:?}", host(scheduler)));
    for (written, ours) in [
        ("\"127.0.0.1:4750\"", boards.join(", ").as_str()),
        ("scrape_interval: 5s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
        ("- rules.yml", &format!("- {}", shipped.join("rules.yml").display())),
    ] {
        assert!(text.contains(written), "prometheus.yml has no {written}");
        text = text.replace(written, ours);
    }
    home.write("prometheus.yml", text)
}

fn prometheus(home: &Home, configuration: &Path) -> (Running, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", home.path("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .current_dir(home.path("work"));
    let prometheus = Running::start(command);
    prometheus.says("Server is ready to receive web requests");
    (prometheus, format!("http://127.0.0.1:{port}"))
}

/// Every query of every dashboard, by where it is.
fn queries() -> BTreeMap<String, String> {
    let mut queries = BTreeMap::new();
    for file in fs::read_dir(deploy().join("grafana")).unwrap() {
        let path = file.unwrap().path();
        let dashboard: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!(
                    "{}, {}, {}",
                    path.file_stem().unwrap().display(),
                    panel["title"].as_str().unwrap(),
                    target["refId"].as_str().unwrap()
                );
                let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "30s");
                // What stands for nothing when there is nothing proves nothing.
                let query = query.replace(" or vector(0)", "");
                queries.insert(place, query.replace("$model", ".*").replace("$node", ".*"));
            }
        }
    }
    queries
}

/// A short chat; what came of it is for metrics to tell.
fn chat(url: &str, model: &str, headers: &str) -> u16 {
    let message = json!({ "role": "user", "content": "disk nearly full on the second node" });
    let body = json!({ "model": model, "messages": [message], "max_tokens": 8, "temperature": 1 });
    post(&format!("{url}/v1/chat/completions"), headers, &body.to_string()).status
}

/// What was made to happen here.
const COUNTED: [&str; 2] = ["dunlin_refusals_total", "outcome!=\"done\""];

#[test]
fn every_query_of_the_dashboards_has_data_and_the_rules_are_good() {
    if !is_there("prometheus") || !is_there("promtool") {
        eprintln!("SKIPPED: there is no prometheus; `./x test` installs it");
        return;
    }
    promtool(&["check", "rules", "rules.yml"], "");
    promtool(&["test", "rules", "rules.test.yml"], "");
    let home = Home::new();
    let (_up, url, local) = up(&home);
    let (mut orin_board, orin) = board(&home, "orin", "orin-nano-8g");
    let metrics = [format!("{url}/metrics"), orin.clone(), local.clone()];
    let configuration = configuration(&home, &url, &[&local, &orin]);
    let (_prometheus, prometheus) = prometheus(&home, &configuration);
    let ask = |path: &str| get(&format!("{prometheus}/api/v1/{path}")).json();

    let values = |place: &str, query: &str| -> Vec<f64> {
        let answer = ask(&format!("query?query={}", quoted(query)));
        assert_eq!(answer["status"], "success", "{place}: {query}: {answer}");
        let result = answer["data"]["result"].as_array().unwrap();
        result.iter().filter_map(|of| of["value"][1].as_str()?.parse().ok()).collect()
    };
    let (mut open, mut began) = (queries(), Instant::now());
    assert!(open.len() > 100, "{} queries", open.len());
    while !open.is_empty() {
        assert!(began.elapsed() < PATIENCE, "no data of {open:#?}");
        assert_eq!((chat(&url, "demo", ""), chat(&url, "llama-3.2-1b", "")), (200, 200));
        assert_eq!(chat(&url, "llama-3.2-1b", "x-dunlin-deadline-ms: 1\r\n"), 504);
        // What is counted from nothing has to have been counted.
        open.retain(|place, query| match COUNTED.iter().any(|counted| query.contains(counted)) {
            true => values(place, query).iter().all(|value| *value == 0.0),
            false => values(place, query).is_empty(),
        });
    }
    let rules = ask("rules");
    let groups = rules["data"]["groups"].as_array().unwrap();
    let all: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(all.len() > 10 && all.iter().all(|rule| rule["health"] == "ok"), "{rules:#}");
    let targets = ask("targets?state=active");
    let targets = targets["data"]["activeTargets"].as_array().unwrap();
    assert!(targets.len() == 3 && targets.iter().all(|target| target["health"] == "up"), "{targets:#?}");
    for url in &metrics {
        promtool(&["check", "metrics"], &get(url).body);
    }

    // A board that is lost is seen to be lost.
    let lost = queries().into_iter().find(|(_, query)| query.contains("dunlin_leases_lost_total"));
    let (place, query) = lost.expect("no panel shows boards that were given up");
    orin_board.kill();
    began = Instant::now();
    while values(&place, &query).iter().all(|value| *value == 0.0) {
        assert!(began.elapsed() < PATIENCE, "{place} shows nothing");
    }
}
