//! What goes wrong, and what a person is told.

use std::{
    fs,
    io::Read,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use dunlin_gguf::corpus;
use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, slow};

#[test]
fn pipelines_that_are_none() {
    let home = Home::new();
    home.write("core.wasm", b"\0asm\x01\0\0\0");
    home.write("empty.wasm", b"");
    home.write("cut.wasm", &dunlin_host_guests::SCRIPT[..5000]);
    home.write("text.wasm", "Hello");
    home.dunlin("run core.wasm --model tiny.gguf --text x").check(&expect![[r#"
        exit code 7
        --- stderr
        error: core is not a WebAssembly component: it is a core module; those come with wasi_ephemeral_nn later, build it for wasm32-wasip2 to get a component
          hint: a pipeline is a component of the world dunlin:llm/pipeline: in Rust, the crate dunlin-guest built for wasm32-wasip2
    "#]]);
    home.dunlin("run empty.wasm --model tiny.gguf --text x").check(&expect![[r#"
        exit code 7
        --- stderr
        error: empty is not a WebAssembly component: the file is empty
          hint: a pipeline is a component of the world dunlin:llm/pipeline: in Rust, the crate dunlin-guest built for wasm32-wasip2
    "#]]);
    home.dunlin("run cut.wasm --model tiny.gguf --text x").check(&expect![[r#"
        exit code 7
        --- stderr
        error: cut is damaged, or not a valid component: unexpected end-of-file (at offset 0x1240)
    "#]]);
    home.dunlin("run text.wasm --model tiny.gguf --text x").check(&expect![[r#"
        exit code 7
        --- stderr
        error: text is not a WebAssembly component: it is text
          hint: a pipeline is a component of the world dunlin:llm/pipeline: in Rust, the crate dunlin-guest built for wasm32-wasip2
    "#]]);
    home.dunlin("run tiny.gguf --model tiny.gguf --text x").check(&expect![[r#"
        exit code 7
        --- stderr
        error: tiny is not a WebAssembly component: it is a GGUF model, which goes where a model is asked for
          hint: a pipeline is a component of the world dunlin:llm/pipeline: in Rust, the crate dunlin-guest built for wasm32-wasip2
    "#]]);
    home.dunlin("run ./nothing.wasm --model tiny.gguf --text x").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no file ./nothing.wasm
    "#]]);
    home.dunlin("run . --model tiny.gguf --text x").check(&expect![[r#"
        exit code 2
        --- stderr
        error: . is a folder
          hint: name the .wasm file in it
    "#]]);
}

#[test]
fn a_component_of_another_world() {
    let home = Home::new();
    home.write("empty-component.wasm", b"\0asm\x0d\0\x01\0");
    home.dunlin("run empty-component.wasm --model tiny.gguf --text x").check(&expect![[r#"
        exit code 7
        --- stderr
        error: empty-component is not a pipeline for this host: it exports nothing; a pipeline exports dunlin:llm/handler@0.1.0 (world dunlin:llm/pipeline)
          hint: a pipeline is a component of the world dunlin:llm/pipeline: in Rust, the crate dunlin-guest built for wasm32-wasip2
    "#]]);
}

#[test]
fn models_that_are_none() {
    let home = Home::new();
    home.dunlin("run ./script.wasm --text x").check(&expect![]);
    home.dunlin("run ./script.wasm --model ./nothing.gguf --text x").check(&expect![]);
    home.dunlin("run ./script.wasm --model script.wasm --text x").check(&expect![]);
    let whole = fs::read(home.path("work/tiny.gguf")).unwrap();
    home.write("cut.gguf", &whole[..whole.len() - 1000]);
    home.dunlin("run ./script.wasm --model cut.gguf --text x").check(&expect![]);
}

#[test]
fn every_attack_file_is_refused() {
    let home = Home::new();
    for (name, path) in corpus::write_all(&home.path("work")).unwrap() {
        let output = home.dunlin_with(&["model", "check", path.to_str().unwrap()]).output();
        assert_eq!(output.status.code(), Some(3), "{name}");
    }
}

#[test]
fn what_a_pipeline_answers_with() {
    let home = Home::new();
    let run = |script: &str| home.dunlin("run ./script.wasm --model tiny.gguf --quiet").input(script);
    run("fail append 0 x").check(&expect![]);
    run("panic at the disco").check(&expect![]);
    run("exit 7").check(&expect![]);
    run("eat").check(&expect![]);
    run("recurse").check(&expect![]);
    run("flood xxxxxxxxxxxxxxxx").check(&expect![]);
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet").input(b"\xff\xfe").check(&expect![]);
}

#[test]
fn limits_and_grants() {
    let home = Home::new();
    let spin = "spin";
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --deadline 300ms").input(spin).check(&expect![]);
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --deadline 0").input(spin).check(&expect![]);
    home.dunlin("run ./script.wasm --model tiny.gguf --limit joules=1 --text x").check(&expect![]);
    home.dunlin("run ./script.wasm --model tiny.gguf --grant file=/etc --text x").check(&expect![]);
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --limit memory=8")
        .input("eat")
        .check(&expect![]);
}

#[test]
fn a_prompt_that_is_longer_than_the_context() {
    let home = Home::new();
    let script = format!("open tiny\ncreate\nfail append 0 {}", "word ".repeat(600));
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet --context 128").input(&script).check(&expect![]);
    home.dunlin("run ./script.wasm --model tiny.gguf --quiet").input(&script).check(&expect![]);
}

#[test]
fn a_schema_that_is_an_attack() {
    let home = Home::new();
    let deep = format!("{}{}", "{\"items\":".repeat(5000), "}".repeat(5000));
    let script = format!("open tiny\nfail compile json-schema {deep}");
    let output = home.dunlin("run ./script.wasm --model tiny.gguf --quiet").input(&script).output();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: script: constraint refused: "), "{said}");
    assert!(said.len() < 1000, "{said}");
}

#[test]
fn programs_are_told_of_failures_too() {
    let home = Home::new();
    let early = home.dunlin("run ./nothing.wasm --model tiny.gguf --text x --json").json();
    assert_eq!((&early["error"]["kind"], &early["error"]["exit_code"]), (&"usage".into(), &2.into()));
    let late =
        home.dunlin("run ./script.wasm --model tiny.gguf --json --deadline 200ms").input("spin").json();
    assert_eq!((&late["error"]["kind"], &late["error"]["exit_code"]), (&"deadline".into(), &6.into()));
    assert!(late["result"].is_null() && late["usage"].is_object());
}

#[test]
fn there_is_no_engine() {
    let home = Home::new();
    let engine = home.path("nothing");
    home.dunlin("run ./script.wasm --model tiny.gguf --text x")
        .env("DUNLIN_ENGINE", &engine)
        .check(&expect![]);
    // A command that stands alone.
    let alone = home.path("dunlin");
    fs::copy(env!("CARGO_BIN_EXE_dunlin"), &alone).unwrap();
    let output = std::process::Command::new(alone)
        .args(["run", "./script.wasm", "--model", "tiny.gguf", "--text", "x"])
        .current_dir(home.path("work"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    expect![].assert_eq(&home.stable(&String::from_utf8(output.stderr).unwrap()));
}

#[test]
fn a_full_disk_at_the_compile_cache_is_a_warning() {
    let home = Home::new();
    let cache = home.path("cache");
    let arguments = [
        "run",
        "./script.wasm",
        "--model",
        "tiny.gguf",
        "--cache-dir",
        cache.to_str().unwrap(),
        "--text",
        "available",
    ];
    let mut command = home.dunlin_with(&arguments).into_command();
    // Files may be as large as none that is worth keeping.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let program = command.get_program().to_owned();
    let mut limited = std::process::Command::new("sh");
    limited.arg("-c").arg(script).arg(program).args(command.get_args());
    limited.current_dir(home.path("work")).env_clear().envs(home.environment());
    command = limited;
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8([output.stdout, b"--- stderr\n".to_vec(), output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    expect![].assert_eq(&home.stable(&said));
}

/// A run that has begun to say a thousand tokens.
fn running(home: &Home) -> Child {
    fs::hard_link(slow(), home.path("work/slow.gguf"))
        .unwrap_or_else(|_| drop(fs::copy(slow(), home.path("work/slow.gguf"))));
    let script = home.write("long.txt", "open slow\ncreate\nappend 0 Hello\ngenerate 0 max=1500\nstream 0\n");
    let mut command = home.dunlin("run ./script.wasm --model slow.gguf --threads 1").into_command();
    command.stdin(fs::File::open(script).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut byte = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn ended(home: &Home, child: Child) -> String {
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let code = output.status.code();
    home.stable(&format!("{code:?}\n{}", String::from_utf8(output.stderr).unwrap()))
}

#[test]
fn an_interrupt_ends_a_run_with_what_it_took() {
    let home = Home::new();
    let child = running(&home);
    kill_process(pid(&child), Signal::INT).unwrap();
    let said = ended(&home, child);
    assert!(said.starts_with("Some(130)\nusage: "), "{said}");
    assert!(said.ends_with("error: interrupted\n"), "{said}");
}

#[test]
fn a_run_can_be_terminated() {
    let home = Home::new();
    let child = running(&home);
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert!(ended(&home, child).starts_with("Some(143)\n"));
}

#[test]
fn an_engine_that_is_killed_is_told_of() {
    let home = Home::new();
    let child = running(&home);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let engine: Vec<i32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    kill_process(Pid::from_raw(engine[0]).unwrap(), Signal::KILL).unwrap();
    let said = ended(&home, child);
    assert!(said.starts_with("Some(5)\n"), "{said}");
    assert!(
        said.contains("error: the engine died: it was killed (SIGKILL): out of memory?\n  hint: try again"),
        "{said}"
    );
}

#[test]
fn no_engine_is_left_behind() {
    let home = Home::new();
    let mut child = running(&home);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let engine = children.trim().to_owned();
    child.kill().unwrap();
    child.wait().unwrap();
    let began = Instant::now();
    while fs::read_to_string(format!("/proc/{engine}/cmdline"))
        .is_ok_and(|line| line.contains("dunlin-engine"))
    {
        assert!(began.elapsed() < Duration::from_secs(5), "{engine} lives");
        std::thread::yield_now();
    }
}
