//! A JSON text as a tree, for the few paths that need one.

use crate::embedded;
use crate::path::Step;
use crate::tokens::Tokens;
use dataflows::ValueKind;

#[derive(Debug)]
pub enum Document {
    /// The text of a string is decoded, that of a number is as written.
    Scalar(ValueKind, String),
    Object(Vec<(String, Document)>),
    Array(Vec<Document>),
}

/// Objects and arrays within each other. A deeper text is no document, so that no stack is too small for it.
const DEPTH: usize = 128;

impl Document {
    /// Reads a whole text; `None`: it is no JSON, or too deep.
    pub fn parse(text: &str) -> Option<Document> {
        if !matches!(text.as_bytes().first()?, b'{' | b'[' | b'"' | b' ' | b'\n' | b'\r' | b'\t') {
            return None;
        }
        let mut tokens = Tokens::of(text);
        let document = Document::value(&mut tokens, &mut String::new(), DEPTH)?;
        tokens.next().is_none().then_some(document)
    }

    fn value(tokens: &mut Tokens<'_>, buffer: &mut String, depth: usize) -> Option<Document> {
        match tokens.next()? {
            b'{' if depth > 0 => {
                let mut members = Vec::new();
                if tokens.peek()? == b'}' {
                    tokens.next();
                    return Some(Document::Object(members));
                }
                loop {
                    let b'"' = tokens.next()? else { return None };
                    let key = tokens.string(buffer).ok()?.to_owned();
                    let b':' = tokens.next()? else { return None };
                    members.push((key, Document::value(tokens, buffer, depth - 1)?));
                    match tokens.next()? {
                        b',' => {}
                        b'}' => return Some(Document::Object(members)),
                        _ => return None,
                    }
                }
            }
            b'[' if depth > 0 => {
                let mut elements = Vec::new();
                if tokens.peek()? == b']' {
                    tokens.next();
                    return Some(Document::Array(elements));
                }
                loop {
                    elements.push(Document::value(tokens, buffer, depth - 1)?);
                    match tokens.next()? {
                        b',' => {}
                        b']' => return Some(Document::Array(elements)),
                        _ => return None,
                    }
                }
            }
            first @ (b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                let (kind, text) = tokens.scalar(first, buffer).ok()?;
                Some(Document::Scalar(kind, text.to_owned()))
            }
            _ => None,
        }
    }

    /// Calls `each` with every value at the end of these steps, in the order of the text.
    pub fn walk(&self, steps: &[Step], each: &mut dyn FnMut(&Document)) {
        let Some((step, rest)) = steps.split_first() else { return each(self) };
        match (step, self) {
            (Step::Key(_), Document::Object(members)) => {
                for (key, value) in members {
                    if let Some(rest) = behind(key, steps) {
                        value.walk(rest, each);
                    }
                }
            }
            (Step::Element, Document::Array(elements)) => elements.iter().for_each(|element| element.walk(rest, each)),
            (Step::Entry { key, text }, Document::Array(elements)) => {
                elements.iter().filter(|element| element.has(key, text)).for_each(|element| element.walk(rest, each));
            }
            (Step::Parsed, Document::Scalar(ValueKind::String, text)) => {
                if let Some(document) = Document::parse(&embedded::plain(text)) {
                    document.walk(rest, each);
                }
            }
            _ => {}
        }
    }

    /// Returns whether this is an object with that text at a key.
    fn has(&self, key: &str, text: &str) -> bool {
        let Document::Object(members) = self else { return false };
        members.iter().any(|(name, value)| name == key && matches!(value, Document::Scalar(_, found) if found == text))
    }
}

/// Returns the steps behind a key, which stands for several if it has dots.
fn behind<'s>(key: &str, steps: &'s [Step]) -> Option<&'s [Step]> {
    let mut rest = steps;
    for segment in key.split('.') {
        match rest.split_first() {
            Some((Step::Key(wanted), behind)) if wanted == segment => rest = behind,
            _ => return None,
        }
    }
    Some(rest)
}
