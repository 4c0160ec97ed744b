use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::text::Bytes;

/// Control groups within control groups that are looked at.
const MAX_DEPTH: usize = 64;

/// Limits from here up mean that there is none: version 1 writes the largest multiple of a page.
const UNLIMITED: u64 = 1 << 60;

/// Memory that can be had without pushing anything else out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryAvailable {
    pub bytes: u64,
    /// What it is that there is no more of.
    pub limit: Limit,
}

/// What bounds the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The machine's own memory.
    Machine,
    /// The limit of a container or a service, by its control group.
    ControlGroup,
}

/// Why it is not known how much memory is free.
#[derive(Debug, Error)]
pub enum AvailableError {
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: has no line MemAvailable", path.display())]
    NoFigure { path: PathBuf },
}

/// The files of one version of control groups.
struct Version {
    limit: &'static str,
    usage: &'static str,
    /// The line of `memory.stat` for cached files not in use, which are given up first.
    reclaimable: &'static str,
}

const VERSION_1: Version = Version {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

const VERSION_2: Version =
    Version { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file" };

impl MemoryAvailable {
    /// What this process may still take: the machine's free memory or what its control groups leave, the less of both.
    pub fn read() -> Result<Self, AvailableError> {
        Self::read_under(Path::new("/"))
    }

    /// As [`MemoryAvailable::read`], of a machine whose `proc` and `sys` lie under `root`.
    pub fn read_under(root: &Path) -> Result<Self, AvailableError> {
        let machine = Self { bytes: mem_available(&root.join("proc/meminfo"))?, limit: Limit::Machine };
        let left = left_by_groups(root).map(|bytes| Self { bytes, limit: Limit::ControlGroup });
        Ok(left.filter(|left| left.bytes < machine.bytes).unwrap_or(machine))
    }
}

fn mem_available(path: &Path) -> Result<u64, AvailableError> {
    let text = fs::read_to_string(path)
        .map_err(|source| AvailableError::Unreadable { path: path.to_owned(), source })?;
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes
        .and_then(|kilobytes| kilobytes.checked_mul(1024))
        .ok_or_else(|| AvailableError::NoFigure { path: path.to_owned() })
}

/// Bytes that the tightest control group of this process leaves; `None` where there is no limit.
fn left_by_groups(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    lines.filter_map(|(controllers, group)| left_by_line(root, controllers, group)).min()
}

fn left_by_line(root: &Path, controllers: &str, group: &str) -> Option<u64> {
    let mounted = root.join("sys/fs/cgroup");
    if controllers.is_empty() {
        let left = left_up_from(&mounted, group, &VERSION_2);
        // Where both versions are mounted, the second sits in a folder of its own.
        return left.or_else(|| left_up_from(&mounted.join("unified"), group, &VERSION_2));
    }
    let memory = controllers.split(',').any(|controller| controller == "memory");
    if memory { left_up_from(&mounted.join("memory"), group, &VERSION_1) } else { None }
}

/// The least that `group` or one around it leaves. In a container its path may not exist here; the root does.
fn left_up_from(mounted: &Path, group: &str, version: &Version) -> Option<u64> {
    let folder = mounted.join(group.trim_start_matches('/'));
    let around = folder.ancestors().take_while(|folder| folder.starts_with(mounted)).take(MAX_DEPTH);
    around.filter_map(|folder| left_in(folder, version)).min()
}

fn left_in(folder: &Path, version: &Version) -> Option<u64> {
    // Version 2 writes `max` where there is no limit, which is no number.
    let limit = number(&folder.join(version.limit))?;
    if limit >= UNLIMITED {
        return None;
    }
    let usage = number(&folder.join(version.usage)).unwrap_or(0);
    let reclaimable = stat(&folder.join("memory.stat"), version.reclaimable).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(reclaimable)))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn stat(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

impl std::fmt::Display for MemoryAvailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.limit {
            Limit::Machine => write!(f, "{} are free", Bytes(self.bytes)),
            Limit::ControlGroup => write!(
                f,
                "{} are left under the memory limit of this container or service",
                Bytes(self.bytes)
            ),
        }
    }
}
