//! `GET /v1/events`: the fleet and its invocations as they change, for pages.
//!
//! The first message, `snapshot`, has everything; each `change` after it has whole nodes and invocations that are different
//! now, so that a page puts them in the place of those that it has. At most ten messages a second.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use axum::{extract::State, response::Response};
use dunlin_protocol::Failure;
use dunlin_scheduler::{
    Front,
    look::{Look, Which},
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, broadcast},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    desk::Desk,
    document,
    error::{Answered, ApiError},
    limits::{EVENT_INTERVAL, MAX_EVENTS, MAX_PAGES, SHOWN_INVOCATIONS},
    sse::{self, Event},
};

/// Looks at the fleet once for all pages, and only while there are pages.
#[derive(Debug)]
pub(crate) struct Hub {
    changes: broadcast::Sender<Arc<str>>,
    arrived: Arc<Notify>,
    pages: Arc<AtomicUsize>,
}

impl Hub {
    pub(crate) fn new(front: Front, closing: CancellationToken) -> Self {
        let (changes, _) = broadcast::channel(MAX_EVENTS);
        let arrived = Arc::new(Notify::new());
        let (sender, arrives) = (changes.clone(), arrived.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = watch(front, sender, arrives) => {}
                () = closing.cancelled() => {}
            }
        });
        Self { changes, arrived, pages: Arc::default() }
    }

    fn enter(&self) -> Option<Page> {
        let page = Page { pages: self.pages.clone() };
        (self.pages.fetch_add(1, Relaxed) < MAX_PAGES).then_some(page)
    }
}

/// A page counts for as long as this is kept.
struct Page {
    pages: Arc<AtomicUsize>,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pages.fetch_sub(1, Relaxed);
    }
}

pub(crate) async fn events(State(desk): State<Arc<Desk>>) -> Answered<Response> {
    let Some(page) = desk.hub.enter() else {
        let error = ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            format!("{MAX_PAGES} pages are open, which is the limit"),
        );
        return Err(error.with_code("overloaded"));
    };
    let mut changes = desk.hub.changes.subscribe();
    let snapshot = snapshot(&desk.front).await?;
    desk.hub.arrived.notify_one();
    let (sender, response) = sse::channel();
    let (front, closing) = (desk.front.clone(), desk.closing.clone());
    tokio::spawn(async move {
        let _page = page;
        let mut next = Some(("snapshot", Arc::from(snapshot.to_string())));
        loop {
            if let Some((name, data)) = next.take()
                && sender.event(Event { id: None, name: Some(name), data: &data }).await.is_err()
            {
                return;
            }
            next = tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => Some(("change", change)),
                    // Too slow for each of them: it gets all at once.
                    Err(broadcast::error::RecvError::Lagged(_)) => match self::snapshot(&front).await {
                        Ok(snapshot) => Some(("snapshot", Arc::from(snapshot.to_string()))),
                        Err(_) => return,
                    },
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                () = sender.gone() => return,
                () = closing.cancelled() => return,
            };
        }
    });
    Ok(response)
}

fn shown() -> Which {
    Which { limit: SHOWN_INVOCATIONS, ..Which::default() }
}

async fn snapshot(front: &Front) -> Result<Value, Failure> {
    let (look, invocations) = (front.look().await?, front.invocations(shown()).await?);
    let mut document = document::fleet(&look);
    document["invocations"] = invocations.iter().map(document::invocation).collect();
    Ok(document)
}

async fn watch(front: Front, changes: broadcast::Sender<Arc<str>>, arrived: Arc<Notify>) {
    let mut changed = front.changes();
    let mut before = Shown::default();
    loop {
        if changes.receiver_count() == 0 {
            before = Shown::default();
            arrived.notified().await;
        }
        changed.mark_unchanged();
        let (Ok(look), Ok(invocations)) = (front.look().await, front.invocations(shown()).await) else {
            return;
        };
        let now = Shown::of(&look, invocations.iter().map(document::invocation));
        if let Some(difference) = now.since(&before) {
            // Nobody may be listening any more.
            drop(changes.send(Arc::from(difference.to_string())));
        }
        before = now;
        sleep(EVENT_INTERVAL).await;
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = arrived.notified() => {}
        }
    }
}

/// What pages have seen.
#[derive(Debug, Default)]
struct Shown {
    summary: Value,
    nodes: BTreeMap<String, Value>,
    models: Value,
    invocations: BTreeMap<String, Value>,
}

impl Shown {
    fn of(look: &Look, invocations: impl Iterator<Item = Value>) -> Self {
        let named =
            |key: &'static str| move |of: Value| (of[key].as_str().unwrap_or_default().to_owned(), of);
        Self {
            summary: document::summary(look),
            nodes: look.nodes.iter().map(document::node).map(named("name")).collect(),
            models: look.models.iter().map(document::model).collect(),
            invocations: invocations.map(named("id")).collect(),
        }
    }

    /// What is different; nothing, if nothing is.
    fn since(&self, before: &Self) -> Option<Value> {
        let fresh = |now: &BTreeMap<String, Value>, before: &BTreeMap<String, Value>| {
            let fresh = now.iter().filter(|(name, of)| before.get(*name) != Some(of));
            fresh.map(|(_, of)| of.clone()).collect::<Vec<_>>()
        };
        let mut difference = json!({});
        if self.summary != before.summary {
            difference["fleet"] = self.summary.clone();
        }
        if self.models != before.models {
            difference["models"] = self.models.clone();
        }
        let gone: Vec<&String> = before.nodes.keys().filter(|name| !self.nodes.contains_key(*name)).collect();
        if !gone.is_empty() {
            difference["gone"] = json!(gone);
        }
        for (name, fresh) in [
            ("nodes", fresh(&self.nodes, &before.nodes)),
            ("invocations", fresh(&self.invocations, &before.invocations)),
        ] {
            if !fresh.is_empty() {
                difference[name] = fresh.into();
            }
        }
        difference.as_object().is_some_and(|fields| !fields.is_empty()).then_some(difference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_different_is_told() {
        let shown = |nodes: &[(&str, u64)]| Shown {
            nodes: nodes.iter().map(|(name, load)| ((*name).to_owned(), json!({ "load": load }))).collect(),
            ..Shown::default()
        };
        let before = shown(&[("a", 1), ("b", 2), ("c", 3)]);
        assert_eq!(shown(&[("a", 1), ("b", 2), ("c", 3)]).since(&before), None);
        let difference = shown(&[("a", 1), ("b", 9), ("d", 4)]).since(&before).unwrap();
        assert_eq!(difference, json!({ "gone": ["c"], "nodes": [{ "load": 9 }, { "load": 4 }] }));
    }
}
