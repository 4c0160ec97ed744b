//! New invocations.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use dunlin_protocol::{Failure, FailureCode, InvocationId, Submit};
use dunlin_scheduler_core::{Fingerprint, Grants, Input, Request};
use tokio::time::Instant;

use super::{
    Driver, Log, Record, convert,
    nodes::unix_millis,
    records::{MAX_BYTES, MAX_RECORDS, asked_bytes},
    trace,
};
use crate::policies::Asked;

/// The name by which pipelines open their model unless they are told another.
const DEFAULT_MODEL: &str = "demo";

impl Record {
    pub(super) fn new(submit: Submit, tenant: String, log: Arc<Log>) -> Self {
        Self {
            seed: 0,
            submitted: Instant::now(),
            submitted_unix_ms: unix_millis(),
            model: String::new(),
            log,
            stream: None,
            decisions: Vec::new(),
            ended: BTreeMap::new(),
            last_failure: None,
            overflows: false,
            tenant,
            policy: String::new(),
            alias: String::new(),
            submit,
        }
    }
}

impl Driver {
    /// Takes an invocation, and hands it to the core. How it is refused, if it is, the log says.
    pub(super) fn on_submit(&mut self, submit: Submit, tenant: String) -> Result<Arc<Log>, Failure> {
        if let Some(known) = self.repeated(&submit, &tenant)? {
            return Ok(known);
        }
        if !self.records.have_room(asked_bytes(&submit)) {
            let text = format!(
                "{MAX_RECORDS} invocations, or {} MB of them, are under way, which is the limit",
                MAX_BYTES >> 20
            );
            return Err(Failure::new(FailureCode::Overloaded, text).retry_after_ms(1000));
        }
        self.check_pipeline(&submit.pipeline)?;
        let (alias, model) = self.model(&submit)?;
        let asked = Asked {
            policy: submit.policy.as_deref(),
            pipeline: &submit.pipeline,
            model: &model,
            tenant: &tenant,
            battery_pct: self.lowest_battery(),
            targets: convert::targets(&submit.targets),
            labels: submit.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect(),
        };
        let (policy, terms) = self
            .policies
            .terms(&asked)
            .map_err(|error| Failure::new(FailureCode::Invalid, error.to_string()))?;
        let id = InvocationId(self.random.u128(..));
        let bytes = submit.request.body.len();
        let max_output = max_tokens(&submit);
        let (prompt_tokens, output_tokens) = self.expectations.of(&submit.pipeline, bytes, max_output);
        let is_deployed = self.catalog.pipelines.contains_key(&submit.pipeline);
        let needs = |is_needed: bool, grant: Grants| if is_needed { grant.0 } else { 0 };
        let grants = needs(!submit.grants.http.is_empty(), Grants::HTTP)
            | needs(!submit.grants.environment.is_empty(), Grants::ENVIRONMENT)
            | needs(is_deployed, Grants::COMPONENTS);
        let time_limit = submit.limits.time_ms.or(submit.targets.deadline_ms).map(Duration::from_millis);
        let request = Request {
            id: convert::invocation(id),
            tenant: self.names.tenant(&tenant),
            model: Arc::from(model.as_str()),
            prompt_tokens,
            output_tokens,
            prefixes: Vec::new(),
            grants: Grants(grants),
            terms,
            time_limit,
            fingerprint: fingerprint(&submit, &tenant),
        };
        let root = trace::root(id, submit.trace);
        tracing::debug!(invocation = %id, pipeline = submit.pipeline, model, policy, trace_id = %root.trace, span_id = %root.span, "submitted");
        let log = Arc::new(Log::new(id));
        let seed = submit.seed.unwrap_or_else(|| self.random.u64(..));
        let record = Record { seed, policy, alias, model, ..Record::new(submit, tenant, log.clone()) };
        self.records.insert(id, record);
        self.handle(Input::Submit(Box::new(request)));
        Ok(log)
    }

    /// Of nodes that run on battery, in percent.
    fn lowest_battery(&self) -> Option<u8> {
        let nodes = self.nodes.values().filter(|node| node.is_connected);
        let healths = nodes.map(|node| &node.inventory.state.health);
        healths.filter(|health| health.on_battery).filter_map(|health| health.battery_percent).min()
    }

    /// The same submission came before.
    ///
    /// # Errors
    /// Another one came under its key.
    fn repeated(&self, submit: &Submit, tenant: &str) -> Result<Option<Arc<Log>>, Failure> {
        let Some(key) = &submit.idempotency_key else { return Ok(None) };
        let Some(record) = self.records.of_key(tenant, key) else { return Ok(None) };
        let asks = |of: &Submit| (of.pipeline.clone(), of.request.clone(), of.models.clone());
        if asks(&record.submit) == asks(submit) {
            return Ok(Some(record.log.clone()));
        }
        let text = format!(
            "the key {key:?} is that of another submission, {}, for ten minutes after its end: take another key",
            record.log.id
        );
        Err(Failure::new(FailureCode::Conflict, text))
    }

    fn check_pipeline(&self, name: &str) -> Result<(), Failure> {
        let known = self.catalog.pipelines.keys().chain(&self.catalog.builtins);
        if known.clone().any(|known| known == name) {
            return Ok(());
        }
        let names: Vec<&str> = known.map(String::as_str).collect();
        let text = format!(
            "no pipeline is called {name:?}; there are {} (dunlin deploy adds one)",
            names.join(", ")
        );
        Err(Failure::new(FailureCode::NotFound, text))
    }

    /// The name by which the pipeline opens its model, and the alias that stands behind it.
    fn model(&self, submit: &Submit) -> Result<(String, String), Failure> {
        match submit.models.as_slice() {
            [] => {
                let only = match self.catalog.aliases.as_slice() {
                    [alias] => alias.name.clone(),
                    _ => DEFAULT_MODEL.to_owned(),
                };
                Ok((only.clone(), only))
            }
            [model] => {
                let alias = if model.value.is_empty() { &model.name } else { &model.value };
                Ok((model.name.clone(), alias.clone()))
            }
            _ => {
                let text = "a pipeline of the fleet uses one model; run it with `dunlin run` to use more";
                Err(Failure::new(FailureCode::Unsupported, text))
            }
        }
    }
}

/// Tokens that it may generate, as its limits or its parameters say.
fn max_tokens(submit: &Submit) -> Option<u64> {
    let named =
        submit.request.params.iter().find(|param| matches!(param.name.as_str(), "max_tokens" | "max-tokens"));
    let asked = named.and_then(|param| param.value.parse().ok());
    [asked, submit.limits.tokens].into_iter().flatten().min()
}

/// Two submissions of the same are alike, whoever brings them to a node.
fn fingerprint(submit: &Submit, tenant: &str) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    tenant.hash(&mut hasher);
    submit.pipeline.hash(&mut hasher);
    submit.request.body.hash(&mut hasher);
    for param in submit.request.params.iter().chain(&submit.models) {
        (&param.name, &param.value).hash(&mut hasher);
    }
    Fingerprint(hasher.finish())
}
