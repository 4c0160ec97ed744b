//! Progress on stderr: only on a terminal, and only of what takes long enough to wonder about.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::keys::UnseenControlKeys;

/// What is done by then leaves no trace.
const DELAY: Duration = Duration::from_millis(200);

/// Steps that a share is shown in.
const STEPS: u64 = 1000;

/// Where bars are drawn, if they are.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Option<Drawn>);

#[derive(Debug, Clone)]
struct Drawn {
    bars: MultiProgress,
    /// What is typed would move the cursor away from the bar.
    _keys: Arc<UnseenControlKeys>,
}

impl Progress {
    /// None with `--quiet`, and where stderr is no terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        let drawn = !quiet && io::stderr().is_terminal();
        Self(drawn.then(|| Drawn {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            _keys: Arc::new(UnseenControlKeys::new()),
        }))
    }

    /// A bar of something that has a share done.
    pub(crate) fn share(&self, what: &str) -> Bar {
        self.bar(what, Some(STEPS), "{msg}  [{bar:32}] {percent:>3} %")
    }

    /// A bar of bytes; a count of them where the total is not known.
    pub(crate) fn bytes(&self, what: &str, total: Option<u64>) -> Bar {
        let template = match total {
            Some(_) => {
                "{msg}  [{bar:32}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta}"
            }
            None => "{msg}  {decimal_bytes}, {decimal_bytes_per_sec}",
        };
        self.bar(what, total, template)
    }

    /// A bar of things.
    pub(crate) fn count(&self, what: &str, total: usize) -> Bar {
        self.bar(what, Some(total as u64), "{msg}  [{bar:32}] {pos} of {len}, {eta}")
    }

    /// Something of which it is not known how long it takes.
    pub(crate) fn wait(&self, what: &str) -> Bar {
        self.bar(what, None, "{spinner} {msg}  {elapsed}")
    }

    fn bar(&self, what: &str, total: Option<u64>, template: &str) -> Bar {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        // Templates are constants of this file; a bar in the style of the library would not be worth failing for.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what.to_owned());
        Bar {
            multi: self.0.as_ref().map(|drawn| drawn.bars.clone()),
            bar,
            began: Instant::now(),
            shown: OnceLock::new(),
        }
    }
}

/// One bar; gone when dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    multi: Option<MultiProgress>,
    bar: ProgressBar,
    began: Instant,
    shown: OnceLock<()>,
}

impl Bar {
    pub(crate) fn set(&self, share: f32) {
        self.set_position((f64::from(share.clamp(0.0, 1.0)) * STEPS as f64) as u64);
    }

    pub(crate) fn set_position(&self, position: u64) {
        self.bar.set_position(position);
        self.show_if_late();
    }

    /// What is done now.
    pub(crate) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// How much it is in all, where that shows on the way.
    pub(crate) fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    pub(crate) fn advance(&self, by: u64) {
        self.bar.inc(by);
        self.show_if_late();
    }

    pub(crate) fn tick(&self) {
        self.show_if_late();
        self.bar.tick();
    }

    fn show_if_late(&self) {
        let Some(multi) = &self.multi else { return };
        if self.began.elapsed() >= DELAY {
            self.shown.get_or_init(|| drop(multi.add(self.bar.clone())));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Some(multi) = &self.multi {
            multi.remove(&self.bar);
        }
    }
}
