//! QUIC connections between members of a fleet: who they are, and frames on streams.
//!
//! A scheduler listens, nodes, operators and clients connect; both ends show certificates of the fleet's authority. A board
//! joins with a token that pins the authority, renews its certificate while it is connected, and comes back after a loss.
//!
//! Absent here: what the messages mean (`dunlin-protocol`), who may have a certificate (the scheduler), leases (its core).
//! Read [`Link`] and [`Credentials`].

pub mod certificate;
pub mod clock;
mod close;
mod credentials;
mod dial;
mod endpoint;
mod folder;
mod greet;
mod join;
pub mod limits;
mod liveness;
mod peer;
mod random;
mod reconnect;
mod renew;
mod stream;
mod verify;

pub use close::{Close, Lost};
pub use credentials::{Chain, Credential, CredentialError, Credentials, NewKey};
pub use dial::{DialError, Dialer};
pub use endpoint::{EndpointError, ResetKey, listen_for_joining, listen_for_members};
pub use folder::{Folder, FolderError};
pub use greet::{GreetError, greet, welcome};
pub use join::{Applicant, JoinError, NotPinned, NotUsable, join};
pub use liveness::{Liveness, PULSE};
pub use peer::{Link, NotItself, Peer, PeerError, Stranger};
pub use quinn;
pub use random::{NoRandomness, random};
pub use reconnect::{LONGEST, Next, Reconnect, SHORTEST};
pub use renew::{RenewError, Renewing, renew};
pub use stream::{ReceiveError, Receiver, SendError, Sender};
pub use verify::{DenyList, Refusal, Trust, Verifier};
