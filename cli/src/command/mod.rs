//! The subcommands, each in a file.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod chat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod costs;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod fleet;
pub(crate) mod meter;
pub(crate) mod model;
pub(crate) mod new;
pub(crate) mod pipelines;
pub(crate) mod profile;
pub(crate) mod run;
