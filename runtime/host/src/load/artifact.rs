//! Compiled guests: as bytes that say whether they are whole, and as code.

use wasmtime::{Engine, Module, Precompiled, component::Component};

use crate::Digest;

const MAGIC: &[u8; 16] = b"dunlin compiled\n";
const HEADER: usize = MAGIC.len() + 32;

/// Compiled code of either kind.
pub(crate) enum Code {
    Component(Component),
    Module(Module),
}

/// How a core module begins.
pub(super) const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// What our own compiler made of a guest, sealed against damage by a digest in front of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Artifact(Vec<u8>);

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Artifact({} bytes)", self.0.len())
    }
}

impl Artifact {
    /// Compiles on this thread, for as long and with as much memory as it takes.
    pub(crate) fn compile(engine: &Engine, guest: &[u8]) -> wasmtime::Result<Self> {
        let code = if guest.starts_with(&MODULE) {
            engine.precompile_module(guest)?
        } else {
            engine.precompile_component(guest)?
        };
        let mut sealed = Vec::with_capacity(HEADER + code.len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(Digest::of_bytes(&code).as_bytes());
        sealed.extend_from_slice(&code);
        Ok(Self(sealed))
    }

    /// `None` if these are not the bytes of [`Self::sealed`], all of them and unchanged. They must come from
    /// a place that only this user can write to: the digest tells of damage, not of malice.
    pub(crate) fn open(sealed: Vec<u8>) -> Option<Self> {
        let code = sealed.get(HEADER..)?;
        let whole =
            sealed.starts_with(MAGIC) && sealed[MAGIC.len()..HEADER] == *Digest::of_bytes(code).as_bytes();
        whole.then_some(Self(sealed))
    }

    pub(crate) fn sealed(&self) -> &[u8] {
        &self.0
    }

    /// # Errors
    /// If it was compiled by another version or for another configuration or CPU.
    #[expect(unsafe_code, reason = "the one place where compiled code is taken at its word")]
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Code> {
        let code = &self.0[HEADER..];
        // SAFETY: the bytes must be those that wasmtime's compiler gave, for whoever can choose them runs
        // code as us. An artifact is made in two ways. `compile` has just called that compiler. `open` is
        // called with what our compile child wrote to a pipe that only it had, and with files of the cache,
        // which are taken only if they and their directory belong to this user and nobody else can write to
        // them (see `cache`): who can write there is this user, who could as well replace our executable. The
        // digest finds what a failing disk or a full one made of them. That version, configuration and CPU
        // features fit is checked by wasmtime itself.
        unsafe {
            match Engine::detect_precompiled(code) {
                Some(Precompiled::Module) => Module::deserialize(engine, code).map(Code::Module),
                Some(Precompiled::Component) | None => {
                    Component::deserialize(engine, code).map(Code::Component)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_seen() {
        let engine = Engine::new(&crate::allocation::code()).unwrap();
        let artifact = Artifact::compile(&engine, b"\0asm\x0d\0\x01\0").unwrap();
        assert_eq!(Artifact::open(artifact.sealed().to_vec()).as_ref(), Some(&artifact));
        artifact.load(&engine).unwrap();
        for position in (0..artifact.sealed().len()).step_by(97) {
            let mut damaged = artifact.sealed().to_vec();
            damaged[position] ^= 1;
            assert_eq!(Artifact::open(damaged), None, "at {position}");
            assert_eq!(Artifact::open(artifact.sealed()[..position].to_vec()), None, "cut at {position}");
        }
    }
}
