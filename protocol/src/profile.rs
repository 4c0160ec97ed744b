//! A node is measured: what is asked, and what is told meanwhile.

use serde::{Deserialize, Serialize};

use crate::{
    AtMost, BlobDigest, Class, Failure, ModelDigest, NodeId,
    frame::Message,
    limits::{MAX_DOCUMENT, MAX_NAME, MAX_POINTS, MAX_TEXT},
};

/// The feature of who knows these messages.
pub const PROFILES: &str = "profile";

/// The feature of who judges answers and times operators when it measures.
pub const PROFILE_EXTRAS: &str = "profile-extras";

/// Which model of which node, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileNode {
    pub node: NodeId,
    /// An alias, or a digest: the variant of it that the node has on its disk.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub model: String,
    #[serde(default)]
    pub how: HowToProfile,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileModel {
    pub model: ModelDigest,
    #[serde(default)]
    pub how: HowToProfile,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HowToProfile {
    pub depth: ProfileDepth,
    pub points: ProfilePoints,
    /// `None`: until everything is measured.
    pub budget_ms: Option<u64>,
    /// What was measured before does not count.
    pub again: bool,
    /// A text that the model is to foresee. This and what follows: for those with the feature [`PROFILE_EXTRAS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<JudgedFile>,
    /// Questions with their choices, a line of JSON each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<JudgedFile>,
    /// Which operators take the time of a step.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub operators: bool,
}

/// What answers are judged by. Whoever asks has sent it to the scheduler, which keeps it until the profile is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedFile {
    /// What figures say that they are of.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub name: String,
    pub blob: BlobDigest,
    /// At most [`MAX_JUDGED`](crate::limits::MAX_JUDGED).
    #[serde(default)]
    pub bytes: u64,
}

impl HowToProfile {
    /// Whether there is anything that only those with the feature [`PROFILE_EXTRAS`] can do.
    pub const fn has_extras(&self) -> bool {
        self.text.is_some() || self.questions.is_some() || self.operators
    }

    /// What comes with it.
    pub fn files(&self) -> impl Iterator<Item = &JudgedFile> {
        self.text.iter().chain(&self.questions)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileDepth {
    Quick,
    Full,
    /// And what a newer peer calls otherwise.
    #[default]
    #[serde(other)]
    Standard,
}

/// Thread counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ProfilePoints {
    /// Up to all cores, beaten ones left out early.
    #[default]
    Auto,
    All,
    Only(#[serde(with = "AtMost::<MAX_POINTS>")] Vec<u16>),
}

/// Whoever asked for it tells the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToProfile {
    /// End after the run that is on; what was measured is kept.
    Stop,
}

/// How far it is: from the node to the scheduler, and from there to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profiling {
    /// What runs on the node ends first, or goes on elsewhere.
    Waits,
    Runs {
        /// As in `prompt of 512, 4 threads`.
        #[serde(default, with = "AtMost::<MAX_TEXT>")]
        running: String,
        #[serde(default)]
        done: u32,
        #[serde(default)]
        total: u32,
    },
    /// Something that a person should know.
    Note(#[serde(with = "AtMost::<MAX_TEXT>")] String),
    /// What was measured, as JSON. The node has kept its rows.
    Measured {
        #[serde(with = "AtMost::<MAX_DOCUMENT>")]
        json: String,
        /// It was stopped before everything was measured.
        #[serde(default)]
        stopped: bool,
    },
    /// Over, with nothing to show; the last.
    Failed(Failure),
}

impl Message for ToProfile {
    const CLASS: Class = Class::Control;
}

impl Message for Profiling {
    const CLASS: Class = Class::Control;
}
