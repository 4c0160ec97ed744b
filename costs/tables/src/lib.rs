//! Cost tables for people: shipped reference rows, what they come to in money, joules and waiting, the rules that papers
//! found, import, export, pictures.
//!
//! [`reference()`] is the table of published boards. Pure: text in, text out.
//!
//! Absent: files, terminals, predictions (those are `dunlin-costs`).

mod measurement;
mod reference;

pub use measurement::{Exclusion, Measurement, ReferenceError, Source, exclusions, measurements, sources};
pub use reference::{FILES, MakeError, answers, document, grade_means, make, prompts, reference};
