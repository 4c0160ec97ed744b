//! What this machine says of itself.

use std::{fs, num::NonZero, path::Path, thread};

use dunlin_engine_handle::Threads;

/// By the device tree of boards; anything else is `generic`.
pub(crate) fn class() -> String {
    let model = fs::read_to_string("/proc/device-tree/model").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    class_of(&model, kib.unwrap_or(0) / (1 << 20))
}

/// `gib`: memory as the kernel counts it, which is a little less than what was bought.
pub(crate) fn class_of(model: &str, gib: u64) -> String {
    let memory = (gib + 1).next_power_of_two();
    match model.trim_end_matches('\0') {
        pi if pi.starts_with("Raspberry Pi 5") => format!("pi5-{memory}g"),
        orin if orin.contains("Orin Nano") => format!("orin-nano-{memory}g"),
        _ => "generic".to_owned(),
    }
}

/// What sets one machine apart from others of its class, so that they share no cost rows: its processor, and how much of
/// it is used.
pub(crate) fn firmware(threads: Threads) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = ["model name", "Model"];
    let name = names.iter().find_map(|name| {
        let line = cpu.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    });
    let name = name.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{name}, {}/{} threads", threads.prefill, threads.decode)
}

/// The power mode of a Jetson, the governor of the processor elsewhere.
pub(crate) fn mode() -> String {
    dunlin_agent::Modes::find(Path::new("/"), &[], Path::new(""))
        .current()
        .unwrap_or_else(|| "default".to_owned())
}

pub(crate) fn threads() -> Threads {
    let cores = thread::available_parallelism().map_or(1, NonZero::get) as u32;
    Threads { prefill: cores, decode: cores }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_known_by_their_device_tree() {
        assert_eq!(class_of("Raspberry Pi 5 Model B Rev 1.0\0", 7), "pi5-8g");
        assert_eq!(class_of("Raspberry Pi 5 Model B Rev 1.1\0", 15), "pi5-16g");
        assert_eq!(class_of("NVIDIA Jetson Orin Nano Developer Kit\0", 7), "orin-nano-8g");
        assert_eq!(class_of("", 23), "generic");
    }
}
