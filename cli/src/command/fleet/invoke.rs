//! `dunlin invoke`.

use std::time::{Duration, Instant};

use clap_complete::engine::ArgValueCandidates;
use dunlin_host::{Chunk, Response};
use dunlin_link::{ReceiveError, Receiver};
use dunlin_protocol::{
    Answer, Ask, Emission, Ended, Failure as Fault, FailureCode, FromInvocation, InvocationId, Limits,
    Opening, Outcome, Parameter, Placed, Submit, Targets, ToInvocation, Usage, limits::MAX_REQUEST_BODY,
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::{
    arguments::Global,
    command::run::{
        report::{Form, Report, result},
        request::RequestArguments,
    },
    completion, duration,
    failure::{Exit, Failure},
    fleet::{
        Client,
        client::told,
        energy,
        explain::{self, micros, point, usage},
    },
    interrupt::Interrupt,
    runtime::{SHUTDOWN, beside_engine},
    terminal::{self, progress::Progress, style},
};

const HELP: &str = "\
Examples:
  dunlin invoke classify --text \"disk nearly full\" --param choices=ok,warning,critical
  dunlin invoke summarize --input report.txt --policy energy --explain
  dunlin invoke chat --text \"Hello\" --ttft 800ms --tpot 150ms --json | jq .usage

What the pipeline emits comes to stdout as it comes; a line with the node and the usage follows on stderr. If its node is lost \
in mid-answer, the answer goes on from another.";

/// Run a pipeline on the fleet
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Invoke {
    /// A pipeline that comes with Dunlin, or one that was deployed
    #[arg(add = ArgValueCandidates::new(completion::pipelines))]
    pipeline: String,
    /// The model: an alias of the fleet (`dunlin models ls`)
    #[arg(
        long,
        short,
        value_name = "ALIAS",
        env = "DUNLIN_MODEL",
        default_value = "demo",
        hide_env_values = true
    )]
    model: String,
    #[command(flatten)]
    request: RequestArguments,
    /// A policy of the fleet, by its name or the beginning of it (latency, energy, balanced, interactive, battery)
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Time to the first token that must be kept
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttft: Option<Duration>,
    /// Time per further token that must be kept
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    tpot: Option<Duration>,
    /// It ends by then, in any case
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    deadline: Option<Duration>,
    /// Joules per token that must be kept
    #[arg(long, value_name = "J")]
    joules: Option<f64>,
    /// Everything random comes from it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Two submissions with the same key are one invocation: come back with it after a lost connection
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Something to know of the request, for the routes of policies
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<Parameter>,
    /// Show why it went where it went
    #[arg(long)]
    explain: bool,
    /// One JSON document on stdout: the result, the usage, where it ran
    #[arg(long)]
    json: bool,
    /// JSON lines on stdout, as they come
    #[arg(long, conflicts_with = "json")]
    json_lines: bool,
}

fn label(text: &str) -> Result<Parameter, String> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = named.ok_or_else(|| "a label is written NAME=VALUE".to_owned())?;
    Ok(Parameter { name: name.to_owned(), value: value.to_owned() })
}

/// What is queued for so long is said to be.
const QUEUED: Duration = Duration::from_secs(3);

/// How a program that is traced tells those that it starts, by the convention of OpenTelemetry.
const TRACEPARENT: &str = "TRACEPARENT";

/// What came of it.
struct Answered {
    invocation: Option<InvocationId>,
    placed: Vec<Placed>,
    body: Vec<u8>,
    ended: Result<Box<Ended>, Fault>,
}

impl Invoke {
    /// # Errors
    /// Whatever stands between the input and an answer.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let request = self.request.read()?;
        if request.body.len() > MAX_REQUEST_BODY {
            return Err(Failure::usage(format!("the input has more than {} kB", MAX_REQUEST_BODY / 1000))
                .hint("split it, and invoke the pipeline on each part")
                .into());
        }
        let submit = self.submit(request);
        let runtime = beside_engine()?;
        let done = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let client = interrupt.unless(Client::connect()).await?;
            let mut report = Report::new(self.form(), Progress::new(global.quiet));
            let began = Instant::now();
            let told = async {
                let answered = follow(&client, submit, &mut report, &interrupt, global).await?;
                self.conclude(&client, &answered, &mut report, began.elapsed(), global, &interrupt).await
            };
            let told = told.await;
            client.leave().await;
            told
        });
        runtime.shutdown_timeout(SHUTDOWN);
        done
    }

    fn form(&self) -> Form {
        match (self.json, self.json_lines) {
            (true, _) => Form::Json,
            (_, true) => Form::JsonLines,
            _ => Form::Text,
        }
    }

    fn submit(&self, request: dunlin_host::Request) -> Submit {
        let ms = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
        let params = request.params.into_iter().map(|(name, value)| Parameter { name, value });
        Submit {
            pipeline: self.pipeline.clone(),
            request: dunlin_protocol::Request {
                content_type: request.content_type,
                body: ByteBuf::from(request.body),
                params: params.collect(),
            },
            models: vec![Parameter { name: self.model.clone(), value: String::new() }],
            idempotency_key: self.key.clone(),
            policy: self.policy.clone(),
            targets: Targets {
                ttft_ms: ms(self.ttft),
                tpot_ms: ms(self.tpot),
                deadline_ms: ms(self.deadline),
                millijoules_per_token: self.joules.map(|joules| (joules * 1000.0) as u64),
                min_quality: None,
            },
            grants: Default::default(),
            limits: Limits { time_ms: ms(self.deadline), ..Limits::default() },
            seed: self.seed,
            labels: self.labels.clone(),
            trace: std::env::var(TRACEPARENT).ok().and_then(|text| text.parse().ok()),
        }
    }

    async fn conclude(
        &self,
        client: &Client,
        answered: &Answered,
        report: &mut Report,
        wall_time: Duration,
        global: Global,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        let (response, failure) = outcome(answered, interrupt);
        let explanation = match answered.invocation {
            Some(invocation) if self.explain && answered.ended.is_ok() => {
                match client.ask(Ask::Explain { invocation }).await? {
                    Answer::Explanation(explanation) => Some(explanation),
                    _ => None,
                }
            }
            _ => None,
        };
        report.close(response.as_ref(), || {
            let mut document = response.as_ref().map_or_else(|| json!({}), result);
            if let Some(failure) = &failure {
                document["error"] = failure.json();
            }
            document["invocation"] = json!(answered.invocation.map(|id| id.to_string()));
            document["usage"] = json!(answered.ended.as_ref().ok().map(|ended| usage(&ended.usage)));
            document["attempts"] = answered.placed.iter().map(placed).collect();
            document["explanation"] = json!(explanation.as_ref().map(|of| explain::document(of)));
            document["wall_ms"] = json!((wall_time.as_secs_f64() * 1e4).round() / 10.0);
            document
        })?;
        if let Ok(ended) = &answered.ended {
            if !global.quiet {
                terminal::tell(line(&ended.usage, answered, wall_time));
            }
            if failure.is_some() && !ended.log.is_empty() {
                terminal::tell(format_args!("the pipeline's log:\n{}", ended.log.trim_end()));
            }
        }
        if let (Form::Text, Some(explanation)) = (self.form(), &explanation) {
            explain::show(explanation)?;
        }
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// Submits, and takes everything that comes.
async fn follow(
    client: &Client,
    submit: Submit,
    report: &mut Report,
    interrupt: &Interrupt,
    global: Global,
) -> anyhow::Result<Answered> {
    let (mut to, mut from) = client.begin(Opening::Submit(Box::new(submit))).await?;
    let mut answered = Answered {
        invocation: None,
        placed: Vec::new(),
        body: Vec::new(),
        ended: Err(Fault::new(FailureCode::Unavailable, "the scheduler broke off")),
    };
    let mut is_cancelled = false;
    let mut is_told = global.quiet;
    let queued = tokio::time::sleep(QUEUED);
    tokio::pin!(queued);
    loop {
        let said = tokio::select! {
            said = next(&mut from) => said?,
            () = &mut queued, if !is_told => {
                is_told = true;
                if let (Some(invocation), true) = (answered.invocation, answered.placed.is_empty()) {
                    terminal::tell(format_args!(
                        "queued: no board takes it yet; `dunlin explain {invocation}` says why, Ctrl-C gives it up"
                    ));
                }
                continue;
            }
            () = interrupt.token.cancelled(), if !is_cancelled => {
                is_cancelled = true;
                to.send(&ToInvocation::Cancel).await?;
                continue;
            }
        };
        match said {
            Some(FromInvocation::Accepted { invocation }) => answered.invocation = Some(invocation),
            Some(FromInvocation::Placed(placed)) => answered.placed.push(*placed),
            Some(FromInvocation::Chunk(chunk)) => {
                for emission in chunk.emissions {
                    if let Err(error) = take(emission, &mut answered, report) {
                        // Nobody reads what comes: it need not come.
                        to.send(&ToInvocation::Cancel).await?;
                        return Err(error.into());
                    }
                }
            }
            Some(FromInvocation::Ended(ended)) => answered.ended = Ok(ended),
            Some(FromInvocation::Refused(fault)) => answered.ended = Err(fault),
            None => return Ok(answered),
        }
    }
}

async fn next(from: &mut Receiver<FromInvocation>) -> anyhow::Result<Option<FromInvocation>> {
    from.receive().await.map_err(|error| broken_off(&error).into())
}

fn broken_off(error: &ReceiveError) -> Failure {
    match error {
        ReceiveError::Frame(_) => {
            Failure::new(Exit::Failed, format!("the scheduler speaks another dialect: {error}"))
                .hint("`dunlin --version` here and on its machine: the older one wants to be upgraded")
        }
        ReceiveError::Lost(_) | ReceiveError::Reset(_) | ReceiveError::Truncated | ReceiveError::Ended => {
            let text = format!("the scheduler is gone, and with it what it ran for you: {error}");
            Failure::new(Exit::Engine, text).hint("`dunlin nodes` answers once it is back; then ask again")
        }
    }
}

fn take(emission: Emission, answered: &mut Answered, report: &mut Report) -> std::io::Result<()> {
    match emission {
        Emission::Text(text) => report.chunk(Chunk::Text(text)),
        Emission::Json(json) => report.chunk(Chunk::Json(json)),
        Emission::Progress(thousandths) => report.chunk(Chunk::Progress(f32::from(thousandths) / 1000.0)),
        Emission::Body(bytes) => {
            answered.body.extend_from_slice(&bytes);
            Ok(())
        }
        Emission::Tokens { .. } => Ok(()),
    }
}

fn outcome(answered: &Answered, interrupt: &Interrupt) -> (Option<Response>, Option<Failure>) {
    let ended = match &answered.ended {
        Ok(ended) => ended,
        Err(fault) => return (None, Some(told(fault))),
    };
    match &ended.outcome {
        Outcome::Done { content_type } => {
            (Some(Response { content_type: content_type.clone(), body: answered.body.clone() }), None)
        }
        Outcome::Failed(fault) => (None, Some(told(fault))),
        Outcome::Cancelled | Outcome::HandedOver => (None, Some(interrupt.failure())),
        Outcome::Expired => {
            let failure = Failure::new(Exit::Deadline, "the deadline passed");
            (
                None,
                Some(failure.hint(
                    "--deadline TIME gives it longer, --explain says where the time was expected to go",
                )),
            )
        }
    }
}

/// The line under an answer.
fn line(usage: &Usage, answered: &Answered, wall_time: Duration) -> String {
    let faint = style::FAINT;
    let cached =
        if usage.cached_tokens > 0 { format!(" + {} cached", usage.cached_tokens) } else { String::new() };
    let emulated = if usage.emulated { ", emulated" } else { "" };
    let mut parts = vec![match answered.placed.last() {
        Some(placed) => format!("on {} ({}{emulated})", usage.node, point(&placed.point)),
        None => "on no board".to_owned(),
    }];
    if answered.placed.len() > 1 {
        let earlier: Vec<String> =
            answered.placed.iter().rev().skip(1).rev().map(|placed| placed.node.to_string()).collect();
        parts.push(format!("begun on {}", earlier.join(", ")));
    }
    if usage.scored_tokens > 0 {
        parts.push(format!("{} tokens scored", usage.scored_tokens));
    }
    if usage.prompt_tokens + usage.cached_tokens + usage.output_tokens > 0 {
        parts.push(format!(
            "{}{cached} prompt tokens, {} output tokens",
            usage.prompt_tokens, usage.output_tokens
        ));
    }
    if usage.ttft_us > 0 {
        parts.push(format!("TTFT {}", micros(usage.ttft_us)));
    }
    if usage.tpot_p50_us > 0 {
        let rate = 1e6 / usage.tpot_p50_us as f64;
        parts.push(format!("TPOT {}, {rate:.0} tokens/s", micros(usage.tpot_p50_us)));
    }
    parts.extend(usage.energy.as_ref().map(energy::line));
    let id = answered.invocation.map(|id| id.to_string()).unwrap_or_default();
    let parts = parts.join(" · ");
    format!("{faint}usage: {parts} · {} in all · {id}{faint:#}", duration::show(wall_time))
}

fn placed(placed: &Placed) -> Value {
    json!({
        "attempt": placed.attempt.number,
        "node": placed.node.to_string(),
        "point": placed.point,
        "model": placed.model.map(|model| model.to_string()),
        "predicted": placed.predicted,
    })
}
