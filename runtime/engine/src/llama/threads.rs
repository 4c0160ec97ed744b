//! The threads that compute: a pool of our own instead of OpenMP's.
//!
//! OpenMP's barrier spins; beside one busy neighbour on two cores that costs two orders of magnitude.

use std::{ffi::c_void, ptr::NonNull};

use llama_cpp_sys_2 as sys;

use super::backend::cpu_function;

/// `GGML_MAX_N_THREADS`, which the bindings leave out.
const MAX_THREADS: u32 = 512;

/// How long idle workers poll before they sleep, 0 to 100; 1 is a few milliseconds. Long enough for the next step of a
/// generation, which comes at once. With ggml's default of 50 they spin for a tenth of a second after each, at the cost of
/// energy and of whatever else wants the core: two engines that take turns on two cores lose a tenth of their speed.
const POLL: u32 = 1;

type New = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> *mut sys::ggml_threadpool;
type Free = unsafe extern "C" fn(*mut sys::ggml_threadpool);

pub(super) struct ThreadPool {
    pool: NonNull<sys::ggml_threadpool>,
    free: Free,
}

impl ThreadPool {
    /// A pool of `threads` threads, the calling one included.
    pub(super) fn new(threads: u32) -> Option<Self> {
        let (new, free) = (cpu_function(c"ggml_threadpool_new")?, cpu_function(c"ggml_threadpool_free")?);
        // SAFETY: ggml registers its own functions under these names; their types are those of its header.
        let (new, free) = unsafe {
            (std::mem::transmute::<*mut c_void, New>(new), std::mem::transmute::<*mut c_void, Free>(free))
        };
        let threads = threads.clamp(1, MAX_THREADS);
        // SAFETY: a plain struct, filled by value.
        let mut params = unsafe { sys::ggml_threadpool_params_default(threads as i32) };
        params.poll = poll();
        // SAFETY: `params` is initialised and outlives the call.
        let pool = NonNull::new(unsafe { new(&raw mut params) })?;
        Some(Self { pool, free })
    }

    pub(super) fn as_ptr(&self) -> *mut sys::ggml_threadpool {
        self.pool.as_ptr()
    }
}

/// The environment may say otherwise, for measurements.
fn poll() -> u32 {
    std::env::var("DUNLIN_ENGINE_POLL").ok().and_then(|poll| poll.parse().ok()).unwrap_or(POLL)
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed once; the context that used it was dropped before.
        unsafe { (self.free)(self.pool.as_ptr()) };
    }
}
