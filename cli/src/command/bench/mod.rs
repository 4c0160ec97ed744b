//! `dunlin bench`.

mod options;
mod show;

use std::{fs, path::Path, sync::Arc};

use dunlin_load::{
    Client, ClientError, Done, Endpoint, Fault, Outcome, Plan, Report, csv, measure_words, page,
    plan::{Pace, Source},
    run, warm_up,
};

pub(crate) use options::Bench;

use crate::{
    arguments::Global,
    failure::{Exit, Failure},
    interrupt::Interrupt,
    runtime::{SHUTDOWN, runtime},
    terminal::{
        self,
        progress::{Bar, Progress},
    },
};

/// Parts of a bar for time.
const PARTS: u64 = 1000;

impl Bench {
    /// # Errors
    /// If the server does not answer as it should, or not at all. Requests that fail during the load are part of the report.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        // What cannot be written at the end is told before the load.
        for file in [&self.html, &self.csv].into_iter().flatten() {
            writable(file)?;
        }
        let mut plan = self.plan()?;
        let runtime = runtime()?;
        let (outcome, client, interrupt) = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let client = Arc::new(interrupt.unless(self.client()).await?);
            let progress = Progress::new(global.quiet);
            interrupt.unless(self.prepare(&client, &mut plan, &progress)).await?;
            let bar = progress.count("measuring", plan.count().unwrap_or(PARTS as usize));
            let outcome = run(client.clone(), &plan, &interrupt.token, |done| tell(&bar, &plan, done)).await;
            anyhow::Ok((outcome, client, interrupt))
        })?;
        runtime.shutdown_timeout(SHUTDOWN);
        let report = Report::of(&plan, &outcome, self.slo());
        self.write(&plan, &client, &outcome, &report)?;
        if self.json {
            terminal::print_json(&show::document(self, &plan, client.endpoint(), &report))?;
        } else {
            show::print(&show::facts(&plan, client.endpoint()), &report, global.quiet)?;
        }
        if outcome.was_stopped {
            return Err(interrupt.failure().into());
        }
        match report.failures.first() {
            Some(first) if report.good == 0 => Err(Failure::new(
                Exit::Failed,
                format!("no request was answered; the first: {}", first.example),
            )
            .into()),
            _ => Ok(()),
        }
    }

    /// The client, and the model that is meant.
    async fn client(&self) -> anyhow::Result<Client> {
        let endpoint = self.endpoint(self.model.clone().unwrap_or_default())?;
        let client = new(endpoint, self)?;
        if self.model.is_some() {
            return Ok(client);
        }
        let models = client.models().await.map_err(|error| match error {
            ClientError::Models(fault) => unanswered(&fault, client.endpoint()),
            error => Failure::usage(error.to_string()),
        })?;
        match &models[..] {
            [one] => new(self.endpoint(one.clone())?, self),
            [] => Err(Failure::usage("the server lists no model").hint("name one: --model").into()),
            several => Err(Failure::usage("the server has several models")
                .hint(format!("name one: --model {}", several.join(" | ")))
                .into()),
        }
    }

    async fn prepare(&self, client: &Client, plan: &mut Plan, progress: &Progress) -> anyhow::Result<()> {
        let bar = progress.wait("warming up");
        let work = async {
            if plan.needs_words()
                && let Some(ruler) = measure_words(client, plan.seed).await?
            {
                plan.ruler = ruler;
            }
            warm_up(client, plan, self.warmup).await
        };
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = tick.tick() => bar.tick(),
            }
        };
        done.map_err(|fault| unanswered(&fault, client.endpoint()).into())
    }

    fn write(&self, plan: &Plan, client: &Client, outcome: &Outcome, report: &Report) -> anyhow::Result<()> {
        if let Some(file) = &self.html {
            let endpoint = client.endpoint();
            let title = format!("{} on {}", endpoint.model, endpoint.base);
            save(file, page(&title, &show::facts(plan, endpoint), report, &outcome.samples).as_bytes())?;
        }
        if let Some(file) = &self.csv {
            save(file, &csv(&outcome.samples)?)?;
        }
        Ok(())
    }
}

fn new(endpoint: Endpoint, bench: &Bench) -> anyhow::Result<Client> {
    Client::new(endpoint, &bench.trust()).map_err(|error| {
        let failure = Failure::usage(error.to_string());
        match error {
            ClientError::Url(_) => failure.hint("write it as in --url http://127.0.0.1:4749").into(),
            _ => failure.into(),
        }
    })
}

/// Why no load was begun.
fn unanswered(fault: &Fault, endpoint: &Endpoint) -> Failure {
    let base = &endpoint.base;
    let failure = Failure::new(Exit::Failed, format!("{base}: {fault}"));
    match fault {
        Fault::Connect(_) => {
            failure.hint("is a server running there? `dunlin up --http` is one, on port 4749")
        }
        Fault::Status { status: 401 | 403, .. } => {
            failure.hint("give its key: --key KEY, or DUNLIN_KEY; `dunlin key new NAME` makes one of a fleet")
        }
        Fault::Status { status: 404, .. } => {
            failure.hint("is the model right, and does the address end before /chat/completions?")
        }
        Fault::Status { status: 400, said, .. } if said.contains("stream_options") => {
            failure.hint("this server does not count tokens in streams: --no-usage")
        }
        Fault::Status { status: 429 | 503, retry_after: Some(wait), .. } => {
            failure.hint(format!("it asks to wait {} s", wait.as_secs()))
        }
        Fault::NotAStream(_) | Fault::Malformed(_) => {
            failure.hint(format!("is this a server of OpenAI's API? {base}/models should list its models"))
        }
        Fault::Empty => failure.hint("ask for more tokens: --output-tokens"),
        Fault::Timeout(_) => failure.hint("--timeout lets it take longer"),
        _ => failure,
    }
}

fn tell(bar: &Bar, plan: &Plan, done: Done) {
    let failed = if done.failed > 0 { format!(", {} failed", done.failed) } else { String::new() };
    bar.say(&format!("measuring: {} under way{failed}", done.in_flight));
    let position = match (plan.count(), plan.duration) {
        (Some(_), _) => done.ended as u64,
        (None, Some(limit)) => {
            let share = done.since.as_secs_f64() / limit.as_secs_f64();
            (share.min(1.0) * PARTS as f64) as u64
        }
        (None, None) => 0,
    };
    bar.set_position(position);
}

fn writable(file: &Path) -> Result<(), Failure> {
    let opened = fs::OpenOptions::new().append(true).create(true).open(file);
    opened.map(drop).map_err(|error| Failure::usage(format!("{} cannot be written: {error}", file.display())))
}

fn save(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(file, bytes).map_err(|error| {
        Failure::new(Exit::Failed, format!("{} cannot be written: {error}", file.display())).into()
    })
}

/// As people call it.
fn pace(plan: &Plan) -> String {
    let made_up = matches!(plan.work, Source::MadeUp { .. });
    match plan.pace {
        Pace::Poisson { rate } => format!("{rate} requests/s, Poisson"),
        Pace::Constant { rate } => format!("{rate} requests/s, equal gaps"),
        Pace::Closed { concurrency } => {
            format!("{concurrency} at once{}", if made_up { "" } else { ", requests of a trace" })
        }
        Pace::Trace { speed: 1.0 } => "at the times of a trace".to_owned(),
        Pace::Trace { speed } => format!("at the times of a trace, {speed} times as fast"),
    }
}
