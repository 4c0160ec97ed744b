//! Marks, added up by task, subtask and split.

use std::collections::BTreeMap;

use serde::Serialize;

use super::item::{Item, Mark, Task};

/// What items are told apart by.
pub(super) type Kind = (Task, String, String);

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Score {
    pub(super) items: u32,
    pub(super) right: u32,
    fields: u32,
    right_fields: u32,
    chance: f64,
    /// Without an answer; wrong by that.
    pub(super) failed: u32,
}

/// A score for programs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ScoreJson {
    task: &'static str,
    subtask: String,
    split: String,
    items: u32,
    accuracy: f64,
    standard_error: f64,
    chance: f64,
    /// Share of the keys that are right, of extractions.
    field_accuracy: Option<f64>,
    failed: u32,
}

impl Score {
    pub(super) fn add(&mut self, item: &Item, mark: Option<Mark>) {
        self.items += 1;
        self.chance += item.chance();
        self.failed += u32::from(mark.is_none());
        let mark = mark.unwrap_or_default();
        self.right += u32::from(mark.right);
        self.fields += mark.fields;
        self.right_fields += mark.right_fields;
    }

    pub(super) fn accuracy(&self) -> f64 {
        f64::from(self.right) / f64::from(self.items.max(1))
    }

    /// Of the accuracy, as a share of independent draws.
    pub(super) fn standard_error(&self) -> f64 {
        let accuracy = self.accuracy();
        (accuracy * (1.0 - accuracy) / f64::from(self.items.max(1))).sqrt()
    }

    /// What guessing would reach.
    pub(super) fn chance(&self) -> f64 {
        self.chance / f64::from(self.items.max(1))
    }

    pub(super) fn field_accuracy(&self) -> Option<f64> {
        (self.fields > 0).then(|| f64::from(self.right_fields) / f64::from(self.fields))
    }

    pub(super) fn json(&self, (task, subtask, split): &Kind) -> ScoreJson {
        ScoreJson {
            task: task.name(),
            subtask: subtask.clone(),
            split: split.clone(),
            items: self.items,
            accuracy: self.accuracy(),
            standard_error: self.standard_error(),
            chance: self.chance(),
            field_accuracy: self.field_accuracy(),
            failed: self.failed,
        }
    }
}

/// The scores of one model.
#[derive(Debug, Clone, Default)]
pub(super) struct Scores(pub(super) BTreeMap<Kind, Score>);

impl Scores {
    pub(super) fn add(&mut self, item: &Item, mark: Option<Mark>) {
        let kind = (item.task, item.subtask.clone(), item.split.clone());
        self.0.entry(kind).or_default().add(item, mark);
    }

    pub(super) fn get(&self, kind: &Kind) -> Score {
        self.0.get(kind).copied().unwrap_or_default()
    }
}
