//! Random bytes of the machine.

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// The machine has no randomness to give; no key can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the machine gives no random numbers")]
pub struct NoRandomness;

/// Bytes that nobody can guess.
///
/// # Errors
/// [`NoRandomness`].
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
