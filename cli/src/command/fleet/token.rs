//! `dunlin token`.

use std::time::Duration;

use clap::Subcommand;
use dunlin_protocol::{Answer, Ask, NewToken, NodeId, Parameter, Role};
use serde_json::json;

use super::with_client;
use crate::{duration, failure::Failure, fleet::member::node_name, terminal};

/// Make tokens, by which boards and people join
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(New),
}

/// Make a token that one board, or one person, can join with once
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// What it makes of whoever uses it
    #[arg(long, value_enum, default_value = "node")]
    role: MemberRole,
    /// The only name that it may be used for; it then also replaces the member of that name
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    name: Option<NodeId>,
    /// A label of the node that it makes
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// How long it is good for, at most 24 hours
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration::parse)]
    valid_for: Duration,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum MemberRole {
    /// A board: dunlin agent --join
    Node,
    /// Everything: dunlin login
    Operator,
    /// Invoking, and seeing one's own: dunlin login
    Client,
}

impl From<MemberRole> for Role {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Node => Self::Node,
            MemberRole::Operator => Self::Operator,
            MemberRole::Client => Self::Client,
        }
    }
}

impl Command {
    /// # Errors
    /// If the scheduler makes none.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        match self {
            Self::New(new) => new.execute(),
        }
    }
}

impl New {
    fn execute(&self) -> anyhow::Result<()> {
        let labels =
            self.labels.iter().map(|label| match label.split_once('=') {
                Some((name, value)) => Ok(Parameter { name: name.to_owned(), value: value.to_owned() }),
                None => Err(Failure::usage(format!("--label {label:?} has no value"))
                    .hint("write --label NAME=VALUE")),
            });
        let token = NewToken {
            role: self.role.into(),
            name: self.name.clone(),
            labels: labels.collect::<Result<_, _>>()?,
            valid_for_s: Some(self.valid_for.as_secs()),
        };
        let answer = with_client(async |client| client.ask(Ask::NewToken(token)).await)?;
        let Answer::Token { text, expires_unix_seconds } = answer else {
            anyhow::bail!("the scheduler answered with something else")
        };
        if self.json {
            return terminal::print_json(
                &json!({ "token": text, "expires_unix_seconds": expires_unix_seconds }),
            );
        }
        terminal::print(&text)?;
        terminal::tell(match self.role {
            MemberRole::Node => "on the board: dunlin agent --join TOKEN --scheduler HOST",
            MemberRole::Operator | MemberRole::Client => "there: dunlin login TOKEN --scheduler HOST",
        });
        Ok(())
    }
}
