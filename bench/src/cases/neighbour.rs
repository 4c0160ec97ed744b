//! Others want the cores too.

use std::{
    process::{Child, Command},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
use dunlin_host::{Compile, CompileChild, Host, HostConfig, PipelineSource};
use tokio::{runtime, sync::oneshot};

use crate::{
    Arguments,
    engines::{Process, Setting, fresh_prompt},
    pairs::Pairs,
};

pub(crate) fn decode(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let process = Process::start(setting)?;
    let rate = || Ok(process.run(setting.generate(fresh_prompt(16), 64))?.decode_rate());
    let beside = || {
        let _busy = Busy::start()?;
        rate()
    };
    Pairs::interleave(arguments.pairs, beside, rate)?.report_rates();
    Ok(())
}

pub(crate) fn compiling(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let path = &arguments.component;
    let Ok(component) = std::fs::read(path) else {
        println!("left out: {} is not there, `dunlin build examples/hello-python` makes it", path.display());
        return Ok(());
    };
    let process = Process::start(setting)?;
    let rate = || Ok(process.run(setting.generate(fresh_prompt(16), 256))?.decode_rate());
    let beside = || {
        let compiling = Compiling::start(component.clone())?;
        let rate = rate();
        compiling.stop()?;
        rate
    };
    Pairs::interleave(arguments.pairs, beside, rate)?.report_rates();
    Ok(())
}

/// A component that is compiled again and again as nodes compile it, until it is stopped.
struct Compiling {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Compiling {
    fn start(component: Vec<u8>) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("dunlin");
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, mut stopped) = oneshot::channel();
        let again_and_again = async move {
            loop {
                // Without a cache, and a host that has seen nothing.
                let child = CompileChild::new(&program, ["compile-child"]);
                let host = Host::new(HostConfig::new(Compile::Child(child)))?;
                tokio::select! {
                    loaded = host.load(PipelineSource::bytes("guest", component.clone())) => drop(loaded?),
                    _ = &mut stopped => return Ok(()),
                }
            }
        };
        Ok(Self { stop, thread: thread::spawn(move || runtime.block_on(again_and_again)) })
    }

    /// # Errors
    /// What kept it from compiling.
    fn stop(self) -> anyhow::Result<()> {
        // Whoever hears nothing has failed, and says so.
        _ = self.stop.send(());
        self.thread.join().ok().context("the compiling thread panicked")?
    }
}

/// A process that computes as long as this lives.
struct Busy(Child);

impl Busy {
    fn start() -> anyhow::Result<Self> {
        Ok(Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // A child that is gone already computes no more either.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
