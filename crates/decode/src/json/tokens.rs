//! The tokens of a JSON text. Strings with escapes are sonic-rs' business. Setting up its parser costs more than reading
//! what is simple and frequent: strings without escapes, numbers (of which only the text is wanted), and what lies
//! between.

use crate::fault::Fault;
use dataflows::{Reason, ValueKind};
use sonic_rs::Read;
use sonic_rs::parser::{Parser, Reference};
use wide::u8x16;

/// What is left of a text.
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

    /// The first byte after white space. It is not read, but the white space is.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// The first byte after white space. A string, a number or a literal goes on from there.
    #[inline]
    pub fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// The scalar whose `first` byte was the last to be read.
    #[inline]
    pub fn scalar<'s>(&mut self, first: u8, buffer: &'s mut Vec<u8>) -> Result<(ValueKind, &'s str), Fault>
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

    /// The rest of a string, after its opening quote; unescaped into `buffer` if it has to be.
    #[inline]
    pub fn string<'s>(&mut self, buffer: &'s mut Vec<u8>) -> Result<&'s str, Fault>
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

    /// The same for a string that has escapes or is faulty.
    #[cold]
    fn escaped<'s>(&mut self, buffer: &'s mut Vec<u8>) -> Result<&'s str, Fault>
    where
        'p: 's,
    {
        let mut parser = Parser::new(Read::from(&self.text[self.at..]));
        match parser.parse_str(buffer) {
            Ok(string) => {
                self.at += parser.offset();
                Ok(match string {
                    Reference::Borrowed(string) => string,
                    Reference::Copied(string) => string,
                })
            }
            Err(error) if error.is_eof() => Err(cut_short()),
            Err(error) => {
                Err(no_json("a string has a control character or an invalid escape", self.at + error.offset()))
            }
        }
    }

    /// The text of a number whose first byte was the last to be read.
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

    /// All of `literal`, whose first byte was the last to be read.
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

    /// The fault of having `found` with [`Tokens::next`] where something else was expected.
    #[cold]
    pub fn unexpected(&self, found: Option<u8>, expected: &str) -> Fault {
        match found {
            Some(_) => no_json(expected, self.at - 1),
            None => cut_short(),
        }
    }
}

/// How many bytes come before the first quote, backslash or control character, or the end.
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
        #[test]
        fn plain_ends_at_the_first_special_byte(
            bytes in prop::collection::vec(prop_oneof![8 => any::<u8>(), 8 => 0x20..0x80_u8, 1 => Just(b'"')], 0..40)
        ) {
            let special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
            prop_assert_eq!(plain(&bytes), bytes.iter().position(special).unwrap_or(bytes.len()));
        }
    }
}
