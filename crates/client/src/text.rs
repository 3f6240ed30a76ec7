//! Makes texts of others fit for a terminal.

/// Users, types, file names and answers of servers come from outside: what would end the line, steer the terminal or turn
/// the direction of writing is escaped, as in `\n` or `\u{1b}`. Whatever a person reads goes through this, in the log, too.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match is_unfit(char) {
            true => out.extend(char.escape_default()),
            false => out.push(char),
        }
    }
    out
}

/// Control characters, line ends that are none of them, and marks of direction.
pub fn is_unfit(char: char) -> bool {
    let direction =
        matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    char.is_control() || direction || matches!(char, '\u{2028}' | '\u{2029}')
}
