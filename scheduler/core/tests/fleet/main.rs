//! The core from outside, on virtual time: what it does with scripted inputs, and what always holds in random ones.

mod boards;
mod calibration;
mod checker;
mod life;
mod membership;
mod placement;
mod random;
mod script;
mod world;
