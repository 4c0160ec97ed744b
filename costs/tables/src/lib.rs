//! Cost tables for people: shipped reference rows, what they come to in money, joules and waiting, the rules that papers
//! found, import, export, pictures.
//!
//! [`reference()`] is the table of published boards. Pure: text in, text out.
//!
//! Absent: files, terminals, predictions (those are `dunlin-costs`).

mod economy;
mod export;
mod import;
mod lint;
mod measurement;
mod picture;
mod reference;
mod sheet;

pub use economy::{
    BreakEven, Charge, Economy, JOULES_PER_KWH, READING_TOKENS_PER_SECOND, Range, Shape, Tariff, TokenJoules,
    years,
};
pub use export::{Form, export};
pub use import::{Format, ImportError, Imported, JsonError, MAX_IMPORT_BYTES, Model, Subject, import};
pub use lint::{Finding, Rule, Verdict, lint, rules};
pub use measurement::{Exclusion, Measurement, ReferenceError, Source, exclusions, measurements, sources};
pub use picture::{Chart, Kind, MAX_SERIES, Point, Series, chart, page, plain, svg};
pub use reference::{FILES, MakeError, answers, document, grade_means, make, prompts, reference};
pub use sheet::{Sheet, SheetError};
