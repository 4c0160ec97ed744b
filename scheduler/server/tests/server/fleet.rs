//! A scheduler and its members in one process.

use std::{sync::Arc, time::Duration};

use dunlin_link::{
    Applicant, Chain, Credential, Credentials, DialError, Dialer, JoinError, Link, Lost, Trust,
    clock::{Clock, FlooredClock, ManualClock, UnixTime},
    join,
};
use dunlin_protocol::{FleetId, Hello, JoinToken, NodeId, Opening, Renewal, Role};
use dunlin_scheduler::{
    Authority, Catalog, Listen, Listener, Serve,
    authority::TOKEN_LIFE,
    catalog::{Labels, Scope},
};

/// When the tests begin, in seconds since 1970.
pub(crate) const NOW: Duration = Duration::from_secs(1_800_000_000);
pub(crate) const DAY: Duration = Duration::from_hours(24);
const ANY: &str = "127.0.0.1:0";

pub(crate) struct Fleet {
    pub(crate) authority: Arc<Authority>,
    pub(crate) listener: Listener,
    pub(crate) clock: Arc<ManualClock>,
}

/// Nodes may renew, what clients say comes back, and operators find a fault.
struct Handlers {
    authority: Arc<Authority>,
}

impl Serve for Handlers {
    async fn node(&self, link: Link) {
        while let Ok((mut sender, mut receiver)) = link.accept::<Opening, Renewal>().await {
            while let Ok(Some(Opening::Renew(request))) = receiver.receive().await {
                let reply = self.authority.renew(link.peer(), &request).await;
                if sender.send(&reply).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn operator(&self, _link: Link) {
        panic!("a fault of the handler");
    }

    async fn client(&self, link: Link) {
        while let Ok((mut sender, mut receiver)) = link.accept::<Hello, Hello>().await {
            tokio::spawn(async move {
                while let Ok(Some(hello)) = receiver.receive().await {
                    if sender.send(&hello).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        Self::on(Catalog::in_memory().unwrap(), Arc::new(ManualClock::at(NOW))).await
    }

    pub(crate) async fn on(catalog: Catalog, clock: Arc<ManualClock>) -> Self {
        let name: FleetId = "f7".parse().unwrap();
        let authority = Arc::new(Authority::open(catalog, Some(name), clock.clone()).await.unwrap());
        let listen = Listen {
            name: "one".parse().unwrap(),
            members: ANY.parse().unwrap(),
            joining: ANY.parse().unwrap(),
        };
        let handlers = Arc::new(Handlers { authority: authority.clone() });
        let listener = Listener::start(authority.clone(), listen, handlers).await.unwrap();
        Self { authority, listener, clock }
    }

    pub(crate) async fn token(&self, role: Role, name: Option<&str>) -> JoinToken {
        let name = name.map(|name| name.parse().unwrap());
        let scope = Scope { role, name, labels: Labels::new() };
        self.authority.new_token(scope, TOKEN_LIFE).await.unwrap()
    }

    pub(crate) async fn join(&self, token: &JoinToken, name: &str) -> Result<Member, JoinError> {
        let clock = floored(self.clock.clone());
        let applicant = Applicant { name: Some(name.parse().unwrap()), build: "test".into() };
        let (trust, credential) = join(self.listener.joining(), token, applicant, &clock).await?;
        Ok(Member::new(trust, credential, clock))
    }

    /// Somebody with a token of its own.
    pub(crate) async fn member(&self, role: Role, name: &str) -> Member {
        let token = self.token(role, None).await;
        self.join(&token, name).await.unwrap()
    }

    /// Connects; after a jump of the clock the scheduler first has to renew its own certificate, which it does by itself.
    pub(crate) async fn dial(&self, member: &Member) -> Result<Link, DialError> {
        loop {
            match member.dialer.dial(self.listener.members()).await {
                Err(DialError::Lost { source: Lost::Untrusted(reason), .. })
                    if reason.contains("certificate expired") => {}
                outcome => return outcome,
            }
        }
    }

    /// What a refused join says to whoever tried.
    pub(crate) async fn refusal(&self, token: &JoinToken, name: &str) -> String {
        match self.join(token, name).await {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{name} joined"),
        }
    }
}

pub(crate) struct Member {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) clock: Arc<FlooredClock>,
    pub(crate) dialer: Dialer,
}

impl Member {
    pub(crate) fn new(trust: Trust, credential: Credential, clock: Arc<FlooredClock>) -> Self {
        let credentials = Arc::new(Credentials::new(trust, credential, Chain::Leaf));
        let dialer = Dialer::new(ANY.parse().unwrap(), credentials.clone(), clock.clone()).unwrap();
        Self { credentials, clock, dialer }
    }

    pub(crate) fn name(&self) -> NodeId {
        self.credentials.current().leaf.identity.name.clone()
    }
}

pub(crate) fn floored(clock: Arc<dyn Clock>) -> Arc<FlooredClock> {
    Arc::new(FlooredClock::new(clock, UnixTime::since_unix_epoch(Duration::ZERO)))
}

/// Says something and hears it back.
pub(crate) async fn echo(link: &Link, text: &str) -> bool {
    let said = Hello::new(&[], text, 0);
    let Ok((mut sender, mut receiver)) = link.open::<Hello, Hello>().await else { return false };
    sender.send(&said).await.is_ok() && receiver.receive().await.is_ok_and(|heard| heard == Some(said))
}
