//! The command `dunlin`: runs prompt pipelines, chats, keeps models, measures them, says what this machine has; and is every
//! part of a fleet: scheduler, agent, and what people ask of them.
//!
//! Each subcommand is a file of `command`; what they share is beside it by noun: engines, the host, pipelines and models by
//! name, failures with their exit codes. Read `command::run` first: it is the way of one request.
//!
//! Absent here: llama.cpp, wasmtime, anything that a pipeline or an engine does.

mod arguments;
mod board;
mod command;
mod completion;
mod duration;
mod engine;
mod explain;
mod failure;
mod fleet;
mod folders;
mod host;
mod interrupt;
mod log;
mod meters;
mod pipelines;
mod project;
mod runtime;
mod store;
mod table_file;
mod terminal;
mod usage;
mod version;

use std::{env, process::ExitCode};

use anstream::ColorChoice;
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;

use self::{
    arguments::{Arguments, Color, Command},
    command::fleet::agent::{TRY_CONFINEMENT, WORKER},
    failure::Failure,
};

/// What the executable does.
pub fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|first| first == host::COMPILE_CHILD) {
        return dunlin_host::compile_child_main();
    }
    if let (Some(WORKER), Some(options)) = (env::args().nth(1).as_deref(), env::args().nth(2)) {
        return match options.as_str() {
            TRY_CONFINEMENT => command::fleet::agent::try_confinement(),
            options => dunlin_worker::worker_main(options),
        };
    }
    CompleteEnv::with_factory(Arguments::command).complete();
    match execute(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failure = Failure::of(&error);
            failure.report();
            failure.exit.into()
        }
    }
}

fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let global = arguments.global;
    match global.color {
        Color::Auto => {}
        Color::Always => ColorChoice::AlwaysAnsi.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
    }
    log::start(global.verbose, global.log_format)?;
    match &arguments.command {
        Command::Run(run) => run.execute(global),
        Command::Chat(chat) => chat.execute(global),
        Command::Pipelines(pipelines) => pipelines.execute(),
        Command::New(new) => new.execute(global),
        Command::Build(build) => build.execute(global),
        Command::Check(check) => check.execute(),
        Command::Model(model) => model.execute(global),
        Command::Eval(eval) => eval.execute(global),
        Command::Profile(profile) => profile.execute(global),
        Command::Meter(meter) => meter.execute(global),
        Command::Costs(costs) => costs.execute(global),
        Command::Up(up) => up.execute(global),
        Command::Scheduler(scheduler) => scheduler.execute(global),
        Command::Agent(agent) => agent.execute(global),
        Command::Token(token) => token.execute(),
        Command::Key(key) => key.execute(),
        Command::Console(console) => console.execute(),
        Command::Login(login) => login.execute(),
        Command::Nodes(nodes) => nodes.execute(),
        Command::Top(top) => top.execute(global),
        Command::Models(models) => models.execute(global),
        Command::Deploy(deploy) => deploy.execute(global),
        Command::Invoke(invoke) => invoke.execute(global),
        Command::Explain(explain) => explain.execute(),
        Command::Policy(policy) => policy.execute(),
        Command::Drain(drain) => drain.execute(),
        Command::Cordon(cordon) => cordon.execute(),
        Command::Mode(mode) => mode.execute(global),
        Command::Park(park) => park.execute(global),
        Command::Wake(wake) => wake.execute(global),
        Command::Deny(deny) => deny.execute(),
        Command::Bench(bench) => bench.execute(global),
        Command::Doctor(doctor) => doctor.execute(),
        Command::Completions(completions) => completions.execute(),
    }
}
