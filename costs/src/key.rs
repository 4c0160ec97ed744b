//! What a cost row is of: node class, software, model, operating point.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// A name that is compared, ordered, printed, and cheap to clone.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: &str) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self(String::deserialize(deserializer)?.into()))
            }
        }
    };
}

name! {
    /// A kind of board, as in `pi5-8g`: nodes of one class share rows.
    NodeClass
}
name! {
    /// The machine-wide power state of a node, by name: a CPU governor (`performance`) or a Jetson power mode (`25W`).
    /// Never by number: Jetson's numbers change between firmwares.
    Mode
}
name! {
    /// How the weights are stored, as in `Q4_K_M`.
    Quantisation
}
name! {
    /// How keys and values are stored, as in `f16`, or `q8_0/f16` where they differ.
    KvType
}

/// The SHA-256 of a GGUF file.
///
/// Emulated boards have models without a file: those are named, as in `emulated:llama-3.2-1b`, and their digest is that
/// of the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelDigest([u8; 32]);

/// What stands before the name of a model that only emulated boards have.
const EMULATED: &str = "emulated:";

/// Why some text is no model digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no model digest: 64 hexadecimal digits, or {EMULATED}NAME for a model of emulated boards")]
pub struct DigestFault(String);

impl ModelDigest {
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// Of a model that only emulated boards have.
    pub fn emulated(name: &str) -> Self {
        let named = Sha256::new().chain_update(EMULATED).chain_update(name.to_ascii_lowercase());
        Self(named.finalize().into())
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for ModelDigest {
    type Err = DigestFault;

    fn from_str(text: &str) -> Result<Self, DigestFault> {
        if let Some(name) = text.strip_prefix(EMULATED).filter(|name| !name.is_empty()) {
            return Ok(Self::emulated(name));
        }
        let fault = || DigestFault(text.chars().take(80).collect());
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(fault());
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| fault())?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDigest({self})")
    }
}

impl Serialize for ModelDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    Cpu,
    Cuda,
    Vulkan,
}

/// A throttled board is another board: it has rows and calibration of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thermal {
    #[default]
    Cool,
    Warm,
    Throttled,
}

/// What a row is of. Two rows of one key say the same thing, and the better founded one is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowKey {
    pub class: NodeClass,
    pub model: ModelDigest,
    pub mode: Mode,
    pub thermal: Thermal,
    /// Threads that read prompts.
    pub prefill_threads: u16,
    /// Threads that decode.
    pub decode_threads: u16,
    pub backend: Backend,
    pub quantisation: Quantisation,
    pub kv_type: KvType,
    /// Tokens that a sequence may have.
    pub context: u32,
    /// Of the EEPROM or L4T: Jetson's modes are others in each.
    pub firmware: String,
    /// The engine's build.
    pub runtime: String,
}
