//! What is asked of a load.

use std::{fs::File, io::BufReader, path::PathBuf, sync::Arc, time::Duration};

use dunlin_load::{
    Api, Endpoint, MAX_IN_FLIGHT, MAX_REQUESTS, Plan, Slo, Trust,
    plan::{Lengths, Pace, Ruler, Source, Trace},
};
use serde_json::{Map, Value};

use crate::{
    command::fleet::http,
    duration,
    failure::{Exit, Failure},
    runtime::random_seed,
};

const DEFAULT_DURATION: Duration = Duration::from_secs(30);
const MAX_RATE: f64 = 100_000.0;

const HELP: &str = "\
Examples:
  dunlin bench --model demo --concurrency 4 --requests 100
  dunlin bench --url http://127.0.0.1:8080 --rate 2 --duration 60s --slo-ttft 800ms --slo-tpot 188ms --html report.html
  dunlin bench --url https://example.net/v1 --model m --trace AzureLLMInferenceTrace_conv.csv --requests 500 --speed 4
  dunlin bench --model demo --rate 5 --field top_p=0.9 --json | jq .ttft_ms.p99

With --rate and --trace the loop is open: requests are sent when they are due, whatever becomes of those before, and times count \
from when they were due; so a server (or this client) that falls behind hides nothing. With --concurrency it is closed: the \
server sets the pace.

TTFT is to the first piece with a token in it, TPOT is (whole answer - TTFT) / (tokens - 1) by the server's count of tokens, ITL \
is between two pieces. Goodput is of requests that keep all targets; those that fail keep none. In brackets: the interval of 95 % by \
bootstrap. Prompts are made of words, each prompt begins differently; two short requests first show how many tokens words are.

A trace has lines of JSON, {\"arrival\": SECONDS, \"prompt_tokens\": N or \"prompt\": TEXT, \"max_tokens\": N}, or the columns \
TIMESTAMP,ContextTokens,GeneratedTokens of the traces that Azure published.";

/// Put a load on a server of OpenAI's API, and measure what comes of it
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{HELP}\n\nExit codes:\n{}", Exit::TABLE))]
pub(crate) struct Bench {
    /// The server, with or without /v1 [default: the scheduler of this machine that speaks HTTP]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The model [default: the only one that the server lists]
    #[arg(long, short, value_name = "NAME")]
    pub(super) model: Option<String>,
    /// Which API: chat, or completions
    #[arg(long, value_name = "API", default_value = "chat", value_parser = api)]
    api: Api,
    /// Its API key
    #[arg(long, value_name = "KEY", env = "DUNLIN_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Trust certificates that are signed by one of this file, in PEM, instead of those that browsers trust
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Open loop: so many requests a second
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, group = "pace", help_heading = "Load")]
    rate: Option<f64>,
    /// Equal gaps between requests, instead of gaps by chance
    #[arg(long, requires = "rate", help_heading = "Load")]
    constant: bool,
    /// Closed loop: so many requests at once [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_IN_FLIGHT as i64), group = "pace", help_heading = "Load")]
    concurrency: Option<u32>,
    /// Open loop: the requests of a trace, at its times; with --concurrency in a closed loop
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "prompt_tokens", "output_tokens"], help_heading = "Load")]
    trace: Option<PathBuf>,
    /// So many times as fast as the trace
    #[arg(long, value_name = "TIMES", requires = "trace", value_parser = rate, default_value_t = 1.0, hide_default_value = true, help_heading = "Load")]
    speed: f64,
    /// So many requests
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_REQUESTS as i64), help_heading = "Load")]
    requests: Option<u32>,
    /// No request begins later [default: 30s, where neither --requests nor --trace says]
    #[arg(long, short, value_name = "TIME", value_parser = duration::parse, help_heading = "Load")]
    duration: Option<Duration>,
    /// Tokens of a prompt, with its template: a number, or a range as in 128..512
    #[arg(long, value_name = "N|LOW..HIGH", default_value = "128", help_heading = "Load")]
    prompt_tokens: Lengths,
    /// Most tokens of an answer: a number, or a range
    #[arg(long, value_name = "N|LOW..HIGH", default_value = "64", help_heading = "Load")]
    output_tokens: Lengths,
    /// A further field of each request, as JSON or text; `ignore_eos=true` is known to some servers
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field, help_heading = "Load")]
    fields: Vec<(String, Value)>,
    /// Do not ask for the server's count of tokens
    #[arg(long, help_heading = "Load")]
    no_usage: bool,
    /// What a request may take in all
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration::parse, help_heading = "Load")]
    timeout: Duration,
    /// Requests before the load, one after another, that count nowhere
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load")]
    pub(super) warmup: usize,
    /// The same load each time [default: a new one]
    #[arg(long, value_name = "N", help_heading = "Load")]
    seed: Option<u64>,

    /// Target of the first token
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Report")]
    slo_ttft: Option<Duration>,
    /// Target of each further token
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Report")]
    slo_tpot: Option<Duration>,
    /// One JSON document
    #[arg(long, help_heading = "Report")]
    pub(super) json: bool,
    /// Also write a page with plots
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(super) html: Option<PathBuf>,
    /// Also write a line for each request
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(super) csv: Option<PathBuf>,
}

fn api(text: &str) -> Result<Api, String> {
    match text {
        "chat" => Ok(Api::Chat),
        "completions" => Ok(Api::Completions),
        _ => Err("there are chat and completions".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= MAX_RATE => Ok(rate),
        _ => Err(format!("a number above 0, and at most {MAX_RATE}")),
    }
}

fn field(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, as in top_p=0.9")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

impl Bench {
    /// # Errors
    /// If there is no such trace, or it is none.
    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        let trace = self.trace.as_ref().map(read).transpose()?;
        let pace = match (self.rate, self.concurrency) {
            (Some(rate), _) if self.constant => Pace::Constant { rate },
            (Some(rate), _) => Pace::Poisson { rate },
            (None, None) if trace.is_some() => Pace::Trace { speed: self.speed },
            (None, concurrency) => Pace::Closed { concurrency: concurrency.unwrap_or(1) as usize },
        };
        let is_bounded = self.requests.is_some() || trace.is_some();
        Ok(Plan {
            pace,
            work: trace.map_or(
                Source::MadeUp { prompt_tokens: self.prompt_tokens, output_tokens: self.output_tokens },
                |trace| Source::Trace(Arc::new(trace)),
            ),
            requests: self.requests.map(|requests| requests as usize),
            duration: self.duration.or((!is_bounded).then_some(DEFAULT_DURATION)),
            seed: self.seed.unwrap_or_else(random_seed),
            ruler: Ruler::default(),
        })
    }

    /// # Errors
    /// If no address is given, and none is known.
    pub(super) fn endpoint(&self, model: String) -> anyhow::Result<Endpoint> {
        Ok(Endpoint {
            base: self.base()?,
            api: self.api,
            model,
            key: self.key.clone().filter(|key| !key.is_empty()),
            extra: self.fields.iter().cloned().collect::<Map<String, Value>>(),
            asks_usage: !self.no_usage,
            timeout: self.timeout,
        })
    }

    fn base(&self) -> anyhow::Result<String> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => http::written()?.ok_or_else(|| {
                Failure::usage("no scheduler of this machine speaks HTTP")
                    .hint("say where the server is: --url http://HOST:PORT; or start one: dunlin up --http")
            })?,
        };
        Ok(base(&url))
    }

    pub(super) fn trust(&self) -> Trust {
        self.ca.clone().map_or(Trust::Public, Trust::File)
    }

    pub(super) fn slo(&self) -> Slo {
        Slo { ttft: self.slo_ttft, tpot: self.slo_tpot }
    }
}

fn read(path: &PathBuf) -> Result<Trace, Failure> {
    let shown = path.display();
    let file =
        File::open(path).map_err(|error| Failure::usage(format!("{shown} cannot be read: {error}")))?;
    Trace::read(BufReader::new(file)).map_err(|error| {
        Failure::usage(format!("{shown}: {error}")).hint("`dunlin bench --help` says what a trace looks like")
    })
}

/// Up to `/v1`, whatever of it was written.
fn base(url: &str) -> String {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let url = url.trim_end_matches('/');
    let url = ["/chat/completions", "/completions"]
        .into_iter()
        .find_map(|path| url.strip_suffix(path))
        .unwrap_or(url);
    // A path that is there is meant; servers have their API at others, too.
    let after_host = url.split_once("://").map_or("", |(_, rest)| rest);
    if after_host.contains('/') { url.to_owned() } else { format!("{url}/v1") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_in_many_ways() {
        for (text, expected) in [
            ("http://127.0.0.1:4749", "http://127.0.0.1:4749/v1"),
            ("127.0.0.1:4749/", "http://127.0.0.1:4749/v1"),
            ("https://h/v1/", "https://h/v1"),
            ("https://h/v1/chat/completions", "https://h/v1"),
            ("https://h/openai/v1", "https://h/openai/v1"),
        ] {
            assert_eq!(base(text), expected, "{text}");
        }
    }

    #[test]
    fn fields_are_json_or_text() {
        let value = |text: &str| field(text).unwrap().1;
        assert_eq!((value("a=1"), value("a=true"), value("a=b c")), (1.into(), true.into(), "b c".into()));
        assert!(field("a").is_err());
    }
}
