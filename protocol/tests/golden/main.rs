//! The bytes of every message of version 1, kept in `v1/`: what was sent once must be read for as long as the version is
//! spoken. `UPDATE_EXPECT=1` writes those that are missing or have changed; the bytes of before go to `older/`, where
//! they are only read.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod hostile;
mod older;
mod samples;
mod skew;
mod value;

use std::{fmt::Debug, fs, path::PathBuf};

use dunlin_protocol::{Decoder, Message, frame};
use samples::Samples;

/// Calls a function for each type of message, with its name and its samples.
macro_rules! for_all_messages {
    ($function:ident $(, $argument:expr)*) => {{
        use crate::samples as s;
        $function("hello", &s::hello() $(, $argument)*);
        $function("hello-reply", &s::hello_reply() $(, $argument)*);
        $function("attempt-opening", &s::attempt_opening() $(, $argument)*);
        $function("to-attempt", &s::to_attempt() $(, $argument)*);
        $function("from-attempt", &s::from_attempt() $(, $argument)*);
        $function("to-scheduler", &s::to_scheduler() $(, $argument)*);
        $function("to-node", &s::to_node() $(, $argument)*);
        $function("join-request", &s::join_request() $(, $argument)*);
        $function("join-reply", &s::join_reply() $(, $argument)*);
        $function("renewal", &s::renewal() $(, $argument)*);
        $function("to-store", &s::to_store() $(, $argument)*);
        $function("from-store", &s::from_store() $(, $argument)*);
        $function("opening", &s::opening() $(, $argument)*);
        $function("to-invocation", &s::to_invocation() $(, $argument)*);
        $function("from-invocation", &s::from_invocation() $(, $argument)*);
        $function("answer", &s::answer() $(, $argument)*);
        $function("to-profile", &s::to_profile() $(, $argument)*);
        $function("profiling", &s::profiling() $(, $argument)*);
    }};
}
pub(crate) use for_all_messages;

fn folder() -> PathBuf {
    golden().join("v1")
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn to_hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(48).map(line).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Decodes the bytes that were kept, and compares them with what is written today.
fn compare<M: Message + PartialEq + Debug>(kind: &str, samples: &Samples<M>, kept: &mut Vec<String>) {
    for (name, sample) in samples {
        let file = format!("{kind}.{name}.hex");
        let path = folder().join(&file);
        let frame = frame::encoded(sample).unwrap();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, to_hex(&frame)).unwrap();
        }
        let text = fs::read_to_string(&path);
        let golden =
            from_hex(&text.unwrap_or_else(|_| panic!("{file} is missing: run with UPDATE_EXPECT=1")));
        let read: M = Decoder::default().next(&mut &golden[..]).unwrap().expect("a whole frame");
        assert_eq!(read, *sample, "{file}");
        assert_eq!(to_hex(&frame), to_hex(&golden), "{file}: what is written has changed");
        kept.push(file);
    }
}

#[test]
fn what_was_sent_once_is_read_today() {
    let mut expected = Vec::new();
    for_all_messages!(compare, &mut expected);
    let mut found: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "each file is of a message, each message has a file");
}
