//! Paths into an event, as the configuration writes them (docs/guide/reading-any-log.md): dots descend, `[]` is any
//! array element, a quoted segment is literal (`meta."a b".x`). A dotted key and a nested path are the same path.
//!
//! `[key=x]` is the element whose `key` is `x`, and `{}` reads a text as JSON. Transforms follow behind ` | `.

use crate::longest::bounded;
use crate::transform::Transform;
use dataflows::PathHash;
use std::fmt;

/// A canonical path: at least one step, and no dot inside a key. Prints as the configuration writes it, and what it
/// prints parses to the same path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
    transforms: Vec<Transform>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// One segment; never contains a dot.
    Key(String),
    /// Any element of an array.
    Element,
    /// Any element of an array that has this text at this key.
    Entry {
        /// The key of the element's object.
        key: String,
        /// The text that the key has.
        text: String,
    },
    /// The value of a text that is JSON.
    Parsed,
}

impl Step {
    /// Returns whether one pass over a payload finds it.
    fn is_plain(&self) -> bool {
        matches!(self, Step::Key(_) | Step::Element)
    }
}

impl Path {
    /// Segments are separated by dots; each may be followed by `[]`, once per level of arrays. A path may start with
    /// `[]`. Inside quotes, `\"` is a quote and `\\` a backslash; a quoted segment is needed for keys with brackets,
    /// quotes, or spaces at their ends, and for the empty key. Dots descend there too, since a dotted key and a nested
    /// path are the same path.
    ///
    /// Errors say, in words for the user, what is wrong with the text and what to write instead.
    pub fn parse(text: &str) -> Result<Path, String> {
        if text.trim().is_empty() {
            return Err("a path is empty; write the name of a field, as in `user.id`".into());
        }
        let mut steps = Vec::new();
        let mut transforms = Vec::new();
        let mut rest = text;
        loop {
            rest = if rest.starts_with("[]") && steps.is_empty() { rest } else { segment(text, rest, &mut steps)? };
            loop {
                rest = if let Some(after) = rest.strip_prefix("[]") {
                    steps.push(Step::Element);
                    after
                } else if let Some(after) = rest.strip_prefix("{}") {
                    steps.push(Step::Parsed);
                    after
                } else if let Some((step, after)) = entry(rest) {
                    steps.push(step);
                    after
                } else {
                    break;
                };
            }
            while let Some(after) = rest.strip_prefix(PIPE) {
                let (transform, after) = Transform::parse(after)
                    .map_err(|wrong| format!("the path `{text}` has a wrong transform behind `|`: {wrong}"))?;
                transforms.push(transform);
                rest = after;
                if !(rest.is_empty() || rest.starts_with(PIPE)) {
                    return Err(stray(text, rest));
                }
            }
            rest = match rest.as_bytes().first() {
                None => break,
                Some(b'.') => &rest[1..],
                Some(_) => return Err(stray(text, rest)),
            };
        }
        Ok(Path::of(steps, transforms))
    }

    fn of(steps: Vec<Step>, transforms: Vec<Transform>) -> Path {
        Path { text: print(&steps, &transforms), steps, transforms }
    }

    /// Returns the path whose values go through these transforms, too.
    #[must_use]
    pub fn through(self, more: impl IntoIterator<Item = Transform>) -> Path {
        let Path { steps, mut transforms, .. } = self;
        transforms.extend(more);
        Path::of(steps, transforms)
    }

    /// Returns the path of the values before the transforms.
    #[must_use]
    pub fn without_transforms(&self) -> Path {
        Path::of(self.steps.clone(), Vec::new())
    }

    /// Returns whether one pass over a payload finds its values.
    pub fn is_plain(&self) -> bool {
        self.transforms.is_empty() && self.steps.iter().all(Step::is_plain)
    }

    /// Returns the part that one pass finds, and the steps behind it. No part: they begin at the event.
    pub fn parts(&self) -> (Option<Path>, &[Step]) {
        let plain = self.steps.iter().take_while(|step| step.is_plain()).count();
        let (base, rest) = self.steps.split_at(plain);
        // An entry has to be found within the array itself, which no pass keeps.
        match rest.first() {
            Some(Step::Entry { .. }) => (None, &self.steps),
            _ => ((!base.is_empty()).then(|| Path::of(base.to_vec(), Vec::new())), rest),
        }
    }

    /// Returns the transforms of the value at its end, in their order.
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// Returns its steps from the top of the payload.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the hash that descending gives ([`PathHash::key`], [`PathHash::element`]).
    pub fn hash(&self) -> PathHash {
        let path = self.steps.iter().fold(PathHash::ROOT, |path, step| match step {
            Step::Key(key) => path.segment(key.as_bytes()),
            Step::Element => path.element(),
            // No text of a payload gives these: they only tell paths of a configuration apart.
            Step::Entry { key, text } => path.segment(b"\0[").segment(key.as_bytes()).segment(text.as_bytes()),
            Step::Parsed => path.segment(b"\0{"),
        });
        self.transforms.iter().fold(path, |path, transform| path.segment(format!("\0|{transform}").as_bytes()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Takes one segment from the front of `rest` and returns what follows it.
fn segment<'a>(text: &str, rest: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, String> {
    if let Some(quoted) = rest.strip_prefix('"') {
        let (key, after) = unquote(quoted)
            .ok_or_else(|| format!("the path `{text}` has a quote that is never closed; add `\"` after the key"))?;
        steps.extend(key.split('.').map(|key| Step::Key(key.into())));
        return Ok(after);
    }
    let end = rest.find(['.', '[', ']', '"']).unwrap_or(rest.len());
    let end = end.min(rest.find(PIPE).unwrap_or(end));
    let key = &rest[..end];
    // Behind a key, `{}` is a step.
    let key_only = key.trim_end_matches("{}");
    if !key_only.is_empty() && key_only.len() < key.len() {
        return plain(text, rest, key_only, steps);
    }
    plain(text, rest, key, steps)
}

/// Takes `key` from the front of `rest` and returns what follows it.
fn plain<'a>(text: &str, rest: &'a str, key: &str, steps: &mut Vec<Step>) -> Result<&'a str, String> {
    let after = &rest[key.len()..];
    if after.starts_with('"') {
        return Err(format!(
            "the path `{text}` has a quote inside a segment; quote the whole segment, as in `meta.\"a b\".x`"
        ));
    }
    if after.starts_with(']') || (after.starts_with('[') && !after.starts_with("[]") && entry(after).is_none()) {
        return Err(stray(text, after));
    }
    if key.is_empty() {
        return Err(if after.starts_with('[') {
            format!("the path `{text}` has a dot before `[]`; write `items[]`, without the dot")
        } else {
            format!("the path `{text}` has an empty segment; leave out the extra dot, or write `\"\"` for an empty key")
        });
    }
    if key.trim() != key {
        return Err(format!("the path `{text}` has a space at the end of a segment; remove it, or write `\"{key}\"`"));
    }
    steps.push(Step::Key(key.into()));
    Ok(after)
}

/// What stands before each transform.
const PIPE: &str = " | ";

/// Reads `[key=text]` from the front of `rest`.
fn entry(rest: &str) -> Option<(Step, &str)> {
    let inside = rest.strip_prefix('[')?;
    let (key, inside) = word(inside, '=')?;
    let (text, after) = word(inside, ']')?;
    Some((Step::Entry { key, text }, after))
}

/// Reads a word, in quotes or up to `end`, and `end`.
fn word(rest: &str, end: char) -> Option<(String, &str)> {
    if let Some(quoted) = rest.strip_prefix('"') {
        let (word, after) = unquote(quoted)?;
        return Some((word, after.strip_prefix(end)?));
    }
    let (word, after) = rest.split_once(end)?;
    (!word.is_empty() && !word.contains(['[', ']', '"'])).then(|| (word.to_owned(), after))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// Returns the literal before the closing quote, and what follows that quote. `None` if there is no closing quote.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((key, chars.as_str())),
            '\\' => match chars.next()? {
                escaped @ ('"' | '\\') => key.push(escaped),
                other => key.extend(['\\', other]),
            },
            other => key.push(other),
        }
    }
}

fn stray(text: &str, rest: &str) -> String {
    if rest.starts_with(['[', ']']) {
        format!(
            "the path `{text}` has a stray bracket; `[]` after a key means any element of its array, as in \
             `items[].price`, and a key that contains brackets is quoted, as in `\"a[0]\"`"
        )
    } else {
        format!(
            "the path `{text}` goes on right after `[]` or a quoted segment; put a dot between, as in `items[].price`"
        )
    }
}

/// Returns steps as the configuration writes them. A long text is cut.
pub(crate) fn written(steps: &[Step]) -> String {
    bounded(&print(steps, &[])).into_owned()
}

fn print(steps: &[Step], transforms: &[Transform]) -> String {
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Element => text.push_str("[]"),
            Step::Parsed => text.push_str("{}"),
            Step::Entry { key, text: value } => {
                let word = |word: &str| {
                    let odd =
                        word.is_empty() || word.contains(['[', ']', '"', '=']) || word.contains(char::is_whitespace);
                    if odd { quoted(word) } else { word.to_owned() }
                };
                text.push_str(&format!("[{}={}]", word(key), word(value)));
            }
            Step::Key(key) => {
                if index > 0 {
                    text.push('.');
                }
                let odd = key.is_empty() || key.contains(['"', '[', ']']) || key.contains(char::is_whitespace);
                if odd || key.ends_with("{}") {
                    text.push_str(&quoted(key));
                } else {
                    text.push_str(key);
                }
            }
        }
    }
    for transform in transforms {
        text.push_str(PIPE);
        text.push_str(&transform.to_string());
    }
    text
}

/// One candidate for a value: a path, or several that are joined. A composed candidate is present when its first part
/// is; parts that are absent are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// One path, or those that are joined, in their order.
    pub parts: Vec<Path>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys as words, elements as `*`.
    fn steps(text: &str) -> String {
        let path = Path::parse(text).unwrap();
        let words = path.steps().iter().map(|step| match step {
            Step::Key(key) => format!("<{key}>"),
            Step::Element => "*".into(),
            Step::Entry { key, text } => format!("?{key}={text}?"),
            Step::Parsed => "!".into(),
        });
        words.collect()
    }

    #[test]
    fn paths_of_the_configuration() {
        for (text, expected) in [
            ("user_id", "<user_id>"),
            ("actor.login", "<actor><login>"),
            ("event_details.purchased_items[].unit_price", "<event_details><purchased_items>*<unit_price>"),
            ("[].x", "*<x>"),
            ("[]", "*"),
            ("a[][].b", "<a>**<b>"),
            ("tags[]", "<tags>*"),
            ("case:concept:name", "<case:concept:name>"),
            ("@timestamp", "<@timestamp>"),
            ("$schema", "<$schema>"),
            (r"back\slash", r"<back\slash>"),
            ("Event Type", "<Event Type>"),
            (r#"meta."a b".x"#, "<meta><a b><x>"),
            (r#""a[0]"[].x"#, "<a[0]>*<x>"),
            (r#""say \"hi\" \\ \n""#, r#"<say "hi" \ \n>"#),
            (r#"a."".b"#, "<a><><b>"),
            (r#""id.orig_h""#, "<id><orig_h>"),
            ("event_params[key=ga_session_id].value.int_value", "<event_params>?key=ga_session_id?<value><int_value>"),
            (r#"a[].b["k 1"="x]"][]"#, "<a>*<b>?k 1=x]?*"),
            ("log{}.user.id", "<log>!<user><id>"),
            ("a[]{}[].b{}{}", "<a>*!*<b>!!"),
            (r#""a b"{}"#, "<a b>!"),
            (r#""a{}""#, "<a{}>"),
            ("{}", "<{}>"),
            ("xff | first_of_list | ip", "<xff>"),
            (r#"user | regex "^(a | b)\\." | lower"#, "<user>"),
        ] {
            assert_eq!(steps(text), expected, "{text}");
        }
        assert_eq!(Path::parse(r#""id.orig_h""#), Path::parse("id.orig_h"));
        assert_eq!(Path::parse(r#""id.orig_h""#).unwrap().to_string(), "id.orig_h");
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, expected) in [
            ("", "write the name of a field"),
            ("  ", "write the name of a field"),
            (".a", "extra dot"),
            ("a.", "extra dot"),
            ("a..b", "extra dot"),
            (r#"a."b"#, "never closed"),
            (r#"a."b\""#, "never closed"),
            (r#"a"b"c"#, "quote the whole segment"),
            ("a[0]", "means any element"),
            ("a]", "means any element"),
            ("]", "means any element"),
            ("[x", "means any element"),
            ("a[", "means any element"),
            ("a[]]", "means any element"),
            (r#""a"]"#, "means any element"),
            ("a.[]", "without the dot"),
            ("a[]b", "put a dot between"),
            (r#""a"b"#, "put a dot between"),
            ("a .b", "space at the end"),
            ("a[=x]", "means any element"),
            ("a | upper", "no transform `upper`"),
            ("a | ip.b", "goes on"),
            (r#"a | regex "(""#, "wrong transform"),
        ] {
            let error = Path::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_is_printed_parses_to_the_same_path(text in r#"[ab."\[\]\\ é={}]{0,12}( \| (ip|trim|regex "a"))?"#) {
            if let Ok(path) = Path::parse(&text) {
                prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
            }
        }

        #[test]
        fn a_quoted_key_hashes_as_descending_does(keys in prop::collection::vec(r#"[ab."\[\]\\ é]{0,4}"#, 1..4)) {
            let quote = |key: &String| format!("\"{}\"", key.replace('\\', r"\\").replace('"', "\\\""));
            let text = keys.iter().map(quote).collect::<Vec<_>>().join("[].");
            let descended = keys[1..].iter().fold(PathHash::ROOT.key(&keys[0]), |path, key| path.element().key(key));
            prop_assert_eq!(Path::parse(&text).unwrap().hash(), descended);
        }
    }
}
