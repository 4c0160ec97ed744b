//! `dunlin login`.

use dunlin_protocol::{JoinToken, NodeId};

use crate::{
    fleet::member::{Address, Member, PORT, node_name, token},
    folders::Folders,
    interrupt::Interrupt,
    runtime::{SHUTDOWN, runtime},
    terminal,
};

/// Become an operator or a client of a fleet, with a token that an operator made
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// As `dunlin token new --role operator` shows it
    #[arg(value_name = "TOKEN", value_parser = token)]
    token: JoinToken,
    /// Where the scheduler is [default: this machine]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = Address::parse)]
    scheduler: Option<Address>,
    /// What to be called [default: your user name]
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    name: Option<NodeId>,
}

impl Login {
    /// # Errors
    /// If the token is not taken.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let runtime = runtime()?;
        let done = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let member = Member::open(&Member::login(&Folders::find()?))?;
            let scheduler = self.scheduler.clone().unwrap_or_else(|| Address::local(PORT));
            let user = std::env::var("USER").ok().and_then(|user| user.to_lowercase().parse().ok());
            let joining = member.join(&scheduler, &self.token, self.name.clone().or(user));
            let name = interrupt.unless(joining).await?;
            terminal::tell(format_args!("logged in to {} as {name}", scheduler.as_str()));
            Ok(())
        });
        runtime.shutdown_timeout(SHUTDOWN);
        done
    }
}
