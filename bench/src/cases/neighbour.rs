//! Others want the cores too.

use std::process::{Child, Command};

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
