//! The command line.

use clap::{ArgAction, Parser, Subcommand};
use clap_complete::engine::ArgValueCandidates;

use crate::{
    command::{
        bench, build, chat, check, completions, costs, doctor, eval,
        fleet::{
            agent, console, deploy, explain, invoke, key, login, models, nodes, policy, scheduler, stand,
            token, top, up,
        },
        meter, model, new, pipelines, profile, run,
    },
    completion,
    failure::Exit,
    terminal::style,
};

const EXAMPLES: &str = "\
Examples:
  echo \"disk nearly full\" | dunlin run classify --param choices=ok,warning,critical
  dunlin run extract --param schema=@schema.json --input line.txt | jq .
  dunlin run ./mine.wasm --model ./qwen2.5-0.5b-q4_k_m.gguf < question.txt
  dunlin chat
  dunlin up                                     a fleet of one, to try
  dunlin invoke classify --text \"disk nearly full\" --param choices=ok,warning --explain
  dunlin doctor";

const ENVIRONMENT: &str = "\
Environment:
  DUNLIN_MODEL           the model where --model is not given
  DUNLIN_ENGINE          the engine executable, where it is not beside this command
  DUNLIN_BUNDLED_MODELS  the folder of models that came with Dunlin
  DUNLIN_TOOLCHAINS      where compilers for pipelines are, if not in the cache
  DUNLIN_LOG             what is logged to stderr: debug, or dunlin_host=debug,dunlin_engine=info
  OTEL_EXPORTER_OTLP_ENDPOINT  where spans go, where --otlp is not given
  NO_COLOR               no colours, whatever it is set to
  XDG_DATA_HOME          where models are
  XDG_CACHE_HOME         where compiled pipelines and compilers are
  XDG_STATE_HOME         where the chat's history is
  XDG_CONFIG_HOME        where meters.toml and agent.toml are";

/// Runs prompt pipelines on models, on this machine or on a fleet of boards.
///
/// A pipeline is a WebAssembly component that uses a model through the interface `dunlin:llm`; a model is a GGUF file, which
/// runs in a process of its own. Some pipelines are part of this command: `dunlin pipelines` lists them.
#[derive(Debug, Parser)]
#[command(
    name = "dunlin",
    version,
    long_version = crate::version::LONG,
    styles = style::help(),
    max_term_width = 110,
    after_help = "`dunlin COMMAND --help` says more, with examples.",
    after_long_help = format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\nExit codes:\n{}", Exit::TABLE),
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options of all commands.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// No progress, no usage, no notes; errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Log what happens to stderr; twice for more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How to log: for people, or a JSON object a line, with times and the ids of traces
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Whether to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Run>),
    Chat(chat::Chat),
    Pipelines(pipelines::Pipelines),
    New(new::New),
    Build(build::Build),
    Check(check::Check),
    #[command(subcommand)]
    Model(model::Command),
    Eval(eval::Eval),
    Profile(profile::Profile),
    Meter(meter::Meter),
    #[command(subcommand)]
    Costs(costs::Command),
    Up(up::Up),
    Scheduler(scheduler::Scheduler),
    Agent(Box<agent::Agent>),
    #[command(subcommand)]
    Token(token::Command),
    #[command(subcommand)]
    Key(key::Command),
    Console(console::Console),
    Login(login::Login),
    Nodes(nodes::Nodes),
    Top(top::Top),
    #[command(subcommand)]
    Models(models::Command),
    Deploy(deploy::Deploy),
    Invoke(Box<invoke::Invoke>),
    Explain(explain::Explain),
    #[command(subcommand)]
    Policy(policy::Command),
    Drain(stand::Drain),
    Cordon(stand::Cordon),
    Mode(stand::Mode),
    Park(stand::Park),
    Wake(stand::Wake),
    Deny(stand::Deny),
    Bench(Box<bench::Bench>),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// The model of a command.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(crate) struct ModelArgument {
    /// The model: an alias (`demo`, `demo:small`), or a GGUF file
    #[arg(
        long,
        short,
        value_name = "ALIAS|FILE",
        env = "DUNLIN_MODEL",
        default_value = "demo",
        hide_env_values = true,
        add = ArgValueCandidates::new(completion::models)
    )]
    pub(crate) model: String,
}
