//! The command as a person meets it: the real binary, real engines on tiny models, and all that it prints.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod chat;
mod clients;
mod console;
mod costs;
mod doctor;
mod download;
mod eval;
mod faults;
mod fleet;
mod guests;
mod handover;
mod help;
mod manifest;
mod measuring;
mod meter;
mod model;
mod profile;
mod project;
mod run;
mod support;
