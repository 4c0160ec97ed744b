//! HTTP of a scheduler: where, by which certificate, and for whom.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use dunlin_door::{Door, DoorOptions};
use dunlin_scheduler::Server;

use super::key::UNENCRYPTED;
use crate::{
    arguments::Global, failure::Failure, fleet::member::Member, folders::Folders, terminal, version,
};

/// Where HTTP is spoken unless it is said otherwise: two above the port of members.
pub(crate) const PORT: u16 = 4749;

/// Beside the log-in of this machine: where its scheduler speaks HTTP, for `dunlin console`.
const WRITTEN: &str = "http";

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct HttpOptions {
    /// Also speak HTTP: the APIs of OpenAI, Anthropic and Ollama, metrics [default where no address is given: 127.0.0.1:4749]
    #[arg(long, value_name = "[HOST:]PORT", num_args = 0..=1, default_missing_value = "4749", value_parser = address)]
    http: Option<SocketAddr>,
    /// Speak HTTPS: the certificate chain, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["http", "http_key"])]
    http_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["http", "http_cert"])]
    http_key: Option<PathBuf>,
    /// Ask for an API key even where only this machine can connect
    #[arg(long, requires = "http")]
    require_key: bool,
}

impl HttpOptions {
    /// # Errors
    /// If it cannot listen there.
    pub(crate) async fn open(&self, server: &Server, global: Global) -> anyhow::Result<Option<Door>> {
        let Some(listen) = self.http else { return Ok(None) };
        let options = DoorOptions {
            listen,
            tls: self.http_cert.clone().zip(self.http_key.clone()),
            needs_key: self.require_key,
            build: version::SHORT.to_owned(),
        };
        let is_open = listen.ip().is_loopback() && !self.require_key;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let door = Door::open(options, server.front().clone()).await?;
        let url = format!("{scheme}://{}", reachable(door.address()));
        // Who is logged in nowhere yet has no folder to write to, and names it by hand.
        if let Err(error) = fs::write(Member::login(&Folders::find()?).join(WRITTEN), format!("{url}\n")) {
            tracing::debug!(%error, "where HTTP is spoken was not written down");
        }
        if !global.quiet {
            terminal::tell(format_args!(
                "{url}/v1 speaks OpenAI's API{}",
                if is_open {
                    "; no key is needed, since only this machine can connect"
                } else {
                    "; `dunlin key new` makes a key, without which nobody is answered"
                }
            ));
            if scheme == "http" && !listen.ip().is_loopback() {
                terminal::tell(UNENCRYPTED);
            }
            let how = if is_open { "" } else { "; `dunlin console` prints a link that logs in" };
            terminal::tell(format_args!("{url}/console/ shows the fleet{how}"));
        }
        Ok(Some(door))
    }
}

/// Where a scheduler of this machine spoke HTTP last, if one did.
///
/// # Errors
/// If nobody knows where the home folder is.
pub(crate) fn written() -> Result<Option<String>, Failure> {
    let written = fs::read_to_string(Member::login(&Folders::find()?).join(WRITTEN)).ok();
    Ok(written.map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()))
}

/// An address that somebody on this machine can use: that of all interfaces is none.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => [127, 0, 0, 1].into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, address.port()).into()
}

/// `PORT`, which is of this machine alone, or `HOST:PORT`.
pub(super) fn address(text: &str) -> Result<SocketAddr, Failure> {
    let text = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = text.parse::<u16>() {
        return Ok(([127, 0, 0, 1], port).into());
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok((ip, PORT).into());
    }
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| {
        Failure::usage(format!("{text:?} is no address"))
            .hint("write PORT, or an IP address and a port: 0.0.0.0:4749")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_of_this_machine() {
        let read = |text| address(text).map(|address| address.to_string()).ok();
        assert_eq!(read("80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(read(":80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(read("localhost:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(read("0.0.0.0").as_deref(), Some("0.0.0.0:4749"));
        assert_eq!(read("[::1]:99").as_deref(), Some("[::1]:99"));
        assert_eq!(read("example"), None);
    }
}
