use super::SynthShape;
use crate::writer::GgufWriter;

/// Letters of English, the most frequent first: real text splits into a token every four letters or so.
const LETTERS: &str = "etaoinshrdlcumwfgypbvkjxqz";

/// The letter that byte-level BPE writes for a space.
const SPACE: &str = "Ġ";

const CONTROL: [&str; 4] = ["<|begin_of_text|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Numbers of llama.cpp's token types.
const NORMAL: i32 = 1;
const CONTROL_TYPE: i32 = 3;

const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
                        + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}\
                        {% endif %}";

/// A byte-level BPE vocabulary made of nothing: bytes, then merges up to four letters, then control tokens.
pub(super) struct Vocabulary {
    tokens: Vec<String>,
    merges: Vec<String>,
}

impl Vocabulary {
    pub(super) fn new(shape: &SynthShape) -> Self {
        let room = shape.vocabulary as usize - CONTROL.len();
        let mut tokens: Vec<String> = (0..=255).map(|byte| letter_of(byte).to_string()).collect();
        let mut merges = Vec::new();
        for (first, second) in merge_pairs().take(room - tokens.len()) {
            tokens.push(format!("{first}{second}"));
            merges.push(format!("{first} {second}"));
        }
        tokens.extend(CONTROL.map(str::to_owned));
        Self { tokens, merges }
    }

    pub(super) fn describe(&self, writer: &mut GgufWriter, shape: &SynthShape) {
        let ordinary = self.tokens.len() - CONTROL.len();
        let mut types = vec![NORMAL; ordinary];
        types.resize(self.tokens.len(), CONTROL_TYPE);
        let id = |text: &str| self.tokens.iter().rposition(|token| token == text).unwrap_or(0) as u32;
        writer.text("tokenizer.ggml.model", "gpt2");
        writer.text("tokenizer.ggml.pre", shape.pre);
        writer.texts("tokenizer.ggml.tokens", &self.tokens);
        writer.i32s("tokenizer.ggml.token_type", &types);
        writer.texts("tokenizer.ggml.merges", &self.merges);
        writer.u32("tokenizer.ggml.bos_token_id", id("<|begin_of_text|>"));
        writer.u32("tokenizer.ggml.eos_token_id", id("<|im_end|>"));
        writer.u32("tokenizer.ggml.padding_token_id", id("<|endoftext|>"));
        writer.flag("tokenizer.ggml.add_bos_token", shape.adds_bos);
        writer.text("tokenizer.chat_template", TEMPLATE);
    }
}

/// Pairs to merge, in order of rank: two letters, then three, then four. Each result comes up once.
fn merge_pairs() -> impl Iterator<Item = (String, String)> {
    let twos = || letter_pairs().map(|(first, second)| first + &second);
    // A space only begins words, so it never comes second.
    let inner = move || twos().filter(|two| !two.starts_with(SPACE));
    let threes = twos().flat_map(|two| letters().map(move |letter| (two.clone(), letter)));
    let fours = twos().flat_map(move |two| inner().map(move |second| (two.clone(), second)));
    letter_pairs().chain(threes).chain(fours)
}

fn letter_pairs() -> impl Iterator<Item = (String, String)> {
    let starts = std::iter::once(SPACE.to_owned()).chain(letters());
    starts.flat_map(|first| letters().map(move |second| (first.clone(), second)))
}

fn letters() -> impl Iterator<Item = String> {
    LETTERS.chars().map(String::from)
}

/// The letter that GPT-2 writes for a byte: itself where it is printable Latin-1, else one from U+0100 on.
fn letter_of(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(&byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(byte)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_merge_is_of_tokens_before_it_and_makes_a_new_one() {
        let vocabulary = Vocabulary::new(&SynthShape::QWEN2_5_0_5B);
        let mut known: BTreeSet<String> = (0..=255).map(|byte| letter_of(byte).to_string()).collect();
        assert_eq!(known.len(), 256);
        for merge in &vocabulary.merges {
            let (first, second) = merge.split_once(' ').unwrap();
            assert!(known.contains(first) && known.contains(second), "{merge}");
            assert!(known.insert(format!("{first}{second}")), "{merge} twice");
        }
        assert_eq!(vocabulary.tokens.len(), 151_936);
    }

    #[test]
    fn bytes_have_the_letters_of_gpt2() {
        for (byte, letter) in [(b' ', 'Ġ'), (b'\n', 'Ċ'), (b'a', 'a'), (0, 'Ā'), (0xad, 'Ń'), (0xff, 'ÿ')]
        {
            assert_eq!(letter_of(byte), letter);
        }
    }
}
