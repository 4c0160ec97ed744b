//! A person's connection with a scheduler.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use dunlin_link::{
    Chain, Close, Credentials, Dialer, GreetError, Link, Receiver, Sender, certificate::Standing,
    clock::unix_seconds, greet,
};
use dunlin_protocol::{
    Answer, Ask, BlobChunk, BlobDigest, Failure as Fault, FailureCode, Feature, FromInvocation, FromStore,
    Hello, HowToProfile, Opening, PROFILE_EXTRAS, PROFILES, ProfileNode, Profiling, ToInvocation, ToProfile,
    ToStore, limits::MAX_BLOB_CHUNK,
};
use serde_bytes::ByteBuf;

use crate::{
    failure::{Exit, Failure},
    fleet::member::{Address, Member, PORT},
    folders::Folders,
    terminal::progress::Progress,
    version,
};

/// Bytes of one piece of a file.
const PIECE: usize = MAX_BLOB_CHUNK - 1024;

/// A connection as an operator or a client.
#[derive(Debug)]
pub(crate) struct Client {
    link: Link,
    dialer: Dialer,
    /// What the scheduler and this build can do beyond the version.
    features: Vec<Feature>,
}

impl Client {
    /// Connects to the scheduler that one is logged in to.
    ///
    /// # Errors
    /// One is not, or it is not there.
    pub(crate) async fn connect() -> anyhow::Result<Self> {
        let folders = Folders::find()?;
        let member = Member::open(&Member::login(&folders))?;
        Self::of(&member).await
    }

    pub(crate) async fn of(member: &Member) -> anyhow::Result<Self> {
        let Some((trust, credential)) = member.folder.identity()? else {
            return Err(Failure::usage("you are not logged in to a fleet")
                .hint("`dunlin login TOKEN --scheduler HOST`; an operator makes the token with `dunlin token new --role operator`. \
                       On the machine of the scheduler `dunlin scheduler` logs you in by itself")
                .into());
        };
        let address = member.scheduler().unwrap_or_else(|| Address::local(PORT)).resolve()?;
        let credentials = Arc::new(Credentials::new(trust, credential, Chain::Leaf));
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let dialer = Dialer::new(any.parse()?, credentials.clone(), member.clock.clone())?;
        let dial = async || {
            let dialled = dialer.dial(address).await;
            dialled.map_err(|error| {
                Failure::new(Exit::Failed, error.to_string()).hint("is `dunlin scheduler` running?")
            })
        };
        let mut link = dial().await?;
        if credentials.current().leaf.standing(member.clock.now()) == Standing::RenewOnly {
            // With it nothing else is possible; then one comes again.
            let credential =
                dunlin_link::renew(&link, &credentials, &member.clock).await.map_err(|error| {
                    Failure::new(
                        Exit::Failed,
                        format!("your certificate ran out, and was not renewed: {error}"),
                    )
                    .hint("log in again, with a new token: dunlin login TOKEN")
                })?;
            member.folder.keep_identity(&credentials.trust, &credential)?;
            credentials.swap(credential);
            link = dial().await?;
        }
        let hello = Hello::new(&[PROFILES, PROFILE_EXTRAS], version::SHORT, unix_seconds());
        // The stream of the hello ends with this; the connection stands.
        let greeted = greet(&link, &hello).await.map_err(|error| match error {
            GreetError::Refused(fault) => told(&fault),
            error => Failure::new(Exit::Failed, format!("the scheduler does not let you in: {error}"))
                .hint("a certificate that ran out or was denied needs a new one: dunlin login TOKEN"),
        })?;
        let (_, _, welcome) = greeted;
        let client = Self { link, dialer, features: welcome.features };
        client.renew(member, &credentials).await;
        Ok(client)
    }

    /// Says goodbye: the scheduler need not wait for the silence.
    pub(crate) async fn leave(&self) {
        self.link.close(Close::Done, "");
        self.dialer.leave().await;
    }

    /// People come rarely: the certificate is renewed when they do.
    async fn renew(&self, member: &Member, credentials: &Credentials) {
        if credentials.current().leaf.renew_at() > member.clock.now() {
            return;
        }
        match dunlin_link::renew(&self.link, credentials, &member.clock).await {
            Ok(credential) => {
                if let Err(error) = member.folder.keep_identity(&credentials.trust, &credential) {
                    tracing::warn!(%error, "the new certificate cannot be kept");
                }
            }
            Err(error) => tracing::warn!(%error, "the certificate was not renewed"),
        }
    }

    /// # Errors
    /// The scheduler's own, or the connection's.
    pub(crate) async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        let (mut to, mut from) = self.link.open::<Opening, Answer>().await?;
        to.send(&Opening::Ask(Box::new(ask))).await?;
        to.finish().await?;
        match from.receive().await? {
            Some(Answer::Failed(fault)) => Err(told(&fault).into()),
            Some(answer) => Ok(answer),
            None => Err(Failure::new(Exit::Failed, "the scheduler did not answer").into()),
        }
    }

    /// Whether the scheduler can be asked for such a profile.
    ///
    /// # Errors
    /// What it does not know of.
    pub(crate) fn may_profile(&self, how: &HowToProfile) -> anyhow::Result<()> {
        if !self.features.contains(&Feature(PROFILES.to_owned())) {
            return Err(Failure::new(
                Exit::Failed,
                "the scheduler is of a build that cannot be asked for profiles",
            )
            .hint("upgrade it; on the board itself, `dunlin profile` measures without a fleet")
            .into());
        }
        if how.has_extras() && !self.features.contains(&Feature(PROFILE_EXTRAS.to_owned())) {
            return Err(Failure::new(
                Exit::Failed,
                "the scheduler is of a build that has nodes judge no answers and time no operators",
            )
            .hint("upgrade it, or leave out --perplexity, --accuracy and --operators")
            .into());
        }
        Ok(())
    }

    /// Opens the stream of a profile.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn profile(
        &self,
        ask: ProfileNode,
    ) -> anyhow::Result<(Sender<ToProfile>, Receiver<Profiling>)> {
        let (mut to, from) = self.link.open::<Opening, Profiling>().await?;
        to.send(&Opening::Profile(ask)).await?;
        Ok((to.then(), from))
    }

    /// Opens the stream of an invocation.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn begin(
        &self,
        opening: Opening,
    ) -> anyhow::Result<(Sender<ToInvocation>, Receiver<FromInvocation>)> {
        let (mut to, from) = self.link.open::<Opening, FromInvocation>().await?;
        to.send(&opening).await?;
        Ok((to.then(), from))
    }

    /// Sends a file, unless the scheduler has it. What a lost connection left there is gone on with.
    ///
    /// # Errors
    /// Of the file, of the connection, of the scheduler's disk.
    pub(crate) async fn put(&self, blob: BlobDigest, path: &Path, progress: &Progress) -> anyhow::Result<()> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.put_from(blob, &mut file, bytes, &name, progress).await
    }

    /// The same of what has so many bytes and is called so.
    ///
    /// # Errors
    /// Of what is read, of the connection, of the scheduler's disk.
    pub(crate) async fn put_from(
        &self,
        blob: BlobDigest,
        from_where: &mut (impl Read + Seek),
        bytes: u64,
        name: &str,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let (mut to, mut from) = self.link.open::<Opening, FromStore>().await?;
        to.send(&Opening::Store(ToStore::Put { blob, bytes })).await?;
        let mut to = to.then::<ToStore>();
        let mut offset = match from.receive().await? {
            Some(FromStore::Stored) => return Ok(()),
            Some(FromStore::Continue { offset }) => offset,
            Some(FromStore::Failed(fault)) => return Err(told(&fault).into()),
            _ => anyhow::bail!("the scheduler does not take {name}"),
        };
        from_where.seek(SeekFrom::Start(offset))?;
        let bar = progress.bytes(&format!("sending {name}"), Some(bytes));
        bar.set_position(offset);
        let mut piece = vec![0; PIECE];
        while offset < bytes {
            let count = from_where.read(&mut piece)?;
            anyhow::ensure!(count > 0, "{name} has become shorter");
            let chunk = BlobChunk { offset, bytes: ByteBuf::from(&piece[..count]) };
            if let Err(error) = to.send(&ToStore::Chunk(chunk)).await {
                // It says why, if it did not go away.
                return match from.receive().await {
                    Ok(Some(FromStore::Failed(fault))) => Err(told(&fault).into()),
                    _ => Err(error.into()),
                };
            }
            offset += count as u64;
            bar.set_position(offset);
        }
        to.send(&ToStore::Complete).await?;
        match from.receive().await? {
            Some(FromStore::Stored) => Ok(()),
            Some(FromStore::Failed(fault)) => Err(told(&fault).into()),
            _ => anyhow::bail!("the scheduler broke off while it took {name}"),
        }
    }
}

/// What the scheduler said, for a person.
pub(crate) fn told(fault: &Fault) -> Failure {
    let exit = match fault.code {
        FailureCode::Invalid | FailureCode::NotFound | FailureCode::Unsupported => Exit::Usage,
        FailureCode::Deadline => Exit::Deadline,
        FailureCode::Engine | FailureCode::Unavailable => Exit::Engine,
        FailureCode::Memory => Exit::Memory,
        FailureCode::Cancelled => Exit::Interrupted,
        _ => Exit::Failed,
    };
    let failure = Failure::new(exit, fault.to_string());
    match (fault.retry_after_ms, fault.code) {
        (Some(ms), _) => failure.hint(format!("try again in {} s", ms.div_ceil(1000))),
        (None, FailureCode::NoFit) => failure
            .hint("`dunlin nodes` shows what there is; ask for less, or with --policy for another policy"),
        _ => failure,
    }
}
