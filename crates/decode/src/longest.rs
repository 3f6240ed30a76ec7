//! Bounds the texts of events that states and rows keep: a sender's texts must not decide how large these become.

use std::borrow::Cow;

/// Bytes of the longest text that is kept as it is.
pub const LONGEST: usize = 1024;

/// The text between the beginning of a longer text and its digest.
const MARK: &str = "…#";

/// Hexadecimal digits of the digest: as many bits as a [`dataflows::UserKey`] has.
const DIGITS: usize = 32;

/// Returns the text itself if it is short enough. A longer one is cut to [`LONGEST`] bytes, of which the last are a
/// digest of the whole: two texts that differ anywhere stay two.
#[inline]
pub fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST { Cow::Borrowed(text) } else { Cow::Owned(cut(text)) }
}

#[cold]
fn cut(text: &str) -> String {
    let begin = &text[..text.floor_char_boundary(LONGEST - MARK.len() - DIGITS)];
    let digest = blake3::hash(text.as_bytes()).to_hex();
    format!("{begin}{MARK}{}", &digest[..DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_above_the_longest_and_not_before() {
        let longest = "x".repeat(LONGEST);
        assert!(matches!(bounded(&longest), Cow::Borrowed(text) if text == longest));
        let cut = bounded(&(longest + "x")).into_owned();
        assert_eq!(cut.len(), LONGEST);
        // Users have their keys by it: it stays what it is.
        assert_eq!(&cut[980..], "xxxxxxxx…#71b7ce25ca2144dcf4d7ed561d8a526b");
        assert_eq!(bounded(&cut), cut);
    }

    #[test]
    fn texts_that_differ_at_the_end_stay_two() {
        let long = "x".repeat(1_000_000);
        assert_ne!(bounded(&format!("{long}a")), bounded(&format!("{long}b")));
    }

    #[test]
    fn no_character_is_cut_in_two() {
        for character in ["x", "é", "€", "🦀"] {
            for before in 0..5 {
                let text = "-".repeat(before) + &character.repeat(LONGEST + 1);
                let cut = bounded(&text);
                let end = cut.strip_prefix(&"-".repeat(before)).unwrap().trim_start_matches(character);
                assert!(end.starts_with(MARK) && end.len() == MARK.len() + DIGITS, "{end}");
                assert!((LONGEST - 3..=LONGEST).contains(&cut.len()));
            }
        }
    }
}
