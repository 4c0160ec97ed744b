//! What a person declared of the meters of this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dunlin_costs::Scope;
use dunlin_meters::MeterConfig;

use crate::{failure::Failure, folders::Folders};

/// A file of a few lines.
const MAX_CONFIG: u64 = 64 << 10;

/// What such a file may say, for `--help`.
pub(crate) const FORMAT: &str = "\
The file of meters may say, each part being optional:
  prefer = \"VDD_IN\"               # the meter to take before all others
  [declared]                        # watts of the board, where no sensor sees it: such joules are marked as modelled
  idle_w = 2.8
  load_w = 5.0
  prefill_w = 8.5
  decode_w = 7.4
  [corrections.package]             # from what a meter sees to the board's input: factor x reading + offset
  name = \"package x 1.2 + 9 W\"
  factor = 1.2
  offset_w = 9.0
  [ina2xx]                          # what an INA219, INA226 or its kin feeds: \"board\", or \"other\"
  \"1-0041\" = \"other\"";

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct MetersArgument {
    /// What to know of the meters of this machine [default: meters.toml in Dunlin's configuration folder, if it is there]
    #[arg(long, value_name = "FILE")]
    meters: Option<PathBuf>,
}

impl MetersArgument {
    /// # Errors
    /// If the file that was named cannot be read, or one says something else than it may.
    pub(crate) fn read(&self, folders: &Folders) -> Result<MeterConfig, Failure> {
        match &self.meters {
            Some(path) => read(path),
            None => {
                let path = folders.meters();
                if path.exists() { read(&path) } else { Ok(MeterConfig::default()) }
            }
        }
    }
}

fn read(path: &Path) -> Result<MeterConfig, Failure> {
    let refused = |reason: String| {
        Failure::usage(format!("{}: {reason}", path.display()))
            .hint("`dunlin meter --help` shows what the file may say")
    };
    let size = fs::metadata(path).map_err(|error| refused(unread(&error)))?.len();
    if size > MAX_CONFIG {
        return Err(refused(format!("it has {size} bytes; {MAX_CONFIG} are read")));
    }
    let text = fs::read_to_string(path).map_err(|error| refused(unread(&error)))?;
    let config: MeterConfig = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
    match config.declared.and_then(|declared| declared.fault()) {
        Some(fault) => Err(refused(fault)),
        None => Ok(config),
    }
}

fn unread(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}

/// As it is shown: `board input`.
pub(crate) fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::BoardInput => "board input",
        Scope::PmicRails => "PMIC rails",
        Scope::CpuGpuRail => "CPU and GPU rail",
        Scope::Package => "package",
        Scope::Accelerator => "accelerator",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_help_shows_is_what_may_be_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meters.toml");
        let (_, shown) = FORMAT.split_once('\n').unwrap();
        fs::write(&path, shown).unwrap();
        let config = read(&path).unwrap();
        assert_eq!(config.declared.unwrap().decode_w, 7.4);
        assert_eq!(config.corrections["package"].offset_w.nominal(), 9.0);
        assert_eq!((config.prefer.as_deref(), config.ina2xx.len()), (Some("VDD_IN"), 1));
    }

    #[test]
    fn anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meters.toml");
        let check = |text: &str, expected: &str| {
            fs::write(&path, text).unwrap();
            let failure = read(&path).unwrap_err();
            assert!(failure.message.contains(expected), "{failure}");
        };
        check("prefered = 1", "unknown field `prefered`");
        check(
            "[declared]\nidle_w = -1\nload_w = 1\nprefill_w = 1\ndecode_w = 1",
            "idle_w is -1: watts from 0",
        );
        check("[declared]\nidle_w = nan\nload_w = 1\nprefill_w = 1\ndecode_w = 1", "idle_w is NaN");
        check("[ina2xx]\nina226 = \"screen\"", "unknown variant `screen`");
        let none = MetersArgument { meters: Some(folder.path().join("none.toml")) };
        let nothing = Folders {
            data: PathBuf::new(),
            cache: PathBuf::new(),
            state: PathBuf::new(),
            config: folder.path().join("empty"),
        };
        assert!(none.read(&nothing).unwrap_err().message.contains("cannot be read"));
        assert_eq!(MetersArgument::default().read(&nothing).unwrap(), MeterConfig::default());
    }
}
