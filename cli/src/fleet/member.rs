//! A member of a fleet on this machine: its folder, its clock, where its scheduler is, and how it joins.

use std::{
    fs,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
};

use dunlin_link::{
    Applicant, Folder, JoinError,
    clock::{FlooredClock, SystemClock},
    join,
};
use dunlin_protocol::{JoinToken, NodeId};

use crate::{
    failure::{Exit, Failure},
    folders::Folders,
    version,
};

/// Where members connect to a scheduler; boards join one port above.
pub(crate) const PORT: u16 = 4747;

const SCHEDULER: &str = "scheduler";

/// `HOST[:PORT]` of a scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address(String);

impl Address {
    pub(crate) fn local(port: u16) -> Self {
        Self(format!("127.0.0.1:{port}"))
    }

    /// # Errors
    /// If it is no address, or nobody knows the name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let has_port = text.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
        });
        match text {
            "" => Err("a scheduler is named by HOST or HOST:PORT".to_owned()),
            text if has_port => Ok(Self(text.to_owned())),
            text => Ok(Self(format!("{text}:{PORT}"))),
        }
    }

    /// # Errors
    /// If nobody knows the name.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, Failure> {
        let unknown = |reason: String| {
            Failure::usage(format!("the scheduler {} cannot be found: {reason}", self.0))
                .hint("name it with --scheduler HOST[:PORT]")
        };
        let mut found = self.0.to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
        found.next().ok_or_else(|| unknown("the name has no address".to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A folder with an identity in it, or one to be.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: PathBuf,
    pub(crate) folder: Folder,
    pub(crate) clock: Arc<FlooredClock>,
}

impl Member {
    /// # Errors
    /// If the folder cannot be used.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let folder = Folder::open(path)?;
        let clock = FlooredClock::new(Arc::new(SystemClock::default()), folder.floor()?);
        Ok(Self { path: path.to_owned(), folder, clock: Arc::new(clock) })
    }

    /// Where people log in.
    pub(crate) fn login(folders: &Folders) -> PathBuf {
        folders.data.join("fleet/login")
    }

    /// The scheduler that it joined.
    pub(crate) fn scheduler(&self) -> Option<Address> {
        let text = fs::read_to_string(self.path.join(SCHEDULER)).ok()?;
        Address::parse(text.trim()).ok()
    }

    /// Gets a certificate for a token, and keeps it.
    ///
    /// # Errors
    /// Why not: the token, the scheduler, the network.
    pub(crate) async fn join(
        &self,
        scheduler: &Address,
        token: &JoinToken,
        name: Option<NodeId>,
    ) -> anyhow::Result<NodeId> {
        let mut address = scheduler.resolve()?;
        address.set_port(address.port() + 1);
        let applicant = Applicant { name, build: version::SHORT.to_owned() };
        let (trust, credential) =
            join(address, token, applicant, &self.clock).await.map_err(|error| explain(&error))?;
        let name = credential.leaf.identity.name.clone();
        self.folder.keep_identity(&trust, &credential)?;
        self.folder.keep_floor(self.clock.floor())?;
        fs::write(self.path.join(SCHEDULER), format!("{}\n", scheduler.as_str()))?;
        Ok(name)
    }
}

fn explain(error: &JoinError) -> Failure {
    let failure = Failure::new(Exit::Failed, error.to_string());
    match error {
        JoinError::Dial(_) => failure.hint("is `dunlin scheduler` running there, and does UDP get through? --scheduler HOST[:PORT] names another"),
        JoinError::OtherFleet { .. } => failure.hint("the token is of another fleet: ask its operator for one of this fleet, or name its scheduler"),
        JoinError::Refused(_) => failure.hint("an operator makes a new token with `dunlin token new`"),
        _ => failure,
    }
}

/// A token as it is typed.
pub(crate) fn token(text: &str) -> Result<JoinToken, String> {
    text.trim().parse::<JoinToken>().map_err(|error| error.to_string())
}

pub(crate) fn node_name(text: &str) -> Result<NodeId, String> {
    text.parse::<NodeId>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_has_a_port_of_its_own_where_none_is_named() {
        let parse = |text: &str| Address::parse(text).map(|address| address.0);
        assert_eq!(parse("shed"), Ok("shed:4747".into()));
        assert_eq!(parse("10.0.0.7:99"), Ok("10.0.0.7:99".into()));
        assert_eq!(parse("[::1]"), Ok("[::1]:4747".into()));
        assert_eq!(parse("[::1]:99"), Ok("[::1]:99".into()));
        assert!(parse("").is_err());
        assert_eq!(Address::parse("127.0.0.1").unwrap().resolve().unwrap().to_string(), "127.0.0.1:4747");
    }
}
