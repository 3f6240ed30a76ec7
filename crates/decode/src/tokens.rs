//! The tokens of a JSON text. Only the text of a number is needed, so no number is computed. Strings without escapes,
//! which are frequent, are borrowed.

use crate::fault::Fault;
use dataflows::{Reason, ValueKind};
use wide::u8x16;

/// The rest of a text.
pub struct Tokens<'p> {
    text: &'p str,
    /// Of the next byte.
    at: usize,
}

impl<'p> Tokens<'p> {
    pub fn of(text: &'p str) -> Tokens<'p> {
        Tokens { text, at: 0 }
    }

    /// Bytes that have been read.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes on behind `bytes` more bytes, which the caller has compared.
    #[inline]
    pub fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Returns the first byte after white space. It is not read, but the white space is.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// Returns the first byte after white space. A string, a number or a literal goes on from there.
    #[inline]
    pub fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Returns the scalar whose `first` byte was the last to be read.
    #[inline]
    pub fn scalar<'s>(&mut self, first: u8, buffer: &'s mut String) -> Result<(ValueKind, &'s str), Fault>
    where
        'p: 's,
    {
        Ok(match first {
            b'"' => (ValueKind::String, self.string(buffer)?),
            b't' => (ValueKind::Bool, self.literal("true")?),
            b'f' => (ValueKind::Bool, self.literal("false")?),
            b'n' => (ValueKind::Null, self.literal("null")?),
            _ => (ValueKind::Number, self.number()?),
        })
    }

    /// Returns the rest of a string, after its opening quote; unescaped into `buffer` if it has to be.
    #[inline]
    pub fn string<'s>(&mut self, buffer: &'s mut String) -> Result<&'s str, Fault>
    where
        'p: 's,
    {
        let rest = &self.text[self.at..];
        let plain = plain(rest.as_bytes());
        if rest.as_bytes().get(plain) == Some(&b'"') {
            self.at += plain + 1;
            Ok(&rest[..plain])
        } else {
            self.escaped(buffer)
        }
    }

    /// Reads a string that has escapes or is faulty.
    #[cold]
    fn escaped<'s>(&mut self, buffer: &'s mut String) -> Result<&'s str, Fault> {
        buffer.clear();
        loop {
            let rest = &self.text[self.at..];
            let plain = plain(rest.as_bytes());
            buffer.push_str(&rest[..plain]);
            let special = rest.as_bytes().get(plain);
            self.at += plain + usize::from(special.is_some());
            match special {
                Some(b'"') => return Ok(buffer),
                Some(b'\\') => buffer.push(self.escape()?),
                Some(_) => return Err(no_json("a string has a control character", self.at - 1)),
                None => return Err(cut_short()),
            }
        }
    }

    /// Returns the character of an escape, after its backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at - 1;
        let wrong = || no_json("a string has an invalid escape", start);
        let byte = *self.text.as_bytes().get(self.at).ok_or_else(cut_short)?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit(start)?;
                // Beyond 2^16 there are two halves, each an escape of its own.
                let pair = (0xd800..0xdc00).contains(&first);
                let number = match self.text[self.at..].strip_prefix("\\u") {
                    Some(_) if pair => {
                        self.at += 2;
                        let second = self.unit(start)?.checked_sub(0xdc00).filter(|low| *low < 0x400);
                        0x10000 + ((first - 0xd800) << 10) + second.ok_or_else(wrong)?
                    }
                    None if pair && "\\u".starts_with(&self.text[self.at..]) => return Err(cut_short()),
                    _ => first,
                };
                char::from_u32(number).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        })
    }

    /// Returns the four hexadecimal digits of the escape that begins at `start`.
    fn unit(&mut self, start: usize) -> Result<u32, Fault> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let digits = rest.iter().take(4).map_while(|byte| char::from(*byte).to_digit(16));
        let (count, unit) = digits.fold((0, 0), |(count, unit), digit| (count + 1, unit << 4 | digit));
        self.at += count;
        match count {
            4 => Ok(unit),
            _ if self.at == self.text.len() => Err(cut_short()),
            _ => Err(no_json("a string has an invalid escape", start)),
        }
    }

    /// Returns the text of a number whose first byte was the last to be read.
    #[inline]
    pub fn number(&mut self) -> Result<&'p str, Fault> {
        let start = self.at - 1;
        let bytes = self.text.as_bytes();
        if bytes.get(start) == Some(&b'-') {
            self.digit()?;
        }
        // No digit follows a leading zero.
        if bytes.get(self.at - 1) != Some(&b'0') {
            self.digits();
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digit()?;
            self.digits();
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = bytes.get(self.at) {
                self.at += 1;
            }
            self.digit()?;
            self.digits();
        }
        Ok(&self.text[start..self.at])
    }

    #[inline]
    fn digit(&mut self) -> Result<(), Fault> {
        match self.text.as_bytes().get(self.at) {
            Some(b'0'..=b'9') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(no_json("expected a digit", self.at)),
            None => Err(cut_short()),
        }
    }

    #[inline]
    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
    }

    /// Reads all of `literal`, whose first byte was the last to be read.
    #[inline]
    pub fn literal(&mut self, literal: &'static str) -> Result<&'static str, Fault> {
        let rest = &self.text[self.at - 1..];
        if rest.starts_with(literal) {
            self.at += literal.len() - 1;
            Ok(literal)
        } else if literal.starts_with(rest) {
            Err(cut_short())
        } else {
            Err(no_json("expected `true`, `false` or `null`", self.at - 1))
        }
    }

    /// Returns the fault of having `found` with [`Tokens::next`] where something else was expected.
    #[cold]
    pub fn unexpected(&self, found: Option<u8>, expected: &str) -> Fault {
        match found {
            Some(_) => no_json(expected, self.at - 1),
            None => cut_short(),
        }
    }
}

/// Returns the number of bytes before the first quote, backslash or control character, or before the end.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    let (blocks, tail) = bytes.as_chunks::<16>();
    for (index, block) in blocks.iter().enumerate() {
        let block = u8x16::new(*block);
        let control = block.min(u8x16::splat(0x1f)).simd_eq(block);
        let hits = block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\')) | control;
        let hits = hits.to_bitmask();
        if hits != 0 {
            return index * 16 + hits.trailing_zeros() as usize;
        }
    }
    let in_tail = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    bytes.len() - tail.len() + in_tail.unwrap_or(tail.len())
}

fn no_json(what: &str, offset: usize) -> Fault {
    Fault::new(Reason::NoJson, format!("{what} at byte {offset}"))
}

fn cut_short() -> Fault {
    Fault::new(Reason::NoJson, "ends before the JSON value is complete")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Escapes of every kind, whole, cut short and wrong: what is read, or whether it is faulty, is what serde_json says.
        #[test]
        fn strings_are_what_serde_json_reads(
            parts in prop::collection::vec(
                prop_oneof![
                    r#"[a-z\u{e9}\u{1d11e} /]{0,20}"#,
                    r#"\\["\\/bfnrtxu0 ]"#,
                    r#"\\u[0-9a-fA-FdD+]{0,4}"#,
                    r#"\\u[dD][89aAbB][0-9a-f]{2}(\\u[dD][c-fC-F][0-9a-f]{2})?"#,
                    "[\"\u{1}\n\u{7f}]",
                ],
                0..6,
            )
        ) {
            let text = format!("{}\"", parts.concat());
            let mut tokens = Tokens::of(&text);
            let mut buffer = String::new();
            let read = tokens.string(&mut buffer).ok().map(str::to_owned);
            let whole = format!("\"{text}");
            let mut expected = serde_json::Deserializer::from_str(&whole).into_iter::<String>();
            let string = expected.next().and_then(Result::ok);
            if string.is_some() {
                prop_assert_eq!(tokens.at() + 1, expected.byte_offset());
            }
            prop_assert_eq!(read, string);
        }
    }

    proptest! {
        #[test]
        fn plain_ends_at_the_first_special_byte(
            bytes in prop::collection::vec(prop_oneof![8 => any::<u8>(), 8 => 0x20..0x80_u8, 1 => Just(b'"')], 0..40)
        ) {
            let special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
            prop_assert_eq!(plain(&bytes), bytes.iter().position(special).unwrap_or(bytes.len()));
        }
    }
}
