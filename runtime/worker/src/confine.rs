//! What a worker takes from itself and from its engines before it does anything: the network, and all files that it has no
//! business with. So what escapes from a pipeline, or from an engine, finds no keys, and nobody to tell.

use std::{collections::BTreeMap, path::Path};

use dunlin_worker_handle::Confinement;

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::WorkerOptions;

/// What a program needs to read so that it runs at all, where there is one.
const SYSTEM: [&str; 12] = [
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    // How much memory there is, what processors; other processes are kept from it by Landlock's rule on ptrace, but for
    // their names.
    "/proc",
    // Where CUDA is, if it is not below /usr.
    "/opt/nvidia",
    "/etc/nv_tegra_release",
];
/// GPUs and the null device.
const DEVICES: &str = "/dev";

pub(crate) fn confine(options: &WorkerOptions) -> Confinement {
    // Files first: afterwards nothing more can be named.
    let files = confine_files(options).err();
    Confinement { files, network: take_network().err() }
}

fn confine_files(options: &WorkerOptions) -> Result<(), String> {
    let abi = ABI::V3;
    let here = std::env::current_exe().ok();
    let own = here.as_deref().and_then(Path::parent);
    let system = SYSTEM.iter().map(Path::new);
    let readable: Vec<&Path> = system.chain(options.readable.iter().map(Path::new)).chain(own).collect();
    let restrict = || {
        Ruleset::default()
            .handle_access(AccessFs::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
            .add_rules(path_beneath_rules([&options.cache], AccessFs::from_all(abi)))?
            .add_rules(path_beneath_rules([DEVICES], AccessFs::from_all(abi)))?
            .restrict_self()
    };
    match restrict() {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            Err("this kernel has no Landlock".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Sockets of the machine itself are left: engines are at the other end of one.
fn take_network() -> Result<(), String> {
    let program = filter().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let is_foreign =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?;
    // Reading another process is a way to its keys.
    let forbidden =
        [libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_bpf];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        forbidden.into_iter().map(|call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![is_foreign])?]);
    // io_uring makes sockets without asking.
    rules.insert(libc::SYS_io_uring_setup, Vec::new());
    let refused = SeccompAction::Errno(libc::EACCES as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?.try_into()
}
