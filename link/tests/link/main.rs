//! Real connections over loopback, on clocks that stand still.

mod connections;
mod joining;
mod streams;
mod world;
