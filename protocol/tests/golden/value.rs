//! MessagePack as a tree, to change what a message says behind the back of its type.

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Map(Vec<(Self, Self)>),
    List(Vec<Self>),
    Text(String),
    /// Everything else, as it was read.
    Raw(Vec<u8>),
}

type Change<'a> = dyn FnMut(&str, &mut Vec<(Value, Value)>) + 'a;

impl Value {
    /// Reads what our messages are made of; panics at anything else.
    pub(crate) fn read(input: &mut &[u8]) -> Self {
        let marker = input[0];
        match marker {
            0x80..=0x8f => Self::map(input, 1, usize::from(marker & 15)),
            0xde => Self::map(input, 3, number(&input[1..3])),
            0x90..=0x9f => Self::list(input, 1, usize::from(marker & 15)),
            0xdc => Self::list(input, 3, number(&input[1..3])),
            0xa0..=0xbf => Self::text(input, 1, usize::from(marker & 31)),
            0xd9 => Self::text(input, 2, number(&input[1..2])),
            0xda => Self::text(input, 3, number(&input[1..3])),
            0xc4 => Self::raw(input, 2 + number(&input[1..2])),
            0xc5 => Self::raw(input, 3 + number(&input[1..3])),
            0xcc | 0xd0 => Self::raw(input, 2),
            0xcd | 0xd1 => Self::raw(input, 3),
            0xce | 0xd2 => Self::raw(input, 5),
            0xcf | 0xd3 => Self::raw(input, 9),
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Self::raw(input, 1),
            other => panic!("marker {other:#x} is not expected in our messages"),
        }
    }

    fn map(input: &mut &[u8], head: usize, length: usize) -> Self {
        *input = &input[head..];
        Self::Map((0..length).map(|_| (Self::read(input), Self::read(input))).collect())
    }

    fn list(input: &mut &[u8], head: usize, length: usize) -> Self {
        *input = &input[head..];
        Self::List((0..length).map(|_| Self::read(input)).collect())
    }

    fn text(input: &mut &[u8], head: usize, length: usize) -> Self {
        let (text, rest) = input[head..].split_at(length);
        *input = rest;
        Self::Text(String::from_utf8(text.to_vec()).unwrap())
    }

    fn raw(input: &mut &[u8], length: usize) -> Self {
        let (raw, rest) = input.split_at(length);
        *input = rest;
        Self::Raw(raw.to_vec())
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Map(entries) => {
                out.push(0xde);
                out.extend((entries.len() as u16).to_be_bytes());
                entries.iter().for_each(|(key, value)| {
                    key.write(out);
                    value.write(out);
                });
            }
            Self::List(items) => {
                out.push(0xdc);
                out.extend((items.len() as u16).to_be_bytes());
                items.iter().for_each(|item| item.write(out));
            }
            Self::Text(text) => {
                out.push(0xda);
                out.extend((text.len() as u16).to_be_bytes());
                out.extend(text.as_bytes());
            }
            Self::Raw(raw) => out.extend(raw),
        }
    }

    pub(crate) fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// A map that names a variant, and is no struct.
    pub(crate) fn is_variant(&self) -> bool {
        let Self::Map(entries) = self else { return false };
        let [(Self::Text(key), _)] = &entries[..] else { return false };
        key.starts_with(char::is_uppercase) || ["sha256", "blake3"].contains(&key.as_str())
    }

    /// The structs in it, outermost first.
    pub(crate) fn structs(&self) -> usize {
        match self {
            Self::Map(entries) => {
                usize::from(!self.is_variant())
                    + entries.iter().map(|(_, value)| value.structs()).sum::<usize>()
            }
            Self::List(items) => items.iter().map(Self::structs).sum(),
            Self::Text(_) | Self::Raw(_) => 0,
        }
    }

    /// Gives the struct of this number to `change`: the name under which it stands, and its fields.
    pub(crate) fn change_struct(&mut self, number: usize, change: &mut Change) {
        self.visit("", &mut 0, number, change);
    }

    fn visit(&mut self, name: &str, seen: &mut usize, number: usize, change: &mut Change) {
        let is_struct = matches!(self, Self::Map(_)) && !self.is_variant();
        match self {
            Self::Map(entries) => {
                if is_struct {
                    if *seen == number {
                        change(name, entries);
                    }
                    *seen += 1;
                }
                for (key, value) in entries {
                    let Self::Text(key) = key else { panic!("maps have names") };
                    value.visit(key, seen, number, change);
                }
            }
            Self::List(items) => items.iter_mut().for_each(|item| item.visit(name, seen, number, change)),
            Self::Text(_) | Self::Raw(_) => {}
        }
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}
