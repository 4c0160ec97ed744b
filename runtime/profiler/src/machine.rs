//! What the machine says of itself while it is measured: heat, memory and processor time of an engine, the page cache.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, fadvise};

/// Threads of an engine that are looked at.
const MAX_TASKS: usize = 4096;

/// The state of the board.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// Of the hottest zone.
    pub celsius: Option<f32>,
    pub throttled: bool,
}

/// Tells the state of the board.
pub trait Senses: Send + Sync {
    fn conditions(&self) -> Conditions;
}

/// What became of a file in the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The kernel was asked to forget it, which it may not do.
    Asked,
    /// It could not be asked.
    Refused,
}

/// This machine, by `/sys` and `/proc`.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
    proc: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self::at("/")
    }
}

/// What a process used since it began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Used {
    /// Processor time of all its threads.
    pub(crate) seconds: f64,
    /// Context switches of the threads that live, of both kinds.
    pub(crate) switches: u64,
    /// Seconds that the threads that live were ready and had no processor, where the kernel tells.
    pub(crate) waited: Option<f64>,
    /// Bytes that were fetched from storage for it.
    pub(crate) read: u64,
    /// Highest resident memory, in bytes.
    pub(crate) peak: u64,
}

impl Senses for Machine {
    fn conditions(&self) -> Conditions {
        let celsius = dunlin_meters::Conditions::read(&self.root).celsius;
        Conditions {
            celsius: celsius.map(|celsius| celsius as f32),
            throttled: dunlin_meters::is_held_back(&self.root),
        }
    }
}

impl Machine {
    /// One that is recorded below a folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { proc: root.join("proc"), root }
    }

    /// Asks the kernel to forget what it keeps of a file, so that the next read comes from the disk. What somebody has
    /// mapped stays.
    pub(crate) fn drop_cache(files: &[PathBuf]) -> Dropped {
        let ask = |file: &PathBuf| {
            let file = File::open(file).ok()?;
            // What is dirty cannot be dropped.
            file.sync_all().ok()?;
            fadvise(&file, 0, None, Advice::DontNeed).ok()
        };
        let asked = !files.is_empty() && files.iter().all(|file| ask(file).is_some());
        if asked { Dropped::Asked } else { Dropped::Refused }
    }

    /// Lets the kernel forget the highest memory of a process, so that it begins anew with what it has now. False where it does
    /// not.
    pub(crate) fn forget_peak(&self, pid: u32) -> bool {
        // proc(5): 5 resets the peak resident set size.
        fs::write(self.proc.join(pid.to_string()).join("clear_refs"), "5").is_ok()
    }

    pub(crate) fn proc(&self) -> &Path {
        &self.proc
    }

    /// `None` once it is gone.
    pub(crate) fn used(&self, pid: u32) -> Option<Used> {
        // POSIX, and what Linux has had since 2.4.
        const TICKS: f64 = 100.0;
        let folder = self.proc.join(pid.to_string());
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // The name may hold anything, also parentheses.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let tasks = fs::read_dir(folder.join("task")).into_iter().flatten().flatten();
        let tasks: Vec<PathBuf> = tasks.take(MAX_TASKS).map(|task| task.path()).collect();
        Some(Used {
            seconds: (ticks(11)? + ticks(12)?) / TICKS,
            switches: tasks.iter().map(|task| switches(task)).sum(),
            waited: tasks.iter().filter_map(|task| waited(task)).reduce(|all, of| all + of),
            read: field(&folder.join("io"), "read_bytes:").unwrap_or(0),
            peak: field(&folder.join("status"), "VmHWM:").unwrap_or(0) * 1024,
        })
    }
}

fn switches(task: &Path) -> u64 {
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    let lines = status.lines().filter(|line| line.contains("ctxt_switches:"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Time on a run queue, in nanoseconds: the second number (Documentation/scheduler/sched-stats.rst).
fn waited(task: &Path) -> Option<f64> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    Some(text.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1e9)
}

fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn heat_and_use_are_read_from_the_trees() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        assert_eq!(machine.conditions(), Conditions::default());
        assert_eq!(machine.used(7), None);
        write(root.path(), "sys/class/thermal/thermal_zone0/temp", "45277\n");
        write(root.path(), "sys/class/thermal/thermal_zone1/temp", "83600\n");
        write(root.path(), "sys/class/thermal/cooling_device0/type", "Fan\n");
        assert_eq!(machine.conditions(), Conditions { celsius: Some(83.6), throttled: true });
        let stat = "7 (an (odd) name) S 1 1 1 0 -1 0 1 2 3 4 250 50 0 0 20 0 3 0 100 1 1\n";
        write(root.path(), "proc/7/stat", stat);
        write(root.path(), "proc/7/io", "rchar: 5\nread_bytes: 4096\n");
        write(root.path(), "proc/7/status", "Name:\tx\nVmHWM:\t    2048 kB\n");
        for (task, count) in [(7, 3), (8, 40)] {
            let text = format!("voluntary_ctxt_switches:\t{count}\nnonvoluntary_ctxt_switches:\t2\n");
            write(root.path(), &format!("proc/7/task/{task}/status"), &text);
        }
        let used = machine.used(7).unwrap();
        let expected = Used { seconds: 3.0, switches: 47, waited: None, read: 4096, peak: 2 << 20 };
        assert_eq!(used, expected);
        for (task, waited) in [(7, 250_000_000), (8, 500_000_000)] {
            write(root.path(), &format!("proc/7/task/{task}/schedstat"), &format!("98657 {waited} 2\n"));
        }
        assert_eq!(machine.used(7).unwrap(), Used { waited: Some(0.75), ..expected });
    }

    #[test]
    fn a_file_that_is_not_there_cannot_be_forgotten() {
        assert_eq!(Machine::drop_cache(&[]), Dropped::Refused);
        assert_eq!(Machine::drop_cache(&["/nowhere/model.gguf".into()]), Dropped::Refused);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Machine::drop_cache(&[file.path().to_owned()]), Dropped::Asked);
    }
}
