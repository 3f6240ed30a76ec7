//! Mends payloads that one bad unit would make unreadable, so that what is not asked for cannot make an event bad. The
//! payload itself stays as it is: only what is read of it is mended.
//!
//! - Bytes that are no UTF-8 become U+FFFD, or are read as another encoding.
//! - Half of a surrogate pair in an escape becomes U+FFFD.
//! - `NaN` and `Infinity` are absent.
//! - A key that an object names again is left out, if both have the same value, or if no setting asks for it.

use crate::path::Step;
use crate::path_set::PathSet;
use crate::syntax::Encoding;
use std::collections::HashSet;

/// A text that stands for a payload.
#[derive(Debug, PartialEq, Eq)]
pub struct Mended {
    pub text: String,
    /// Offsets in the text behind which, and offsets in the payload from which, both agree again; ascending.
    agree: Vec<(usize, usize)>,
}

impl Mended {
    /// Returns the text with U+FFFD for what is no UTF-8.
    pub fn of_bytes(payload: &[u8]) -> Mended {
        let mut mended = Mended { text: String::with_capacity(payload.len() + 8), agree: Vec::new() };
        let mut at = 0;
        for chunk in payload.utf8_chunks() {
            mended.text.push_str(chunk.valid());
            at += chunk.valid().len() + chunk.invalid().len();
            if !chunk.invalid().is_empty() {
                mended.text.push(char::REPLACEMENT_CHARACTER);
                mended.agree.push((mended.text.len(), at));
            }
        }
        mended
    }

    /// Returns the text of a payload in an encoding with one byte for each character.
    pub fn of_encoding(payload: &[u8], encoding: Encoding) -> Mended {
        let mut mended = Mended { text: String::with_capacity(payload.len() + 8), agree: Vec::new() };
        for (at, byte) in payload.iter().enumerate() {
            mended.text.push(encoding.character(*byte));
            if !byte.is_ascii() {
                mended.agree.push((mended.text.len(), at + 1));
            }
        }
        mended
    }

    /// Returns the offset in the payload of an offset in the text.
    pub fn origin(&self, offset: usize) -> usize {
        let before = self.agree.partition_point(|(text, _)| *text <= offset);
        let (text, payload) = before.checked_sub(1).map_or((0, 0), |last| self.agree[last]);
        payload + (offset - text)
    }
}

/// Returns the text with `\ufffd` for each half of a surrogate pair; `None` if there is none. Both have one length.
pub fn surrogates(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut halves = Vec::new();
    let mut at = 0;
    while let Some(escape) = memchr::memchr(b'\\', &bytes[at..]).map(|found| at + found) {
        at = match (unit(escape), unit(escape + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => escape + 12,
            (Some(0xd800..0xe000), _) => {
                halves.push(escape);
                escape + 6
            }
            _ => escape + 2,
        }
        .min(bytes.len());
    }
    if halves.is_empty() {
        return None;
    }
    let mut text = String::with_capacity(json.len());
    let mut from = 0;
    for half in halves {
        text.push_str(&json[from..half]);
        text.push_str("\\ufffd");
        from = half + 6;
    }
    text.push_str(&json[from..]);
    Some(text)
}

/// Returns the text with an empty string for each `NaN` and `Infinity`, which JSON does not know and Python writes; `None`
/// if there is none. Both have one length.
pub fn no_numbers(json: &str) -> Option<String> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let bytes = json.as_bytes();
    let mut text: Option<Vec<u8>> = None;
    let (mut at, mut is_value) = (0, false);
    while let Some(byte) = bytes.get(at) {
        let word = WORDS.iter().find(|word| is_value && bytes[at..].starts_with(word));
        if let Some(word) = word {
            let place = &mut text.get_or_insert_with(|| bytes.to_vec())[at..at + word.len()];
            place.fill(b' ');
            place[..2].fill(b'"');
            at += word.len();
            is_value = false;
            continue;
        }
        at += 1;
        if *byte == b'"' {
            while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                at += found + 1;
                if bytes[at - 1] == b'"' {
                    break;
                }
                at += 1;
            }
        }
        is_value = matches!(byte, b':' | b',' | b'[') || is_value && byte.is_ascii_whitespace();
    }
    String::from_utf8(text?).ok()
}

/// Returns the names that a setting asks for, somewhere on its way.
pub fn asked(paths: &PathSet) -> HashSet<String> {
    let steps = (0..paths.len()).flat_map(|slot| paths.path(slot as u32).steps());
    steps.filter_map(|step| if let Step::Key(key) = step { Some(key.clone()) } else { None }).collect()
}

/// Returns a JSON text, which is valid, without the keys that an object names again and that do not matter: blanks stand
/// in their place. `None` if there is none.
pub fn repeats(json: &str, asked: &HashSet<String>) -> Option<String> {
    let mut blanks = Vec::new();
    let mut walk = Walk { bytes: json.as_bytes(), at: 0 };
    walk.value(asked, &mut blanks)?;
    if blanks.is_empty() {
        return None;
    }
    let mut bytes = json.as_bytes().to_vec();
    for (start, end) in blanks {
        bytes[start..end].fill(b' ');
    }
    String::from_utf8(bytes).ok()
}

/// A way through a JSON text that is known to be valid.
struct Walk<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Walk<'t> {
    fn space(&mut self) -> Option<u8> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Passes a value and returns it as it is written.
    fn value(&mut self, asked: &HashSet<String>, blanks: &mut Vec<(usize, usize)>) -> Option<&'t [u8]> {
        let first = self.space()?;
        let start = self.at;
        match first {
            b'"' => self.string()?,
            b'{' => self.object(asked, blanks)?,
            b'[' => {
                self.at += 1;
                while self.space()? != b']' {
                    self.value(asked, blanks)?;
                    if self.space()? == b',' {
                        self.at += 1;
                    }
                }
                self.at += 1;
            }
            _ => {
                let ends = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
                let length = self.bytes[self.at..].iter().position(ends);
                self.at = length.map_or(self.bytes.len(), |length| self.at + length);
                // Another text than was promised.
                (self.at > start).then_some(())?;
            }
        }
        Some(&self.bytes[start..self.at])
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', &self.bytes[self.at..])?;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Some(());
            }
            self.at += 2;
            self.bytes.get(self.at)?;
        }
    }

    fn object(&mut self, asked: &HashSet<String>, blanks: &mut Vec<(usize, usize)>) -> Option<()> {
        let mut seen: Vec<(String, &[u8])> = Vec::new();
        self.at += 1;
        let mut comma = self.at;
        while self.space()? != b'}' {
            let start = self.at;
            (self.bytes[start] == b'"').then_some(())?;
            self.string()?;
            let name: String = serde_json::from_slice(&self.bytes[start..self.at]).ok()?;
            (self.space()? == b':').then_some(())?;
            self.at += 1;
            let inside = blanks.len();
            let value = self.value(asked, blanks)?;
            let before = seen.iter().find(|(other, _)| *other == name);
            let is_asked = || name.split('.').any(|part| asked.contains(part));
            match before {
                Some((_, other)) if *other == value || !is_asked() => {
                    blanks.truncate(inside);
                    blanks.push((comma, self.at));
                }
                Some(_) => return None,
                None => seen.push((name, value)),
            }
            if self.space()? == b',' {
                comma = self.at;
                self.at += 1;
            }
        }
        self.at += 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_of_pairs_are_replaced_and_nothing_else() {
        assert_eq!(surrogates(r#"{"a":"great \ud83d"}"#).unwrap(), r#"{"a":"great \ufffd"}"#);
        assert_eq!(surrogates(r#""\udc00\ud83d\ud83d\ude00x""#).unwrap(), r#""\ufffd\ufffd\ud83d\ude00x""#);
        for whole in [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\u00e9""#, "\"\\", "\"\\u"] {
            assert_eq!(surrogates(whole), None, "{whole}");
        }
    }

    #[test]
    fn what_is_no_number_is_absent() {
        for (json, expected) in [
            (r#"{"a":NaN,"b":[-Infinity, Infinity]}"#, r#"{"a":"" ,"b":[""       , ""      ]}"#),
            (r#"{"a": NaN}"#, r#"{"a": "" }"#),
        ] {
            assert_eq!(no_numbers(json).as_deref(), Some(expected));
        }
        for json in [r#"{"a":"NaN"}"#, r#"{"NaN":1}"#, r#"{"a":"\",NaN"}"#, "", "\"", "\"\\", "{NaN"] {
            assert_eq!(no_numbers(json), None, "{json}");
        }
    }

    #[test]
    fn repeated_keys_that_do_not_matter_are_left_out() {
        let asked = HashSet::from(["time".to_owned(), "id".to_owned()]);
        let cases = [
            (r#"{"time":1,"a":2,"time":1}"#, Some(r#"{"time":1,"a":2         }"#)),
            (r#"{"a":1,"b":{"c":"}","c":[1,{}]},"a":2}"#, Some(r#"{"a":1,"b":{"c":"}"           }      }"#)),
            (r#"[{"x" : 1 , "x":2}]"#, Some(r#"[{"x" : 1        }]"#)),
            (r#"{"time":1,"time":2}"#, None),
            (r#"{"a":{"id":1,"id":2}}"#, None),
            (r#"{"a":1,"b":1}"#, None),
        ];
        for (json, expected) in cases {
            assert_eq!(repeats(json, &asked).as_deref(), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_agrees_is_found_again(bytes in prop::collection::vec(prop_oneof![b'a'..=b'c', any::<u8>()], 0..20)) {
            let mended = [Mended::of_bytes(&bytes), Mended::of_encoding(&bytes, Encoding::Latin1)];
            prop_assert_eq!(&mended[0].text, &String::from_utf8_lossy(&bytes));
            for mended in mended {
                for (at, _) in mended.text.char_indices().filter(|(_, character)| character.is_ascii()) {
                    prop_assert_eq!(bytes[mended.origin(at)], mended.text.as_bytes()[at]);
                }
                prop_assert_eq!(mended.origin(mended.text.len()), bytes.len());
            }
        }

        #[test]
        fn no_text_panics(text in "[{}\\[\\]\",:\\\\ud8cd0 a]{0,24}") {
            _ = surrogates(&text);
            _ = no_numbers(&text);
            _ = repeats(&text, &HashSet::new());
        }
    }
}
