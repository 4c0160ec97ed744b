//! A home of its own for each test, and the one way to look at what the command does there.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use dunlin_gguf::synth::{Mix, SynthShape, synth};
use expect_test::Expect;
use regex_lite::Regex;
use rustix::process::Pid;
use tempfile::TempDir;

/// A home folder, with nothing in it but a tiny model and the component that does what its input says.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(home.path("bundled")).unwrap();
        fs::create_dir(home.path("work")).unwrap();
        for (name, guest) in [
            ("script.wasm", dunlin_host_guests::SCRIPT),
            ("component.wasm", dunlin_host_guests::COMPONENT),
            ("ggml.wasm", dunlin_host_guests::GGML),
        ] {
            fs::write(home.path("work").join(name), guest).unwrap();
        }
        home.bring(&tiny());
        home
    }

    /// One with the slow model, too.
    pub(crate) fn with_slow() -> Self {
        let home = Self::new();
        home.bring(&slow());
        home
    }

    fn bring(&self, file: &Path) {
        let path = self.path("work").join(file.file_name().unwrap());
        fs::hard_link(file, &path).or_else(|_| fs::copy(file, &path).map(drop)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(&format!("work/{name}"));
        fs::write(&path, content).unwrap();
        path
    }

    /// A command line, its parts separated by spaces.
    pub(crate) fn dunlin(&self, arguments: &str) -> Dunlin<'_> {
        self.dunlin_with(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn dunlin_with(&self, arguments: &[&str]) -> Dunlin<'_> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command.args(arguments).current_dir(self.path("work")).env_clear();
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        Dunlin { home: self, command, input: Vec::new() }
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.path(name).display().to_string();
        vec![
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", path("")),
            ("XDG_DATA_HOME", path("data")),
            ("XDG_STATE_HOME", path("state")),
            // Compiled once for all tests.
            ("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache").into()),
            ("DUNLIN_BUNDLED_MODELS", path("bundled")),
            ("DUNLIN_ENGINE", engine().display().to_string()),
        ]
    }

    /// What is the same on every machine and at every time.
    pub(crate) fn stable(&self, text: &str) -> String {
        let mut text = text.replace(&*self.folder.path().to_string_lossy(), "[HOME]");
        for (pattern, name) in [
            (r"(?m)[ \t]+$", ""),
            (r"[0-9.]+ (µs|ms|s|min [0-9]+ s)\b", "[TIME]"),
            (r"[0-9]+ tokens/s", "[RATE] tokens/s"),
            (r"[0-9.]+ [MG]B are free", "[SIZE] are free"),
            (r"\((a hard link to the original|shares its blocks with the original|a copy)", "([SHARED]"),
            (r"panicked at [^ ]*:", "panicked at [PLACE]:"),
        ] {
            text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
        }
        text
    }
}

/// One call of the command.
pub(crate) struct Dunlin<'a> {
    home: &'a Home,
    command: Command,
    input: Vec<u8>,
}

impl Dunlin<'_> {
    pub(crate) fn input(mut self, text: impl AsRef<[u8]>) -> Self {
        self.input = text.as_ref().to_vec();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn output(mut self) -> Output {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.input;
        let writing = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        output
    }

    /// The command itself, for tests that do more with it.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Compares the exit code and everything that is printed, made stable.
    #[track_caller]
    pub(crate) fn check(self, expected: &Expect) {
        let home = self.home;
        let output = self.output();
        expected.assert_eq(&home.stable(&shown(&output)));
    }

    /// What is printed to stdout, of a call that works.
    #[track_caller]
    pub(crate) fn stdout(self) -> String {
        let output = self.output();
        assert!(output.status.success(), "{}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is said beside it, of a call that works.
    #[track_caller]
    pub(crate) fn stderr(self) -> String {
        let output = self.output();
        assert!(output.status.success(), "{}", shown(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let output = self.output();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{}", shown(&output)))
    }
}

fn shown(output: &Output) -> String {
    let mut shown = match output.status.code() {
        Some(0) => String::new(),
        Some(code) => format!("exit code {code}\n"),
        None => format!("{}\n", output.status),
    };
    shown += &String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !stderr.is_empty() {
        write!(shown, "--- stderr\n{stderr}").unwrap();
    }
    shown
}

/// Does something while others want four times the processors that there are.
pub(crate) fn on_a_busy_machine<T>(work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 * thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // Also if it panics.
        let over = Over(&is_over);
        let done = work();
        drop(over);
        done
    })
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The engine, which `cargo nextest run --workspace` and `cargo build` put beside the command.
pub(crate) fn engine() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_dunlin")).with_file_name("dunlin-engine");
    assert!(path.is_file(), "{} is not built: cargo build --release -p dunlin-engine", path.display());
    path
}

/// The engine process of a command.
pub(crate) fn engine_of(command: u32) -> Pid {
    let threads = fs::read_dir(format!("/proc/{command}/task")).unwrap();
    let children = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    let children = children.collect::<Vec<_>>().join(" ");
    Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap()).unwrap()
}

/// A model of half a megabyte and a context of 512 tokens, written once; every test is a process of its own.
pub(crate) fn tiny() -> PathBuf {
    made("tiny.gguf", &SynthShape::TINY)
}

/// A model that takes some milliseconds for each token. Drawn hot, it hardly ever says the one that ends an answer.
fn slow() -> PathBuf {
    let shape =
        SynthShape { layers: 8, embedding_length: 512, feed_forward_length: 2048, ..SynthShape::TINY };
    made(
        "slow.gguf",
        &SynthShape {
            name: "slow",
            heads: 8,
            kv_heads: 8,
            context_length: 2048,
            vocabulary: 1 << 17,
            ..shape
        },
    )
}

fn made(name: &str, shape: &SynthShape) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dunlin_gguf::Gguf::open(&path).is_err() {
        let own = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        synth(shape, Mix::Q8_0, 1, &own.path().join(name), |_| ()).unwrap();
        fs::rename(own.path().join(name), &path).unwrap();
    }
    path
}
