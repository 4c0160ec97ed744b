//! Processor, kernel, memory, address space.

use std::{fs, path::Path, thread};

use dunlin_gguf::{Bytes, MemoryAvailable};
use dunlin_host::{Allocation, Compile, Host, HostConfig};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::{terminal::counted, version::WASMTIME};

/// Less than this is little, even for the smallest models.
const LITTLE_MEMORY: u64 = 512 << 20;

pub(super) fn look(root: &Path) -> Vec<Finding> {
    let board = board(root).map(|board| Finding::ok("board", board));
    board.into_iter().chain([processor(root), kernel(), memory(root), address_space(), pool()]).collect()
}

/// The name of a board, as its firmware tells it.
fn board(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("proc/device-tree/model")).ok()?;
    Some(text.trim_end_matches('\0').trim().to_owned()).filter(|model| !model.is_empty())
}

fn processor(root: &Path) -> Finding {
    let info = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    let part = || field("CPU part").map(|part| arm_core(&part).to_owned());
    let name = field("model name").or_else(part).unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Finding::ok("processor", format!("{name}, {}", counted(cores, "core")))
}

/// From the MIDR part numbers in the Arm technical reference manuals.
fn arm_core(part: &str) -> &str {
    match part {
        "0xd03" => "Cortex-A53",
        "0xd04" => "Cortex-A35",
        "0xd05" => "Cortex-A55",
        "0xd08" => "Cortex-A72",
        "0xd0b" => "Cortex-A76",
        "0xd41" => "Cortex-A78",
        "0xd42" => "Cortex-A78AE",
        "0xd4b" => "Cortex-A78C",
        "0xd0c" => "Neoverse-N1",
        other => other,
    }
}

fn kernel() -> Finding {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Finding::ok(
        "kernel",
        format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
    )
}

fn memory(root: &Path) -> Finding {
    let available = match MemoryAvailable::read_under(root) {
        Ok(available) => available,
        Err(error) => {
            return Finding::note(
                "memory",
                error.to_string(),
                "models are loaded without asking whether they fit",
            );
        }
    };
    let total = total(root).map(|total| format!(" of {}", Bytes(total))).unwrap_or_default();
    let found = format!("{available}{total}");
    if available.bytes < LITTLE_MEMORY {
        return Finding::note(
            "memory",
            found,
            "end something that takes memory, or take the smallest models",
        );
    }
    Finding::ok("memory", found)
}

fn total(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn address_space() -> Finding {
    match getrlimit(Resource::As).current {
        None => Finding::ok("addresses", "the address space is not limited"),
        Some(bytes) => Finding::note(
            "addresses",
            format!("the address space is limited to {}", Bytes(bytes)),
            "`ulimit -v unlimited` lifts it, where the administrator lets you",
        ),
    }
}

/// Whether the kernel lets the host reserve the memory of pipelines ahead.
fn pool() -> Finding {
    match Host::new(HostConfig::new(Compile::InProcess)).map(|host| host.allocation().clone()) {
        Ok(Allocation::Pooled { instances }) => Finding::ok(
            "pipelines",
            format!("wasmtime {WASMTIME}; memory for {instances} at once is reserved ahead"),
        ),
        Ok(Allocation::OnDemand { reason }) => Finding::note(
            "pipelines",
            format!("wasmtime {WASMTIME}; their memory is taken when they start: {reason}"),
            "they start some microseconds later; nothing needs to be done",
        ),
        Err(error) => Finding::missing(
            "pipelines",
            error.to_string(),
            "free memory, or lift the limits of this shell (ulimit -a)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_says_what_it_is() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
        write("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n");
        write("proc/meminfo", "MemTotal: 8245000 kB\nMemAvailable: 300000 kB\n");
        assert_eq!(board(root.path()).unwrap(), "Raspberry Pi 5 Model B Rev 1.0");
        assert!(processor(root.path()).found.starts_with("Cortex-A76, "));
        let memory = memory(root.path());
        assert_eq!(
            (memory.level, memory.found.as_str()),
            (super::super::Level::Note, "307 MB are free of 8.44 GB")
        );
    }
}
