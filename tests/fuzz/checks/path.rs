//! [`Path`]: which texts are paths, that all spellings of one are equal, and that it finds its value.
//!
//! The first byte of the input says whether the rest is the text of a path, or chooses its keys.

use super::Choices;
use dataflows::PathHash;
use headwater_decode::path::{Path, Step};
use headwater_decode::path_set::PathSet;

pub fn check(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    if options & 1 == 1 {
        return written(&mut Choices(rest));
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if text.contains("{}") || text.contains(" | ") || text.contains('[') && text.contains('=') {
        // What is derived is more than keys and elements: it is found again as it is printed.
        if let Ok(path) = Path::parse(text) {
            let printed = path.to_string();
            assert_eq!(Path::parse(&printed).as_ref(), Ok(&path), "{text:?}: {printed:?}");
            let mut paths = PathSet::default();
            let slot = paths.add(&path);
            assert_eq!((paths.add(&path), paths.of(&path)), (slot, Some(slot)));
        }
        return;
    }
    match (Path::parse(text), slow(text)) {
        (Ok(path), Some(steps)) => {
            assert_eq!(path.steps(), steps, "{text:?}");
            same_in_all_spellings(&path);
        }
        (Err(message), None) => assert!(message.starts_with("the path `") || message.starts_with("a path is empty")),
        (found, expected) => panic!("{text:?}: {found:?}, not {expected:?}"),
    }
}

fn same_in_all_spellings(path: &Path) {
    assert!(!path.steps().is_empty());
    let mut paths = PathSet::default();
    let slot = paths.add(path);
    let texts = [path.to_string(), quoted(path.steps(), true), quoted(path.steps(), false)];
    for text in texts {
        let other = Path::parse(&text).unwrap_or_else(|error| panic!("{text:?}, written of {path:?}: {error}"));
        assert_eq!(&other, path, "{text:?}");
        assert_eq!(other.to_string(), path.to_string());
        assert_eq!(paths.add(&other), slot);
    }
    let mut hash = PathHash::ROOT;
    for step in path.steps() {
        hash = match step {
            Step::Key(key) => {
                assert!(!key.contains('.'));
                hash.key(key)
            }
            Step::Element => hash.element(),
            Step::Entry { .. } | Step::Parsed => unreachable!("the text has neither"),
        };
    }
    assert_eq!(path.hash(), hash);
    assert_eq!((paths.len(), paths.slot(hash)), (1, Some(slot)));
}

/// Each key in its own quotes, or all keys that follow each other in the same ones.
fn quoted(steps: &[Step], apart: bool) -> String {
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        let Step::Key(key) = step else {
            text += "[]";
            continue;
        };
        let inside = index > 0 && !apart && matches!(steps[index - 1], Step::Key(_));
        if inside {
            text.pop();
        }
        text += if index == 0 { "\"" } else { [".\"", "."][usize::from(inside)] };
        text += &key.replace('\\', "\\\\").replace('"', "\\\"");
        text.push('"');
    }
    text
}

/// Any keys whatever, quoted, are a path, and lead where a document with these keys does.
fn written(choices: &mut Choices) {
    let mut text = String::new();
    let (mut hash, mut steps) = (PathHash::ROOT, 0);
    while !choices.is_empty() && steps < 20 {
        if choices.below(4) == 0 {
            text += "[]";
            hash = hash.element();
            steps += 1;
            // Behind a dot there has to be a key.
            continue;
        }
        let count = choices.below(6);
        let key: String =
            (0..count).map(|_| choices.of(&['a', 'b', '.', '"', '\\', '[', ']', ' ', 'é', '\n'])).collect();
        text += if steps == 0 { "\"" } else { ".\"" };
        text += &key.replace('\\', "\\\\").replace('"', "\\\"");
        text.push('"');
        hash = hash.key(&key);
        steps += 1;
    }
    match Path::parse(&text) {
        Ok(path) => {
            assert_eq!(path.hash(), hash, "{text:?}");
            same_in_all_spellings(&path);
        }
        Err(error) => assert_eq!(steps, 0, "{text:?}: {error}"),
    }
}

/// The grammar, one character after the other.
fn slow(text: &str) -> Option<Vec<Step>> {
    let chars: Vec<char> = text.chars().collect();
    if chars.iter().all(|char| char.is_whitespace()) {
        return None;
    }
    let mut steps = Vec::new();
    let mut at = 0;
    let is_element = |at: usize| chars[at.min(chars.len())..].starts_with(&['[', ']']);
    loop {
        if at > 0 || !is_element(0) {
            let mut key = String::new();
            if chars.get(at) == Some(&'"') {
                at += 1;
                loop {
                    match (chars.get(at)?, chars.get(at + 1)) {
                        ('"', _) => break,
                        ('\\', Some(escaped @ ('"' | '\\'))) => {
                            key.push(*escaped);
                            at += 2;
                        }
                        // A backslash takes what follows it, whatever that is.
                        ('\\', Some(other)) => {
                            key.extend(['\\', *other]);
                            at += 2;
                        }
                        (char, _) => {
                            key.push(*char);
                            at += 1;
                        }
                    }
                }
                at += 1;
                steps.extend(key.split('.').map(|key| Step::Key(key.into())));
            } else {
                while let Some(char) = chars.get(at).filter(|char| !"[].\"".contains(**char)) {
                    key.push(*char);
                    at += 1;
                }
                let is_bare = key.chars().next().is_some_and(|char| !char.is_whitespace())
                    && key.chars().next_back().is_some_and(|char| !char.is_whitespace());
                if !is_bare || chars.get(at) == Some(&'"') {
                    return None;
                }
                steps.push(Step::Key(key));
            }
        }
        while is_element(at) {
            steps.push(Step::Element);
            at += 2;
        }
        match chars.get(at) {
            None => return Some(steps),
            Some('.') => at += 1,
            Some(_) => return None,
        }
    }
}
