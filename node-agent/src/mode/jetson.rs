//! Power modes of a Jetson, by NVIDIA's `nvpmodel`: by name, as the numbers mean other things on other releases.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{MAX_MODES, ModeError, Setting, Switch};

const PROGRAM: &str = "usr/sbin/nvpmodel";
const CONFIG: &str = "etc/nvpmodel.conf";

/// The part that is set.
const PART: &str = "nvpmodel";

#[derive(Debug)]
pub(crate) struct Jetson {
    program: PathBuf,
    /// Numbers by name.
    modes: BTreeMap<String, u32>,
}

impl Jetson {
    pub(crate) fn find(root: &Path) -> Option<Self> {
        let program = root.join(PROGRAM);
        let modes = modes(&fs::read_to_string(root.join(CONFIG)).ok()?);
        (program.exists() && !modes.is_empty()).then_some(Self { program, modes })
    }

    /// Whatever it asks is denied: its input is empty.
    fn run(&self, arguments: &[&str]) -> Result<Output, ModeError> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null());
        command.output().map_err(|error| ModeError::of(&self.program, error))
    }
}

/// Lines as in `< POWER_MODEL ID=1 NAME=25W >` (Jetson Linux developer guide, "Supported modes and power efficiency").
fn modes(config: &str) -> BTreeMap<String, u32> {
    let mode = |line: &str| {
        let words = line.trim().strip_prefix("< POWER_MODEL ")?.strip_suffix('>')?;
        let value = |key: &str| words.split_whitespace().find_map(|word| word.strip_prefix(key));
        Some((value("NAME=")?.to_owned(), value("ID=")?.parse().ok()?))
    };
    config.lines().filter_map(mode).take(MAX_MODES).collect()
}

impl Switch for Jetson {
    fn modes(&self) -> Vec<String> {
        self.modes.keys().cloned().collect()
    }

    fn read(&self) -> Result<Setting, ModeError> {
        let told = self.run(&["-q"])?;
        let text = String::from_utf8_lossy(&told.stdout);
        let name =
            text.lines().find_map(|line| line.split_once("NV Power Mode:")).map(|(_, name)| name.trim());
        match name.filter(|name| !name.is_empty()) {
            // Older releases say MODE_15W.
            Some(name) => {
                let plain = name.strip_prefix("MODE_").filter(|plain| self.modes.contains_key(*plain));
                Ok(Setting::one(PART, plain.unwrap_or(name)))
            }
            None => {
                let text = text.chars().take(80).collect();
                Err(ModeError::Garbage { path: self.program.clone(), text })
            }
        }
    }

    fn ask(&self, setting: &Setting) -> Result<(), ModeError> {
        let mode = setting.name();
        let Some(number) = self.modes.get(&mode) else {
            return Err(ModeError::Unknown { mode, known: self.modes().join(", ") });
        };
        let said = self.run(&["-m", &number.to_string()])?;
        let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).to_lowercase());
        let says = |words: &str| text.iter().any(|text| text.contains(words));
        if says("reboot") {
            return Err(ModeError::Restart { mode });
        }
        if says("permission") || says("root") {
            return Err(ModeError::Denied { path: self.program.clone() });
        }
        Ok(())
    }

    fn setting(&self, mode: &str) -> Setting {
        Setting::one(PART, mode)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The table of an Orin Nano with the modes of JetPack 6.2, and a program that behaves as nvpmodel does: 7W needs a restart,
    /// and of 15W it says that it was set when it was not.
    pub(crate) fn orin(root: &Path) {
        let config = "\
            # FORMAT: < TYPE PARAM_NAME ARG1_NAME ... >\n\
            < PARAM TYPE=FILE NAME=CPU_ONLINE >\n\
            < POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n\
            < POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n< POWER_MODEL ID=3 NAME=7W >\n\
            < PM_CONFIG DEFAULT=1 >\n";
        let program = format!(
            "#!/bin/sh\nstate={}/mode\ncase \"$1 $2\" in\n\
             '-q ') echo \"NV Power Mode: $(cat $state)\"; echo 1;;\n\
             '-m 3') echo 'NVPM WARN: Reboot required for changing to this power mode: 3'; read -r answer;;\n\
             '-m 2') echo MAXN_SUPER > $state;;\n'-m 1') echo 25W > $state;;\n'-m 0') exit 0;;\nesac\n",
            root.display()
        );
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        write(CONFIG, config);
        write("mode", "25W\n");
        let path = write(PROGRAM, &program);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn modes_go_by_name_and_a_restart_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert!(Jetson::find(root.path()).is_none());
        orin(root.path());
        let jetson = Jetson::find(root.path()).unwrap();
        assert_eq!(jetson.modes(), ["15W", "25W", "7W", "MAXN_SUPER"]);
        assert_eq!(jetson.read().unwrap().name(), "25W");
        jetson.ask(&jetson.setting("MAXN_SUPER")).unwrap();
        assert_eq!(jetson.read().unwrap().name(), "MAXN_SUPER");
        assert!(matches!(jetson.ask(&jetson.setting("7W")), Err(ModeError::Restart { .. })));
        assert!(matches!(jetson.ask(&jetson.setting("30W")), Err(ModeError::Unknown { .. })));
        // It says yes and does nothing: reading back is what counts.
        jetson.ask(&jetson.setting("15W")).unwrap();
        assert_eq!(jetson.read().unwrap().name(), "MAXN_SUPER");
    }
}
