//! The process-wide state of llama.cpp: its backends and its log.

use std::{
    ffi::{CStr, c_char, c_void},
    sync::Once,
};

use llama_cpp_sys_2 as sys;

/// Prepares llama.cpp: registers the backends (with `dynamic-backends`, loads the ones that lie beside the executable
/// and suit this CPU) and routes its log to stderr. Further calls do nothing.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `log` is a plain function that lives as long as the process and takes no user data.
        unsafe { sys::llama_log_set(Some(log), std::ptr::null_mut()) };
        load_backends();
        // SAFETY: called once, before any other function of llama.cpp that computes.
        unsafe { sys::llama_backend_init() };
    });
}

#[cfg(feature = "dynamic-backends")]
fn load_backends() {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(ToOwned::to_owned));
    let dir = beside.and_then(|dir| std::ffi::CString::new(dir.into_os_string().into_encoded_bytes()).ok());
    match dir {
        // SAFETY: a NUL-terminated path that outlives the call.
        Some(dir) => unsafe { sys::ggml_backend_load_all_from_path(dir.as_ptr()) },
        // SAFETY: takes nothing.
        None => unsafe { sys::ggml_backend_load_all() },
    }
}

#[cfg(not(feature = "dynamic-backends"))]
fn load_backends() {}

/// Warnings and errors only: the rest repeats what [`crate::serve`] reports in its own words.
unsafe extern "C" fn log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    let verbose = std::env::var_os("DUNLIN_ENGINE_LOG").is_some();
    let wanted = verbose || level == sys::GGML_LOG_LEVEL_WARN || level == sys::GGML_LOG_LEVEL_ERROR;
    if wanted && !text.is_null() {
        // SAFETY: llama.cpp passes a NUL-terminated string that lives for the call.
        let text = unsafe { CStr::from_ptr(text) };
        eprint!("{}", text.to_string_lossy());
    }
}

/// The devices and the instruction sets in use, in llama.cpp's words.
pub fn backend_description() -> String {
    // SAFETY: the result is a NUL-terminated string in static storage.
    let info = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
    info.to_string_lossy().trim().trim_end_matches('|').trim().to_owned()
}

/// The function that the CPU backend offers under this name. With dynamic backends it cannot be linked.
pub(super) fn cpu_function(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the registry is filled by `init`; devices and registries live as long as the process.
    let function = unsafe {
        let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
        if device.is_null() {
            return None;
        }
        sys::ggml_backend_reg_get_proc_address(sys::ggml_backend_dev_backend_reg(device), name.as_ptr())
    };
    (!function.is_null()).then_some(function)
}
