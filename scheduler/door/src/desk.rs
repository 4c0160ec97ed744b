//! What all answers are made of.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use dunlin_protocol::{Answer, Ask, ModelSummary, Usage};
use dunlin_scheduler::Front;
use http::StatusCode;
use hyper::body::{Frame, SizeHint};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{
    DoorOptions,
    auth::Caller,
    call::{self, Call, Manner},
    error::{Answered, ApiError},
    events::Hub,
    keys::Keys,
    limits::{MAX_BODIES, MAX_BODIES_BYTES, MAX_REQUESTS},
    metrics::Metrics,
    span::HttpSpan,
    uploads::{UploadLimits, Uploads},
};

/// How old the list of models may be where it is asked about one that it has.
const MODELS_AGE: Duration = Duration::from_millis(500);

/// Models that are being loaded for nobody in particular.
const MAX_WARMING: usize = 8;

/// Shared by all requests.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) front: Front,
    pub(crate) options: DoorOptions,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) hub: Hub,
    pub(crate) keys: Keys,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) closing: CancellationToken,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) uploads: Arc<Uploads>,
    /// When it was opened, in seconds since 1970.
    pub(crate) opened: u64,
    models: Mutex<Option<(Instant, Arc<Vec<ModelSummary>>)>>,
    warming: std::sync::Mutex<Vec<String>>,
}

impl Desk {
    pub(crate) fn new(
        options: DoorOptions,
        address: SocketAddr,
        front: Front,
        closing: CancellationToken,
        metrics: Arc<Metrics>,
    ) -> Self {
        let hub = Hub::new(front.clone(), closing.clone());
        let keys = Keys::new(front.keys());
        let places = Arc::new(Semaphore::new(MAX_REQUESTS));
        let uploads = Uploads::new(UploadLimits { bodies: MAX_BODIES, bytes: MAX_BODIES_BYTES });
        Self {
            front,
            options,
            address,
            hub,
            keys,
            metrics,
            closing,
            places,
            uploads,
            opened: crate::openai::now(),
            models: Mutex::default(),
            warming: std::sync::Mutex::default(),
        }
    }

    /// The models of the fleet; anew, where the one that is asked for is not among those that are known.
    pub(crate) async fn models(&self, wanted: Option<&str>) -> Answered<Arc<Vec<ModelSummary>>> {
        let mut known = self.models.lock().await;
        if let Some((at, models)) = known.as_ref()
            && let Some(wanted) = wanted
            && at.elapsed() < MODELS_AGE
            && models.iter().any(|model| model.alias == wanted)
        {
            return Ok(models.clone());
        }
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            match self.front.ask(Ask::Models { after }, None).await {
                Answer::Models(page) => {
                    after = page.items.last().map(|model| model.alias.clone());
                    all.extend(page.items);
                    if !page.more {
                        break;
                    }
                }
                Answer::Failed(failure) => return Err(failure.into()),
                _ => break,
            }
        }
        let all = Arc::new(all);
        *known = Some((Instant::now(), all.clone()));
        Ok(all)
    }

    /// Whether a key allows it.
    pub(crate) fn check_allowance(&self, caller: &Caller, model: &str) -> Answered<()> {
        if caller.may_use(model) {
            return Ok(());
        }
        let message = format!("this key may not use the model `{model}`");
        Err(ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("model_not_allowed"))
    }

    /// What an answer took.
    pub(crate) fn settle(&self, caller: &Caller, usage: &Usage) {
        caller.settle(usage);
    }

    /// Has a model loaded, by asking it for one token.
    pub(crate) fn warm(self: &Arc<Self>, model: &str) {
        {
            let mut warming = self.warming.lock().unwrap_or_else(PoisonError::into_inner);
            if warming.len() >= MAX_WARMING || warming.iter().any(|known| known == model) {
                return;
            }
            warming.push(model.to_owned());
        }
        let (desk, model) = (self.clone(), model.to_owned());
        tokio::spawn(async move {
            let mut call = Call { pipeline: "complete".into(), model: model.clone(), ..Call::default() };
            call.body = b"1".to_vec();
            call.param("max_tokens", 1);
            // Whoever waits for the model asks again, and hears why it is not there.
            if let Ok(mut answer) =
                call::begin_one(&desk, &Caller::local(), &Manner::default(), call, 0).await
            {
                drop(answer.end_of_all().await);
            }
            let mut warming = desk.warming.lock().unwrap_or_else(PoisonError::into_inner);
            warming.retain(|known| *known != model);
        });
    }

    /// Nobody but this machine can connect.
    pub(crate) fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }
}

/// The body of an answer, which has its place until it is sent, and ends its span then.
#[derive(Debug)]
pub(crate) struct Placed {
    body: Body,
    _place: OwnedSemaphorePermit,
    _span: Option<HttpSpan>,
}

impl Placed {
    pub(crate) fn new(body: Body, place: OwnedSemaphorePermit, span: Option<HttpSpan>) -> Self {
        Self { body, _place: place, _span: span }
    }
}

impl hyper::body::Body for Placed {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
