//! `dunlin key`.

use std::time::Duration;

use clap::Subcommand;
use dunlin_protocol::{Allowance, Answer, Ask, KeySummary, Name, NewKey};
use serde_json::{Value, json};

use super::with_client;
use crate::{
    duration,
    terminal::{
        self,
        table::{Align, Table},
    },
};

/// Where other machines can connect.
pub(super) const UNENCRYPTED: &str = "warning: the scheduler speaks HTTP where other machines can connect, so whoever is on the way \
    can read the key: --http-cert and --http-key make it HTTPS";

/// Make and take back keys of the HTTP API
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(New),
    Ls(List),
    Rm(Remove),
}

/// Make a key; it is shown once, and kept as a hash
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Who asks by it; a key of this name is replaced
    name: String,
    /// A model that it may ask; all, if none is named
    #[arg(long = "model", value_name = "ALIAS")]
    models: Vec<String>,
    /// It sees the fleet, and the invocations of others
    #[arg(long)]
    sees_all: bool,
    /// Requests per minute
    #[arg(long, value_name = "N")]
    requests: Option<u32>,
    /// Tokens per minute, read and written
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// Joules per day, of answers whose joules are known
    #[arg(long, value_name = "J")]
    joules: Option<u64>,
    /// How long it is good for [default: for good]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    valid_for: Option<Duration>,
    #[arg(long)]
    json: bool,
}

/// List the keys
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[arg(long)]
    json: bool,
}

/// Take a key back, at once
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    name: String,
}

impl Command {
    /// # Errors
    /// As the scheduler says.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        match self {
            Self::New(new) => new.execute(),
            Self::Ls(list) => list.execute(),
            Self::Rm(remove) => {
                let ask = Ask::RemoveKey { name: remove.name.clone() };
                with_client(async |client| client.ask(ask).await)?;
                Ok(())
            }
        }
    }
}

impl New {
    fn execute(&self) -> anyhow::Result<()> {
        let key = NewKey {
            name: self.name.clone(),
            allowance: Allowance {
                sees_all: self.sees_all,
                models: self.models.iter().cloned().map(Name).collect(),
                requests_per_minute: self.requests,
                tokens_per_minute: self.tokens,
                joules_per_day: self.joules,
            },
            valid_for_s: self.valid_for.map(|time| time.as_secs()),
        };
        let Answer::Key { text, unencrypted } =
            with_client(async |client| client.ask(Ask::NewKey(key)).await)?
        else {
            anyhow::bail!("the scheduler answered with something else")
        };
        if self.json {
            return terminal::print_json(
                &json!({ "key": text, "name": self.name, "unencrypted": unencrypted }),
            );
        }
        terminal::print(&text)?;
        terminal::tell("clients send it as `Authorization: Bearer KEY`; it is not shown again");
        if unencrypted {
            terminal::tell(UNENCRYPTED);
        }
        Ok(())
    }
}

impl List {
    fn execute(&self) -> anyhow::Result<()> {
        let keys = with_client(async |client| {
            let (mut keys, mut after) = (Vec::new(), None);
            loop {
                let Answer::Keys(page) = client.ask(Ask::Keys { after }).await? else {
                    anyhow::bail!("the scheduler answered with something else")
                };
                after = page.items.last().map(|key| key.name.clone());
                keys.extend(page.items);
                if !page.more {
                    return Ok(keys);
                }
            }
        })?;
        if self.json {
            let keys: Vec<Value> = keys.iter().map(document).collect();
            return terminal::print_json(&json!(keys));
        }
        if keys.is_empty() {
            terminal::tell("there are no keys: `dunlin key new NAME` makes one");
            return Ok(());
        }
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("KEY", Align::Left),
            ("MODELS", Align::Left),
            ("SEES", Align::Left),
            ("REQUESTS/MIN", Align::Right),
            ("TOKENS/MIN", Align::Right),
            ("J/DAY", Align::Right),
        ]);
        for key in &keys {
            let allowance = &key.allowance;
            let models: Vec<&str> = allowance.models.iter().map(|model| model.0.as_str()).collect();
            let models = if models.is_empty() { "all".to_owned() } else { models.join(", ") };
            let limit = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
            table.row([
                key.name.clone().into(),
                format!("{}...", key.beginning).into(),
                models.into(),
                if allowance.sees_all { "all" } else { "its own" }.into(),
                limit(allowance.requests_per_minute.map(u64::from)).into(),
                limit(allowance.tokens_per_minute).into(),
                limit(allowance.joules_per_day).into(),
            ]);
        }
        terminal::print(table)
    }
}

fn document(key: &KeySummary) -> Value {
    let allowance = &key.allowance;
    json!({
        "name": key.name,
        "beginning": key.beginning,
        "sees_all": allowance.sees_all,
        "models": allowance.models.iter().map(|model| model.0.as_str()).collect::<Vec<_>>(),
        "requests_per_minute": allowance.requests_per_minute,
        "tokens_per_minute": allowance.tokens_per_minute,
        "joules_per_day": allowance.joules_per_day,
        "created_unix_seconds": key.created_unix_seconds,
        "expires_unix_seconds": key.expires_unix_seconds,
    })
}
