//! `dunlin explain`.

use dunlin_protocol::{Answer, Ask, InvocationId};

use super::with_client;
use crate::{fleet::explain, terminal};

/// Say why an invocation went where it went: the candidates with what was predicted, and what came of it
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// As `dunlin invoke` shows it
    #[arg(value_name = "ID")]
    invocation: InvocationId,
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// # Errors
    /// If nothing is known of it.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let ask = Ask::Explain { invocation: self.invocation };
        let Answer::Explanation(explanation) = with_client(async |client| client.ask(ask).await)? else {
            anyhow::bail!("the scheduler answered with something else")
        };
        if self.json {
            return terminal::print_json(&explain::document(&explanation));
        }
        explain::show(&explanation)
    }
}
