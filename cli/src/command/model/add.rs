//! `dunlin model add`.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process,
};

use dunlin_gguf::{Bytes, Gguf};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::check::summary;
use crate::{
    arguments::Global,
    failure::{Exit, Failure, warn},
    folders::Folders,
    interrupt::Interrupt,
    runtime::runtime,
    store::{
        alias::Name,
        download::{self, Fetched, Url},
        place::{self, Placed, Temporary, hex},
        shelf::{Added, Addition, Conflict, Files, Shelf},
    },
    terminal::{self, progress::Progress},
};

const HELP: &str = "\
Examples:
  dunlin model add ./SmolLM2-135M-Instruct-Q8_0.gguf --alias smol
  dunlin model add https://example.org/qwen2.5-0.5b-instruct-q4_k_m.gguf --sha256 74a4da8c...
  dunlin model add ./big.gguf --link
  dunlin run chat --model smol --text \"Hello\"

Without --alias and --variant, the file's name gives the alias and its quantisation the variant: smollm2-135m-instruct:q8_0.

A file is shared with the store where the file system can do that (reflink, or else a hard link), copied where it cannot, and \
left where it is with --link. A download that was cut off goes on where it stopped when the same command is given again. Of a \
split model name the first part: all become one model. Every file is checked (see `dunlin model check`) and its SHA-256 kept.

Models are in $XDG_DATA_HOME/dunlin/models, a folder each, described by its alias.toml.";

/// Add a model file, or fetch one, and give it a name
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Add {
    /// A GGUF file, or the address of one
    #[arg(value_name = "FILE|URL")]
    source: String,
    /// What to call it [default: from the name of the file]
    #[arg(long, value_name = "NAME", value_parser = clap::value_parser!(Name))]
    alias: Option<Name>,
    /// What to call this one among those of the alias [default: its quantisation]
    #[arg(long, value_name = "NAME", value_parser = clap::value_parser!(Name))]
    variant: Option<Name>,
    /// A line for `dunlin model ls` and those who come after you
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Leave the file where it is, and remember the place
    #[arg(long)]
    link: bool,
    /// Take nothing else than the file with this hash; of a split model, once per part
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: Vec<String>,
    /// Put it in the place of a variant of the same name
    #[arg(long)]
    replace: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a SHA-256 has 64 hexadecimal digits".to_owned())
}

/// A model on its way into the store.
struct Brought {
    files: Files,
    sha256: String,
    bytes: u64,
    source: String,
    /// What was done with the file, in words.
    how: &'static str,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    outcome: Added,
    #[serde(skip)]
    summary: String,
    how: &'static str,
    bytes: u64,
    sha256: String,
}

impl Add {
    /// # Errors
    /// If the file is refused, cannot be had, or the name is taken.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let shelf = Shelf::new(Folders::find()?.models());
        shelf.remove_abandoned();
        let (add, adding_to) = (self.clone(), shelf.clone());
        let runtime = runtime()?;
        let added = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let adding = tokio::task::spawn_blocking(move || add.add(&adding_to, global));
            tokio::select! {
                added = adding => added?,
                () = interrupt.token.cancelled() => Err(self.interrupted(&shelf, &interrupt).into()),
            }
        });
        // The work may be in the middle of a read or a write: the process ends with it.
        runtime.shutdown_background();
        added
    }

    fn interrupted(&self, shelf: &Shelf, interrupt: &Interrupt) -> Failure {
        shelf.remove_incoming_of(process::id());
        let failure = interrupt.failure();
        if Url::looks_like(&self.source) {
            failure.hint("the same command goes on where it stopped")
        } else {
            failure
        }
    }

    fn add(&self, shelf: &Shelf, global: Global) -> anyhow::Result<()> {
        let progress = Progress::new(global.quiet);
        let conflict = if self.replace { Conflict::Replace } else { Conflict::Refuse };
        let report = if Url::looks_like(&self.source) {
            self.add_url(shelf, conflict, &progress)?
        } else {
            let path = Path::new(&self.source);
            let gguf = Gguf::open(path).map_err(|error| Failure::new(Exit::Model, error.to_string()))?;
            let names = self.names(&gguf, path)?;
            let brought = self.bring(&gguf, shelf, &progress)?;
            self.settle(shelf, conflict, &gguf, names, brought)?
        };
        if self.json {
            return terminal::print_json(&report);
        }
        terminal::print(&report)?;
        if !global.quiet && report.outcome != Added::Known {
            let (alias, _) = report.name.split_once(':').unwrap_or_default();
            terminal::tell(format_args!("try: dunlin run chat --model {alias} --text Hello"));
        }
        Ok(())
    }

    fn add_url(&self, shelf: &Shelf, conflict: Conflict, progress: &Progress) -> anyhow::Result<Report> {
        let url = Url::parse(&self.source)?;
        if self.link {
            return Err(Failure::usage("--link is for files that are here").hint("leave it out").into());
        }
        if !url.is_encrypted() && self.sha256.is_empty() {
            warn("the connection is not encrypted; --sha256 makes sure that it is the right file");
        }
        if let (Some(alias), Some(variant)) = (&self.alias, &self.variant) {
            shelf.check(alias, variant, conflict)?;
        }
        let mut fetched = download::download(&url, &self.sha256, &shelf.incoming()?, progress)?;
        let gguf = Gguf::open(fetched.first())
            .map_err(|error| Failure::new(Exit::Model, format!("{}: {}", url.public(), error.refusal)))?;
        let names = self.names(&gguf, Path::new(&url.file_name()))?;
        let brought = fetched_model(&mut fetched, &gguf, &url)?;
        self.settle(shelf, conflict, &gguf, names, brought)
    }

    /// Brings the files into the store, or remembers where they are.
    fn bring(&self, gguf: &Gguf, shelf: &Shelf, progress: &Progress) -> anyhow::Result<Brought> {
        let parts = gguf.parts();
        let bytes = parts.iter().map(|part| part.length).sum();
        let bar = progress.bytes("adding", Some(bytes));
        let mut whole = Sha256::new();
        let mut hashes = Vec::new();
        let mut files = Vec::new();
        let mut placed = Placed::Shared;
        for (index, part) in parts.iter().enumerate() {
            let mut hash = Sha256::new();
            if self.link {
                place::hash_file(&part.path, &mut hash, |bytes| bar.advance(bytes))?;
            } else {
                let file = Temporary::new(shelf.incoming_file(index)?);
                placed = place::place(&part.path, file.path(), &mut hash, |bytes| bar.advance(bytes))
                    .map_err(|error| not_placed(error, file.path()))?;
                files.push(file);
            }
            hashes.push(hex(hash));
        }
        drop(bar);
        self.check_hashes(&hashes)?;
        let sha256 = match &hashes[..] {
            [one] => one.clone(),
            _ => {
                for part in parts {
                    place::hash_file(&part.path, &mut whole, |_| {})?;
                }
                hex(whole)
            }
        };
        let source = fs::canonicalize(&parts[0].path)?;
        let shown = source.display().to_string();
        let (files, how) = if self.link {
            (Files::InPlace(source), "left where it is")
        } else {
            (Files::Incoming(files), placed.word())
        };
        Ok(Brought { files, sha256, bytes, source: shown, how })
    }

    fn check_hashes(&self, found: &[String]) -> Result<(), Failure> {
        if self.sha256.is_empty() || self.sha256 == found {
            return Ok(());
        }
        let message = format!(
            "{} is not the file that it should be: its SHA-256 is\n{}, not\n{}",
            self.source,
            found.join("\n"),
            self.sha256.join("\n")
        );
        Err(Failure::new(Exit::Model, message).hint("is the hash that of this file?"))
    }

    fn names(&self, gguf: &Gguf, path: &Path) -> Result<(Name, Name), Failure> {
        let quantization = gguf.model().quantization.name();
        let alias = self.alias.clone().or_else(|| Name::near(&bare_stem(path, quantization)));
        let alias = alias.ok_or_else(|| {
            Failure::usage("the name of the file gives no alias").hint("--alias NAME gives it one")
        })?;
        let variant = self.variant.clone().or_else(|| Name::near(quantization));
        let variant = variant.ok_or_else(|| Failure::usage("--variant NAME is needed"))?;
        Ok((alias, variant))
    }

    fn settle(
        &self,
        shelf: &Shelf,
        conflict: Conflict,
        gguf: &Gguf,
        (alias, variant): (Name, Name),
        brought: Brought,
    ) -> anyhow::Result<Report> {
        let name = format!("{alias}:{variant}");
        let Brought { files, sha256, bytes, source, how } = brought;
        let description = self.description.clone();
        let addition = Addition { alias, description, variant, files, sha256: sha256.clone(), bytes, source };
        let outcome = shelf.add(addition, conflict)?;
        Ok(Report { name, outcome, summary: summary(gguf.model()), how, bytes, sha256 })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, summary, how, .. } = self;
        let done = match self.outcome {
            Added::Known => return write!(f, "{name} is there already, the very same file"),
            Added::New => "added",
            Added::Replaced => "replaced",
        };
        write!(f, "{done} {name}: {summary} ({how}, {})", Bytes(self.bytes))
    }
}

fn fetched_model(fetched: &mut Fetched, gguf: &Gguf, url: &Url) -> anyhow::Result<Brought> {
    let sha256 = match &fetched.sha256[..] {
        [one] => one.clone(),
        _ => {
            let mut whole = Sha256::new();
            for file in &fetched.files {
                place::hash_file(file.path(), &mut whole, |_| {})?;
            }
            hex(whole)
        }
    };
    let files = std::mem::take(&mut fetched.files);
    let bytes = gguf.parts().iter().map(|part| part.length).sum();
    Ok(Brought { files: Files::Incoming(files), sha256, bytes, source: url.public(), how: "fetched" })
}

fn not_placed(error: std::io::Error, file: &Path) -> anyhow::Error {
    let folder = file.parent().unwrap_or(file).display();
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Failure::new(
            Exit::Failed,
            format!("the disk of {folder} is full; nothing was added"),
        )
        .hint(
            "free some, leave the file where it is (--link), or keep models elsewhere: XDG_DATA_HOME=FOLDER",
        )
        .into();
    }
    anyhow::Error::new(error).context(format!("cannot write to {folder}"))
}

/// `SmolLM2-135M-Instruct` of `SmolLM2-135M-Instruct-Q8_0-00001-of-00002.gguf`.
fn bare_stem(path: &Path, quantization: &str) -> String {
    let stem = PathBuf::from(path.file_name().unwrap_or_default()).with_extension("");
    let stem = stem.to_string_lossy();
    let stem = stem.split("-00001-of-").next().unwrap_or_default();
    let cut = stem.len().saturating_sub(quantization.len());
    match stem.get(cut..) {
        Some(end) if end.eq_ignore_ascii_case(quantization) && cut > 0 => stem[..cut].to_owned(),
        _ => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_the_name_without_its_quantisation() {
        let check = |file: &str, quantization: &str, expected: &str| {
            let name = Name::near(&bare_stem(Path::new(file), quantization)).unwrap();
            assert_eq!(name.as_str(), expected, "{file}");
        };
        check("a/SmolLM2-135M-Instruct-Q8_0.gguf", "Q8_0", "smollm2-135m-instruct");
        check("qwen2.5-0.5b-q4_k_m-00001-of-00003.gguf", "Q4_K_M", "qwen2.5-0.5b");
        check("q8_0.gguf", "Q8_0", "q8_0");
        check("Ünïcode.gguf", "Q8_0", "n-code");
    }
}
