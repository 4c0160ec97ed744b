//! The memory of a core module. Every pointer and length comes from the guest, and may be anything.

use dunlin_nn::Fault;
use wasmtime::{Caller, Extern};

use super::CoreState;

/// The memory that the module exports, and what the host holds of it.
pub(crate) fn split<'a>(caller: &'a mut Caller<'_, CoreState>) -> Option<(&'a mut [u8], &'a mut CoreState)> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Some(memory.data_and_store_mut(caller)),
        _ => None,
    }
}

/// `length` bytes at `pointer`. No bytes may be anywhere; bytes at 0 are a null pointer.
pub(crate) fn bytes(memory: &[u8], pointer: u32, length: u32) -> Result<&[u8], Fault> {
    if length == 0 {
        return Ok(&[]);
    }
    let range = range(pointer, length as usize)?;
    memory.get(range).ok_or_else(|| outside(pointer, length as usize))
}

pub(crate) fn write(memory: &mut [u8], pointer: u32, bytes: &[u8]) -> Result<(), Fault> {
    if bytes.is_empty() {
        return Ok(());
    }
    let range = range(pointer, bytes.len())?;
    let room = memory.get_mut(range).ok_or_else(|| outside(pointer, bytes.len()))?;
    room.copy_from_slice(bytes);
    Ok(())
}

pub(crate) fn write_u32(memory: &mut [u8], pointer: u32, value: u32) -> Result<(), Fault> {
    write(memory, pointer, &value.to_le_bytes())
}

/// Whether a number could be written there, before there is one.
pub(super) fn check_u32(memory: &[u8], pointer: u32) -> Result<(), Fault> {
    bytes(memory, pointer, 4).map(drop)
}

pub(super) fn text(memory: &[u8], pointer: u32, length: u32) -> Result<&str, Fault> {
    let bytes = bytes(memory, pointer, length)?;
    std::str::from_utf8(bytes)
        .map_err(|error| Fault::InvalidArgument(format!("a name is not UTF-8: {error}")))
}

/// The data of a tensor: five words, which are where its dimensions are and how many, its type, where its data is and
/// how long. Guests write what they like as dimensions and type, so only the data counts.
pub(super) fn tensor_data(memory: &[u8], pointer: u32) -> Result<&[u8], Fault> {
    let tensor = bytes(memory, pointer, 20)?;
    let word = |index: usize| {
        let at = &tensor[4 * index..4 * index + 4];
        u32::from_le_bytes([at[0], at[1], at[2], at[3]])
    };
    bytes(memory, word(3), word(4))
}

fn range(pointer: u32, length: usize) -> Result<std::ops::Range<usize>, Fault> {
    if pointer == 0 {
        return Err(Fault::InvalidArgument("a null pointer".into()));
    }
    let start = pointer as usize;
    let end = start.checked_add(length).ok_or_else(|| outside(pointer, length))?;
    Ok(start..end)
}

fn outside(pointer: u32, length: usize) -> Fault {
    Fault::InvalidArgument(format!("{length} bytes at {pointer:#x} are not in the guest's memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_of_the_memory_is_refused() {
        let mut memory = vec![7; 64];
        assert_eq!(bytes(&memory, 60, 4), Ok(&[7; 4][..]));
        assert_eq!(bytes(&memory, u32::MAX, 0), Ok(&[][..]));
        for (pointer, length) in
            [(61, 4), (0, 1), (64, 1), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)]
        {
            assert!(bytes(&memory, pointer, length).is_err(), "{length} at {pointer}");
        }
        write_u32(&mut memory, 57, 0x0102_0304).unwrap();
        assert_eq!(memory[56..62], [7, 4, 3, 2, 1, 7]);
        for pointer in [0, 61, u32::MAX - 1] {
            assert!(write_u32(&mut memory, pointer, 1).is_err(), "{pointer}");
            assert!(check_u32(&memory, pointer).is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_tensor_is_its_data() {
        let mut memory = vec![0; 64];
        let tensor = |dimensions: u32, data: u32, length: u32| {
            [dimensions, 1_000_000, 3, data, length].map(u32::to_le_bytes).concat()
        };
        memory[40..45].copy_from_slice(b"hello");
        write(&mut memory, 4, &tensor(u32::MAX, 40, 5)).unwrap();
        assert_eq!(tensor_data(&memory, 4), Ok(&b"hello"[..]));
        // Its data may be the tensor itself.
        write(&mut memory, 4, &tensor(0, 4, 20)).unwrap();
        assert_eq!(tensor_data(&memory, 4).unwrap().len(), 20);
        write(&mut memory, 4, &tensor(0, 60, 5)).unwrap();
        assert!(tensor_data(&memory, 4).is_err());
        assert!(tensor_data(&memory, 45).is_err());
    }
}
