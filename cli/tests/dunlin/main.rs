//! The command as a person meets it: the real binary, real engines on tiny models, and all that it prints.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bench;
mod chat;
mod clients;
mod console;
mod costs;
mod doctor;
mod door;
mod download;
mod eval;
mod faults;
mod fleet;
mod guests;
mod handover;
mod help;
mod http;
mod manifest;
mod measuring;
mod meter;
mod model;
mod plan;
mod profile;
mod project;
mod prometheus;
mod run;
mod support;
mod terminal;
mod top;
mod traces;
