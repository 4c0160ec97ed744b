//! What needs a process of its own: the compile child, and hosts under limits. This program is both the tests
//! and those processes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    env, fmt,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use dunlin_host::{
    CacheConfig, Compile, CompileChild, Host, HostConfig, Invocation, LoadError, PipelineSource, Request,
    compile_child_main,
};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Resource, Rlimit, setrlimit};
use tempfile::TempDir;
use tokio::sync::mpsc;

const COMPILE: &str = "compile-child";
const RUN_UNDER: &str = "run-under";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [COMPILE] => compile_child_main(),
        [RUN_UNDER, bytes] => run_under(bytes.parse().unwrap()),
        [RUN_UNDER, "cache", directory] => run_with_cache(directory),
        _ => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

fn trials() -> Vec<Trial> {
    let all: [(&str, fn()); 8] = [
        ("a_child_compiles", a_child_compiles),
        ("a_child_refuses_what_is_not_valid", a_child_refuses_what_is_not_valid),
        ("a_child_that_takes_too_long_is_stopped", a_child_that_takes_too_long_is_stopped),
        ("a_child_that_takes_too_much_memory_is_stopped", a_child_that_takes_too_much_memory_is_stopped),
        ("another_program_is_no_compiler", another_program_is_no_compiler),
        ("a_load_that_is_dropped_ends_its_child", a_load_that_is_dropped_ends_its_child),
        ("a_host_starts_in_a_small_address_space", a_host_starts_in_a_small_address_space),
        ("a_disk_that_fills_up_is_a_note", a_disk_that_fills_up_is_a_note),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    all.into_iter().map(trial).collect()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn child() -> CompileChild {
    CompileChild::this_program([COMPILE])
}

fn host(compile: CompileChild) -> Host {
    Host::new(HostConfig::new(Compile::Child(compile))).unwrap()
}

fn script() -> PipelineSource {
    PipelineSource::bytes("script", dunlin_host_guests::SCRIPT)
}

/// Runs the script guest, which says where it is.
async fn run(host: &Host) -> String {
    let pipeline = host.load(script()).await.unwrap();
    let (output, _chunks) = mpsc::channel(1);
    let mut invocation = Invocation::new(Request { body: b"here".into(), ..Request::default() }, output);
    invocation.node.id = "shed".into();
    let response = host.invoke(&pipeline, invocation).await.result.unwrap();
    let notes = pipeline.notes().join("; ");
    format!("{} {notes}", String::from_utf8(response.body).unwrap().trim())
}

fn refusal(compile: CompileChild, source: PipelineSource) -> LoadError {
    wait(host(compile).load(source)).unwrap_err()
}

/// A component that looks like a pipeline and has this module in it.
fn component(module: impl fmt::Display) -> PipelineSource {
    let text = format!(
        r#"(component (core module {module}) (instance $i) (export "dunlin:llm/handler@0.1.0" (instance $i)))"#
    );
    PipelineSource::bytes("bomb", wat::parse_str(text).unwrap())
}

/// Functions that take the compiler some time each.
fn bomb(functions: usize) -> PipelineSource {
    let targets = "0 ".repeat(60_000);
    let function = format!("(func (param i32) (block (br_table {targets} (local.get 0))))");
    component(function.repeat(functions))
}

fn a_child_compiles() {
    assert!(wait(run(&host(child()))).starts_with("shed"));
}

fn a_child_refuses_what_is_not_valid() {
    let error = refusal(child(), component("(func (result i32) (i64.const 0))"));
    assert!(
        matches!(&error, LoadError::Invalid { reason, .. } if reason.contains("type mismatch")),
        "{error}"
    );
}

fn a_child_that_takes_too_long_is_stopped() {
    let error = refusal(CompileChild { cpu_time: Duration::from_secs(1), ..child() }, bomb(100));
    assert_eq!(error.to_string(), "bomb was not compiled, because that took more than 1 s of CPU time");
}

fn a_child_that_takes_too_much_memory_is_stopped() {
    let error = refusal(CompileChild { memory_bytes: 100 << 20, ..child() }, bomb(100));
    assert_eq!(error.to_string(), "bomb was not compiled, because that took more than 100 MiB of memory");
}

fn another_program_is_no_compiler() {
    let error = refusal(CompileChild::new("/bin/true", [""; 0]), script());
    assert_eq!(error.to_string(), "script could not be compiled: /bin/true does not compile");
    let error = refusal(CompileChild::new("/nowhere/dunlin", [""; 0]), script());
    assert_eq!(
        error.to_string(),
        "script could not be compiled: /nowhere/dunlin: No such file or directory (os error 2)"
    );
    let error = refusal(CompileChild::new("/bin/sh", ["-c", "echo no good >&2; exit 3"]), script());
    assert_eq!(error.to_string(), "script could not be compiled: /bin/sh ended with exit status: 3: no good");
}

/// The child holds a file open for as long as it lives.
fn a_load_that_is_dropped_ends_its_child() {
    let directory = TempDir::new().unwrap();
    let pipe = directory.path().join("alive");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let lives = format!("exec 3>{}; exec sleep 1000", pipe.display());
    wait(async {
        let host = host(CompileChild::new("/bin/sh", ["-c", &lives]));
        let load = tokio::spawn(async move { host.load(script()).await });
        // Opens when the child does, and ends with it.
        let mut alive = tokio::fs::File::open(&pipe).await.unwrap();
        load.abort();
        assert!(load.await.unwrap_err().is_cancelled());
        let mut nothing = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut alive, &mut nothing);
        tokio::time::timeout(Duration::from_secs(5), reading).await.unwrap().unwrap();
    });
}

/// Output of this program under other arguments, started by `prefix`.
fn output(prefix: &[&str], arguments: &[&str]) -> String {
    let program = env::current_exe().unwrap();
    let mut words = prefix.iter().map(|word| word.to_string()).chain([program.display().to_string()]);
    let output = Command::new(words.next().unwrap()).args(words).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn a_host_starts_in_a_small_address_space() {
    const GIB: u64 = 1 << 30;
    for (bytes, expected) in
        [(512 * GIB, "Pooled"), (64 * GIB, "Pooled"), (4 * GIB, "OnDemand"), (GIB, "OnDemand")]
    {
        let said = output(&[], &[RUN_UNDER, &bytes.to_string()]);
        assert!(said.starts_with(expected) && said.contains("shed"), "{} GiB: {said}", bytes / GIB);
    }
}

fn run_under(bytes: u64) -> ExitCode {
    setrlimit(Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) }).unwrap();
    // That of the other tests: what is compiled does not depend on where memory comes from.
    let cache = CacheConfig::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    let host = Host::new(HostConfig::new(Compile::InProcess).cache(cache)).unwrap();
    println!("{:?}", host.allocation());
    println!("{}", wait(run(&host)));
    ExitCode::SUCCESS
}

fn a_disk_that_fills_up_is_a_note() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().display().to_string();
    // No file may grow past some hundred kilobytes, and trying is an error of the write, as on a full disk.
    let full = ["/bin/sh", "-c", r#"trap "" XFSZ; ulimit -f 300; exec "$@""#, "sh"];
    let said = output(&full, &[RUN_UNDER, "cache", &path]);
    assert!(said.starts_with("shed"), "{said}");
    assert!(said.contains("compiled code is not kept in ") && said.contains("File too large"), "{said}");
    assert_eq!(Path::new(&path).read_dir().unwrap().count(), 0, "nothing half-written is left");
    let said = output(&["/usr/bin/env"], &[RUN_UNDER, "cache", &path]);
    assert!(!said.contains("not kept"), "{said}");
}

fn run_with_cache(directory: &str) -> ExitCode {
    let config = HostConfig::new(Compile::Child(child())).cache(CacheConfig::new(directory));
    println!("{}", wait(run(&Host::new(config).unwrap())));
    ExitCode::SUCCESS
}
