//! Compilers that come from package registries. They are installed once, for all projects, in the cache.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FlockOperation, flock};

use super::build::tool;
use crate::{
    failure::{Exit, Failure},
    folders::Folders,
    terminal::progress::Progress,
};

/// A compiler of a registry, in the version that this Dunlin was tested with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Toolchain {
    package: &'static str,
    version: &'static str,
    registry: Registry,
    /// What is downloaded, about.
    megabytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registry {
    Python,
    Node,
}

pub(crate) const COMPONENTIZE_PY: Toolchain =
    Toolchain { package: "componentize-py", version: "0.25.1", registry: Registry::Python, megabytes: 40 };
pub(crate) const COMPONENTIZE_JS: Toolchain = Toolchain {
    package: "@bytecodealliance/componentize-js",
    version: "0.23.0",
    registry: Registry::Node,
    megabytes: 100,
};
pub(crate) const ZIG: Toolchain =
    Toolchain { package: "ziglang", version: "0.17.0", registry: Registry::Python, megabytes: 110 };

/// There when everything of a toolchain is.
const COMPLETE: &str = ".complete";

impl Toolchain {
    /// Its folder, in which it is installed if it is not yet.
    ///
    /// # Errors
    /// If what installs it is missing, or does not succeed.
    pub(crate) fn ensure(self, progress: &Progress) -> Result<PathBuf, Failure> {
        let folder = self.folder(&Folders::find()?);
        let unusable = |error: io::Error| {
            Failure::new(Exit::Failed, format!("cannot keep a toolchain in {}: {error}", folder.display()))
        };
        if folder.join(COMPLETE).is_file() {
            return Ok(folder);
        }
        let parent = folder.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(unusable)?;
        // Another build may be installing it.
        let lock = File::create(folder.with_added_extension("lock")).map_err(unusable)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| unusable(error.into()))?;
        if folder.join(COMPLETE).is_file() {
            return Ok(folder);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(unusable)?;
        }
        fs::create_dir_all(&folder).map_err(unusable)?;
        let what = format!("installing {} {} (some {} MB)", self.package, self.version, self.megabytes);
        match self.registry {
            Registry::Python => self.install_python(&folder, &what, progress)?,
            Registry::Node => self.install_node(&folder, &what, progress)?,
        }
        fs::write(folder.join(COMPLETE), "").map_err(unusable)?;
        Ok(folder)
    }

    fn folder(self, folders: &Folders) -> PathBuf {
        let name = self.package.rsplit('/').next().unwrap_or(self.package);
        folders.toolchains().join(format!("{name}-{}", self.version))
    }

    fn install_python(self, folder: &Path, what: &str, progress: &Progress) -> Result<(), Failure> {
        let hint = "install Python 3.10 or newer with venv: `apt-get install python3-venv`";
        tool("python3", Command::new("python3").args(["-m", "venv"]).arg(folder))
            .hint(hint)
            .run(what, progress)?;
        let requirement = format!("{}=={}", self.package, self.version);
        let mut pip = Command::new(python(folder));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            &requirement,
        ]);
        tool("pip", &mut pip)
            .hint("is there a network, and a wheel of it for this machine? what pip is told by its configuration holds here too")
            .run(what, progress)
            .map(drop)
    }

    fn install_node(self, folder: &Path, what: &str, progress: &Progress) -> Result<(), Failure> {
        let manifest = format!(
            "{{ \"private\": true, \"type\": \"module\", \"dependencies\": {{ \"{}\": \"{}\" }} }}\n",
            self.package, self.version
        );
        fs::write(folder.join("package.json"), manifest)
            .map_err(|error| super::template::unwritable(folder, &error))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(folder);
        tool("npm", &mut npm)
            .hint("install Node.js 20 or newer with npm: `apt-get install nodejs npm`; it needs the network once")
            .run(what, progress)
            .map(drop)
    }
}

/// The interpreter of a toolchain from Python's registry.
pub(crate) fn python(toolchain: &Path) -> PathBuf {
    toolchain.join("bin/python")
}
