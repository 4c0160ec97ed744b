//! The command in a terminal.

use std::{
    io::{Read, Write},
    num::NonZero,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::support::Home;

const ROWS: NonZero<u16> = NonZero::new(30).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(100).unwrap();
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Terminal {
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
    keyboard: Box<dyn Write + Send>,
    pub(crate) child: Box<dyn portable_pty::Child + Send + Sync>,
    pty: Box<dyn portable_pty::MasterPty + Send>,
}

impl Terminal {
    pub(crate) fn start(home: &Home, arguments: &str) -> Self {
        let size = PtySize { rows: ROWS.get(), cols: COLUMNS.get(), ..PtySize::default() };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_dunlin"));
        command.args(arguments.split_whitespace());
        command.cwd(home.path("work"));
        command.env_clear();
        home.environment().iter().for_each(|(name, value)| command.env(name, value));
        command.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(command).unwrap();
        let screen = Arc::new((Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)), Condvar::new()));
        let mut output = pty.master.try_clone_reader().unwrap();
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.0.lock().unwrap().process(&bytes[..length]);
                shown.1.notify_all();
            }
        });
        Self { screen, keyboard: pty.master.take_writer().unwrap(), child, pty: pty.master }
    }

    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn text(&self) -> String {
        self.screen.0.lock().unwrap().screen().contents()
    }

    /// As if somebody pulled at its corner.
    pub(crate) fn resize(&mut self, rows: NonZero<u16>, columns: NonZero<u16>) {
        self.screen.0.lock().unwrap().screen_mut().set_size(rows, columns);
        self.pty.resize(PtySize { rows: rows.get(), cols: columns.get(), ..PtySize::default() }).unwrap();
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) {
        let parser = self.screen.0.lock().unwrap();
        let not_yet = |parser: &mut vt100::Parser| !is_there(&parser.screen().contents());
        let (parser, timeout) = self.screen.1.wait_timeout_while(parser, PATIENCE, not_yet).unwrap();
        assert!(!timeout.timed_out(), "waited for {what}:\n{}", parser.screen().contents());
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait(text, |screen| screen.contains(text));
    }

    /// The last line that is not blank is an empty prompt.
    /// Types what ends it, and waits for that.
    #[track_caller]
    pub(crate) fn leave(mut self, keys: &str) {
        self.type_keys(keys);
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "it does not leave:\n{}", self.text());
            std::thread::yield_now();
        }
        assert!(self.child.wait().unwrap().success());
    }
}
