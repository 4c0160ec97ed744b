//! Answers that are under way when their node dies, is drained, or nobody wants them any more.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Stdio},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    fleet::{Fleet, PATIENCE},
    support::Home,
};

const TOKENS: usize = 400;

/// An answer of which the first piece has come.
struct Stream {
    child: Child,
    output: BufReader<ChildStdout>,
    first: String,
}

impl Stream {
    /// Returns at once; [`Stream::speaks`] waits.
    fn start(fleet: &Fleet, seed: usize) -> Self {
        let invoke = format!(
            "invoke chat --model slow --text hello --param max_tokens={TOKENS} --param temperature=1 --seed {seed} --json-lines"
        );
        let mut command = fleet.dunlin(&invoke).into_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, first: String::new() }
    }

    fn speaks(&mut self) {
        self.output.read_line(&mut self.first).unwrap();
    }

    /// How it ended. The whole answer, as the last attempt has it from its start, must be what was delivered piece by
    /// piece.
    #[track_caller]
    fn ends_whole(mut self) -> Value {
        self.output.read_to_string(&mut self.first).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.first);
        let mut lines: Vec<Value> =
            self.first.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let end = lines.pop().unwrap();
        let text: String = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
        assert_eq!(end["result"].as_str().unwrap().trim(), text.trim());
        let ended_early = end["usage"]["output_tokens"].as_u64().unwrap() < TOKENS as u64;
        assert!(!ended_early || !text.is_empty());
        end
    }
}

fn attempts(end: &Value) -> usize {
    end["attempts"].as_array().unwrap().len()
}

/// Two nodes with the slow model in memory.
fn ada_and_bob() -> Fleet {
    let mut fleet = Fleet::found(Home::with_slow());
    fleet.dunlin("models push ./slow.gguf --alias slow").stdout();
    fleet.join_and_load("ada", "slow");
    fleet.join_and_load("bob", "slow");
    fleet
}

/// Nothing of what was delivered changes, nothing is lost or repeated.
#[test]
fn answers_go_on_when_their_node_is_killed() {
    const STREAMS: usize = 6;
    let mut fleet = ada_and_bob();
    let mut streams: Vec<Stream> = (0..STREAMS).map(|seed| Stream::start(&fleet, seed)).collect();
    streams.iter_mut().for_each(Stream::speaks);
    fleet.nodes.get_mut("ada").unwrap().kill();
    let mut moved = 0;
    for stream in streams {
        let end = stream.ends_whole();
        assert_eq!(end["usage"]["node"], "bob");
        moved += usize::from(attempts(&end) > 1);
    }
    assert!(moved > 0, "all of them ran on the node that lived");
}

#[test]
fn a_node_that_is_drained_hands_over_what_does_not_end_in_time() {
    let fleet = ada_and_bob();
    fleet.dunlin("cordon bob").stdout();
    let mut stream = Stream::start(&fleet, 1);
    stream.speaks();
    fleet.dunlin("cordon bob --undo").stdout();
    fleet.dunlin("drain ada --within 100ms").stdout();
    let end = stream.ends_whole();
    assert_eq!((&end["usage"]["node"], attempts(&end)), (&"bob".into(), 2), "{end:#}");
}

#[test]
fn an_answer_that_nobody_wants_any_more_ends_on_its_node() {
    let fleet = ada_and_bob();
    let mut stream = Stream::start(&fleet, 1);
    stream.speaks();
    let running = |fleet: &Fleet| -> u64 {
        let nodes = fleet.json("nodes --json");
        nodes.as_array().unwrap().iter().map(|node| node["running"].as_u64().unwrap()).sum()
    };
    assert_eq!(running(&fleet), 1);
    kill_process(Pid::from_child(&stream.child), Signal::INT).unwrap();
    assert_eq!(stream.child.wait().unwrap().code(), Some(130));
    let began = Instant::now();
    while running(&fleet) != 0 {
        assert!(began.elapsed() < PATIENCE, "it still runs");
    }
    // Neither node was taken for a bad one.
    let states = fleet.json("nodes --json");
    assert!(states.as_array().unwrap().iter().all(|node| node["state"] == "ready"), "{states:#}");
}
