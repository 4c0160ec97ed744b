//! Marks, added up by task, subtask and split.

use std::collections::{BTreeMap, BTreeSet};

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

    /// Of the accuracy, as a share of independent draws; with Agresti and Coull's four more, so that one right item of one is
    /// not taken for certain.
    pub(super) fn standard_error(&self) -> f64 {
        let items = f64::from(self.items) + 4.0;
        let accuracy = (f64::from(self.right) + 2.0) / items;
        (accuracy * (1.0 - accuracy) / items).sqrt()
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

    /// Of all items of a task.
    pub(super) fn of_task(&self, task: Task) -> Score {
        let scores = self.0.iter().filter(|((of, ..), _)| *of == task).map(|(_, score)| score);
        scores.fold(Score::default(), |sum, score| Score {
            items: sum.items + score.items,
            right: sum.right + score.right,
            fields: sum.fields + score.fields,
            right_fields: sum.right_fields + score.right_fields,
            chance: sum.chance + score.chance,
            failed: sum.failed + score.failed,
        })
    }

    pub(super) fn tasks(&self) -> BTreeSet<Task> {
        self.0.keys().map(|(task, ..)| *task).collect()
    }

    pub(super) fn get(&self, kind: &Kind) -> Score {
        self.0.get(kind).copied().unwrap_or_default()
    }
}
