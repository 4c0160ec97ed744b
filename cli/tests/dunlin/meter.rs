//! `dunlin meter`, on recorded machines.

use std::fs;

use expect_test::expect;

use crate::support::Home;

/// Writes files below `machine` in the folder where commands run.
fn record(home: &Home, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = home.path("work/machine").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }
}

/// The attributes of drivers/hwmon/ina3221.c on an Orin Nano, as far as they are read, and a battery that charges.
const ORIN: &[(&str, &str)] = &[
    ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/in1_label", "VDD_IN"),
    ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/in1_input", "5048"),
    ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/curr1_input", "1216"),
    ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/in2_label", "VDD_CPU_GPU_CV"),
    ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/in2_input", "5048"),
    ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/curr2_input", "448"),
    ("sys/class/power_supply/BAT0/type", "Battery"),
    ("sys/class/power_supply/BAT0/status", "Charging"),
];

#[test]
fn each_meter_says_what_it_sees() {
    let home = Home::new();
    record(&home, ORIN);
    let json = home.dunlin("meter --root machine --every 300ms --json").json();
    let meters = json["meters"].as_array().unwrap();
    let of = |name: &str| meters.iter().find(|meter| meter["name"] == name).unwrap();
    let watts = |name: &str| of(name)["watts"].as_f64().unwrap();
    assert_eq!(meters[0]["name"], "VDD_IN", "the first is what one goes by");
    assert!((watts("VDD_IN") - 6.138_368).abs() < 1e-3, "{json:#}");
    assert!((watts("VDD_CPU_GPU_CV") - (2.261_504 + 2.25)).abs() < 1e-3, "corrected: {json:#}");
    let rail = of("VDD_CPU_GPU_CV");
    assert_eq!((&rail["scope"], &rail["sensor_scope"]), (&"board-input".into(), &"cpu-gpu-rail".into()));
    assert_eq!(rail["correction"]["name"], "VDD_CPU_GPU_CV + 2.25 W (1.5 to 3)");
    assert!(rail["error"].as_f64().unwrap() >= 0.02 && rail["samples"].as_u64().unwrap() >= 1, "{rail:#}");
    assert_eq!((&of("BAT0")["works"], &of("BAT0")["watts"]), (&false.into(), &serde_json::Value::Null));
    let shown = home.dunlin("meter --root machine --every 300ms").output();
    let (out, notes) = (String::from_utf8(shown.stdout).unwrap(), String::from_utf8(shown.stderr).unwrap());
    assert!(out.starts_with("METER ") && out.contains("VDD_IN          6.14 W  board input"), "{out}");
    expect![[r#"
        note: VDD_IN is corrected: VDD_IN as the board's input (the carrier board: 0 to 1.5 W more, assumed)
        note: VDD_CPU_GPU_CV is corrected: VDD_CPU_GPU_CV + 2.25 W (1.5 to 3) (assumed)
        note: BAT0 is charging: it tells what the machine draws only while it discharges
    "#]]
    .assert_eq(&notes);
}

#[test]
fn a_machine_without_meters_goes_by_what_is_declared() {
    let home = Home::new();
    fs::create_dir(home.path("work/machine")).unwrap();
    home.dunlin("meter --root machine --every 100ms").check(&expect![[r#"
        exit code 1
        --- stderr
        error: no meter of this machine works
          hint: `dunlin doctor` says what could be done; [declared] of meters.toml names watts to go by (`dunlin meter --help`)
    "#]]);
    home.write("meters.toml", "[declared]\nidle_w = 3\nload_w = 5\nprefill_w = 9\ndecode_w = 8\n");
    let json = home.dunlin("meter --root machine --meters meters.toml --every 300ms --json").json();
    let declared = &json["meters"][0];
    assert_eq!((&declared["source"], &declared["modelled"]), (&"declared".into(), &true.into()));
    assert!((declared["watts"].as_f64().unwrap() - 3.0).abs() < 1e-6, "nothing runs: {json:#}");
    home.write("meters.toml", "[declared]\nidle_w = 3\n");
    home.dunlin("meter --root machine --meters meters.toml").check(&expect![[r#"
        exit code 2
        --- stderr
        error: meters.toml: TOML parse error at line 1, column 1
            |
          1 | [declared]
            | ^^^^^^^^^^
          missing field `load_w`
          hint: `dunlin meter --help` shows what the file may say
    "#]]);
    home.dunlin("meter --root nowhere").check(&expect![[r#"
        exit code 2
        --- stderr
        error: --root nowhere is no folder
    "#]]);
}

#[test]
fn what_is_watched_goes_on_until_it_is_told_to_stop() {
    use std::io::{BufRead, BufReader};
    let home = Home::new();
    record(&home, ORIN);
    let mut command = home.dunlin("meter --root machine --every 100ms --watch --json").into_command();
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0.0;
    for line in lines.take(3) {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let now = line["seconds"].as_f64().unwrap();
        assert!(now > last && line["meters"][0]["name"] == "VDD_IN", "{line:#}");
        last = now;
    }
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
}
