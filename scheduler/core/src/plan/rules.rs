//! What a scheduler may do to nodes by itself, as its operator says.

use std::time::Duration;

use dunlin_costs::{DocumentError, document};
use serde::{Deserialize, Serialize};

use super::file::PlanFile;
use crate::Pattern;

/// Bytes of a plan.
pub const MAX_PLAN_BYTES: usize = 256 << 10;

/// Tables of boards in a plan.
pub const MAX_BOARDS: usize = 1024;

/// A plan, checked. The empty one does nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRules {
    /// Between two rounds.
    pub every: Duration,
    /// `None`: modes are changed by people only.
    pub modes: Option<ModeRules>,
    /// `None`: nodes are parked by people only.
    pub parking: Option<ParkRules>,
    /// The first that matches a node's name is its.
    pub boards: Vec<BoardRules>,
}

/// When a node changes its mode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModeRules {
    /// For no smaller part of what the mode of now costs,
    pub least_saving: f64,
    /// only if so many rounds in a row say so,
    pub rounds: u32,
    /// and not again for so long.
    pub rest: Duration,
    /// Part of the fleet that changes at once; one node always may.
    pub at_once: f64,
}

/// When a node is parked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParkRules {
    pub level: ParkLevel,
    /// It has done nothing for so long.
    pub after: Duration,
    /// Of each model, so many nodes stay awake with it.
    pub keep_awake: u32,
    /// Part of the fleet that goes to rest at once; one node always may.
    pub at_once: f64,
}

/// How deep a parked node rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParkLevel {
    /// No model in memory. It takes work as before, and loads for it.
    Unload,
    /// That, and in the mode that draws least when idle. It takes no work until it is woken.
    LowMode,
    /// Powered down by the operator's command; a board without one goes into its lowest mode.
    Off,
}

/// What holds for boards of a name.
#[derive(Debug, Clone, PartialEq)]
pub struct BoardRules {
    pub name: Pattern,
    /// Of the modes that a board offers, those that a plan may choose; `None`: all.
    pub modes: Option<Vec<String>>,
    /// Its power is cut, and comes back.
    pub off: Option<(Errand, Errand)>,
}

/// A command of the operator, run where the scheduler is, by no shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// The program and its arguments; `{node}` stands for the name of the node.
    pub command: Vec<String>,
    /// From its end until the board is gone, or is back.
    pub delay: Duration,
}

impl Default for PlanRules {
    fn default() -> Self {
        Self { every: Duration::from_secs(30), modes: None, parking: None, boards: Vec::new() }
    }
}

impl Default for ModeRules {
    fn default() -> Self {
        Self { least_saving: 0.05, rounds: 3, rest: Duration::from_mins(10), at_once: 0.1 }
    }
}

impl Default for ParkRules {
    fn default() -> Self {
        Self { level: ParkLevel::Unload, after: Duration::from_mins(15), keep_awake: 1, at_once: 0.1 }
    }
}

impl PlanRules {
    /// # Errors
    /// [`DocumentError`], with line, column, and what was expected; unknown keys with the nearest known one.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        document::read::<PlanFile>(text, MAX_PLAN_BYTES)?.build(text)
    }

    pub fn board(&self, node: &str) -> Option<&BoardRules> {
        self.boards.iter().find(|board| board.name.matches(node))
    }

    /// Of the modes that a node offers, those that a plan may choose.
    pub fn allows(&self, node: &str, mode: &str) -> bool {
        let only = self.board(node).and_then(|board| board.modes.as_ref());
        only.is_none_or(|only| only.iter().any(|name| name == mode))
    }

    /// What the plan names for a node and the node does not offer, in words.
    pub fn unknown_mode(&self, node: &str, offered: &[&str]) -> Option<String> {
        let only = self.board(node).and_then(|board| board.modes.as_ref())?;
        let missing = only.iter().find(|name| !offered.contains(&name.as_str()))?;
        Some(document::unknown("mode", missing, offered))
    }

    /// How deep a node is parked where the plan asks for `level`.
    pub fn depth(&self, node: &str, level: ParkLevel) -> ParkLevel {
        let has_off = self.board(node).is_some_and(|board| board.off.is_some());
        if level == ParkLevel::Off && !has_off { ParkLevel::LowMode } else { level }
    }
}

impl Errand {
    /// As it is run for a node.
    pub fn arguments(&self, node: &str) -> Vec<String> {
        self.command.iter().map(|part| part.replace("{node}", node)).collect()
    }
}

/// So many of `nodes` at once.
pub(super) fn at_once(part: f64, nodes: usize) -> usize {
    ((nodes as f64 * part) as usize).max(1)
}
