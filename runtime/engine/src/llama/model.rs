//! Loaded weights.

use std::{
    ffi::{CString, c_void},
    ptr::NonNull,
};

use llama_cpp_sys_2 as sys;

use super::Vocab;

/// How to load weights.
#[derive(Debug, Clone, Copy)]
pub struct ModelOptions {
    /// Layers on a GPU; `None`: all.
    pub gpu_layers: Option<u32>,
    pub mmap: bool,
}

/// The weights of a model; read-only once loaded, so free to share among threads.
#[derive(Debug)]
pub struct Model {
    model: NonNull<sys::llama_model>,
}

// SAFETY: after loading nothing writes to a model; llama.cpp itself shares it among contexts and threads.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// Loads the parts of a model, in order. `progress` gets the share that is loaded and may stop the load.
    ///
    /// The files must have passed the checks of `dunlin-gguf`.
    pub fn load(
        parts: &[CString],
        options: ModelOptions,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Option<Self> {
        let mut progress: &mut dyn FnMut(f32) -> bool = progress;
        let mut paths: Vec<_> = parts.iter().map(|part| part.as_ptr()).collect();
        // SAFETY: a plain struct, filled by value.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers =
            options.gpu_layers.map_or(-1, |layers| i32::try_from(layers).unwrap_or(i32::MAX));
        params.load_mode = if options.mmap { sys::LLAMA_LOAD_MODE_MMAP } else { sys::LLAMA_LOAD_MODE_NONE };
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = (&raw mut progress).cast();
        // SAFETY: `paths` holds NUL-terminated strings; they, `progress` and `params` outlive the call.
        let model = unsafe { sys::llama_model_load_from_splits(paths.as_mut_ptr(), paths.len(), params) };
        NonNull::new(model).map(|model| Self { model })
    }

    pub fn vocab(&self) -> Vocab<'_> {
        // SAFETY: the model is loaded; its vocabulary lives as long as it does, which the lifetime says.
        unsafe { Vocab::new(sys::llama_model_get_vocab(self.model.as_ptr())) }
    }

    /// Length of an embedding.
    pub fn embedding_length(&self) -> usize {
        // SAFETY: reads a field of a loaded model.
        unsafe { sys::llama_model_n_embd_out(self.model.as_ptr()) as usize }
    }

    pub fn trained_context(&self) -> u32 {
        // SAFETY: reads a field of a loaded model.
        unsafe { sys::llama_model_n_ctx_train(self.model.as_ptr()) }.try_into().unwrap_or(0)
    }

    pub fn parameters(&self) -> u64 {
        // SAFETY: reads a field of a loaded model.
        unsafe { sys::llama_model_n_params(self.model.as_ptr()) }
    }

    /// Bytes of all tensors.
    pub fn size(&self) -> u64 {
        // SAFETY: reads a field of a loaded model.
        unsafe { sys::llama_model_size(self.model.as_ptr()) }
    }

    pub fn has_decoder(&self) -> bool {
        // SAFETY: reads a field of a loaded model.
        unsafe {
            sys::llama_model_has_decoder(self.model.as_ptr())
                && !sys::llama_model_has_encoder(self.model.as_ptr())
        }
    }

    /// The model remembers in a state that folds what it read, alone or beside attention.
    pub fn is_recurrent(&self) -> bool {
        // SAFETY: reads a field of a loaded model.
        unsafe {
            sys::llama_model_is_recurrent(self.model.as_ptr())
                || sys::llama_model_is_hybrid(self.model.as_ptr())
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::llama_model {
        self.model.as_ptr()
    }
}

unsafe extern "C" fn on_progress(fraction: f32, callback: *mut c_void) -> bool {
    // SAFETY: `load` passes a pointer to its callback, which lives through the load and is called from its thread only.
    let callback = unsafe { &mut *callback.cast::<&mut dyn FnMut(f32) -> bool>() };
    callback(fraction)
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: loaded once, freed once; contexts hold an `Arc` of it and are gone.
        unsafe { sys::llama_model_free(self.model.as_ptr()) };
    }
}
