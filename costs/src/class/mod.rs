//! Classes of boards that are emulated or only assumed: rows with the source of each coefficient.

mod file;

use thiserror::Error;

use crate::{
    Backend, DocumentError, Figure, Mode, ModelDigest, ModelFacts, NodeClass, Prior, Row, Table, Thermal,
    document,
};

/// What is embedded, by name.
const CLASSES: [(&str, &str); 4] = [
    ("generic", include_str!("../../classes/generic.toml")),
    ("orin-nano-8g", include_str!("../../classes/orin-nano-8g.toml")),
    ("pi5-8g", include_str!("../../classes/pi5-8g.toml")),
    ("pi5-8g-hot", include_str!("../../classes/pi5-8g-hot.toml")),
];

/// Bytes of a class on disk.
pub const MAX_CLASS_BYTES: usize = 1 << 20;

/// A kind of board: what its models cost, and how to guess what others would.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    pub name: NodeClass,
    /// For people.
    pub description: String,
    pub backend: Backend,
    pub thermal: Thermal,
    /// Free for models and their contexts; 0 if that depends.
    pub memory_bytes: u64,
    pub cores: u16,
    /// In the order in which they draw power.
    pub modes: Vec<ClassMode>,
    /// The mode of a board that says nothing else.
    pub mode: Mode,
    pub models: Vec<ModelFacts>,
    /// All rows, dominated ones included: see [`pareto_front`](crate::pareto_front).
    pub table: Table,
    /// For models that have no row.
    pub prior: Option<Prior>,
}

/// A machine-wide power state of a class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMode {
    pub name: Mode,
    /// As the class's sensor reads it; `None` where nothing is known of power.
    pub idle_w: Option<Figure>,
}

/// Why there is no class.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClassError {
    #[error("{0}")]
    Unknown(String),
    #[error("class {0}: {1}")]
    Document(&'static str, DocumentError),
}

impl Class {
    /// The names that [`Self::find`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CLASSES.iter().map(|(name, _)| *name)
    }

    /// One of the embedded classes.
    ///
    /// # Errors
    /// [`ClassError::Unknown`] with the nearest name.
    pub fn find(name: &str) -> Result<Self, ClassError> {
        let Some((name, text)) = CLASSES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = Self::names().collect();
            return Err(ClassError::Unknown(document::unknown("class of boards", name, &known)));
        };
        Self::parse(text).map_err(|error| ClassError::Document(name, error))
    }

    /// Reads a class in TOML; those in `costs/classes` show how it is written.
    ///
    /// # Errors
    /// [`DocumentError`] with line and column, unless a row contradicts itself or names what is not there.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let file: file::ClassFile = document::read(text, MAX_CLASS_BYTES)?;
        file.build().map_err(DocumentError::whole)
    }

    /// A model of this class, whatever the case of its name.
    pub fn model(&self, name: &str) -> Option<&ModelFacts> {
        self.models.iter().find(|model| model.name.eq_ignore_ascii_case(name))
    }

    /// Rows of a model of this class.
    pub fn rows(&self, model: ModelDigest) -> impl Iterator<Item = &Row> {
        self.table.rows().filter(move |row| row.key.model == model)
    }
}
