use std::io;

use super::random::Random;
use crate::tensor_type::TensorType;

/// Bytes made at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where drawn numbers lie: uniform around `mean` with this standard deviation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    mean: f32,
    deviation: f32,
}

impl Spread {
    pub(super) fn around(mean: f32, deviation: f32) -> Self {
        Self { mean, deviation }
    }
}

/// Writes `bytes` bytes of random weights. Quantised blocks get random digits and one small scale, so that they
/// are finite; their mean is 0.
pub(super) fn write(
    kind: TensorType,
    spread: Spread,
    bytes: u64,
    random: &mut Random,
    sink: &mut dyn io::Write,
) -> io::Result<()> {
    let block = kind.block_bytes() as usize;
    let step = CHUNK_BYTES / block * block;
    let mut chunk = vec![0; step];
    let mut left = bytes as usize;
    while left > 0 {
        let part = &mut chunk[..step.min(left)];
        random.fill(part);
        part.chunks_exact_mut(block).for_each(|block| shape_block(kind, spread, block));
        sink.write_all(part)?;
        left -= part.len();
    }
    Ok(())
}

/// Turns random bytes into a sound block of the type.
///
/// Layouts from `ggml-common.h` of llama.cpp; the divisors are the deviations of uniform digits. Scales have random
/// signs: digits lie half a step off 0, and one sign for all would add a constant larger than any signal.
fn shape_block(kind: TensorType, spread: Spread, block: &mut [u8]) {
    let sign = block[1] & 0x80;
    let scale = |digits: f32| signed(sign, spread.deviation / digits);
    match kind {
        TensorType::F32 => {
            let number =
                uniform(u32::from_le_bytes([block[0], block[1], block[2], block[3]]) >> 8, 24, spread);
            block.copy_from_slice(&number.to_le_bytes());
        }
        TensorType::F16 => {
            let number = uniform(u16::from_le_bytes([block[0], block[1]]).into(), 16, spread);
            block.copy_from_slice(&half(number));
        }
        TensorType::Q4_0 => block[..2].copy_from_slice(&scale(4.61)),
        TensorType::Q5_0 => block[..2].copy_from_slice(&scale(9.23)),
        TensorType::Q8_0 => block[..2].copy_from_slice(&scale(73.9)),
        TensorType::Q4_K => shape_q4_k(spread, block),
        TensorType::Q6_K => shape_q6_k(spread, block),
        _ => block.fill(0),
    }
}

/// Scale, minimum, eight six-bit scales and minima in twelve bytes, digits.
fn shape_q4_k(spread: Spread, block: &mut [u8]) {
    /// Scales of the parts run from 6 to 13, digits from 0 to 15.
    const DIGITS: f32 = 9.5 * 4.61;
    const MIDDLE: f32 = 7.5;
    let sign = block[1] & 0x80;
    let scale = spread.deviation / DIGITS;
    block[..2].copy_from_slice(&signed(sign, scale));
    // Each minimum equals its scale, so that digits lie around their middle.
    block[2..4].copy_from_slice(&signed(sign, scale * MIDDLE));
    for part in 0..4 {
        let low = 6 + (block[4 + part] & 7);
        let high = 6 + (block[8 + part] & 7);
        block[4 + part] = low;
        block[8 + part] = low;
        block[12 + part] = high | (high << 4);
    }
}

/// Digits, sixteen eight-bit scales, scale.
fn shape_q6_k(spread: Spread, block: &mut [u8]) {
    /// Scales of the parts run from 4 to 11, digits from -32 to 31.
    const DIGITS: f32 = 7.5 * 18.47;
    for scale in &mut block[192..208] {
        *scale = 4 + (*scale & 7);
    }
    let sign = block[209] & 0x80;
    block[208..210].copy_from_slice(&signed(sign, spread.deviation / DIGITS));
}

fn uniform(drawn: u32, bits: u32, spread: Spread) -> f32 {
    let centered = drawn as f32 / (1u32 << bits) as f32 - 0.5;
    spread.mean + centered * spread.deviation * 12f32.sqrt()
}

fn signed(sign: u8, magnitude: f32) -> [u8; 2] {
    let [low, high] = half(magnitude);
    [low, high | sign]
}

/// A number as IEEE half precision, rounded towards 0; ours are far from its ends.
fn half(number: f32) -> [u8; 2] {
    let bits = number.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
    let mantissa = (bits & 0x7f_ffff) | 0x80_0000;
    let magnitude = match exponent {
        ..=-10 => 0,
        // Below 2^-14 there is no hidden digit.
        -9..=0 => (mantissa >> (14 - exponent)) as u16,
        1..=30 => ((exponent as u16) << 10) | ((mantissa >> 13) & 0x3ff) as u16,
        _ => 0x7bff,
    };
    (sign | magnitude).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_those_of_ieee() {
        for (number, bits) in [
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (0.0, 0),
            (0.5, 0x3800),
            (65504.0, 0x7bff),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
        ] {
            assert_eq!(u16::from_le_bytes(half(number)), bits, "{number}");
        }
    }

    #[test]
    fn weights_are_finite_and_centered() {
        let mut bytes = Vec::new();
        write(TensorType::F16, Spread::around(0.0, 0.02), 20_000, &mut Random::new(7), &mut bytes).unwrap();
        assert_eq!(bytes.len(), 20_000);
        assert!(bytes.chunks_exact(2).all(|half| half[1] & 0x7c != 0x7c));
    }
}
