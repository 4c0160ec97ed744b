//! `dunlin models`.

use clap::Subcommand;
use dunlin_protocol::{Answer, Ask, BlobDigest, ModelDigest, ModelSummary, NodeId, Variant};
use serde_json::{Value, json};

use super::with_client;
use crate::{
    arguments::Global,
    failure::Failure,
    fleet::{Client, member::node_name, models::digest_of},
    folders::Folders,
    store::Catalog,
    terminal::{
        self,
        progress::Progress,
        style,
        table::{Align, Cell, Table},
    },
};

/// The models of the fleet: list, push, alias, pin
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(alias = "list")]
    Ls(List),
    Push(Push),
    Alias(Alias),
    Pin(Pin),
}

/// List the models that requests can name
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[arg(long)]
    json: bool,
}

/// Send a model to the scheduler; nodes fetch it when they need it
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// An alias of this machine (`dunlin model ls`), or a GGUF file
    #[arg(value_name = "ALIAS|FILE")]
    model: String,
    /// The name that requests use [default: the alias, or the name of the file]
    #[arg(long, value_name = "ALIAS")]
    alias: Option<String>,
    /// On so many nodes it is kept in memory
    #[arg(long, value_name = "N", default_value_t = 0)]
    resident_on: u32,
}

/// Say which models an alias stands for, the best first
#[derive(Debug, clap::Args)]
pub(crate) struct Alias {
    alias: String,
    /// Digests of models, as `dunlin models ls --json` shows them; without any the alias is forgotten
    #[arg(value_name = "DIGEST[=QUALITY]")]
    variants: Vec<String>,
    /// On so many nodes one of them is kept in memory
    #[arg(long, value_name = "N", default_value_t = 0)]
    resident_on: u32,
}

/// Keep a model in memory, wherever it is, or on one node
#[derive(Debug, clap::Args)]
pub(crate) struct Pin {
    /// An alias of the fleet, or the digest of a model
    model: String,
    #[arg(long, value_name = "NODE", value_parser = node_name)]
    node: Option<NodeId>,
    /// Let it be evicted again
    #[arg(long)]
    undo: bool,
}

impl Command {
    /// # Errors
    /// Of the one that is asked for.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        match self {
            Self::Ls(list) => list.execute(),
            Self::Push(push) => push.execute(global),
            Self::Alias(alias) => alias.execute(),
            Self::Pin(pin) => pin.execute(),
        }
    }
}

async fn all(client: &Client) -> anyhow::Result<Vec<ModelSummary>> {
    let mut models: Vec<ModelSummary> = Vec::new();
    loop {
        let after = models.last().map(|model| model.alias.clone());
        let Answer::Models(page) = client.ask(Ask::Models { after }).await? else {
            anyhow::bail!("the scheduler answered with something else")
        };
        models.extend(page.items);
        if !page.more {
            return Ok(models);
        }
    }
}

impl List {
    fn execute(&self) -> anyhow::Result<()> {
        let models = with_client(async |client| all(client).await)?;
        if self.json {
            return terminal::print_json(&models.iter().map(document).collect::<Vec<_>>());
        }
        let columns = ["ALIAS", "VARIANT", "SIZE", "ON DISK", "IN MEMORY", "DIGEST"];
        let mut table = Table::new(columns.map(|name| (name, Align::Left)));
        for model in &models {
            for of in &model.variants {
                table.row([
                    Cell::styled(model.alias.clone(), style::NAME),
                    of.variant.name.clone().into(),
                    format!("{:.1} MB", of.variant.bytes as f64 / 1e6).into(),
                    terminal::counted(of.stored as usize, "node").into(),
                    terminal::counted(of.resident as usize, "node").into(),
                    of.variant.model.to_string()[..12].to_owned().into(),
                ]);
            }
        }
        terminal::print(table)
    }
}

fn document(model: &ModelSummary) -> Value {
    let variants: Vec<Value> = model
        .variants
        .iter()
        .map(|of| {
            json!({
                "digest": of.variant.model.to_string(),
                "name": of.variant.name,
                "bytes": of.variant.bytes,
                "quality": of.variant.quality.map(|thousandths| f64::from(thousandths) / 1000.0),
                "stored": of.stored,
                "resident": of.resident,
            })
        })
        .collect();
    json!({ "alias": model.alias, "variants": variants })
}

impl Push {
    fn execute(&self, global: Global) -> anyhow::Result<()> {
        let model = Catalog::open(&Folders::find()?).find(&self.model)?;
        // It is checked before it is sent anywhere.
        let gguf = dunlin_gguf::Gguf::open(&model.path)?;
        if gguf.parts().len() > 1 {
            return Err(Failure::usage(format!("{} is split into {} files", model.name, gguf.parts().len()))
                .hint("merge them first, with llama-gguf-split --merge")
                .into());
        }
        let digest = match model.sha256.as_deref().map(str::parse::<ModelDigest>) {
            Some(Ok(digest)) => digest,
            _ => digest_of(&model.path)?,
        };
        let bytes = gguf.parts().iter().map(|part| part.length).sum();
        let name = gguf.model().quantization.name().to_owned();
        let alias = self.alias.clone().unwrap_or_else(|| model.short_name());
        let progress = Progress::new(global.quiet);
        let resident_on = self.resident_on;
        with_client(async |client| {
            client.put(BlobDigest::from(digest), &model.path, &progress).await?;
            let known = all(client).await?.into_iter().find(|known| known.alias == alias);
            let mut variants: Vec<Variant> =
                known.into_iter().flat_map(|known| known.variants).map(|of| of.variant).collect();
            if variants.iter().all(|variant| variant.model != digest) {
                variants.push(Variant { model: digest, name, bytes, quality: None });
            }
            client.ask(Ask::Alias { alias: alias.clone(), variants, resident_on }).await
        })?;
        terminal::tell(format_args!(
            "the fleet has {alias}; `dunlin invoke PIPELINE --model {alias}` uses it"
        ));
        Ok(())
    }
}

impl Alias {
    fn execute(&self) -> anyhow::Result<()> {
        let asked: Vec<(String, Option<u16>)> =
            self.variants.iter().map(|text| asked(text)).collect::<Result<_, _>>()?;
        let alias = self.alias.clone();
        let resident_on = self.resident_on;
        with_client(async |client| {
            let known: Vec<Variant> = all(client)
                .await?
                .into_iter()
                .flat_map(|model| model.variants)
                .map(|of| of.variant)
                .collect();
            let mut variants: Vec<Variant> = Vec::new();
            for (digest, quality) in asked {
                let mut found = known.iter().filter(|variant| variant.model.to_string().starts_with(&digest));
                let Some(variant) = found.next() else {
                    return Err(Failure::usage(format!("no model of the fleet has the digest {digest}"))
                        .hint("`dunlin models ls` lists them, `dunlin models push` brings one")
                        .into());
                };
                variants.push(Variant { quality: quality.or(variant.quality), ..variant.clone() });
            }
            client.ask(Ask::Alias { alias, variants, resident_on }).await
        })?;
        Ok(())
    }
}

/// `DIGEST` or `DIGEST=0.87`.
fn asked(text: &str) -> Result<(String, Option<u16>), Failure> {
    let Some((digest, quality)) = text.split_once('=') else { return Ok((text.to_owned(), None)) };
    match quality.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => {
            Ok((digest.to_owned(), Some((share * 1000.0).round() as u16)))
        }
        _ => Err(Failure::usage(format!("{quality:?} is no quality"))
            .hint("it is the share of a task set that the model answers rightly, 0 to 1")),
    }
}

impl Pin {
    fn execute(&self) -> anyhow::Result<()> {
        let (node, pinned) = (self.node.clone(), !self.undo);
        with_client(async |client| {
            let digests: Vec<ModelDigest> = match self.model.parse::<ModelDigest>() {
                Ok(digest) => vec![digest],
                Err(_) => {
                    let found = all(client).await?.into_iter().find(|model| model.alias == self.model);
                    found.into_iter().flat_map(|model| model.variants).map(|of| of.variant.model).collect()
                }
            };
            if digests.is_empty() {
                return Err(Failure::usage(format!("the fleet has no model {:?}", self.model))
                    .hint("`dunlin models ls` lists them")
                    .into());
            }
            for model in digests {
                client.ask(Ask::Pin { model, node: node.clone(), pinned }).await?;
            }
            Ok(())
        })
    }
}
