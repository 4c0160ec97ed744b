//! Where a pipeline may send HTTP requests.

mod address;

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

pub(crate) use self::address::is_public;

/// One destination that is granted: a host, or addresses.
///
/// | written | means |
/// |---|---|
/// | `api.example.com` | this host, on the ports 80 and 443 |
/// | `api.example.com:8443` | this host, on this port alone |
/// | `*.example.com` | every host below it, and not itself |
/// | `192.168.1.7:8080`, `[fd00::7]:8080` | this address, private or not |
/// | `10.0.0.0/8`, `10.0.0.0/8:8080` | these addresses, private or not |
///
/// A host is reached at its public addresses, and at those that another destination grants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    whom: Whom,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whom {
    Host(String),
    Below(String),
    Addresses(IpNet),
}

/// Text that is no destination.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no destination: {reason}")]
pub struct DestinationError {
    text: String,
    reason: &'static str,
}

/// The ports of `http` and `https`.
const USUAL_PORTS: [u16; 2] = [80, 443];

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

impl Destination {
    /// Whether a request may name this host and port.
    fn admits(&self, host: &Host, port: u16) -> bool {
        let is_port = self.port.map_or(USUAL_PORTS.contains(&port), |only| only == port);
        is_port
            && match (&self.whom, host) {
                (Whom::Host(name), Host::Name(asked)) => name == asked,
                (Whom::Below(parent), Host::Name(asked)) => {
                    asked.strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.'))
                }
                (Whom::Addresses(net), Host::Address(asked)) => net.contains(asked),
                _ => false,
            }
    }
}

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// In lower case, without a dot at its end.
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// As it stands in a URI: IPv6 in brackets.
    pub(crate) fn of(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => Self::Address(address.to_canonical()),
            Err(_) => Self::Name(bare.trim_end_matches('.').to_ascii_lowercase()),
        }
    }
}

/// All destinations of one invocation; none is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outbound(Vec<Destination>);

impl Outbound {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn admits(&self, host: &Host, port: u16) -> bool {
        self.0.iter().any(|destination| destination.admits(host, port))
    }

    /// Whether a connection may go to an address that a granted host has.
    pub(crate) fn reaches(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.admits(&Host::Address(address), port)
    }
}

impl FromIterator<Destination> for Outbound {
    fn from_iter<T: IntoIterator<Item = Destination>>(destinations: T) -> Self {
        Self(destinations.into_iter().collect())
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = |reason| DestinationError { text: text.to_owned(), reason };
        if text.contains("://") {
            return Err(fault("leave out the scheme: write api.example.com or api.example.com:8443"));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self { whom: Whom::Addresses(net.trunc()), port: None });
        }
        let (whom, port) = split_port(text).map_err(fault)?;
        let bare = whom.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(whom);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self { whom: Whom::Addresses(address.to_canonical().into()), port });
        }
        if let Ok(net) = bare.parse::<IpNet>() {
            return Ok(Self { whom: Whom::Addresses(net.trunc()), port });
        }
        let lower = whom.trim_end_matches('.').to_ascii_lowercase();
        let (name, make): (&str, fn(String) -> Whom) = match lower.strip_prefix("*.") {
            Some(parent) => (parent, Whom::Below),
            None => (&lower, Whom::Host),
        };
        if name.contains('*') {
            return Err(fault("a * can only stand for what is before the first dot, as in *.example.com"));
        }
        if !is_host_name(name) {
            return Err(fault(
                "write a host (api.example.com), an address or a range (10.0.0.0/8), with :PORT after it where it is not 80 or 443",
            ));
        }
        Ok(Self { whom: make(name.to_owned()), port })
    }
}

/// A port follows the last colon, unless that is inside of an IPv6 address.
fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let is_bare_v6 = text.matches(':').count() > 1 && !text.contains(']');
    match text.rsplit_once(':') {
        Some((whom, port)) if !is_bare_v6 && !port.contains(']') => {
            let port = port.parse::<u16>().ok().filter(|&port| port != 0);
            Ok((whom, Some(port.ok_or("the port is no number from 1 to 65535")?)))
        }
        _ => Ok((text, None)),
    }
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= MAX_NAME && name.split('.').all(is_label)
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whom {
            Whom::Host(name) => f.write_str(name)?,
            Whom::Below(parent) => write!(f, "*.{parent}")?,
            Whom::Addresses(net) if net.prefix_len() == net.max_prefix_len() => match net.addr() {
                IpAddr::V6(address) if self.port.is_some() => write!(f, "[{address}]")?,
                address => write!(f, "{address}")?,
            },
            Whom::Addresses(net @ IpNet::V6(_)) if self.port.is_some() => write!(f, "[{net}]")?,
            Whom::Addresses(net) => write!(f, "{net}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(destinations: &[&str]) -> Outbound {
        destinations.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn admits(destinations: &[&str], host: &str, port: u16) -> bool {
        outbound(destinations).admits(&Host::of(host), port)
    }

    #[test]
    fn hosts_are_admitted_by_name_and_port() {
        assert!(admits(&["api.example.com"], "API.example.com.", 443));
        assert!(!admits(&["api.example.com"], "api.example.com", 8080));
        assert!(admits(&["api.example.com:8080"], "api.example.com", 8080));
        assert!(!admits(&["api.example.com:8080"], "api.example.com", 443));
        assert!(!admits(&["example.com"], "api.example.com", 443));
        assert!(!admits(&["api.example.com"], "api.example.com.evil.org", 443));
        assert!(!admits(&[], "api.example.com", 443));
    }

    #[test]
    fn a_star_stands_for_what_is_below() {
        assert!(admits(&["*.example.com"], "a.b.example.com", 80));
        assert!(!admits(&["*.example.com"], "example.com", 80));
        assert!(!admits(&["*.example.com"], "notexample.com", 80));
    }

    #[test]
    fn addresses_are_admitted_by_range() {
        assert!(admits(&["10.0.0.0/8"], "10.1.2.3", 80));
        assert!(admits(&["10.0.0.0/8:8080"], "10.1.2.3", 8080));
        assert!(admits(&["[fd00::7]:8080"], "[fd00::7]", 8080));
        assert!(admits(&["127.0.0.1"], "[::ffff:127.0.0.1]", 80), "one address, however it is written");
        assert!(!admits(&["10.0.0.0/8"], "11.1.2.3", 80));
        // Whoever grants a host grants no address.
        assert!(!admits(&["localhost"], "127.0.0.1", 80));
    }

    #[test]
    fn private_addresses_are_reached_where_they_are_named() {
        let private: IpAddr = "192.168.1.7".parse().unwrap();
        assert!(!outbound(&["nas.local"]).reaches(private, 80));
        assert!(outbound(&["nas.local", "192.168.0.0/16"]).reaches(private, 80));
        assert!(outbound(&["nas.local"]).reaches("1.1.1.1".parse().unwrap(), 80));
    }

    #[test]
    fn destinations_read_as_they_are_written() {
        let texts =
            ["a.example.com", "a.example.com:8443", "*.example.com", "10.0.0.0/8:81", "[fd00::7]:80", "::1"];
        for text in texts {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_a_reason() {
        for (text, reason) in [
            ("https://example.com", "leave out the scheme"),
            ("example.com:0", "no number from 1"),
            ("example.com:http", "no number from 1"),
            ("a.*.com", "before the first dot"),
            ("*", "before the first dot"),
            ("", "write a host"),
            ("user@example.com", "write a host"),
            ("exa mple.com", "write a host"),
            ("example.com/path", "write a host"),
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
