//! The governor of the processor's clocks, by the kernel's cpufreq (Linux, Documentation/admin-guide/pm/cpufreq.rst).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{MAX_MODES, ModeError, Setting, Switch};

const FOLDER: &str = "sys/devices/system/cpu/cpufreq";

/// Groups of processors that share a clock.
const MAX_POLICIES: usize = 512;

/// All policies of the machine, which are set alike.
#[derive(Debug)]
pub(crate) struct Governors {
    policies: Vec<PathBuf>,
    modes: Vec<String>,
}

impl Governors {
    pub(crate) fn find(root: &Path) -> Option<Self> {
        let entries = fs::read_dir(root.join(FOLDER)).ok()?.flatten().take(MAX_POLICIES);
        let mut policies: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| name(path).starts_with("policy")).collect();
        policies.sort();
        let available = fs::read_to_string(policies.first()?.join("scaling_available_governors")).ok()?;
        // `userspace` does nothing by itself.
        let modes = available.split_whitespace().filter(|mode| *mode != "userspace");
        let modes: Vec<String> = modes.map(str::to_owned).take(MAX_MODES).collect();
        (!modes.is_empty()).then_some(Self { policies, modes })
    }

    fn write(&self, setting: &Setting) -> Result<(), ModeError> {
        for policy in &self.policies {
            if let Some(mode) = setting.0.get(&name(policy)) {
                let file = policy.join("scaling_governor");
                fs::write(&file, mode).map_err(|error| ModeError::of(&file, error))?;
            }
        }
        Ok(())
    }
}

impl Switch for Governors {
    fn modes(&self) -> Vec<String> {
        self.modes.clone()
    }

    fn read(&self) -> Result<Setting, ModeError> {
        let read = |policy: &PathBuf| {
            let file = policy.join("scaling_governor");
            let text = fs::read_to_string(&file).map_err(|error| ModeError::of(&file, error))?;
            match text.trim() {
                "" => Err(ModeError::of(&file, io::ErrorKind::InvalidData.into())),
                mode => Ok((name(policy), mode.to_owned())),
            }
        };
        Ok(Setting(self.policies.iter().map(read).collect::<Result<_, _>>()?))
    }

    fn ask(&self, setting: &Setting) -> Result<(), ModeError> {
        let before = self.read()?;
        self.write(setting).inspect_err(|_| {
            // All or none.
            if let Err(error) = self.write(&before) {
                tracing::warn!(%error, "some governors are changed and others are not");
            }
        })
    }

    fn setting(&self, mode: &str) -> Setting {
        Setting(self.policies.iter().map(|policy| (name(policy), mode.to_owned())).collect())
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn pi(root: &Path) {
        for policy in ["policy0", "policy4"] {
            let folder = root.join(FOLDER).join(policy);
            fs::create_dir_all(&folder).unwrap();
            let governors = "conservative ondemand userspace powersave performance schedutil \n";
            fs::write(folder.join("scaling_available_governors"), governors).unwrap();
            fs::write(folder.join("scaling_governor"), "ondemand\n").unwrap();
        }
    }

    #[test]
    fn all_policies_are_set_or_none() {
        let root = tempfile::tempdir().unwrap();
        assert!(Governors::find(root.path()).is_none());
        pi(root.path());
        let governors = Governors::find(root.path()).unwrap();
        assert_eq!(governors.modes(), ["conservative", "ondemand", "powersave", "performance", "schedutil"]);
        assert_eq!(governors.read().unwrap().name(), "ondemand");
        governors.ask(&governors.setting("performance")).unwrap();
        assert_eq!(governors.read().unwrap().name(), "performance");
        // The second cannot be written: a folder is in its place.
        let second = root.path().join(FOLDER).join("policy4/scaling_governor");
        fs::remove_file(&second).unwrap();
        fs::create_dir(&second).unwrap();
        assert!(governors.ask(&governors.setting("powersave")).is_err());
        let first = fs::read_to_string(root.path().join(FOLDER).join("policy0/scaling_governor")).unwrap();
        assert_eq!(first, "performance");
    }
}
