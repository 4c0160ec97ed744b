//! Where members and those who join connect: accepts, proves who it is, and hands each to whoever serves its role.

mod door;
mod joining;
mod members;

use std::{
    future::Future,
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use dunlin_link::{Credentials, EndpointError, Link, Verifier};
use dunlin_protocol::{NodeId, Role};
use thiserror::Error;
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};

use crate::{Authority, AuthorityError};

/// How often certificates that ran out are looked for, and the own one is looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// Time for connections to hear that this end goes down.
const FAREWELL: Duration = Duration::from_secs(1);
/// Roles that may connect.
const ROLES: &[Role] = &[Role::Node, Role::Operator, Role::Client];

/// What is done with connections, by the role of the peer. Each is served in a task of its own: when it returns the
/// connection is closed, when it panics too, and others do not notice.
///
/// Who the peer is, is in [`Link::peer`]; that it speaks only for itself is for the handler to ask, message by message.
pub trait Serve: Send + Sync + 'static {
    fn node(&self, link: Link) -> impl Future<Output = ()> + Send;
    fn operator(&self, link: Link) -> impl Future<Output = ()> + Send;
    fn client(&self, link: Link) -> impl Future<Output = ()> + Send;
}

/// Where to listen.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The scheduler's name in its certificate.
    pub name: NodeId,
    /// For members.
    pub members: SocketAddr,
    /// For those who join.
    pub joining: SocketAddr,
}

/// Why the scheduler does not listen.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("cannot listen on UDP {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Two endpoints that are open, and the tasks that serve them.
#[derive(Debug)]
pub struct Listener {
    members: SocketAddr,
    joining: SocketAddr,
    leave: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Listener {
    /// Opens both endpoints.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn start<S: Serve>(
        authority: Arc<Authority>,
        listen: Listen,
        serve: Arc<S>,
    ) -> Result<Self, ListenError> {
        let credentials = Arc::new(authority.own_credentials(listen.name.clone()).await?);
        let (members_socket, members) = bind(listen.members)?;
        let (joining_socket, joining) = bind(listen.joining)?;
        let (leave, left) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let hall = members::Hall { authority: authority.clone(), credentials: credentials.clone(), serve };
        tasks.spawn(door::keep_open(members_socket, hall, left.clone()));
        let porch = joining::Porch { authority: authority.clone(), credentials: credentials.clone() };
        tasks.spawn(door::keep_open(joining_socket, porch, left.clone()));
        tasks.spawn(keep_order(authority, credentials, listen.name, left));
        Ok(Self { members, joining, leave, tasks })
    }

    /// Where members connect.
    #[must_use]
    pub fn members(&self) -> SocketAddr {
        self.members
    }

    /// Where boards join.
    #[must_use]
    pub fn joining(&self) -> SocketAddr {
        self.joining
    }

    /// Closes all connections and says why.
    pub async fn leave(mut self) {
        self.leave.send_replace(true);
        // Those that have not ended by then are dropped.
        let _ =
            tokio::time::timeout(FAREWELL, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

fn bind(address: SocketAddr) -> Result<(UdpSocket, SocketAddr), ListenError> {
    let bound = UdpSocket::bind(address).and_then(|socket| {
        let address = socket.local_addr()?;
        Ok((socket, address))
    });
    bound.map_err(|source| ListenError::Bind { address, source })
}

/// Cuts those whose certificate has run out, and renews the own one in time.
async fn keep_order(
    authority: Arc<Authority>,
    credentials: Arc<Credentials>,
    name: NodeId,
    mut left: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = left.wait_for(|left| *left) => return,
        }
        let now = authority.clock().now();
        authority.live().sweep(now);
        if credentials.current().leaf.renew_at() > now {
            continue;
        }
        match authority.own_credential(name.clone()).await {
            Ok(credential) => credentials.swap(credential),
            Err(error) => tracing::error!(%error, "the scheduler's own certificate could not be renewed"),
        }
    }
}

fn verifier(authority: &Authority) -> Result<Verifier, EndpointError> {
    let (clock, denied) = (authority.clock().clone(), authority.denied().clone());
    Ok(Verifier::new(authority.trust().clone(), ROLES, clock, denied)?)
}
