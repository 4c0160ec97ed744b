//! Text in pieces that fit, cut where a reader would pause.

use dunlin_guest::Error;

/// A piece of more bytes per token wanted than this is cut before its tokens are counted.
const BYTES_PER_TOKEN: usize = 16;

/// Splits into pieces of at most `limit` tokens, all about as long as each other.
///
/// # Errors
/// Of `count`, which tells how many tokens a text has.
pub(crate) fn split<'a>(
    text: &'a str,
    limit: usize,
    count: &impl Fn(&str) -> Result<usize, Error>,
) -> Result<Vec<&'a str>, Error> {
    let mut pieces = Vec::new();
    for part in even(text, text.len().div_ceil(limit * BYTES_PER_TOKEN)) {
        fit(part, limit, count, &mut pieces)?;
    }
    Ok(pieces)
}

fn fit<'a>(
    text: &'a str,
    limit: usize,
    count: &impl Fn(&str) -> Result<usize, Error>,
    pieces: &mut Vec<&'a str>,
) -> Result<(), Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(());
    }
    let tokens = count(text)?;
    if tokens <= limit || text.chars().nth(1).is_none() {
        pieces.push(text);
        return Ok(());
    }
    // A tenth more than needed: cuts at good places make pieces unequal.
    let parts = (tokens + tokens / 10).div_ceil(limit).max(2);
    even(text, parts).into_iter().try_for_each(|part| fit(part, limit, count, pieces))
}

/// In so many parts, or fewer if there are not so many letters.
fn even(text: &str, parts: usize) -> Vec<&str> {
    let mut rest = text;
    let mut cut = Vec::new();
    for left in (2..=parts).rev() {
        let (part, after) = rest.split_at(place(rest, rest.len() / left));
        cut.push(part);
        rest = after;
    }
    cut.push(rest);
    cut
}

/// The best place to cut at or a quarter before `target`: after a paragraph, a line, a sentence, a word.
fn place(text: &str, target: usize) -> usize {
    let target = text.floor_char_boundary(target);
    let first = text.chars().next().map_or(0, char::len_utf8);
    let from = text.floor_char_boundary(target - target / 4);
    let window = &text[from..target];
    let after = |pause: &str| window.rfind(pause).map(|at| from + at + pause.len());
    let pauses = ["\n\n", "\n", ". ", "! ", "? ", "; ", ", ", " "];
    pauses.into_iter().find_map(after).unwrap_or(target).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if every byte were a token.
    fn pieces(text: &str, limit: usize) -> Vec<&str> {
        split(text, limit, &|piece| Ok(piece.len())).unwrap()
    }

    #[test]
    fn what_fits_stays_whole() {
        assert_eq!(pieces("one two", 7), ["one two"]);
        assert_eq!(pieces(" \n ", 7), Vec::<&str>::new());
    }

    #[test]
    fn lines_come_before_words_and_words_before_letters() {
        assert_eq!(pieces("aaaa bbbb\ncccc dddd", 12), ["aaaa bbbb", "cccc dddd"]);
        assert_eq!(pieces("aaaa bbbb cccc dddd", 12), ["aaaa bbbb", "cccc dddd"]);
        assert_eq!(pieces("aaaabbbbccccdddd", 12), ["aaaabbbb", "ccccdddd"]);
    }

    #[test]
    fn pieces_fit_and_nothing_is_lost() {
        let text: String =
            (0..400).map(|n| format!("line {n} of a log: änderung № {}\n", n * 7919 % 1000)).collect();
        for limit in [32, 100, 1000, 5000] {
            let found = pieces(&text, limit);
            assert!(found.iter().all(|piece| piece.len() <= limit), "{limit}");
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&found.join(" ")), words(&text), "{limit}");
            let least = found.iter().map(|piece| piece.len()).min().unwrap();
            assert!(least * 4 > limit || limit < 100, "{least} of {limit}");
        }
    }

    #[test]
    fn letters_that_do_not_fit_are_left_alone() {
        let found = split("äöü", 1, &|_| Ok(9)).unwrap();
        assert_eq!(found, ["ä", "ö", "ü"]);
    }

    #[test]
    fn long_text_is_not_counted_as_a_whole() {
        let text = "word ".repeat(10_000);
        let count = |piece: &str| {
            assert!(piece.len() <= 2048, "{}", piece.len());
            Ok(piece.len() / 5)
        };
        assert_eq!(split(&text, 128, &count).unwrap().len(), 100);
    }
}
