//! What the processor counts while an engine works: instructions, cycles, cache misses. By `perf_event_open`, where the kernel
//! permits it and the machine has such counters.

use std::{fs, io, path::Path};

use perf_event::{Builder, Counter, events::Hardware};
use serde::{Deserialize, Serialize};

/// Threads of an engine that are counted: each takes four open files.
const MAX_THREADS: usize = 48;

const EVENTS: [Hardware; 4] =
    [Hardware::INSTRUCTIONS, Hardware::CPU_CYCLES, Hardware::CACHE_REFERENCES, Hardware::CACHE_MISSES];

/// Sums over the threads of an engine, outside of the kernel. What the machine does not count is not there.
///
/// A cache miss is what the kernel takes for the generic event: of the last level on most x86, of the first on most Arm.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_references: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_misses: Option<f64>,
}

impl Counted {
    /// What was counted since `earlier`.
    pub(crate) fn less(self, earlier: Self) -> Self {
        let less = |now: Option<f64>, then: Option<f64>| Some((now? - then?).max(0.0));
        Self {
            instructions: less(self.instructions, earlier.instructions),
            cycles: less(self.cycles, earlier.cycles),
            cache_references: less(self.cache_references, earlier.cache_references),
            cache_misses: less(self.cache_misses, earlier.cache_misses),
        }
    }
}

/// Counters that run.
pub(crate) struct Counting {
    /// By event, a counter for each thread.
    counters: [Vec<Counter>; EVENTS.len()],
}

impl Counting {
    /// Counts the threads that a process has now, from now on. What cannot be counted is left out.
    ///
    /// # Errors
    /// Why nothing can be counted.
    pub(crate) fn begin(proc: &Path, pid: u32) -> Result<Self, String> {
        let tasks =
            fs::read_dir(proc.join(pid.to_string()).join("task")).map_err(|error| error.to_string())?;
        let threads = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse::<i32>().ok());
        let threads: Vec<i32> = threads.take(MAX_THREADS).collect();
        let mut first = None;
        let counters = EVENTS.map(|event| {
            let of_all = threads.iter().map(|thread| counter(event, *thread));
            of_all.collect::<io::Result<Vec<_>>>().unwrap_or_else(|error| {
                first.get_or_insert(error);
                Vec::new()
            })
        });
        match first {
            Some(error) if counters.iter().all(Vec::is_empty) => Err(reason(&error, proc)),
            _ => Ok(Self { counters }),
        }
    }

    /// So far.
    pub(crate) fn counted(&mut self) -> Counted {
        let [instructions, cycles, cache_references, cache_misses] =
            self.counters.each_mut().map(|counters| sum(counters));
        Counted { instructions, cycles, cache_references, cache_misses }
    }
}

fn counter(event: Hardware, thread: i32) -> io::Result<Counter> {
    let mut counter = Builder::new(event).observe_pid(thread).any_cpu().build()?;
    counter.enable()?;
    Ok(counter)
}

/// Of more events than the processor has counters for each is counted a part of the time, and scaled up.
fn sum(counters: &mut [Counter]) -> Option<f64> {
    if counters.is_empty() {
        return None;
    }
    let of = |counter: &mut Counter| {
        let read = counter.read_count_and_time().ok()?;
        let share = read.time_running as f64 / (read.time_enabled as f64).max(1.0);
        // A thread that did not run was not counted either.
        Some(if read.time_running == 0 { 0.0 } else { read.count as f64 / share })
    };
    counters.iter_mut().map(of).sum()
}

/// In words, with what helps.
fn reason(error: &io::Error, proc: &Path) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let level = fs::read_to_string(proc.join("sys/kernel/perf_event_paranoid")).unwrap_or_default();
            format!(
                "the kernel does not permit it (kernel.perf_event_paranoid is {}; 2 or less permits it, unless a container forbids it)",
                if level.trim().is_empty() { "not known" } else { level.trim() }
            )
        }
        io::ErrorKind::NotFound | io::ErrorKind::Unsupported => {
            "this machine has no such counters, as many virtual ones".to_owned()
        }
        _ => match error.raw_os_error() {
            // ENODEV, EOPNOTSUPP
            Some(19 | 95) => "this machine has no such counters, as many virtual ones".to_owned(),
            _ => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_counted_or_it_is_said_why_not() {
        match Counting::begin(Path::new("/proc"), std::process::id()) {
            Ok(mut counting) => {
                let before = counting.counted();
                let work: u64 = (0..100_000u64).map(std::hint::black_box).sum();
                assert!(std::hint::black_box(work) > 0);
                let (before, after) = (before.instructions, counting.counted().instructions);
                assert!(before.zip(after).is_none_or(|(before, after)| after > before), "{after:?}");
            }
            Err(reason) => {
                assert!(reason.contains("permit") || reason.contains("no such counters"), "{reason}");
            }
        }
        assert!(Counting::begin(Path::new("/nowhere"), 1).is_err());
    }
}
