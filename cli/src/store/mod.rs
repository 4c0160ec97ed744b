//! Models by name: one's own, and those that came with Dunlin.

pub(crate) mod alias;
pub(crate) mod download;
pub(crate) mod place;
pub(crate) mod shelf;

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use self::alias::{Alias, Name, Variant};
use crate::{
    failure::{Exit, Failure, warn},
    folders::Folders,
};

/// Names this alike are worth a question (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// Replaces the folders of models that came with Dunlin.
pub(crate) const BUNDLED_VARIABLE: &str = "DUNLIN_BUNDLED_MODELS";

/// A model that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    /// As it was asked for: an alias, an alias and a variant, or the path of a file.
    pub(crate) name: String,
    /// Of a split model, the first part.
    pub(crate) path: PathBuf,
    /// Known for models that were added.
    pub(crate) sha256: Option<String>,
    pub(crate) variant: Option<Name>,
}

impl Model {
    fn file(path: &Path) -> Self {
        Self { name: path.display().to_string(), path: path.to_owned(), sha256: None, variant: None }
    }

    /// A name for pipelines: the alias, or the name of the file.
    pub(crate) fn short_name(&self) -> String {
        match self.variant {
            Some(_) => self.name.clone(),
            None => self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    fn of(name: &str, folder: &Path, variant: &Variant) -> Self {
        Self {
            name: name.to_owned(),
            path: folder.join(&variant.file),
            sha256: variant.sha256.clone(),
            variant: Some(variant.name.clone()),
        }
    }
}

/// Whose a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Added by `dunlin model add`.
    You,
    /// Came with Dunlin, and stays as it is.
    Dunlin,
}

/// An alias, and the folder that it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) owner: Owner,
    pub(crate) folder: PathBuf,
    pub(crate) alias: Alias,
}

/// The folders that hold a folder per alias, the first before the others.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    shelves: Vec<(Owner, PathBuf)>,
}

impl Catalog {
    pub(crate) fn open(folders: &Folders) -> Self {
        let bundled = bundled_folder().into_iter().map(|folder| (Owner::Dunlin, folder));
        Self { shelves: [(Owner::You, folders.models())].into_iter().chain(bundled).collect() }
    }

    /// A model by what a person calls it: `demo`, `demo:small`, `./file.gguf`.
    ///
    /// # Errors
    /// If there is none, with a guess what was meant.
    pub(crate) fn find(&self, text: &str) -> anyhow::Result<Model> {
        let path = Path::new(text);
        if looks_like_path(text) || (path.is_file() && !text.contains(':')) {
            return if path.exists() { Ok(Model::file(path)) } else { Err(no_such_file(text).into()) };
        }
        let (alias, variant) = match text.split_once(':') {
            Some((alias, variant)) => (alias, Some(variant)),
            None => (text, None),
        };
        let (Ok(alias), Ok(variant)) = (alias.parse::<Name>(), variant.map(str::parse::<Name>).transpose())
        else {
            return Err(self.unknown(text).into());
        };
        for entry in self.named(&alias) {
            let entry = entry?;
            let found = match &variant {
                Some(name) => entry.alias.variant(name),
                None => entry.alias.variants.first(),
            };
            if let Some(found) = found {
                let model = Model::of(text, &entry.folder, found);
                return if model.path.exists() {
                    Ok(model)
                } else {
                    Err(without_file(&model, entry.owner).into())
                };
            }
        }
        Err(self.unknown(text).into())
    }

    /// All entries of one alias, in the order of the lookup.
    fn named(&self, alias: &Name) -> impl Iterator<Item = anyhow::Result<Entry>> {
        self.shelves.iter().filter_map(|(owner, shelf)| {
            let folder = shelf.join(alias.as_str());
            let read = Alias::read(&folder).transpose()?;
            Some(read.map(|alias| Entry { owner: *owner, folder, alias }))
        })
    }

    /// Every alias; what cannot be read is told and left out.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.shelves.iter().flat_map(|(owner, shelf)| entries_in(*owner, shelf)).collect()
    }

    /// All variants of the alias that a model was found under, the model itself first; only itself for a file.
    pub(crate) fn variants(&self, model: &Model) -> anyhow::Result<Vec<Model>> {
        let mut found = vec![model.clone()];
        if model.variant.is_none() {
            return Ok(found);
        }
        let alias = model.name.split(':').next().unwrap_or_default();
        let Ok(alias) = alias.parse::<Name>() else { return Ok(found) };
        for entry in self.named(&alias) {
            let Entry { folder, alias, .. } = entry?;
            for variant in &alias.variants {
                let other = Model::of(&format!("{}:{}", alias.alias, variant.name), &folder, variant);
                if found.iter().any(|known| known.variant == other.variant) {
                    continue;
                }
                if other.path.exists() {
                    found.push(other);
                } else {
                    warn(&format!("{} is left out: {} is missing", other.name, other.path.display()));
                }
            }
        }
        Ok(found)
    }

    /// Every name that `--model` takes.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for Entry { alias, .. } in self.entries() {
            names.push(alias.alias.to_string());
            if alias.variants.len() > 1 {
                let variants = alias.variants.iter();
                names.extend(variants.map(|variant| format!("{}:{}", alias.alias, variant.name)));
            }
        }
        names.sort();
        names.dedup();
        names
    }

    fn unknown(&self, text: &str) -> Failure {
        let names = self.names();
        let hint = match (nearest(text, &names), names.is_empty()) {
            (_, true) => {
                "there are none yet: `dunlin model add FILE|URL` adds one, or name a GGUF file".to_owned()
            }
            (Some(near), _) => format!("did you mean {near:?}? `dunlin model ls` lists them all"),
            (None, _) => {
                "`dunlin model ls` lists them, `dunlin model add FILE|URL` adds one; the name of a file ends in .gguf or has a slash"
                    .to_owned()
            }
        };
        Failure::usage(format!("there is no model {text:?}")).hint(hint)
    }
}

/// A model whose name is known, and nothing else.
fn without_file(model: &Model, owner: Owner) -> Failure {
    let message = format!("the file of the model {} is missing: {}", model.name, model.path.display());
    Failure::new(Exit::Model, message).hint(match owner {
        Owner::You => "`dunlin model rm` forgets it, `dunlin model add --replace` brings it again",
        Owner::Dunlin => "the README.md beside it says where it comes from; --model takes another one, `dunlin model ls` lists them",
    })
}

fn no_such_file(text: &str) -> Failure {
    Failure::usage(format!("there is no file {text}"))
        .hint("an alias is named without a slash; `dunlin model ls` lists them")
}

fn looks_like_path(text: &str) -> bool {
    text.contains('/') || text.ends_with(".gguf")
}

/// The one of `names` that is most like `text`, if it is alike at all.
pub(crate) fn nearest<'a>(text: &str, names: &'a [String]) -> Option<&'a str> {
    let likeness = |name: &&String| strsim::jaro_winkler(text, name);
    let best = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= ALIKE).then_some(best)
}

fn entries_in(owner: Owner, shelf: &Path) -> Vec<Entry> {
    let Ok(listing) = fs::read_dir(shelf) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    // Not what is on its way in, nor what a person put there.
    folders.retain(|folder| folder.is_dir() && folder.file_name().is_some_and(|name| !is_hidden(name)));
    folders.sort();
    let read = |folder: PathBuf| match Alias::read(&folder) {
        Ok(alias) => Some(Entry { owner, alias: alias?, folder }),
        Err(error) => {
            warn(&format!("{error:#}"));
            None
        }
    };
    folders.into_iter().filter_map(read).collect()
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Beside an installed command; in the tree that this one was built in.
fn bundled_folder() -> Option<PathBuf> {
    if let Some(folder) = env::var_os(BUNDLED_VARIABLE) {
        return Some(folder.into());
    }
    let exe = env::current_exe().and_then(fs::canonicalize).unwrap_or_default();
    let installed = exe.ancestors().nth(2).map(|prefix| prefix.join("share/dunlin/models"));
    let around =
        exe.ancestors().find(|folder| folder.join("models").is_dir() && folder.join("Cargo.toml").is_file());
    let built_in = Path::new(env!("DUNLIN_TREE")).join("models");
    let candidates = [installed, around.map(|folder| folder.join("models")), Some(built_in)];
    candidates.into_iter().flatten().find_map(|folder| fs::canonicalize(folder).ok())
}
