//! Projects of pipelines: made of templates, built with the toolchains of their languages.

mod build;
mod name;
mod shipped;
mod template;
mod toolchain;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub(crate) use self::{build::build, name::Name, template::create};
use crate::failure::Failure;

/// What makes a folder a project.
pub(crate) const MANIFEST: &str = "dunlin.toml";

/// A language that pipelines are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    Rust,
    Python,
    Js,
    C,
}

impl Language {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Js => "js",
            Self::C => "c",
        }
    }

    /// The file to begin with.
    pub(crate) fn main_file(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Python => "app.py",
            Self::Js => "pipeline.js",
            Self::C => "pipeline.c",
        }
    }

    /// What runs the test of a project.
    pub(crate) fn test_command(self) -> &'static str {
        match self {
            Self::Rust => "cargo test",
            Self::Python => "python3 -m unittest",
            Self::Js => "node --test",
            Self::C => "./test.sh",
        }
    }
}

/// A folder with a pipeline's sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    pub(crate) name: Name,
    pub(crate) language: Language,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    lang: Language,
}

impl Project {
    /// The project of this folder, or of the nearest one around it.
    ///
    /// # Errors
    /// If there is none, or its manifest does not read.
    pub(crate) fn find(folder: &Path) -> Result<Self, Failure> {
        let inside = fs::canonicalize(folder)
            .map_err(|error| Failure::usage(format!("cannot look into {}: {error}", folder.display())))?;
        let Some(found) = inside.ancestors().find(|folder| folder.join(MANIFEST).is_file()) else {
            return Err(Failure::usage(format!("there is no project in {}", folder.display()))
                .hint(format!("a project has a {MANIFEST}; `dunlin new NAME --lang rust` makes one")));
        };
        let path = found.join(MANIFEST);
        let wrong = |why: String| Failure::usage(format!("{}: {}", path.display(), why.trim_end()));
        let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let name = manifest.name.parse().map_err(wrong)?;
        Ok(Self { folder: found.to_owned(), name, language: manifest.lang })
    }

    /// Where `dunlin build` puts the component.
    pub(crate) fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }
}
