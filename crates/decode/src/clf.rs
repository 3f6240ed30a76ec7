//! Access logs in Common or Combined Log Format, as Apache and nginx write them -> [`Reading`].
//!
//! ```text
//! host ident user [time] "method path protocol" status bytes "referrer" "agent" whatever
//! ```
//!
//! - `-` is absent. The time has no brackets.
//! - Inside quotes `\"`, `\\`, `\xHH`, `\n`, `\r`, `\t`, `\b` and `\v` are decoded. If the result is not UTF-8 (as with
//!   a TLS handshake sent to a plain port), the text stays as it was written.
//! - A quote that is followed by something other than a blank belongs to the text: not every server escapes it.
//! - A last quoted field after the size may lack its closing quote: it goes to the end of the line.
//! - A request of another form than `METHOD path PROTOCOL` or `METHOD /path` is all path.
//! - Servers are often configured to append fields. What is behind the agent, or behind the size if no quote follows
//!   it, is `extra_1`, `extra_2` and so on. If the first of them that is in quotes has addresses, it is `forwarded_for`
//!   too.
//! - A time may have fractions of a second, lack its zone, or be in the form of RFC 3339.
//! - A user may contain blanks if the ident is absent, as it is everywhere but in lines that begin with a virtual host.

use crate::fault::Fault;
use crate::path_set::PathSet;
use crate::reading::Reading;
use crate::tabular::Columns;
use dataflows::Reason;
use memchr::memchr2_iter;
use std::borrow::Cow;
use std::net::IpAddr;

/// The names of the columns, in the order in which a line has them.
pub const COLUMNS: [&str; 11] =
    ["host", "ident", "user", "time", "method", "path", "protocol", "status", "bytes", "referrer", "agent"];

/// Behind them: what a server was configured to append.
const FORWARDED: &str = "forwarded_for";
/// Fields behind a layout that are kept.
pub(crate) const EXTRAS: usize = 8;

/// Reads lines of access logs.
#[derive(Debug)]
pub struct ClfReader {
    columns: Columns,
}

impl ClfReader {
    /// `paths` must be complete: a path that is added later is not found.
    pub fn new(paths: &PathSet) -> ClfReader {
        let extras = (1..=EXTRAS).map(|number| format!("extra_{number}"));
        let names = COLUMNS.into_iter().chain([FORWARDED]).map(str::to_owned).chain(extras);
        ClfReader { columns: Columns::new(names, paths) }
    }

    /// Replaces what `reading` holds by `line`, with or without its line end. After a fault (not UTF-8, no log line)
    /// `reading` is empty.
    pub fn read(&mut self, line: &[u8], reading: &mut Reading) -> Result<(), Fault> {
        reading.clear();
        let text =
            simdutf8::basic::from_utf8(line).map_err(|_| Fault::new(Reason::NotUtf8, "the line is not valid UTF-8"))?;
        let line = Line::parse(text).map_err(|message| Fault::new(Reason::NoLogLine, message))?;
        let request = Request::parse(line.request);
        let cells = [
            plain(line.host),
            plain(line.ident),
            plain(line.user),
            time(line.time),
            quoted(request.method),
            quoted(request.path),
            quoted(request.protocol),
            plain(line.status),
            plain(line.bytes),
            quoted(line.referrer),
            quoted(line.agent),
        ];
        if line.rest.is_empty() {
            self.columns.read(cells.iter().map(|cell| cell.as_ref()), reading);
            return Ok(());
        }
        let mut all = Vec::with_capacity(COLUMNS.len() + 1 + EXTRAS);
        all.extend(cells);
        all.push(Cow::Borrowed(""));
        extras(line.rest, EXTRAS, &mut all);
        let forwarded = Quoted::parse(line.rest).map_or("", |first| first.text);
        if is_addresses(forwarded) {
            all[COLUMNS.len()] = Cow::Borrowed(forwarded);
        }
        self.columns.read(all.iter().map(|cell| cell.as_ref()), reading);
        Ok(())
    }
}

/// Returns whether a line is one of such a log.
pub(crate) fn is_line(line: &str) -> bool {
    let is_time = |time: &str| time.len() >= 19 && time.bytes().filter(u8::is_ascii_digit).count() >= 12;
    Line::parse(line).is_ok_and(|line| is_time(line.time))
}

/// Returns where the address of the client is among what stands before the time of a line, if that begins with a
/// virtual host: 1 if the ident and the user follow it, 2 if only the user does.
pub(crate) fn place_of_host(line: &str) -> Option<usize> {
    let (before, _) = line.split_once(" [")?;
    let mut words = before.split(' ').filter(|word| !word.is_empty());
    let (first, second) = (words.next()?, words.next()?);
    let rest = words.count();
    (!is_address(first) && is_address(second)).then_some(())?;
    match rest {
        1 => Some(2),
        2.. => Some(1),
        0 => None,
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn is_addresses(text: &str) -> bool {
    !text.is_empty() && text.split(',').all(|one| is_address(one.trim()))
}

/// The fields as they are written, without brackets and quotes. Fields that a line ends before are empty.
#[derive(Default)]
struct Line<'a> {
    host: &'a str,
    ident: &'a str,
    user: &'a str,
    time: &'a str,
    request: &'a str,
    status: &'a str,
    bytes: &'a str,
    referrer: &'a str,
    agent: &'a str,
    /// What was appended.
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Result<Line<'a>, &'static str> {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line).trim_end_matches(['\r', '\n']);
        let (host, rest) = word(line);
        let (ident, rest) = word(rest);
        let (user, rest) = rest.split_once(" [").ok_or("there is no time in brackets after host, ident and user")?;
        if host.is_empty() || ident.is_empty() || user.is_empty() || (ident != "-" && user.contains(' ')) {
            return Err("the time in brackets does not follow host, ident and user");
        }
        let (time, rest) = rest.split_once("] ").ok_or("nothing follows a time in brackets")?;
        let mut request = Quoted::parse(rest).ok_or("the time is not followed by a request in quotes")?;
        // A server that does not escape leaves quotes in a request: that before the status closes it.
        while let Some(after) = request.rest
            && !is_status(word(after).0)
            && let Some(longer) = request.longer(rest)
        {
            request = longer;
        }
        let request = match request.rest {
            Some(after) if is_status(word(after).0) => request,
            _ => Quoted::parse(rest).unwrap_or(request),
        };
        let rest = request.rest.ok_or("the quote of the request is never closed")?;
        let (status, rest) = word(rest);
        if !is_status(status) {
            return Err("the request is not followed by a status of three digits");
        }
        let (bytes, rest) = word(rest);
        if !(bytes == "-" || is_number(bytes)) {
            return Err("the status is not followed by a size in bytes");
        }
        let line = Line { host, ident, user, time, request: request.text, status, bytes, ..Line::default() };
        let Some(referrer) = Quoted::parse(rest) else { return Ok(Line { rest, ..line }) };
        let agent = referrer.rest.and_then(Quoted::parse);
        let rest = agent.as_ref().map_or(referrer.rest, |agent| agent.rest).unwrap_or_default();
        Ok(Line { referrer: referrer.text, agent: agent.map_or("", |agent| agent.text), rest, ..line })
    }
}

pub(crate) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub protocol: &'a str,
}

impl<'a> Request<'a> {
    pub fn parse(request: &'a str) -> Request<'a> {
        Request::split(request).unwrap_or(Request { method: "", path: request, protocol: "" })
    }

    fn split(request: &'a str) -> Option<Request<'a>> {
        let (method, rest) = request.split_once(' ')?;
        let is_method =
            !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte));
        match rest.rsplit_once(' ') {
            // A path with blanks in it is wrong, and is what was asked for all the same.
            Some((path, protocol)) if is_method && is_protocol(protocol) => Some(Request { method, path, protocol }),
            // HTTP/0.9 names no protocol.
            _ if is_method && rest.starts_with('/') => Some(Request { method, path: rest, protocol: "" }),
            _ => None,
        }
    }
}

/// `HTTP/1.1`, `RTSP/1.0` and their like.
fn is_protocol(text: &str) -> bool {
    let Some((name, version)) = text.split_once('/') else { return false };
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_uppercase())
        && !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// A field in quotes at the beginning of a text.
pub(crate) struct Quoted<'a> {
    text: &'a str,
    /// The text behind the closing quote and its blanks; `None` if there is no closing quote.
    rest: Option<&'a str>,
}

impl<'a> Quoted<'a> {
    fn parse(text: &'a str) -> Option<Quoted<'a>> {
        let text = text.strip_prefix('"')?;
        Some(Quoted::up_to(text, Quoted::end(text)))
    }

    /// Returns the same field up to a later quote.
    fn longer(&self, text: &'a str) -> Option<Quoted<'a>> {
        let text = text.strip_prefix('"')?;
        let from = self.text.len() + 1;
        Some(Quoted::up_to(text, Some(from + Quoted::end(text.get(from..)?)?)))
    }

    fn up_to(text: &'a str, end: Option<usize>) -> Quoted<'a> {
        match end {
            // Both sides of a quote are boundaries of characters.
            Some(end) => Quoted { text: &text[..end], rest: Some(text[end + 1..].trim_start_matches(' ')) },
            None => Quoted { text, rest: None },
        }
    }

    /// Returns the place of the first quote that is not escaped and that a blank or the end follows.
    pub fn end(text: &str) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut escaped = None;
        memchr2_iter(b'"', b'\\', bytes).find(|index| {
            if escaped == Some(*index) {
                return false;
            }
            if bytes[*index] == b'\\' {
                escaped = Some(*index + 1);
                return false;
            }
            matches!(bytes.get(*index + 1), None | Some(b' '))
        })
    }
}

fn is_status(text: &str) -> bool {
    text == "-" || text.len() == 3 && is_number(text)
}

/// Returns the text of a time. One that lacks its zone, or has fractions of a second, is turned into RFC 3339.
pub(crate) fn time(text: &str) -> Cow<'_, str> {
    // As nearly all are written: `17/May/2015:10:05:03 +0000`.
    if text.len() == 26 && text.as_bytes()[20] == b' ' || text.as_bytes().get(2) != Some(&b'/') {
        return plain(text);
    }
    rewritten(text).map_or_else(|| plain(text), Cow::Owned)
}

#[cold]
fn rewritten(text: &str) -> Option<String> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (day, rest) = text.split_once('/')?;
    let (month, rest) = rest.split_once('/')?;
    let month = month.to_ascii_lowercase();
    let month = 1 + MONTHS.iter().position(|known| *known == month)?;
    let (year, clock) = rest.split_once([':', ' '])?;
    let (clock, zone) = clock.split_once(' ').unwrap_or((clock, ""));
    Some(format!("{year}-{month:02}-{day:0>2}T{clock}{zone}"))
}

/// Adds up to `most` fields of the rest of a line.
pub(crate) fn extras<'l>(mut rest: &'l str, most: usize, cells: &mut Vec<Cow<'l, str>>) {
    for _ in 0..most {
        if rest.is_empty() {
            break;
        }
        match Quoted::parse(rest) {
            Some(field) => {
                cells.push(quoted(field.text));
                rest = field.rest.unwrap_or_default();
            }
            None => {
                let (text, after) = word(rest);
                cells.push(plain(text));
                rest = after;
            }
        }
    }
}

/// Returns the text up to the next blank, and the text behind all blanks.
fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').map_or((text, ""), |(word, rest)| (word, rest.trim_start_matches(' ')))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    // Apache writes a user whose name is empty as two quotes.
    Cow::Borrowed(if text == "-" || text == "\"\"" { "" } else { text })
}

/// Returns a text from inside quotes, with its escapes decoded.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    if text == "-" {
        return Cow::Borrowed("");
    }
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    String::from_utf8(unescape(text.as_bytes())).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Decodes escape sequences. Other text stays as it is.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let (byte, rest) = match text {
            [b'\\', b'x', high, low, rest @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (*first, &text[1..]),
            },
            [b'\\', character @ (b'"' | b'\\'), rest @ ..] => (*character, rest),
            [b'\\', b'n', rest @ ..] => (b'\n', rest),
            [b'\\', b'r', rest @ ..] => (b'\r', rest),
            [b'\\', b't', rest @ ..] => (b'\t', rest),
            [b'\\', b'b', rest @ ..] => (0x08, rest),
            [b'\\', b'v', rest @ ..] => (0x0b, rest),
            _ => (*first, rest),
        };
        bytes.push(byte);
        text = rest;
    }
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    // A digit to the base of 16 fits.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tabular::tests::{path_set, shape_of, texts};
    use proptest::prelude::*;

    /// Returns the columns of a line, joined by `|`.
    fn read(line: &[u8]) -> Result<String, Fault> {
        let paths = path_set(&COLUMNS);
        let mut reading = Reading::default();
        ClfReader::new(&paths).read(line, &mut reading)?;
        Ok(texts(&reading, &paths).join("|"))
    }

    const TIME: &str = "17/May/2015:10:05:03 +0000";

    #[test]
    fn lines() {
        let cases = [
            (r#"1.2.3.4 - - [T] "GET /a HTTP/1.1" 200 5"#, "1.2.3.4|||T|GET|/a|HTTP/1.1|200|5||"),
            (r#"1.2.3.4 id bob [T] "GET /a HTTP/1.1" 200 -"#, "1.2.3.4|id|bob|T|GET|/a|HTTP/1.1|200|||"),
            (r#"::1 - - [T] "GET / HTTP/2.0" 304 0 "-" "curl/8 (x)""#, "::1|||T|GET|/|HTTP/2.0|304|0||curl/8 (x)"),
            (r#"[2001:db8::1] - - [T] "GET / HTTP/1.1" 200 0"#, "[2001:db8::1]|||T|GET|/|HTTP/1.1|200|0||"),
            ("h - - [T] \"GET / HTTP/1.1\" 200 0 \"r\" \"a\"\r\n", "h|||T|GET|/|HTTP/1.1|200|0|r|a"),
            ("\u{feff}h - - [T] \"GET / HTTP/1.1\" 200 0", "h|||T|GET|/|HTTP/1.1|200|0||"),
            // Users as the visitor types them.
            (r#"h - john doe [T] "GET / HTTP/1.1" 401 0"#, "h||john doe|T|GET|/|HTTP/1.1|401|0||"),
            (r#"h - "" [T] "GET / HTTP/1.1" 401 0"#, "h|||T|GET|/|HTTP/1.1|401|0||"),
            // Requests that are none.
            (r#"h - - [T] "GET /old" 200 7"#, "h|||T|GET|/old||200|7||"),
            (r#"h - - [T] "GET /a b c HTTP/1.0" 400 7"#, "h|||T|GET|/a b c|HTTP/1.0|400|7||"),
            (r#"h - - [T] "M-SEARCH * HTTP/1.1" 400 7"#, "h|||T|M-SEARCH|*|HTTP/1.1|400|7||"),
            (r#"h - - [T] "-" 408 -"#, "h|||T||||408|||"),
            (r#"h - - [T] "" 400 0 "-" "-""#, "h|||T||||400|0||"),
            (r#"h - - [T] "quit" 400 0"#, "h|||T||quit||400|0||"),
            (r#"h - - [T] "hello my world" 400 0"#, "h|||T||hello my world||400|0||"),
            (r#"h - - [T] "\x16\x03" 400 0"#, "h|||T||\u{16}\u{3}||400|0||"),
            (r#"h - - [T] "\x16\xfc GET" 400 0"#, r"h|||T||\x16\xfc GET||400|0||"),
            // Escapes, and what looks like one.
            (r#"h - - [T] "GET /\"q\"\\\xc3\xa9 HTTP/1.1" 200 0"#, "h|||T|GET|/\"q\"\\é|HTTP/1.1|200|0||"),
            (r#"h - - [T] "GET /\t\d\xg0\x1 HTTP/1.1" 200 0"#, "h|||T|GET|/\t\\d\\xg0\\x1|HTTP/1.1|200|0||"),
            (r#"h - - [T] "GET / HTTP/1.1" 200 0 "-" "say "hi", é""#, r#"h|||T|GET|/|HTTP/1.1|200|0||say "hi", é"#),
            // A last quote that is never closed.
            (r#"h - - [T] "GET / HTTP/1.1" 200 0 "-" "Mozilla/5.0 (X"#, "h|||T|GET|/|HTTP/1.1|200|0||Mozilla/5.0 (X"),
            (r#"h - - [T] "GET / HTTP/1.1" 200 0 "http://x/\""#, "h|||T|GET|/|HTTP/1.1|200|0|http://x/\"|"),
            // Appended fields.
            (r#"h - - [T] "GET / HTTP/1.1" 200 0 "r" "a" "1.1.1.1" 0.003"#, "h|||T|GET|/|HTTP/1.1|200|0|r|a"),
            (r#"h - - [T] "GET / HTTP/1.1" 200 0 0.003 "r" "a""#, "h|||T|GET|/|HTTP/1.1|200|0||"),
        ];
        for (line, expected) in cases {
            let (line, expected) =
                (line.replace("[T]", &format!("[{TIME}]")), expected.replace("|T|", &format!("|{TIME}|")));
            assert_eq!(read(line.as_bytes()).as_deref(), Ok(expected.as_str()), "{line}");
        }
    }

    #[test]
    fn no_lines() {
        let cases = [
            ("", "there is no time in brackets after host, ident and user"),
            (r#"{"host":"h","tags":["a"]}"#, "there is no time in brackets after host, ident and user"),
            ("a,b,c", "there is no time in brackets after host, ident and user"),
            (r#"h - [T] "GET / HTTP/1.1" 200 0"#, "there is no time in brackets after host, ident and user"),
            (r#" - - [T] "GET / HTTP/1.1" 200 0"#, "the time in brackets does not follow host, ident and user"),
            (r#"v:80 h - - [T] "GET / HTTP/1.1" 200 0"#, "the time in brackets does not follow host, ident and user"),
            ("h - - [T", "nothing follows a time in brackets"),
            ("h - - [T]", "nothing follows a time in brackets"),
            ("h - - [T] GET / HTTP/1.1 200 0", "the time is not followed by a request in quotes"),
            (r#"h - - [T] "GET / HT"#, "the quote of the request is never closed"),
            (r#"h - - [T] "GET / HTTP/1.1""#, "the request is not followed by a status of three digits"),
            (r#"h - - [T] "GET / HTTP/1.1" 2000 0"#, "the request is not followed by a status of three digits"),
            (r#"h - - [T] "GET / HTTP/1.1" 200"#, "the status is not followed by a size in bytes"),
            (r#"h - - [T] "GET / HTTP/1.1" 200 1k"#, "the status is not followed by a size in bytes"),
        ];
        for (line, message) in cases {
            assert_eq!(read(line.as_bytes()), Err(Fault::new(Reason::NoLogLine, message)), "{line}");
        }
        let latin_1 = b"h - - [T] \"GET / HTTP/1.1\" 200 0 \"-\" \"caf\xe9\"";
        assert_eq!(read(latin_1).unwrap_err().reason, Reason::NotUtf8);
    }

    #[test]
    fn what_is_absent_is_no_part_of_the_shape() {
        let mut reading = Reading::default();
        let mut reader = ClfReader::new(&PathSet::default());
        reader.read(b"h - - [T] \"GET / HTTP/1.1\" 304 - \"-\" \"\"", &mut reading).unwrap();
        assert_eq!(reading.shape, shape_of(&["host", "time", "method", "path", "protocol", "status"]));
        reader.read(b"nonsense", &mut reading).unwrap_err();
        assert_eq!(reading.shape, None);
    }

    /// Escapes a text as `ap_escape_logitem` of Apache's server does.
    fn escape(text: &str) -> String {
        let escape = |byte: u8| match byte {
            b'"' => "\\\"".to_owned(),
            b'\\' => "\\\\".to_owned(),
            b'\n' => "\\n".to_owned(),
            b'\t' => "\\t".to_owned(),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        };
        text.bytes().map(escape).collect()
    }

    proptest! {
        #[test]
        fn what_apache_writes_is_read(
            path in "/[a-z\"\\\\ é\n\t\r\u{1}\u{7f}]{0,8}",
            referrer in "[a-z\"\\\\ x0-9é\n]{1,8}",
            agent in "\\PC{2,12}",
        ) {
            let (escaped_path, escaped_referrer, escaped_agent) = (escape(&path), escape(&referrer), escape(&agent));
            let line = format!(
                "h - - [T] \"GET {escaped_path} HTTP/1.1\" 200 5 \"{escaped_referrer}\" \"{escaped_agent}\""
            );
            let expected = format!("h|||T|GET|{path}|HTTP/1.1|200|5|{referrer}|{agent}");
            prop_assert_eq!(read(line.as_bytes()), Ok(expected), "{}", line);
        }

        #[test]
        fn no_line_panics(line in "h - - \\[T\\] \"[G\\\\x\" é]{0,9}\" 200 5 [\\\\\"a é-]{0,12}|[h\\[\\]\" -]{0,20}|\\PC*") {
            prop_assert_eq!(read(line.as_bytes()).is_ok(), Line::parse(&line).is_ok());
        }
    }
}
