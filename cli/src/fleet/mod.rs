//! What the words of fleets share: where a member keeps who it is, how it reaches its scheduler, and how answers are shown.

pub(crate) mod client;
pub(crate) mod energy;
pub(crate) mod explain;
pub(crate) mod member;
pub(crate) mod models;

pub(crate) use client::Client;
