//! The guard against deep nesting, on the raw bytes and before anything parses them.

/// Returns whether objects and arrays lie more than `limit` deep inside each other. Of text that is not JSON this says
/// how many brackets are open at once.
#[inline]
pub fn exceeds(payload: &[u8], limit: usize) -> bool {
    // Nearly every record has fewer opening brackets than it may have levels, and counting them vectorises.
    opening(payload) > limit && deepest(payload) > limit
}

/// Returns the number of `{` and `[`. The two differ in one bit only, and no third byte becomes `{` when that bit is
/// set.
#[inline]
fn opening(payload: &[u8]) -> usize {
    // Chunks below 256 bytes let the sum of a chunk fit into a byte, so that 16 lanes or more are added at once.
    let in_chunk = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    payload.chunks(128).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

fn deepest(payload: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let mut in_string = false;
    let mut bytes = payload.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => _ = bytes.next(),
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    #[test]
    fn depth_is_that_of_the_document() {
        for text in [
            "1",
            "{}",
            r#"{"a":[{"b":[]},{}]}"#,
            r#"{"a":"[[[[{{{{"}"#,
            r#"{"\"[[[[":"\\","b":[[]]}"#,
            r#"[[],[],[[]],"\\\"[["]"#,
            &format!("{}{}", "[".repeat(100), "]".repeat(100)),
            &format!("[{}[[]]]", "[],".repeat(300)),
        ] {
            let expected = depth(&serde_json::from_str(text).unwrap());
            assert!(!exceeds(text.as_bytes(), expected), "{text}");
            assert!(expected == 0 || exceeds(text.as_bytes(), expected - 1), "{text}");
            assert_eq!(opening(text.as_bytes()), text.matches(['{', '[']).count());
        }
        assert_eq!(opening(&(0..=255).collect::<Vec<u8>>()), 2);
    }
}
