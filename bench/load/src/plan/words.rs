//! Prompts of about so many tokens, for a tokenizer that is not known.

use fastrand::Rng;

/// Short, plain, and mostly one token each.
const WORDS: [&str; 64] = [
    "the", "water", "stone", "bird", "light", "road", "house", "river", "field", "time", "hand", "night",
    "small", "green", "long", "cold", "north", "wind", "salt", "shore", "walk", "turn", "hold", "keep",
    "find", "leave", "open", "close", "rain", "snow", "boat", "sand", "tree", "leaf", "root", "seed", "iron",
    "wood", "glass", "paper", "bread", "apple", "table", "door", "wall", "roof", "line", "point", "circle",
    "number", "letter", "word", "song", "voice", "sound", "story", "year", "month", "week", "day", "hour",
    "first", "last", "next",
];

/// What tokens a word has where nothing was measured.
const ASSUMED: f64 = 1.3;

/// How many tokens words are, and what a prompt has beside them (its template, its number).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ruler {
    pub tokens_per_word: f64,
    pub overhead: f64,
    pub is_measured: bool,
}

impl Default for Ruler {
    fn default() -> Self {
        Self { tokens_per_word: ASSUMED, overhead: 0.0, is_measured: false }
    }
}

impl Ruler {
    /// The line through two measurements of words and their tokens; `None` if they make no sense.
    pub fn through(short: (u64, u64), long: (u64, u64)) -> Option<Self> {
        let words = long.0.checked_sub(short.0).filter(|words| *words > 0)?;
        let tokens_per_word = long.1.checked_sub(short.1)? as f64 / words as f64;
        let overhead = short.1 as f64 - tokens_per_word * short.0 as f64;
        let is_sound = (0.2..20.0).contains(&tokens_per_word);
        is_sound.then_some(Self { tokens_per_word, overhead, is_measured: true })
    }

    /// Each begins differently, so that what a server keeps of one does not serve the next.
    pub(crate) fn prompt(self, tokens: u64, rng: &mut Rng) -> String {
        let words = (tokens as f64 - self.overhead) / self.tokens_per_word;
        of_words(words.round().max(1.0) as u64, rng)
    }
}

/// The first of them is drawn from many.
pub(crate) fn of_words(count: u64, rng: &mut Rng) -> String {
    let mut text = String::with_capacity(count as usize * 6);
    for number in 0..count {
        // With four letters of its own, one prompt begins like another once in 457,000 times.
        if number == 0 {
            (0..4).for_each(|_| text.push(rng.uppercase()));
        } else {
            text.push(' ');
            text.push_str(WORDS[rng.usize(..WORDS.len())]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_the_length_that_was_measured() {
        let ruler = Ruler::through((32, 52), (160, 180)).unwrap();
        assert_eq!((ruler.tokens_per_word, ruler.overhead), (1.0, 20.0));
        let mut rng = Rng::with_seed(1);
        assert_eq!(ruler.prompt(100, &mut rng).split(' ').count(), 80);
        assert_eq!(ruler.prompt(3, &mut rng).split(' ').count(), 1);
        assert_ne!(of_words(4, &mut rng).split(' ').next(), of_words(4, &mut rng).split(' ').next());
        for (short, long) in [((9, 9), (9, 9)), ((9, 50), (20, 40)), ((1, 1), (2, 500)), ((1, 5), (100, 5))] {
            assert_eq!(Ruler::through(short, long), None);
        }
    }
}
