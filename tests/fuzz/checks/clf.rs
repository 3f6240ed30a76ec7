//! [`ClfReader`] against a parser that goes through a line character by character, and against lines rendered as Apache
//! renders them.
//!
//! The first byte of the input says whether the rest is a line, or chooses the fields of one.

use super::Choices;
use dataflows::{PathHash, Reason, ShapeId, ValueKind};
use headwater_decode::clf::ClfReader;
use headwater_decode::path::Path;
use headwater_decode::path_set::PathSet;
use headwater_decode::reading::Reading;

const COLUMNS: [&str; 11] =
    ["host", "ident", "user", "time", "method", "path", "protocol", "status", "bytes", "referrer", "agent"];

/// Behind them: what was appended to a line.
const APPENDED: [&str; 9] =
    ["forwarded_for", "extra_1", "extra_2", "extra_3", "extra_4", "extra_5", "extra_6", "extra_7", "extra_8"];

type Fields = [String; COLUMNS.len()];

pub fn check(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    if options & 1 == 1 {
        return rendered(&mut Choices(rest));
    }
    let expected = match std::str::from_utf8(rest) {
        Ok(line) => slow(line).ok_or(Reason::NoLogLine),
        Err(_) => Err(Reason::NotUtf8),
    };
    assert_eq!(read(rest), expected, "{:?}", String::from_utf8_lossy(rest));
    if let Ok(fields) = &expected {
        // Without escapes, nothing is read that is not written there.
        let line = std::str::from_utf8(rest).unwrap();
        assert!(line.contains('\\') || fields.iter().all(|field| *field == fields[3] || line.contains(field.as_str())));
        assert_eq!(
            &read(format!("\u{feff}{}\r\n", line.strip_prefix('\u{feff}').unwrap_or(line)).as_bytes()),
            &expected
        );
    }
}

fn read(line: &[u8]) -> Result<Fields, Reason> {
    let mut paths = PathSet::default();
    COLUMNS.iter().chain(&APPENDED).for_each(|name| _ = paths.add(&Path::parse(name).unwrap()));
    let mut reader = ClfReader::new(&paths);
    let mut reading = Reading::default();
    // What was read before is gone, whatever comes of this line.
    _ = reader.read(b"h i u [t] \"GET / HTTP/1.1\" 200 5 \"r\" \"a\"", &mut reading);
    assert!(reading.first(10).is_some());
    if let Err(fault) = reader.read(line, &mut reading) {
        assert!(reading.is_empty() && reading.shape.is_none() && !fault.message.is_empty());
        return Err(fault.reason);
    }
    let fields: Fields = std::array::from_fn(|slot| {
        let mut values = reading.all(slot as u32);
        let first = values.next().map(|value| (value.kind, value.text));
        assert!(values.next().is_none() && first.is_none_or(|(kind, _)| kind == ValueKind::String));
        first.map(|(_, text)| text.to_owned()).unwrap_or_default()
    });
    let present = COLUMNS.iter().zip(&fields).filter(|(_, field)| !field.is_empty());
    let appended = (0..).zip(&APPENDED).filter(|(slot, _)| reading.first(COLUMNS.len() as u32 + slot).is_some());
    let appended = appended.map(|(_, name)| PathHash::ROOT.key(name).leaf(ValueKind::String));
    let mut leaves =
        present.map(|(name, _)| PathHash::ROOT.key(name).leaf(ValueKind::String)).chain(appended).collect();
    assert_eq!(reading.shape, Some(ShapeId::of(&mut leaves)));
    Ok(fields)
}

struct Cursor(Vec<char>, usize);

impl Cursor {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.0.get(self.1 + ahead).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek(0) == Some(' ') {
            self.1 += 1;
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(char) = self.peek(0).filter(|char| *char != ' ') {
            word.push(char);
            self.1 += 1;
        }
        self.skip_blanks();
        word
    }

    /// Up to two characters in a row, which are passed.
    fn until(&mut self, first: char, second: char) -> Option<String> {
        let mut text = String::new();
        loop {
            let char = self.peek(0)?;
            if char == first && self.peek(1) == Some(second) {
                self.1 += 2;
                return Some(text);
            }
            text.push(char);
            self.1 += 1;
        }
    }

    /// A field in quotes as it is written, and whether its end is there. `None` if there is no field.
    fn quoted(&mut self) -> Option<(String, bool)> {
        if self.peek(0) != Some('"') {
            return None;
        }
        self.1 += 1;
        let mut text = String::new();
        while let Some(char) = self.peek(0) {
            self.1 += 1;
            match char {
                '\\' => {
                    text.push('\\');
                    text.extend(self.peek(0));
                    self.1 += 1;
                }
                '"' if matches!(self.peek(0), None | Some(' ')) => {
                    self.skip_blanks();
                    return Some((text, true));
                }
                other => text.push(other),
            }
        }
        Some((text, false))
    }
}

fn slow(line: &str) -> Option<Fields> {
    let mut chars: Vec<char> = line.chars().collect();
    if chars.first() == Some(&'\u{feff}') {
        chars.remove(0);
    }
    while let Some('\r' | '\n') = chars.last() {
        chars.pop();
    }
    let mut cursor = Cursor(chars, 0);
    let (host, ident) = (cursor.word(), cursor.word());
    let user = cursor.until(' ', '[')?;
    if host.is_empty() || ident.is_empty() || user.is_empty() || (user.contains(' ') && ident != "-") {
        return None;
    }
    let time = cursor.until(']', ' ')?;
    let all_digits = |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_digit());
    let is_status = |text: &str| text == "-" || text.len() == 3 && all_digits(text);
    // The first quote behind which a status stands closes the request.
    let mut request = String::new();
    loop {
        let (text, closed) = cursor.quoted()?;
        request += &text;
        let behind = cursor.1;
        if !closed || is_status(&cursor.word()) {
            cursor.1 = behind;
            match closed {
                true => break,
                false => return None,
            }
        }
        // It belongs to the request.
        request.push('"');
        cursor.1 = behind;
        while cursor.0[cursor.1 - 1] == ' ' {
            cursor.1 -= 1;
        }
        cursor.1 -= 1;
    }
    let (status, bytes) = (cursor.word(), cursor.word());
    if !is_status(&status) || bytes != "-" && !all_digits(&bytes) {
        return None;
    }
    let mut rest = || cursor.quoted().map(|(text, _)| text).unwrap_or_default();
    let (referrer, agent) = (rest(), rest());
    let (method, path, protocol) = split(&request);
    let bare = |text: String| if text == "-" || text == "\"\"" { String::new() } else { text };
    let decoded = |text: String| if text == "-" { String::new() } else { decode(&text) };
    Some([
        bare(host),
        bare(ident),
        bare(user),
        bare(rewritten(&time).unwrap_or(time)),
        decoded(method),
        decoded(path),
        decoded(protocol),
        bare(status),
        bare(bytes),
        decoded(referrer),
        decoded(agent),
    ])
}

/// Times without a zone, or with fractions of a second, are turned into RFC 3339.
fn rewritten(time: &str) -> Option<String> {
    let bytes = time.as_bytes();
    if bytes.len() == 26 && bytes[20] == b' ' || bytes.get(2) != Some(&b'/') {
        return None;
    }
    let [day, month, rest] = time.splitn(3, '/').collect::<Vec<_>>()[..] else { return None };
    let months = "jan feb mar apr may jun jul aug sep oct nov dec";
    let month = 1 + months.split(' ').position(|known| month.eq_ignore_ascii_case(known))?;
    let at = rest.find([':', ' '])?;
    let (year, clock) = (&rest[..at], rest[at + 1..].replacen(' ', "", 1));
    Some(format!("{year}-{month:02}-{day:0>2}T{clock}"))
}

fn split(request: &str) -> (String, String, String) {
    let words: Vec<&str> = request.split(' ').collect();
    let is_method =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic() || c == '-' || c == '_');
    if words.len() < 2 || !is_method(words[0]) {
        return (String::new(), request.to_owned(), String::new());
    }
    let last = words[words.len() - 1];
    let (name, version) = last.split_once('/').unwrap_or(("", ""));
    let is_protocol = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_uppercase())
        && !version.is_empty()
        && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    if words.len() > 2 && is_protocol {
        (words[0].into(), words[1..words.len() - 1].join(" "), last.into())
    } else if words[1].starts_with('/') {
        (words[0].into(), words[1..].join(" "), String::new())
    } else {
        (String::new(), request.to_owned(), String::new())
    }
}

fn decode(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut bytes = Vec::new();
    let mut at = 0;
    let hex = |at: usize| chars.get(at).and_then(|char| char.to_digit(16));
    while at < chars.len() {
        let (decoded, length) = match (chars[at], chars.get(at + 1)) {
            ('\\', Some('x')) => match (hex(at + 2), hex(at + 3)) {
                (Some(high), Some(low)) => (Some((high * 16 + low) as u8), 4),
                _ => (None, 1),
            },
            ('\\', Some('"')) => (Some(b'"'), 2),
            ('\\', Some('\\')) => (Some(b'\\'), 2),
            ('\\', Some('n')) => (Some(b'\n'), 2),
            ('\\', Some('r')) => (Some(b'\r'), 2),
            ('\\', Some('t')) => (Some(b'\t'), 2),
            ('\\', Some('b')) => (Some(8), 2),
            ('\\', Some('v')) => (Some(11), 2),
            _ => (None, 1),
        };
        match decoded {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(chars[at].to_string().bytes()),
        }
        at += length;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// A line as Apache would write it is read back.
fn rendered(choices: &mut Choices) {
    const TEXTS: [&str; 9] =
        ["", "a", "/é\"q\"", "\\x41\\", "a  b", "\u{1}\t\r\n\u{7f}", "𝄞", "\" 200 5 \"", "[x] \"GET"];
    let plain = |choices: &mut Choices| choices.of(&["", "::1", "[2001:db8::1]", "u", "\\x", "é", "a\"b"]).to_owned();
    let text = |choices: &mut Choices| choices.of(&TEXTS).to_owned() + choices.of(&TEXTS);
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let [host, ident, user] = [plain(choices), plain(choices), plain(choices)];
    let time = choices.of(&["17/May/2015:10:05:03 +0000", "t"]).to_owned();
    let (method, protocol) = (choices.of(&["GET", "M-SEARCH", "x_y"]), choices.of(&["HTTP/1.1", "RTSP/1.0", "H/2"]));
    let path = format!("/{}", text(choices));
    let status = choices.of(&["200", "-", "404"]);
    let bytes = choices.of(&["0", "-", "99999999999999999999"]);
    let (referrer, agent) = (text(choices), text(choices));
    let mut line = format!(
        "{} {} {} [{time}] \"{method} {} {protocol}\" {status} {bytes} \"{}\" \"{}\"",
        dash(&host),
        dash(&ident),
        dash(&user),
        escape(&path),
        dash(&escape(&referrer)),
        dash(&escape(&agent)),
    );
    line += choices.of(&["", " \"1.1.1.1\" 0.003", "\r\n"]);
    let bare = |text: &str| if text == "-" { String::new() } else { text.to_owned() };
    let expected: Fields =
        [host, ident, user, time, method.into(), path, protocol.into(), bare(status), bare(bytes), referrer, agent];
    assert_eq!(read(line.as_bytes()), Ok(expected), "{line}");
}

/// As `ap_escape_logitem` of Apache's server writes a text.
fn escape(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    text.bytes().map(escape).collect()
}
