//! The slow and obvious answer. The property tests of the framing use it, and `tests/fuzz/checks/framing.rs` includes
//! it: hence `super`.

use super::Framing;

/// Returns the end of each record, terminator included, by the definition: one byte after the other.
pub fn spans(framing: Framing, bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    match framing {
        Framing::Lines => ends.extend((0..bytes.len()).filter(|at| bytes[*at] == b'\n').map(|at| at + 1)),
        Framing::Csv => {
            let (mut quoted, mut start) = (false, true);
            let mut at = 0;
            while at < bytes.len() {
                match bytes[at] {
                    b'"' if quoted && bytes.get(at + 1) == Some(&b'"') => at += 1,
                    b'"' if quoted => quoted = false,
                    b'"' => quoted = start,
                    b'\n' if !quoted => ends.push(at + 1),
                    _ => {}
                }
                start = b"\n,;|\t".contains(&bytes[at]);
                at += 1;
            }
        }
        Framing::JsonValues => {
            let mut at = 0;
            while at < bytes.len() {
                if b" \t\n\x0c\r,[]\x1e".contains(&bytes[at]) {
                    at += 1;
                    continue;
                }
                let (mut open, mut whole) = (Vec::new(), false);
                let first = bytes[at];
                while at < bytes.len() && !whole {
                    let byte = bytes[at];
                    let in_text = open.last() == Some(&b'"');
                    if first != b'{' && first != b'"' {
                        whole = b"\n\x0c\r,[]\x1e{".contains(&byte);
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
                if whole {
                    ends.push(at);
                }
            }
        }
    }
    ends
}
