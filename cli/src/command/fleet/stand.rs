//! `dunlin drain`, `dunlin cordon`, `dunlin deny`, `dunlin mode`, `dunlin park` and `dunlin wake`.

use std::time::Duration;

use dunlin_protocol::{Ask, NodeId, ParkLevel, Role};

use super::{token::MemberRole, with_client};
use crate::{
    arguments::Global,
    duration,
    fleet::member::node_name,
    terminal::{self, progress::Progress},
};

/// Let a node end what it runs, and give it nothing new; what does not end in time goes on elsewhere
#[derive(Debug, clap::Args)]
pub(crate) struct Drain {
    #[arg(value_name = "NODE", value_parser = node_name)]
    node: NodeId,
    /// How long what runs may take to end
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    within: Duration,
}

/// Give a node nothing new; what runs goes on
#[derive(Debug, clap::Args)]
pub(crate) struct Cordon {
    #[arg(value_name = "NODE", value_parser = node_name)]
    node: NodeId,
    /// Let it take work again, also after a drain
    #[arg(long)]
    undo: bool,
}

/// Bar a board or a person from the fleet: a lost board, a stolen key
///
/// What is connected is cut within a second, certificates count no more, and what a board ran goes on elsewhere. Only a new
/// token that is made for the name lets it in again.
#[derive(Debug, clap::Args)]
pub(crate) struct Deny {
    #[arg(value_name = "NAME", value_parser = node_name)]
    name: NodeId,
    /// What it is in the fleet
    #[arg(long, value_enum, default_value = "node")]
    role: MemberRole,
}

/// Put a node into another power mode, once what runs there has ended
#[derive(Debug, clap::Args)]
pub(crate) struct Mode {
    #[arg(value_name = "NODE", value_parser = node_name)]
    node: NodeId,
    /// As the node names it: a governor, a power mode of a Jetson
    #[arg(value_name = "MODE")]
    mode: String,
}

/// Let a node rest until it is needed, or woken; what runs there ends, or goes on elsewhere
#[derive(Debug, clap::Args)]
pub(crate) struct Park {
    #[arg(value_name = "NODE", value_parser = node_name)]
    node: NodeId,
    /// How deep it rests [default: as the scheduler's plan says, else unload]
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,
}

/// Get a parked node back to work
#[derive(Debug, clap::Args)]
pub(crate) struct Wake {
    #[arg(value_name = "NODE", value_parser = node_name)]
    node: NodeId,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Level {
    /// No model in its memory; it takes work as before, and loads for it
    Unload,
    /// That, and in its lowest mode; it takes no work
    LowMode,
    /// Powered down by the command of the scheduler's plan
    Off,
}

impl Park {
    /// # Errors
    /// If there is no such node, or it could not be parked.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let level = self.level.map(|level| match level {
            Level::Unload => ParkLevel::Unload,
            Level::LowMode => ParkLevel::LowMode,
            Level::Off => ParkLevel::Off,
        });
        let ask = Ask::Park { node: self.node.clone(), level };
        with_client(async |client| {
            let _bar = Progress::new(global.quiet).wait(&format!("{} goes to rest", self.node));
            client.ask(ask).await
        })?;
        terminal::tell(format_args!("{} is parked; `dunlin wake {}` wakes it", self.node, self.node));
        Ok(())
    }
}

impl Wake {
    /// # Errors
    /// If there is no such node, or it does not come back.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let ask = Ask::Wake { node: self.node.clone() };
        with_client(async |client| {
            let _bar = Progress::new(global.quiet).wait(&format!("{} wakes", self.node));
            client.ask(ask).await
        })?;
        terminal::tell(format_args!("{} is awake", self.node));
        Ok(())
    }
}

impl Mode {
    /// # Errors
    /// If there is no such node, or it may not be put into this mode, or does not take it.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let ask = Ask::Mode { node: self.node.clone(), mode: self.mode.clone() };
        with_client(async |client| {
            // It ends what it runs first.
            let _bar = Progress::new(global.quiet).wait(&format!("{} changes to {}", self.node, self.mode));
            client.ask(ask).await
        })?;
        terminal::tell(format_args!("{} is in {}", self.node, self.mode));
        Ok(())
    }
}

impl Drain {
    /// # Errors
    /// If there is no such node.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let ask = Ask::Drain { node: self.node.clone(), within_ms: self.within.as_millis() as u64 };
        with_client(async |client| client.ask(ask).await)?;
        terminal::tell(format_args!(
            "{} drains; `dunlin cordon --undo {}` takes it back",
            self.node, self.node
        ));
        Ok(())
    }
}

impl Cordon {
    /// # Errors
    /// If there is no such node.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let ask = Ask::Cordon { node: self.node.clone(), cordoned: !self.undo };
        with_client(async |client| client.ask(ask).await)?;
        match self.undo {
            true => terminal::tell(format_args!("{} takes work again", self.node)),
            false => terminal::tell(format_args!("{} takes nothing new", self.node)),
        }
        Ok(())
    }
}

impl Deny {
    /// # Errors
    /// If nobody has this name and role.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let role = Role::from(self.role);
        with_client(async |client| client.ask(Ask::Deny { role, name: self.name.clone() }).await)?;
        terminal::tell(format_args!(
            "{} is out; `dunlin token new --role {} --name {}` makes a token that lets it in again",
            self.name,
            role.name(),
            self.name
        ));
        Ok(())
    }
}
