//! Why a connection or a stream ends, as a number that the other end can act on.

use std::fmt;

use quinn::{ConnectionError, VarInt};
use thiserror::Error;

/// Reasons for which one end closes a connection, resets a stream or stops one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Nothing more to say.
    Done,
    /// Frames that could not be read.
    Malformed,
    /// The peer may not do that.
    Forbidden,
    /// The certificate was denied.
    Denied,
    /// The certificate ran out and was not renewed.
    Expired,
    /// A newer connection of the same member took its place.
    Replaced,
    /// Too many; come back later.
    Overloaded,
    /// This end goes down, or restarts.
    Leaving,
    /// A fault of this end.
    Internal,
    /// Of a newer peer.
    Unknown,
}

impl Close {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Malformed,
        Self::Forbidden,
        Self::Denied,
        Self::Expired,
        Self::Replaced,
        Self::Overloaded,
        Self::Leaving,
        Self::Internal,
    ];

    #[must_use]
    pub fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    #[must_use]
    pub fn of_code(code: VarInt) -> Self {
        Self::ALL.into_iter().find(|close| close.code() == code).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Malformed => "it could not read what was sent",
            Self::Forbidden => "that is not allowed to this certificate",
            Self::Denied => "the certificate was denied; join again with a new token",
            Self::Expired => "the certificate ran out",
            Self::Replaced => "a newer connection of the same member took over",
            Self::Overloaded => "it has too much to do; try again later",
            Self::Leaving => "it is going down",
            Self::Internal => "it had a fault of its own",
            Self::Unknown => "for a reason that this version does not know",
        })
    }
}

/// Why a connection is no more.
#[derive(Debug, Clone, Error)]
pub enum Lost {
    #[error("the other end closed the connection: {close}{}", detail(text))]
    ByPeer { close: Close, text: String },
    #[error("the other end denies this certificate; join again with a new token")]
    Denied,
    #[error(
        "the other end finds this certificate expired; if the clocks are right, join again with a new token"
    )]
    Expired,
    #[error("the other end does not let this one in: {0}")]
    Refused(String),
    #[error("the other end is not who it should be: {0}")]
    Untrusted(String),
    #[error("the other end was restarted and does not know the connection")]
    Reset,
    #[error("the other end has been silent for too long")]
    Silent,
    #[error("the connection was closed here")]
    Here,
    #[error("the connection failed: {0}")]
    Failed(ConnectionError),
}

fn detail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

/// What rustls puts around the reasons of our verifiers says nothing more.
fn plain(reason: &str) -> String {
    let reason = reason.strip_prefix("invalid peer certificate: ").unwrap_or(reason);
    let words = reason.strip_prefix("Other(OtherError(").and_then(|words| words.strip_suffix("))"));
    words.unwrap_or(reason).to_owned()
}

/// Alerts of TLS (RFC 8446, 6) as QUIC carries them (RFC 9001, 4.8).
const ALERTS: std::ops::Range<u64> = 0x100..0x200;
const ALERT_REVOKED: u64 = 0x100 + 44;
const ALERT_EXPIRED: u64 = 0x100 + 45;

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(closed) => Self::ByPeer {
                close: Close::of_code(closed.error_code),
                text: String::from_utf8_lossy(&closed.reason).into_owned(),
            },
            ConnectionError::ConnectionClosed(closed) => match closed.error_code.into() {
                ALERT_REVOKED => Self::Denied,
                ALERT_EXPIRED => Self::Expired,
                code if ALERTS.contains(&code) => {
                    Self::Refused(plain(&String::from_utf8_lossy(&closed.reason)))
                }
                _ => Self::Failed(ConnectionError::ConnectionClosed(closed)),
            },
            ConnectionError::TransportError(error) if ALERTS.contains(&error.code.into()) => {
                Self::Untrusted(plain(&error.reason))
            }
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::LocallyClosed => Self::Here,
            error => Self::Failed(error),
        }
    }
}

impl Lost {
    /// Whether the same credentials may do better later.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Denied | Self::Expired | Self::Refused(_) => false,
            Self::ByPeer { close, .. } => {
                !matches!(close, Close::Denied | Close::Forbidden | Close::Replaced | Close::Malformed)
            }
            // Also what cannot be trusted: a scheduler that slept renews its certificate when it wakes.
            Self::Untrusted(_) | Self::Reset | Self::Silent | Self::Here | Self::Failed(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for close in Close::ALL {
            assert_eq!(Close::of_code(close.code()), close);
        }
        assert_eq!(Close::of_code(VarInt::from_u32(4_000)), Close::Unknown);
    }
}
