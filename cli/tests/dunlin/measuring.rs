//! Nodes of a fleet measure what their models cost: shortly after a load, and when they are asked to.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use dunlin_costs::{Method, Origin, Row, RowParts, Table};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    fleet::{Fleet, PATIENCE, Running},
    support::{Home, on_a_busy_machine},
};

const INVOKE: &str = "invoke chat --model tiny --text hello --param max_tokens=4 --json --explain";

/// What the row of the chosen candidate rests on.
fn row(fleet: &Fleet) -> String {
    fleet.json(INVOKE)["explanation"]["decisions"][0]["candidates"][0]["row"].as_str().unwrap().to_owned()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
    }
}

fn state(fleet: &Fleet) -> String {
    fleet.json("nodes --json")[0]["state"].as_str().unwrap().to_owned()
}

fn ada() -> Fleet {
    let mut fleet = Fleet::found(Home::new());
    fleet.join("ada", "--threads 1");
    fleet.dunlin("models push ./tiny.gguf --alias tiny").stdout();
    fleet
}

#[test]
fn a_model_that_was_loaded_is_looked_at_once_nobody_asks() {
    let fleet = ada();
    assert_eq!(row(&fleet), "assumed (file size)");
    // Whoever asked for an answer would end the look. Looking at the node does not.
    let kept = fleet.home().path("data/dunlin/costs.toml");
    wait_for("a row of a probe", || state(&fleet) == "ready" && kept.exists());
    wait_for("its use", || row(&fleet) == "measured (probe)");
    let kept = std::fs::read_to_string(kept).unwrap();
    let table = Table::parse(&kept).unwrap();
    let provenance = &table.rows().next().unwrap().provenance;
    assert_eq!((provenance.origin, provenance.method), (Origin::Measured, Method::Probe));
    // Whoever has a row does not look again; whoever was told not to does not look at all.
    let mut fleet = Fleet::found(Home::new());
    std::fs::create_dir_all(fleet.home().path(".config/dunlin")).unwrap();
    std::fs::write(fleet.home().path(".config/dunlin/agent.toml"), "probe = false\n").unwrap();
    fleet.join("bob", "--threads 1");
    fleet.dunlin("models push ./tiny.gguf --alias tiny").stdout();
    assert_eq!(row(&fleet), "assumed (file size)");
    assert!(!fleet.home().path("data/dunlin/costs.toml").exists());
}

#[test]
fn a_node_is_measured_and_takes_work_again() {
    let fleet = ada();
    fleet.json(INVOKE);
    let measured = fleet.json("profile ada --model tiny --quick --points 1 --json --quiet");
    assert_eq!(
        (&measured[0]["node"], &measured[0]["stopped"]),
        (&"ada".into(), &false.into()),
        "{measured:#}"
    );
    let cells = measured[0]["profile"]["cells"].as_array().unwrap();
    assert!(cells.len() > 5 && cells.iter().all(|cell| cell["median"].as_f64() > Some(0.0)), "{measured:#}");
    // When the command ends, the scheduler has the rows and the node its work.
    assert_eq!((row(&fleet), state(&fleet)), ("measured".to_owned(), "ready".to_owned()));
    for (arguments, words) in [
        ("profile bob --model tiny", "no node is called bob; there are ada"),
        ("profile ada --model tinny", "ada has no model \"tinny\" on its disk; it has tiny"),
        ("profile ada --model tiny -o rows.toml", "cannot be used with"),
    ] {
        let output = fleet.dunlin(arguments).output();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(words), "{arguments}: {said}");
    }
}

/// A row of a busy board is marked, and an agent does not trust it for good.
#[test]
fn a_look_that_others_disturb_comes_again() {
    if !Path::new("/proc/self/schedstat").exists() {
        eprintln!("skipped: this kernel does not tell how long threads wait for a processor");
        return;
    }
    let mut fleet = Fleet::found(Home::new());
    let cores = thread::available_parallelism().unwrap().get();
    fleet.join("ada", &format!("--threads {cores}"));
    fleet.dunlin("models push ./tiny.gguf --alias tiny").stdout();
    let kept = fleet.home().path("data/dunlin/costs.toml");
    on_a_busy_machine(|| {
        fleet.json(INVOKE);
        fleet.nodes["ada"].says("others disturbed a probe");
        fleet.nodes["ada"].says("probed");
    });
    let table = Table::parse(&std::fs::read_to_string(&kept).unwrap()).unwrap();
    let row = table.rows().next().unwrap();
    assert!(row.provenance.method == Method::Probe && row.fit.disturbed > Some(0.1), "{row:?}");
    // It would wait for a minute; one that is new does not know when that was.
    fleet.nodes.get_mut("ada").unwrap().kill();
    fleet.start_again("ada", &format!("--threads {cores}"));
    fleet.json(INVOKE);
    fleet.nodes["ada"].says("probed");
}

/// Interrupted, and cut off: what was measured stays, and the node takes work again.
#[test]
fn a_profile_that_is_broken_off_leaves_its_node_at_work() {
    let mut fleet = ada();
    fleet.json(INVOKE);
    let begin = |fleet: &Fleet| {
        let command = fleet.dunlin("profile ada --model tiny --full --json --quiet").into_command();
        Running::start(command)
    };
    for signal in [Signal::INT, Signal::KILL] {
        let mut profile = begin(&fleet);
        fleet.nodes["ada"].says("a profile begins");
        kill_process(Pid::from_child(&profile.child), signal).unwrap();
        let status = profile.child.wait().unwrap();
        if signal == Signal::INT {
            assert_eq!(status.code(), Some(130));
            assert_eq!(state(&fleet), "ready", "the command ends when the node is back");
        }
        wait_for("it takes work again", || state(&fleet) == "ready");
        fleet.json(INVOKE);
    }
    // A node that dies in the middle comes back without a rest.
    let mut profile = begin(&fleet);
    fleet.nodes["ada"].says("a profile begins");
    fleet.nodes.get_mut("ada").unwrap().kill();
    let status = profile.child.wait().unwrap();
    assert!(!status.success());
    fleet.start_again("ada", "--threads 1");
    assert_eq!(state(&fleet), "ready");
    fleet.json(INVOKE);
}

/// Rows that promise twenty times the speed: requests say otherwise for long, and the node is measured again.
#[test]
fn a_node_with_stale_rows_is_measured_again_where_it_allows_that() {
    let home = Home::new();
    home.dunlin("profile --model tiny.gguf --quick --points 1 --quiet").stdout();
    let kept = home.path("data/dunlin/costs.toml");
    let read = || Table::parse(&std::fs::read_to_string(&kept).unwrap()).unwrap();
    let step = |row: &Row| row.decode.batch_ms[0].nominal();
    let boasted = |row: &Row| {
        let mut parts = RowParts::from(row.clone());
        parts.decode.batch_ms.iter_mut().for_each(|ms| *ms = ms.map(|ms| ms / 20.0));
        parts.decode.depth_ms_per_token = parts.decode.depth_ms_per_token.map(|ms| ms / 20.0);
        Row::try_from(parts).unwrap()
    };
    let rows: Table = read().rows().map(boasted).collect();
    let promised = step(rows.rows().next().unwrap());
    std::fs::write(&kept, rows.to_toml().unwrap()).unwrap();
    let mut fleet = Fleet::found(home);
    fleet.join("ada", "--no-probe --remeasure");
    fleet.dunlin("models push ./tiny.gguf --alias tiny").stdout();
    let invoke = "invoke chat --model tiny --text hello --param max_tokens=24 --json";
    wait_for("its rows are stale", || {
        fleet.json(invoke);
        fleet.json("nodes --json")[0]["stale_models"] == 1
    });
    fleet.scheduler.says("its rows are stale: it is measured again");
    fleet.nodes["ada"].says("profiled");
    wait_for("it takes work again", || state(&fleet) == "ready");
    assert!(read().rows().any(|row| step(row) > 4.0 * promised), "{:?}", read());
}

const QUICK: &str = "--model tiny --quick --points 1 --json --quiet";

/// Texts and questions: good ones, and those by which nothing can be judged.
fn with_texts(mut fleet: Fleet) -> Fleet {
    fleet.join("ada", "--threads 1 --no-probe");
    fleet.dunlin("models push ./tiny.gguf --alias tiny").stdout();
    fleet.json(INVOKE);
    let line = r#"{"question":"two and two is","choices":["three","four","a fish"],"answer":1}"#;
    let home = fleet.home();
    home.write("text.txt", "The quick brown fox jumps over the lazy dog, again and again. ".repeat(60));
    home.write("long.txt", "It was a bright cold day, and all clocks were striking. ".repeat(20_000));
    home.write("longer.txt", "x".repeat((3 << 20) + 1));
    home.write("short.txt", "Not enough.");
    home.write("empty.txt", " \n");
    home.write("questions.jsonl", format!("{line}\n").repeat(5));
    home.write("broken.jsonl", format!("{line}\n{}\n", line.replace(":1}", ":3}")));
    fleet
}

/// What is left of texts in the stores of the scheduler and of its nodes.
fn stored(fleet: &Fleet, text: &str) -> Vec<PathBuf> {
    let text = std::fs::read(fleet.home().path("work").join(text)).unwrap();
    let name = blake3::hash(&text).to_hex().to_string();
    let mut folders = vec![fleet.home().path("data"), fleet.home().path("ada")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.ends_with(&name) => found.push(path),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn a_node_judges_answers_and_times_operators() {
    let fleet = with_texts(Fleet::found(Home::new()));
    let judged = "--perplexity text.txt --accuracy questions.jsonl";
    let here = fleet
        .json(&format!("profile --model tiny.gguf --quick --points 1 --json --quiet -o here.toml {judged}"));
    let there = fleet.json(&format!("profile ada {QUICK} {judged} --operators"));
    let (here, there) = (&here["profile"], &there[0]["profile"]);
    for (what, unit) in [("perplexity", "text.txt "), ("accuracy", "questions.jsonl ")] {
        let (here, there) = (&here["quality"][what], &there["quality"][what]);
        let value = |of: &Value| of["value"].as_f64().unwrap_or_else(|| panic!("{what}: {there:#}"));
        assert!((value(there) / value(here) - 1.0).abs() < 1e-3 || value(there) == value(here), "{there:#}");
        assert!(
            there["of"].as_str().unwrap().starts_with(unit) && there["done"] == there["total"],
            "{there:#}"
        );
        assert_eq!((&there["of"], &there["total"]), (&here["of"], &here["total"]));
    }
    let kinds = there["operators"]["decode"]["kinds"].as_array().unwrap();
    assert!(kinds.iter().any(|kind| kind["of"] == "matrix-product"), "{there:#}");
    // As of a profile without a fleet, the node's rows say it, and what was sent is gone.
    let rows = fleet.json("costs show --own --json");
    assert_eq!(rows[0]["quality"]["accuracy"], there["quality"]["accuracy"]["value"], "{rows:#}");
    assert!(rows[0]["quality"]["perplexity_of"].as_str().unwrap().starts_with("text.txt "), "{rows:#}");
    let explained = fleet.dunlin("costs explain --own").stdout();
    assert!(explained.contains("of the answers (questions.jsonl "), "{explained}");
    assert_eq!(
        [stored(&fleet, "text.txt"), stored(&fleet, "questions.jsonl")],
        [Vec::<PathBuf>::new(), Vec::new()]
    );
    assert_eq!(state(&fleet), "ready");
}

#[test]
fn what_a_node_cannot_judge_is_said_and_it_stays_at_work() {
    let mut fleet = with_texts(Fleet::found(Home::new()));
    fleet.join("fast", "--emulate orin-nano-8g --mode MAXN");
    for (arguments, words) in [
        ("ada --model tiny --perplexity empty.txt", "empty.txt: it is empty"),
        ("ada --model tiny --perplexity short.txt", "tokens: at least 512 are needed"),
        (
            "ada --model tiny --perplexity longer.txt",
            "longer.txt: it has 3145729 bytes, 3145728 travel to a node",
        ),
        ("ada --model tiny --accuracy broken.jsonl", "broken.jsonl: line 2: answer 3 of 3 choices"),
        ("fast --model llama-3.2-1b --operators", "fast is emulated and computes nothing"),
        ("fast --model llama-3.2-1b --perplexity text.txt", "name a real board, or leave out --perplexity"),
    ] {
        let (code, said) = fleet.error(&format!("profile {arguments} --quick --points 1"));
        assert!(code == 2 && said.contains(words), "{arguments}: {code} {said}");
    }
    assert!(!fleet.home().path("data/dunlin/costs.toml").exists(), "nothing was measured");
    assert_eq!(stored(&fleet, "short.txt"), Vec::<PathBuf>::new());
    assert_eq!(state(&fleet), "ready");
}

/// Interrupted, and cut off by the node's death: what was judged stays, and the same command goes on.
#[test]
fn judging_goes_on_where_it_was_broken_off() {
    let mut fleet = with_texts(Fleet::found(Home::new()));
    let judge = format!("profile ada {QUICK} --perplexity long.txt");
    let begin = |fleet: &Fleet| {
        let mut command = fleet.dunlin(&judge).into_command();
        command.stdout(std::process::Stdio::piped());
        let running = Running::start(command);
        fleet.nodes["ada"].says("its answers are judged");
        running
    };
    let mut profile = begin(&fleet);
    fleet.nodes.get_mut("ada").unwrap().kill();
    profile.says("the connection of ada was lost meanwhile");
    profile.says("what was measured is kept on the node: the same command goes on");
    assert!(!profile.child.wait().unwrap().success());
    // It still has the model that it fetched.
    fleet.start_again("ada", "--threads 1 --no-probe");
    let mut profile = begin(&fleet);
    kill_process(Pid::from_child(&profile.child), Signal::INT).unwrap();
    let mut said = String::new();
    profile.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(profile.child.wait().unwrap().code(), Some(130));
    let stopped: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(stopped[0]["stopped"], true, "{said}");
    let done = |of: &Value| of[0]["profile"]["quality"]["perplexity"]["done"].as_u64().unwrap();
    let total = &stopped[0]["profile"]["quality"]["perplexity"]["total"];
    assert!(done(&stopped) > 0 && done(&stopped) < total.as_u64().unwrap(), "{said}");
    let more = fleet.json(&format!("{judge} --budget 1s"));
    assert!(done(&more) > done(&stopped), "{more:#}");
    assert_eq!(state(&fleet), "ready");
}

/// What an emulated board does is marked, wherever it was measured.
#[test]
fn emulated_boards_are_measured_as_emulated() {
    let mut fleet = Fleet::found(Home::new());
    fleet.join("fast", "--emulate orin-nano-8g --mode MAXN");
    let measured = fleet.json("profile fast --model llama-3.2-1b --quick --budget 12s --json --quiet");
    let profile = &measured[0]["profile"];
    let cells = profile["cells"].as_array().unwrap();
    assert!(!cells.is_empty(), "{measured:#}");
    assert_eq!(profile["meter"], "emulated, emulated", "{measured:#}");
    let rows = std::fs::read_to_string(fleet.home().path("fast/costs.toml")).unwrap();
    let table = Table::parse(&rows).unwrap();
    assert!(table.rows().all(|row| row.provenance.origin == Origin::Emulated), "{rows}");
    let answer =
        fleet.json("invoke chat --model llama-3.2-1b --text hello --param max_tokens=4 --json --explain");
    let candidate: &Value = &answer["explanation"]["decisions"][0]["candidates"][0];
    assert_eq!((&candidate["row"], &candidate["emulated"]), (&"emulated".into(), &true.into()));
}
