//! `dunlin doctor`.

use expect_test::expect;

use crate::support::Home;

fn line(shown: &str, what: &str) -> String {
    let lines: Vec<&str> = shown.lines().skip_while(|line| !line.contains(what)).take(2).collect();
    let hint = lines.get(1).filter(|line| line.trim_start().starts_with("->"));
    [lines[0], hint.copied().unwrap_or_default()].join("\n").trim_end().to_owned()
}

#[test]
fn what_there_is_and_what_is_missing() {
    let home = Home::new();
    let shown = home.stable(&home.dunlin("doctor").stdout());
    for what in ["processor", "kernel", "memory", "addresses", "pipelines", "kernels", "accelerator", "cache"]
    {
        assert!(shown.contains(what), "{what}:\n{shown}");
    }
    expect![[r#"
        note     models        none yet
                                -> dunlin model add FILE|URL"#]]
    .assert_eq(&line(&shown, "  models "));
    let output = home.dunlin("doctor").env("DUNLIN_ENGINE", home.path("nothing")).output();
    assert_eq!(output.status.code(), Some(1));
    expect![[r#"
        missing  engine        DUNLIN_ENGINE names [HOME]/nothing, which is no file
                                -> name the executable dunlin-engine, or unset DUNLIN_ENGINE"#]]
    .assert_eq(&home.stable(&line(&String::from_utf8(output.stdout).unwrap(), "engine")));
}

#[test]
fn programs_read_it_as_json() {
    let home = Home::new();
    let findings = home.dunlin("doctor --json").json();
    let engine = findings.as_array().unwrap().iter().find(|finding| finding["what"] == "engine").unwrap();
    assert_eq!(engine["level"], "ok");
}

#[test]
fn without_a_model_it_takes_little_memory() {
    let home = Home::new();
    let mut command = home.dunlin("doctor").into_command();
    command.stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let usage = wait_with_usage(&mut child);
    assert!(usage < 40 << 20, "{} kB", usage >> 10);
}

/// Most memory that it had in use, in bytes.
fn wait_with_usage(child: &mut std::process::Child) -> u64 {
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        most = most.max(kilobytes.unwrap_or(0) << 10);
    }
    most
}
