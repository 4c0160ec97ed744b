//! The firmware of a Raspberry Pi, asked as `vcgencmd` does (github.com/raspberrypi/utils, vcgencmd/vcgencmd.c).

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd,
    path::Path,
};

/// Devices, the one for commands first.
const DEVICES: [&str; 2] = ["dev/vcio_gencmd", "dev/vcio"];

/// `_IOWR(100, 0, char *)`, where pointers have eight bytes.
const PROPERTY: libc::c_ulong = 0xC008_6400;

/// The tag of a command, and bytes of it and of its answer.
const GENCMD_RESULT: u32 = 0x0003_0080;
const TEXT_BYTES: usize = 4096;

/// Words before the text: length, request, tag, bytes of the text, bytes of the request, the firmware's code.
const HEADER_WORDS: usize = 6;
const CODE_WORD: usize = 5;

/// Header, text, and the tag that ends it.
const WORDS: usize = HEADER_WORDS + TEXT_BYTES / 4 + 1;

/// Answers commands.
pub(crate) trait Firmware: Send + fmt::Debug {
    /// # Errors
    /// If the device or the firmware refuses.
    fn command(&mut self, command: &str) -> io::Result<String>;
}

/// The device.
#[derive(Debug)]
pub(crate) struct Mailbox(File);

impl Mailbox {
    /// Under a root.
    ///
    /// # Errors
    /// Of the last device that was tried, with its path.
    pub(crate) fn open(root: &Path) -> Result<Self, (std::path::PathBuf, io::Error)> {
        let mut last = None;
        for device in DEVICES {
            let path = root.join(device);
            match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => return Ok(Self(file)),
                // A device that is there but may not be opened says more than one that is not.
                Err(error) => {
                    if last.is_none() || error.kind() != io::ErrorKind::NotFound {
                        last = Some((path, error));
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| (root.to_owned(), io::ErrorKind::NotFound.into())))
    }
}

impl Firmware for Mailbox {
    fn command(&mut self, command: &str) -> io::Result<String> {
        let mut words = request(command)?;
        // SAFETY: the descriptor is open for as long as `self`; the driver reads and writes the buffer behind the pointer up
        // to the length in its first word, which is that of `words`, and keeps no pointer to it.
        #[expect(unsafe_code, reason = "there is no safe way to call a driver")]
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), PROPERTY as _, words.as_mut_ptr()) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        answer(&words)
    }
}

fn request(command: &str) -> io::Result<[u32; WORDS]> {
    // The text ends with a zero.
    if command.len() >= TEXT_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is too long"));
    }
    let mut words = [0; WORDS];
    words[0] = (WORDS * 4) as u32;
    words[2] = GENCMD_RESULT;
    words[3] = TEXT_BYTES as u32;
    for (at, byte) in command.bytes().enumerate() {
        words[HEADER_WORDS + at / 4] |= u32::from(byte) << (8 * (at % 4));
    }
    Ok(words)
}

fn answer(words: &[u32; WORDS]) -> io::Result<String> {
    let text = words[HEADER_WORDS..WORDS - 1].iter().flat_map(|word| word.to_le_bytes());
    let text: Vec<u8> = text.take_while(|&byte| byte != 0).collect();
    let text = String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match words[CODE_WORD] {
        0 => Ok(text),
        code => Err(io::Error::other(format!("the firmware refuses with {code}: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_layout_of_vcgencmd() {
        let words = request("pmic_read_adc").unwrap();
        assert_eq!(words[..6], [4124, 0, 0x0003_0080, 4096, 0, 0]);
        assert_eq!(words[6], u32::from_le_bytes(*b"pmic"));
        assert_eq!(words[9], u32::from(b'c'));
        assert_eq!(words[WORDS - 1], 0);
        assert!(request(&"a".repeat(4096)).is_err());
    }

    #[test]
    fn answers_are_text_or_a_code() {
        let mut words = request("").unwrap();
        words[6] = u32::from_le_bytes(*b"ab\0c");
        assert_eq!(answer(&words).unwrap(), "ab");
        words[5] = 2;
        assert_eq!(answer(&words).unwrap_err().to_string(), "the firmware refuses with 2: ab");
        (words[5], words[6]) = (0, 0xff);
        assert!(answer(&words).is_err());
    }
}
