//! `dunlin model rm`.

use clap_complete::engine::ArgValueCandidates;
use dunlin_gguf::Bytes;

use crate::{
    completion,
    failure::Failure,
    folders::Folders,
    store::{Catalog, Owner, alias::Name, shelf::Shelf},
    terminal,
};

/// Remove a model: its name, and the file if it was copied
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// An alias with all its variants, or one variant, as in demo:small
    #[arg(add = ArgValueCandidates::new(completion::models))]
    alias: String,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

impl Remove {
    /// # Errors
    /// If there is no such model of one's own.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let folders = Folders::find()?;
        let (alias, variant) = parse(&self.alias)?;
        let Some(removed) = Shelf::new(folders.models()).remove(&alias, variant.as_ref())? else {
            return Err(self.not_there(&Catalog::open(&folders), &alias)?.into());
        };
        if self.json {
            return terminal::print_json(&removed);
        }
        terminal::print(format_args!(
            "removed {}, {} freed",
            removed.names.join(", "),
            Bytes(removed.bytes)
        ))?;
        for file in removed.left {
            terminal::print(format_args!("{} was registered in place, and stays", file.display()))?;
        }
        Ok(())
    }

    fn not_there(&self, catalog: &Catalog, alias: &Name) -> anyhow::Result<Failure> {
        let theirs =
            |entry: &&crate::store::Entry| entry.owner == Owner::Dunlin && entry.alias.alias == *alias;
        let entries = catalog.entries();
        if let Some(entry) = entries.iter().find(theirs) {
            let message = format!("{} came with Dunlin, and is not yours to remove", self.alias);
            return Ok(Failure::usage(message).hint(format!("it is in {}", entry.folder.display())));
        }
        // The catalog says it better, with a guess what was meant.
        let found = catalog.find(&self.alias).map(drop);
        found.map(|()| Failure::usage(format!("there is no model {}", self.alias)))
    }
}

fn parse(text: &str) -> Result<(Name, Option<Name>), Failure> {
    let (alias, variant) = match text.split_once(':') {
        Some((alias, variant)) => (alias, Some(variant)),
        None => (text, None),
    };
    let name = |text: &str| {
        text.parse::<Name>().map_err(|reason| {
            Failure::usage(format!("{text:?} is no alias: {reason}")).hint("`dunlin model ls` lists them")
        })
    };
    Ok((name(alias)?, variant.map(name).transpose()?))
}
