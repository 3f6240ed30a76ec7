//! The canonical bytes behind fingerprints. A fingerprint that is stored and compared across releases hashes these,
//! never the text that a derived `Debug` prints.
//!
//! ```text
//! name of the fingerprint, with its version │ field │ field │ …
//! field:  number 8 (little-endian)   text: length 8, bytes   list: length 8, items   option: 0, or 1 and the value
//! ```
//! An encoding never changes. A field that is added later is encoded behind all others, and only if it is not its
//! default. So older fingerprints stay the same.

/// Gathers the fields of one fingerprint.
pub struct Canonical(blake3::Hasher);

impl Canonical {
    /// `name` says what is hashed, and which version of its encoding: two kinds never have equal bytes.
    pub fn new(name: &str) -> Canonical {
        let mut canonical = Canonical(blake3::Hasher::new());
        canonical.text(name);
        canonical
    }

    pub fn number(&mut self, number: u64) -> &mut Canonical {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// Adds a number in two's complement.
    pub fn signed(&mut self, number: i64) -> &mut Canonical {
        self.0.update(&number.to_le_bytes());
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Canonical {
        self.number(text.len() as u64).0.update(text.as_bytes());
        self
    }

    /// Adds the length, then each item.
    pub fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Canonical, &T)) -> &mut Canonical {
        self.number(items.len() as u64);
        items.iter().for_each(|item| each(self, item));
        self
    }

    /// Adds whether there is a value, then the value.
    pub fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Canonical, T)) -> &mut Canonical {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            some(self, value);
        }
        self
    }

    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// Returns the hexadecimal digits of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored fingerprints depend on these bytes: a change here refuses every data folder.
    #[test]
    fn the_encoding_is_pinned() {
        let mut canonical = Canonical::new("test v1");
        canonical.number(7).signed(-1).text("ü");
        canonical.list(&["a", ""], |to, item| {
            to.text(item);
        });
        canonical
            .option(Some(3), |to, number| {
                to.number(number);
            })
            .option(None::<u64>, |_, _| {});
        let mut bytes = Vec::new();
        let number = |bytes: &mut Vec<u8>, number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        number(&mut bytes, 7);
        bytes.extend_from_slice(b"test v1");
        number(&mut bytes, 7);
        number(&mut bytes, u64::MAX);
        number(&mut bytes, 2);
        bytes.extend_from_slice("ü".as_bytes());
        for (length, text) in [(2, ""), (1, "a"), (0, "")] {
            number(&mut bytes, length);
            bytes.extend_from_slice(text.as_bytes());
        }
        [1, 3, 0].into_iter().for_each(|value| number(&mut bytes, value));
        assert_eq!(canonical.finish(), *blake3::hash(&bytes).as_bytes());
    }
}
