//! Questions: those of the catalog are answered here, those of the fleet by the driver.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use data_encoding::BASE32_NOPAD as BASE32;
use dunlin_blobs::Store;
use dunlin_costs::DocumentError;
use dunlin_protocol::{
    Answer, Ask, BlobDigest, ComponentDigest, Failure, FailureCode, KeySummary, Name, NewKey, NewToken,
    NodeId, Page, PipelineSummary, PolicyFault, Role, limits::MAX_REASONS,
};
use dunlin_scheduler_core::Policy;
use tokio::sync::{oneshot, watch};

use crate::{
    Authority, AuthorityError, CatalogError,
    authority::TOKEN_LIFE,
    catalog::{self, Alias, Component, KeyHash, KeyRecord, PolicyFile, Scope},
    driver::{Catalogued, Event, Events},
    judged::Judged,
    policies::{Policies, PolicyError},
};

/// How every key begins, so that it is known for one where it should not be.
const KEY_BEGINNING: &str = "dk-";

/// What whoever needs no key is called.
const RESERVED_KEY: &str = "local";

/// A pipeline that comes with Dunlin.
#[derive(Debug, Clone)]
pub struct BuiltinPipeline {
    pub name: String,
    pub summary: String,
}

/// What answers.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) authority: Arc<Authority>,
    pub(crate) blobs: Store,
    pub(crate) judged: Judged,
    pub(crate) events: Events,
    pub(crate) builtins: Vec<BuiltinPipeline>,
    pub(crate) policies: Mutex<Policies>,
    /// Of the HTTP API, as the catalog has them.
    pub(crate) keys: watch::Sender<Arc<Vec<KeyRecord>>>,
    /// Keys travel as they are to where others can connect.
    pub(crate) unencrypted: AtomicBool,
}

type Answered = Result<Answer, Failure>;

impl Questions {
    /// `tenant`: whose invocations may be seen; `None`: all.
    pub(crate) async fn answer(&self, ask: Ask, tenant: Option<String>) -> Answer {
        let answered = match ask {
            Ask::Pipelines { after } => self.pipelines(after).await,
            Ask::Deploy { name, component } => self.deploy(name, component).await,
            Ask::Alias { alias, variants, resident_on } => self.alias(alias, variants, resident_on).await,
            Ask::NewToken(token) => self.new_token(token).await,
            Ask::RevokeToken { token } => self
                .authority
                .catalog()
                .remove_token(token)
                .await
                .map(|_| Answer::Done)
                .map_err(|e| failed(&e)),
            Ask::Deny { role, name } => self.deny(role, name).await,
            Ask::Policies { after } => Ok(self.policy_names(after.as_deref())),
            Ask::CheckPolicy { toml } => Ok(check(&toml)),
            Ask::SetPolicy { name, toml } => self.set_policy(name, toml).await,
            Ask::ShowPolicy { name } => self.show_policy(&name),
            Ask::NewKey(key) => self.new_key(key).await,
            Ask::Keys { after } => Ok(self.key_summaries(after.as_deref())),
            Ask::RemoveKey { name } => self.remove_key(name).await,
            Ask::AddRows { toml } => Ok(self.ask(|reply| Event::Rows { toml, reply }).await),
            ask => Ok(self.ask(|reply| Event::Ask { ask: Box::new(ask), tenant, reply }).await),
        };
        answered.unwrap_or_else(Answer::Failed)
    }

    async fn ask(&self, event: impl FnOnce(oneshot::Sender<Answer>) -> Event) -> Answer {
        let (reply, answered) = oneshot::channel();
        // Without an answer is who asked a driver that has ended.
        drop(self.events.tell(event(reply)).await);
        answered.await.unwrap_or_else(|_| {
            Answer::Failed(Failure::new(FailureCode::Unavailable, "the scheduler is going down"))
        })
    }

    /// Tells the driver what the catalog says now.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub(crate) async fn tell_catalog(&self) -> Result<(), CatalogError> {
        let catalogued = self.catalogued().await?;
        drop(self.events.send(Event::Catalog(catalogued)));
        Ok(())
    }

    pub(crate) async fn catalogued(&self) -> Result<Catalogued, CatalogError> {
        read_catalog(&self.authority, &self.builtins).await
    }

    async fn deny(&self, role: Role, name: NodeId) -> Answered {
        self.authority.deny(role, name.clone()).await.map_err(|error| failed(&error))?;
        if role == Role::Node {
            drop(self.events.send(Event::Denied(name)));
        }
        Ok(Answer::Done)
    }

    async fn pipelines(&self, after: Option<String>) -> Answered {
        let tags = self.authority.catalog().tags().await.map_err(|error| failed(&error))?;
        let mut all: BTreeMap<String, PipelineSummary> = BTreeMap::new();
        for builtin in &self.builtins {
            let summary = PipelineSummary {
                name: builtin.name.clone(),
                component: None,
                description: builtin.summary.clone(),
            };
            all.insert(builtin.name.clone(), summary);
        }
        for tag in tags {
            let component = Some(tag.digest);
            let summary = PipelineSummary { name: tag.name.clone(), component, description: String::new() };
            all.insert(tag.name, summary);
        }
        let later = all.into_values().filter(|of| after.as_ref().is_none_or(|after| of.name > *after));
        Ok(Answer::Pipelines(Page::of(later)))
    }

    async fn deploy(&self, name: String, component: ComponentDigest) -> Answered {
        let blob = BlobDigest::from(component);
        let not_sent = || {
            let text = format!("the bytes of {blob} were not sent: send them first");
            Failure::new(FailureCode::NotFound, text)
        };
        let (_, bytes) = self.blobs.read(blob, 0).map_err(|_| not_sent())?;
        let added = self.authority.clock().now();
        let component = Component { digest: component, bytes, added };
        self.authority.catalog().deploy(name, component).await.map_err(|error| failed(&error))?;
        self.tell_catalog().await.map_err(|error| failed(&error))?;
        Ok(Answer::Done)
    }

    async fn alias(
        &self,
        name: String,
        variants: Vec<dunlin_protocol::Variant>,
        resident_on: u32,
    ) -> Answered {
        let variants = variants.into_iter().map(|variant| catalog::Variant {
            digest: variant.model,
            name: variant.name,
            bytes: variant.bytes,
            quality: variant.quality,
        });
        let alias = Alias { name, variants: variants.collect(), resident_on };
        self.authority.catalog().set_alias(alias).await.map_err(|error| failed(&error))?;
        self.tell_catalog().await.map_err(|error| failed(&error))?;
        Ok(Answer::Done)
    }

    async fn new_token(&self, token: NewToken) -> Answered {
        let labels = token.labels.into_iter().map(|label| (label.name, label.value)).collect();
        let scope = Scope { role: token.role, name: token.name, labels };
        let life = token.valid_for_s.map_or(TOKEN_LIFE, Duration::from_secs);
        let made = self.authority.new_token(scope, life).await.map_err(|error| match error {
            AuthorityError::Catalog(error) => failed(&error),
            error => Failure::new(FailureCode::Invalid, error.to_string()),
        })?;
        let expires = self.authority.clock().now().as_secs() + life.as_secs();
        Ok(Answer::Token { text: made.to_string(), expires_unix_seconds: expires })
    }

    async fn new_key(&self, key: NewKey) -> Answered {
        let name_is_good = !key.name.is_empty() && key.name.chars().all(|c| c.is_ascii_graphic());
        if !name_is_good || key.name == RESERVED_KEY {
            let text = format!(
                "{:?} is no name of a key: letters, digits and signs, but not {RESERVED_KEY}",
                key.name
            );
            return Err(Failure::new(FailureCode::Invalid, text));
        }
        let secret = dunlin_link::random::<32>()
            .map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))?;
        let text = format!("{KEY_BEGINNING}{}", BASE32.encode(&secret).to_lowercase());
        let created = self.authority.clock().now();
        let record = KeyRecord {
            name: key.name,
            beginning: text[..KEY_BEGINNING.len() + 6].to_owned(),
            hash: KeyHash::of(&text),
            allowance: key.allowance,
            created,
            expires: key
                .valid_for_s
                .map(|life| dunlin_link::clock::later(created, Duration::from_secs(life))),
        };
        self.authority.catalog().set_key(record).await.map_err(|error| failed(&error))?;
        self.read_keys().await?;
        Ok(Answer::Key { text, unencrypted: self.unencrypted.load(Relaxed) })
    }

    fn key_summaries(&self, after: Option<&str>) -> Answer {
        let keys = self.keys.borrow();
        let later = keys.iter().filter(|key| after.is_none_or(|after| key.name.as_str() > after));
        Answer::Keys(Page::of(later.map(|key| KeySummary {
            name: key.name.clone(),
            beginning: key.beginning.clone(),
            allowance: key.allowance.clone(),
            created_unix_seconds: key.created.as_secs(),
            expires_unix_seconds: key.expires.map(|expires| expires.as_secs()),
        })))
    }

    async fn remove_key(&self, name: String) -> Answered {
        self.authority.catalog().remove_key(name).await.map_err(|error| failed(&error))?;
        self.read_keys().await?;
        Ok(Answer::Done)
    }

    async fn read_keys(&self) -> Result<(), Failure> {
        let keys = self.authority.catalog().keys().await.map_err(|error| failed(&error))?;
        self.keys.send_replace(Arc::new(keys));
        Ok(())
    }

    fn policy_names(&self, after: Option<&str>) -> Answer {
        let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let later = policies.names().filter(|name| after.is_none_or(|after| *name > after));
        Answer::Policies(Page::of(later.map(|name| Name(name.to_owned()))))
    }

    fn show_policy(&self, name: &str) -> Answered {
        let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if name.is_empty() { policies.default_name() } else { name };
        let toml = policies.text(name).map_err(|error| invalid(&error))?;
        Ok(Answer::Policy { toml: toml.to_owned() })
    }

    async fn set_policy(&self, name: String, toml: String) -> Answered {
        let changed = {
            let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
            policies.add(&name, &toml).map_err(|error| invalid(&error))?;
            policies.clone()
        };
        let changed_at = self.authority.clock().now();
        let file = PolicyFile { name: name.clone(), text: toml, changed: changed_at };
        self.authority.catalog().set_policy(file).await.map_err(|error| failed(&error))?;
        drop(self.events.send(Event::Policies(Arc::new(changed))));
        match self.unknown(&name).await? {
            faults if faults.is_empty() => Ok(Answer::Done),
            faults => Ok(Answer::PolicyFaults(faults)),
        }
    }

    /// What the routes of a policy name and the fleet does not have (yet).
    async fn unknown(&self, name: &str) -> Result<Vec<PolicyFault>, Failure> {
        let catalogued = self.catalogued().await.map_err(|error| failed(&error))?;
        let listed =
            self.ask(|reply| Event::Ask { ask: Box::new(Ask::Models { after: None }), tenant: None, reply });
        let Answer::Models(page) = listed.await else { return Ok(Vec::new()) };
        if page.more {
            // Too many to say that one is missing.
            return Ok(Vec::new());
        }
        let models = page.items.iter().map(|model| model.alias.as_str()).collect();
        let pipelines = catalogued.pipelines.keys().chain(&catalogued.builtins).map(String::as_str).collect();
        let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = policies.unknown(name, &models, &pipelines).map_err(|error| invalid(&error))?;
        Ok(unknown.into_iter().map(fault).take(MAX_REASONS).collect())
    }

    /// A policy of a file, which is in force from now on; tells what it names and the fleet does not have.
    pub(crate) async fn look_over(&self, name: &str) {
        for fault in self.unknown(name).await.unwrap_or_default() {
            let PolicyFault { line, column, text } = fault;
            tracing::warn!(policy = name, line, column, "{text}; until then that route matches nothing");
        }
    }

    /// A policy of a file, which is in force from now on.
    ///
    /// # Errors
    /// With line and column; what was in force stays.
    pub(crate) fn put_policy_in_force(&self, name: &str, text: &str) -> Result<(), PolicyError> {
        let changed = {
            let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
            policies.add(name, text)?;
            policies.set_default(name)?;
            policies.clone()
        };
        drop(self.events.send(Event::Policies(Arc::new(changed))));
        Ok(())
    }
}

pub(crate) async fn read_catalog(
    authority: &Authority,
    builtins: &[BuiltinPipeline],
) -> Result<Catalogued, CatalogError> {
    let catalog = authority.catalog();
    let tags = catalog.tags().await?;
    Ok(Catalogued {
        aliases: catalog.aliases().await?,
        pipelines: tags.into_iter().map(|tag| (tag.name, tag.digest)).collect(),
        builtins: builtins.iter().map(|builtin| builtin.name.clone()).collect(),
    })
}

fn check(toml: &str) -> Answer {
    let faults = Policy::parse(toml).err().map(fault);
    Answer::PolicyFaults(faults.into_iter().collect())
}

fn fault(error: DocumentError) -> PolicyFault {
    PolicyFault { line: error.line as u32, column: error.column as u32, text: error.problem }
}

fn failed(error: &CatalogError) -> Failure {
    let code = if error.is_missing() { FailureCode::NotFound } else { FailureCode::Internal };
    Failure::new(code, error.to_string())
}

fn invalid(error: &PolicyError) -> Failure {
    let code = match error {
        PolicyError::Unknown { .. } => FailureCode::NotFound,
        PolicyError::Document { .. } => FailureCode::Invalid,
    };
    Failure::new(code, error.to_string())
}
