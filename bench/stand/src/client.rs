//! A client of the fleet in this process, so that what is timed is the fleet and not the start of a command.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use dunlin_link::{
    Chain, Credentials, Dialer, Folder, Link,
    clock::{FlooredClock, SystemClock, unix_seconds},
    greet,
};
use dunlin_protocol::{
    Answer, Ask, Emission, FleetSummary, FromInvocation, Hello, NodeId, Opening, Outcome, Parameter, Request,
    Submit, ToInvocation,
};
use serde_bytes::ByteBuf;

/// A connection with the rights of whoever is logged in.
#[derive(Debug)]
pub struct Client {
    link: Link,
    _dialer: Dialer,
}

/// What came of an invocation, and when.
#[derive(Debug, Default)]
pub struct Answered {
    pub accepted: Duration,
    pub placed: Duration,
    /// To the first text.
    pub first: Duration,
    pub total: Duration,
    pub text: String,
    /// Where its attempts ran.
    pub nodes: Vec<NodeId>,
    pub tpot_us: u64,
}

impl Client {
    pub async fn connect(folder: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let folder = Folder::open(folder)?;
        let (trust, credential) = folder.identity()?.context("nobody is logged in")?;
        let credentials = Arc::new(Credentials::new(trust, credential, Chain::Leaf));
        let clock = Arc::new(FlooredClock::new(Arc::new(SystemClock::default()), folder.floor()?));
        let dialer = Dialer::new(([127, 0, 0, 1], 0).into(), credentials, clock)?;
        let link = dialer.dial(address).await?;
        greet(&link, &Hello::new(&[], "bench", unix_seconds())).await?;
        Ok(Self { link, _dialer: dialer })
    }

    pub async fn fleet(&self) -> anyhow::Result<FleetSummary> {
        let (mut to, mut from) = self.link.open::<Opening, Answer>().await?;
        to.send(&Opening::Ask(Box::new(Ask::Fleet))).await?;
        match from.receive().await? {
            Some(Answer::Fleet(summary)) => Ok(summary),
            other => anyhow::bail!("the fleet was asked for, and {other:?} came"),
        }
    }

    /// How many nodes have a model in memory.
    ///
    /// # Errors
    /// If the scheduler does not answer.
    pub async fn resident(&self, alias: &str) -> anyhow::Result<u32> {
        let (mut to, mut from) = self.link.open::<Opening, Answer>().await?;
        to.send(&Opening::Ask(Box::new(Ask::Models { after: None }))).await?;
        match from.receive().await? {
            Some(Answer::Models(page)) => {
                let known = page.items.iter().find(|model| model.alias == alias);
                Ok(known.into_iter().flat_map(|model| &model.variants).map(|of| of.resident).sum())
            }
            other => anyhow::bail!("the models were asked for, and {other:?} came"),
        }
    }

    /// Has `chat` say so many tokens, one each `pace_ms`, and listens to the end.
    pub async fn invoke(&self, tokens: u32, pace_ms: u32) -> anyhow::Result<Answered> {
        self.invoke_watched(tokens, pace_ms, |_| ()).await
    }

    /// `watch` sees the text so far whenever it grows.
    pub async fn invoke_watched(
        &self,
        tokens: u32,
        pace_ms: u32,
        mut watch: impl FnMut(&str),
    ) -> anyhow::Result<Answered> {
        let begin = Instant::now();
        let (mut to, from) = self.link.open::<Opening, FromInvocation>().await?;
        to.send(&Opening::Submit(Box::new(submit(tokens, pace_ms)))).await?;
        let (_to, mut from) = (to.then::<ToInvocation>(), from);
        let mut answered = Answered::default();
        while let Some(said) = from.receive().await? {
            match said {
                FromInvocation::Accepted { .. } => answered.accepted = begin.elapsed(),
                FromInvocation::Placed(placed) => {
                    answered.placed = begin.elapsed();
                    answered.nodes.push(placed.node);
                }
                FromInvocation::Chunk(chunk) => {
                    let before = answered.text.len();
                    for emission in chunk.emissions {
                        if let Emission::Text(text) = emission {
                            answered.text += &text;
                        }
                    }
                    if before == 0 && !answered.text.is_empty() {
                        answered.first = begin.elapsed();
                    }
                    if answered.text.len() > before {
                        watch(&answered.text);
                    }
                }
                FromInvocation::Ended(ended) => {
                    answered.total = begin.elapsed();
                    answered.tpot_us = ended.usage.tpot_p50_us;
                    anyhow::ensure!(matches!(ended.outcome, Outcome::Done { .. }), "{:?}", ended.outcome);
                    return Ok(answered);
                }
                FromInvocation::Refused(failure) => anyhow::bail!("refused: {failure}"),
            }
        }
        anyhow::bail!("the scheduler broke off")
    }
}

fn submit(tokens: u32, pace_ms: u32) -> Submit {
    let parameter = |name: &str, value: String| Parameter { name: name.to_owned(), value };
    Submit {
        pipeline: "chat".to_owned(),
        request: Request {
            content_type: "text/plain".to_owned(),
            body: ByteBuf::from(format!("pace={pace_ms}").into_bytes()),
            params: vec![parameter("max_tokens", tokens.to_string())],
        },
        models: vec![parameter("tiny", String::new())],
        idempotency_key: None,
        policy: None,
        targets: Default::default(),
        grants: Default::default(),
        limits: Default::default(),
        seed: Some(1),
        labels: Vec::new(),
        trace: None,
    }
}
