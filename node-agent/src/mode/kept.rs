//! The modes of this machine as an agent uses them: those it may set, what it found, what it learned of changes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{ModeError, Setting, Switch, switch};

/// In the agent's folder: what was found before the first change.
const FOUND: &str = "mode-found.json";

/// What is known of a change from one mode to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transition {
    /// While everything runs.
    Live,
    /// The machine has to start anew.
    Restart,
    /// It says yes and stays as it is, or says no.
    Unsupported,
}

/// Power modes of a machine.
#[derive(Debug)]
pub struct Modes {
    switch: Option<Box<dyn Switch>>,
    /// Those that may be set.
    allowed: Vec<String>,
    found: PathBuf,
    known: Mutex<BTreeMap<(String, String), Transition>>,
}

impl Modes {
    /// Those of the machine below `root` (`/` but in tests) that are in `allowed`; a single `all` allows all. `folder` is where
    /// what was found is kept.
    pub fn find(root: &Path, allowed: &[String], folder: &Path) -> Self {
        let switch = switch(root);
        let of_machine = switch.as_ref().map(|switch| switch.modes()).unwrap_or_default();
        let is_allowed = |mode: &String| allowed.iter().any(|name| name == "all" || name == mode);
        Self {
            allowed: of_machine.into_iter().filter(is_allowed).collect(),
            switch,
            found: folder.join(FOUND),
            known: Mutex::default(),
        }
    }

    /// Those that may be set.
    pub fn allowed(&self) -> &[String] {
        &self.allowed
    }

    /// The mode that the machine is in, as it tells.
    pub fn current(&self) -> Option<String> {
        let setting =
            self.switch.as_ref()?.read().inspect_err(|error| tracing::debug!(%error, "no mode is told"));
        setting.ok().map(|setting| setting.name())
    }

    /// What is known of changes, by their ends.
    pub fn transitions(&self) -> BTreeMap<(String, String), Transition> {
        self.lock().clone()
    }

    /// Puts the machine into a mode, and reads it back. Blocks for as long as that takes: seconds on a Jetson.
    ///
    /// # Errors
    /// [`ModeError`]; then it is in the mode that it was in.
    pub fn set(&self, mode: &str) -> Result<(), ModeError> {
        let switch = self.switch.as_ref().ok_or(ModeError::None)?;
        if !self.allowed.iter().any(|allowed| allowed == mode) {
            let known = if self.allowed.is_empty() {
                "none that the agent may set (`dunlin agent --modes`)".to_owned()
            } else {
                self.allowed.join(", ")
            };
            return Err(ModeError::Unknown { mode: mode.to_owned(), known });
        }
        let before = switch.read()?;
        let wanted = switch.setting(mode);
        if before == wanted {
            return Ok(());
        }
        let pair = (before.name(), mode.to_owned());
        if self.lock().get(&pair) == Some(&Transition::Restart) {
            return Err(ModeError::Restart { mode: mode.to_owned() });
        }
        self.keep(&before)?;
        let taken = taken(&**switch, &wanted);
        let transition = match &taken {
            Ok(()) => Some(Transition::Live),
            Err(ModeError::Restart { .. }) => Some(Transition::Restart),
            Err(ModeError::NotTaken { .. }) => Some(Transition::Unsupported),
            Err(_) => None,
        };
        if taken.is_err()
            && let Err(error) = taken_back(&**switch, &before)
        {
            tracing::warn!(%error, "the mode before a failed change is not restored");
        }
        self.lock().extend(transition.map(|transition| (pair, transition)));
        taken
    }

    /// Restores what was found before the first change: at the end, and at the start after a crash. `false`: there was none.
    ///
    /// # Errors
    /// [`ModeError`]; what was found is still kept.
    pub fn restore(&self) -> Result<bool, ModeError> {
        let Some(switch) = &self.switch else { return Ok(false) };
        let Ok(text) = fs::read_to_string(&self.found) else { return Ok(false) };
        let garbage =
            || ModeError::Garbage { path: self.found.clone(), text: text.chars().take(80).collect() };
        let found: Setting = serde_json::from_str(&text).map_err(|_| garbage())?;
        taken_back(&**switch, &found)?;
        fs::remove_file(&self.found).map_err(|error| ModeError::of(&self.found, error))?;
        Ok(true)
    }

    /// Before the first change only: what is there later is of our own making.
    fn keep(&self, found: &Setting) -> Result<(), ModeError> {
        if self.found.exists() {
            return Ok(());
        }
        let failed = |error| ModeError::of(&self.found, error);
        let text = serde_json::to_string(found).map_err(|error| failed(error.into()))?;
        let half = self.found.with_extension("part");
        fs::write(&half, text).map_err(failed)?;
        fs::rename(&half, &self.found).map_err(failed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Transition>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken(switch: &dyn Switch, wanted: &Setting) -> Result<(), ModeError> {
    switch.ask(wanted)?;
    let is = switch.read()?;
    if is == *wanted { Ok(()) } else { Err(ModeError::NotTaken { asked: wanted.name(), is: is.name() }) }
}

/// Nothing is asked where nothing has changed.
fn taken_back(switch: &dyn Switch, before: &Setting) -> Result<(), ModeError> {
    if switch.read()? == *before { Ok(()) } else { taken(switch, before) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::jetson::tests::orin;

    fn all() -> Vec<String> {
        vec!["all".to_owned()]
    }

    #[test]
    fn what_was_found_comes_back_after_a_crash_too() {
        let root = tempfile::tempdir().unwrap();
        orin(root.path());
        let folder = tempfile::tempdir().unwrap();
        let modes = Modes::find(root.path(), &all(), folder.path());
        assert_eq!(modes.current().as_deref(), Some("25W"));
        modes.set("MAXN_SUPER").unwrap();
        assert_eq!(modes.current().as_deref(), Some("MAXN_SUPER"));
        // The agent is killed; its successor finds what was found.
        drop(modes);
        let modes = Modes::find(root.path(), &all(), folder.path());
        assert!(modes.restore().unwrap());
        assert_eq!(modes.current().as_deref(), Some("25W"));
        fs::write(root.path().join("mode"), "MAXN_SUPER\n").unwrap();
        assert!(!modes.restore().unwrap());
        assert_eq!(modes.current().as_deref(), Some("MAXN_SUPER"), "what others set stays");
    }

    #[test]
    fn pairs_of_modes_are_known_once_they_were_tried() {
        let root = tempfile::tempdir().unwrap();
        orin(root.path());
        let folder = tempfile::tempdir().unwrap();
        let modes = Modes::find(root.path(), &all(), folder.path());
        assert!(matches!(modes.set("7W"), Err(ModeError::Restart { .. })));
        let error = modes.set("15W").unwrap_err().to_string();
        assert_eq!(error, "15W was asked for, and the machine says 25W");
        modes.set("MAXN_SUPER").unwrap();
        let pair = |to: &str| ("25W".to_owned(), to.to_owned());
        let known = modes.transitions();
        assert_eq!(
            [known[&pair("7W")], known[&pair("15W")], known[&pair("MAXN_SUPER")]],
            [Transition::Restart, Transition::Unsupported, Transition::Live]
        );
    }

    #[test]
    fn only_what_is_allowed_is_set() {
        let root = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let none = Modes::find(root.path(), &all(), folder.path());
        assert!(matches!(none.set("25W"), Err(ModeError::None)) && none.current().is_none());
        orin(root.path());
        let modes = Modes::find(root.path(), &["25W".to_owned(), "60W".to_owned()], folder.path());
        assert_eq!(modes.allowed(), ["25W"]);
        let error = modes.set("7W").unwrap_err().to_string();
        assert_eq!(error, "there is no mode \"7W\"; there are 25W");
        let unasked = Modes::find(root.path(), &[], folder.path());
        assert!(unasked.set("25W").unwrap_err().to_string().contains("dunlin agent --modes"));
    }
}
