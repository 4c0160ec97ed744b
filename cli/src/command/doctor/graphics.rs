//! Accelerators, by what the system shows of them.

use std::{path::Path, process::Command};

use super::Finding;
use crate::engine;

pub(super) fn look(root: &Path) -> Vec<Finding> {
    let engine_has_cuda =
        engine::executable().is_ok_and(|engine| asked(&engine, "--backend").contains("CUDA"));
    let Some(found) = card(root) else {
        return vec![Finding::ok("accelerator", "none; models run on the processor")];
    };
    vec![if engine_has_cuda {
        Finding::ok("accelerator", found)
    } else {
        Finding::note(
            "accelerator",
            format!("{found}, but this engine is built for the processor alone"),
            "build it with `--features cuda` to use it",
        )
    }]
}

fn card(root: &Path) -> Option<String> {
    if root.join("etc/nv_tegra_release").exists() || root.join("dev/nvhost-gpu").exists() {
        return Some("the GPU of a Jetson".to_owned());
    }
    if !root.join("dev/nvidia0").exists() {
        return None;
    }
    let names =
        asked(Path::new("nvidia-smi"), "--query-gpu=name,memory.total,driver_version --format=csv,noheader");
    Some(names.lines().next().map_or("an NVIDIA GPU, whose driver does not answer".to_owned(), str::to_owned))
}

/// What a program says; nothing if it does not run.
pub(super) fn asked(program: &Path, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
