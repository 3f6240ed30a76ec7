//! The slow and obvious answer. The property tests of the framing use it, and `tests/fuzz/checks/framing.rs` includes
//! it: hence `super`. It knows rows whose number of fields is not known: quotes are never lost there.

use super::Framing;

/// Returns the end of each record, terminator included, by the definition: one byte after the other.
pub fn spans(framing: Framing, bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    loop {
        at += separators(framing, &bytes[at..]);
        let rest = &bytes[at..];
        let run = (0..rest.len()).find(|at| rest[*at..].starts_with(&[0; 4]));
        let end = match run {
            Some(run) => Some(end(framing, &rest[..run]).unwrap_or(run + 4)),
            None => end(framing, rest),
        };
        let Some(end) = end else { return ends };
        at += end;
        ends.push(at);
    }
}

/// Returns the length of what is before the first record.
pub fn separators(framing: Framing, bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let separates = |byte: &u8| framing == Framing::JsonValues && b" \t\n\x0c\r,[]\x1e".contains(byte);
        match &bytes[at..] {
            [0, ..] => at += 1,
            [0xef, 0xbb, 0xbf, ..] => at += 3,
            [byte, ..] if separates(byte) => at += 1,
            _ => return at,
        }
    }
}

fn end(framing: Framing, bytes: &[u8]) -> Option<usize> {
    match framing {
        Framing::Lines => (0..bytes.len()).find(|at| bytes[*at] == b'\n').map(|at| at + 1),
        Framing::CrLines => (0..bytes.len()).find(|at| bytes[*at] == b'\r').map(|at| at + 1),
        Framing::Rows(dialect) => {
            // How many lines ago the quote was opened.
            let (mut quoted, mut start) = (None, true);
            let mut at = 0;
            while at < bytes.len() {
                let next = bytes.get(at + 1);
                match (bytes[at], quoted) {
                    (b'"', Some(_)) if next == Some(&b'"') => at += 1,
                    (b'"', Some(0)) => quoted = None,
                    (b'"', Some(_)) if next.is_none_or(|next| b"\r\n".contains(next) || *next == dialect.delimiter) => {
                        // A carriage return ends a field only together with the line.
                        let is_end = next != Some(&b'\r') || matches!(bytes.get(at + 2), None | Some(b'\n'));
                        quoted = quoted.filter(|_| !is_end);
                    }
                    (b'"', None) if start => quoted = Some(0),
                    (b'\n', Some(lines)) => quoted = Some(lines + 1),
                    (b'\n', None) => return Some(at + 1),
                    _ => {}
                }
                start = quoted.is_none() && bytes[at] == dialect.delimiter;
                at += 1;
            }
            None
        }
        Framing::JsonValues => {
            let mut at = 0;
            let (mut open, mut whole) = (Vec::new(), false);
            let first = *bytes.first()?;
            while at < bytes.len() && !whole {
                let byte = bytes[at];
                let in_text = open.last() == Some(&b'"');
                if first != b'{' && first != b'"' {
                    whole = at > 0 && b"\n\x0c\r,[]\x1e{".contains(&byte);
                    at += usize::from(!whole);
                    continue;
                }
                match byte {
                    b'\n' if in_text => whole = true,
                    b'\\' if in_text => at += usize::from(bytes.get(at + 1).is_some_and(|next| *next != b'\n')),
                    b'"' if in_text => _ = open.pop(),
                    _ if in_text => {}
                    b'"' | b'{' | b'[' => open.push(byte),
                    b'}' | b']' => _ = open.pop(),
                    _ => {}
                }
                whole |= open.is_empty();
                at += 1;
            }
            (whole && at <= bytes.len()).then_some(at)
        }
    }
}
