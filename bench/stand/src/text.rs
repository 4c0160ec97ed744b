//! What the engine that computes nothing says.

/// The letter at a position: no two stretches of ten are alike within some thousands.
pub fn letter(position: usize) -> char {
    let mixed = (position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    char::from(b'a' + ((mixed >> 40) % 26) as u8)
}
