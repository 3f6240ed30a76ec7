//! Recognises how a file is written by the first part of its content, never by its name: its format, how its records
//! are framed, and what stands above the first of them.

mod rows;

use crate::account::Account;
use crate::clf;
use crate::defaults;
use crate::embedded;
use crate::framing::Framing;
use crate::log::named::{self, Named};
use crate::log::{FIELDS, Heading};
use crate::pairs::Pairs;
use crate::path::Path;
use crate::prefix::{self, Prefix};
use crate::spec::Format;
use crate::syntax::{Header, Syntax};
use crate::wanted::Wanted;
use memchr::{memchr, memchr_iter};
use std::str::SplitAsciiWhitespace;
use std::sync::Arc;

/// Bytes of content that are worth looking at: enough lines for a majority, small beside any chunk.
pub const HEAD_BYTES: usize = 64 << 10;

/// How a file is written, as far as its content says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    /// Of its records.
    pub format: Format,
    /// How they follow each other.
    pub framing: Framing,
}

/// What a file is, and where its records begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Of its records.
    pub format: Format,
    /// How they follow each other.
    pub framing: Framing,
    /// Of rows: the header, without line end.
    pub header: Option<Arc<[u8]>>,
    /// Offset of the first record.
    pub start: usize,
    /// What the bytes before it are.
    pub above: Account,
    /// What is worth telling a user about it, in words.
    pub notes: Vec<String>,
}

/// Why it is not known what a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its format is not recognised. In words: what could help, if anything is clear about it.
    Unknown(Option<String>),
    /// There is not enough of it.
    More,
}

/// Returns what a file is that begins with `head` (decompressed, without marks and blank lines; the last record may be
/// cut, unless `is_whole`). `format`: as configured. `limit`: of the bytes of a record.
///
/// By majority, so that a bad first line does not mislead.
///
/// # Errors
/// If the format cannot be recognised safely (binary data, XML, prose, rows without a header), or if a header is longer
/// than `head`.
pub fn open(
    head: &[u8],
    format: Option<Format>,
    syntax: &Syntax,
    limit: usize,
    is_whole: bool,
) -> Result<Opened, Refused> {
    let headed = |format, framing, heading: Option<Heading>| {
        let notes = heading.iter().filter(|_| syntax.layout.is_none()).filter_map(|heading| note(format, heading));
        let notes = notes.collect();
        let header = heading.map(|heading| Arc::from(heading.text().into_bytes()));
        Opened { format, framing, header, start: 0, above: Account::default(), notes }
    };
    let opened = |format, framing| headed(format, framing, None);
    let with_prefix =
        |prefix: &Option<Prefix>| prefix.as_ref().map(|_| Heading { layout: String::new(), prefix: prefix.clone() });
    let of_json = |framing, prefix: Option<Prefix>| {
        let path = syntax.unwrap.as_ref().map(Path::to_string);
        let path = path.or_else(|| wrapper(framing, head, prefix.as_ref(), syntax));
        let heading =
            (path.is_some() || prefix.is_some()).then(|| Heading { layout: path.unwrap_or_default(), prefix });
        headed(Format::Json, framing, heading)
    };
    let line_end = line_end(head);
    let lines = if line_end == b'\r' { Framing::CrLines } else { Framing::Lines };
    // Only rows have a header.
    let format = format.or((syntax.header != Header::First).then_some(Format::Csv));
    let format = format.or(syntax.layout.is_some().then_some(Format::Log));
    if matches!(format, None | Some(Format::Csv | Format::Log))
        && syntax.layout.as_ref().is_none_or(|layout| layout == W3C)
        && let Some(fields) = fields(lines, head)
    {
        return Ok(headed(Format::Log, lines, Some(Heading { layout: fields, prefix: None })));
    }
    if matches!(format, None | Some(Format::Log))
        && syntax.layout.is_none()
        && let Some(names) = flows(|| whole(lines, head))
    {
        let heading = Heading { layout: format!("{FIELDS} {names}"), prefix: None };
        let opened = headed(Format::Log, lines, Some(heading));
        return Ok(Opened { notes: vec!["it is a flow log of a VPC of AWS".into()], ..opened });
    }
    let log = || {
        let (named, prefix) = named::recognise(whole(lines, head))?;
        let prefix = syntax.prefix.clone().or(prefix);
        Some(match (named, &prefix) {
            (Named::Combined | Named::Common, None) => opened(Format::Clf, lines),
            _ => headed(Format::Log, lines, Some(Heading { layout: named.name().into(), prefix })),
        })
    };
    let prefixes = syntax.prefix.iter().chain(if syntax.prefix.is_none() { &Prefix::NAMED[..] } else { &[] });
    let behind = |prefix: &Prefix, fits: &dyn Fn(&[u8]) -> bool| {
        most(whole(lines, head), |line| prefix.of_line(line).is_some_and(|length| fits(&line[length..])))
    };
    // Lines of objects only, behind whatever a collector wrote before them.
    let prefix_of_objects = || prefixes.clone().find(|prefix| behind(prefix, &is_object)).cloned();
    match format {
        Some(Format::Json) if syntax.prefix.is_some() => {
            return Ok(of_json(lines, syntax.prefix.clone()));
        }
        Some(Format::Json) => {
            let framing = json(head);
            let prefix = if framing.is_none() { prefix_of_objects() } else { None };
            return Ok(of_json(framing.unwrap_or(Framing::Lines), prefix));
        }
        Some(Format::Clf) => return Ok(log().unwrap_or_else(|| opened(Format::Clf, lines))),
        Some(format @ (Format::Ltsv | Format::Logfmt | Format::Text)) => {
            return Ok(headed(format, lines, with_prefix(&syntax.prefix)));
        }
        Some(Format::Csv) => return rows::open(head, syntax, limit, line_end, is_whole),
        Some(Format::Log) => {
            if let Some(layout) = &syntax.layout {
                if layout == W3C {
                    return Err(Refused::Unknown(Some("it does not begin with a line of `#Fields:`".into())));
                }
                let heading = Heading { layout: layout.clone(), prefix: syntax.prefix.clone() };
                return Ok(headed(Format::Log, lines, Some(heading)));
            }
            return log().ok_or_else(|| Refused::Unknown(Some(LAYOUT.into())));
        }
        None => {}
    }
    if is_binary(head) {
        return Err(Refused::Unknown(None));
    }
    // Most files are JSON, and no line of a server's log is an object.
    let framing = json(head);
    if let Some(framing) = framing.filter(|_| head.trim_ascii_start().starts_with(b"{")) {
        return Ok(of_json(framing, None));
    }
    if let Some(opened) = log() {
        return Ok(opened);
    }
    if let Some(framing) = framing {
        return Ok(of_json(framing, None));
    }
    if let Some(prefix) = prefix_of_objects() {
        return Ok(of_json(lines, Some(prefix)));
    }
    if most(whole(lines, head), is_log_line) {
        return Err(Refused::Unknown(Some(LAYOUT.into())));
    }
    let unknown = match rows::recognise(head, syntax, limit, line_end, is_whole) {
        Err(unknown @ Refused::Unknown(_)) => unknown,
        opened => return opened,
    };
    for (format, pairs) in [(Format::Ltsv, Pairs::Ltsv), (Format::Logfmt, Pairs::Logfmt)] {
        let fits = |line: &[u8]| std::str::from_utf8(line).is_ok_and(|line| pairs.fits(line));
        let names = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            pairs.of(&line).any(|(name, _)| syntax.wanted.has(name))
        };
        if most(whole(lines, head), fits) && most(whole(lines, head), names) {
            return Ok(opened(format, lines));
        }
        if let Some(prefix) = prefixes.clone().find(|prefix| behind(prefix, &|line| fits(line) && names(line))) {
            return Ok(headed(format, lines, with_prefix(&Some(prefix.clone()))));
        }
    }
    // Of objects that end lines of another form, only those that look like events.
    let is_event = |text: &[u8]| {
        let object: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(text).ok();
        object.is_some_and(|object| object.keys().any(|name| syntax.wanted.has(name)))
    };
    if syntax.prefix.is_none() && behind(&Prefix::Object, &is_event) {
        return Ok(of_json(lines, Some(Prefix::Object)));
    }
    let has_time = |line: &[u8]| prefix::time(line, true).is_some();
    let names = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        Pairs::Text.of(&line).any(|(name, value)| !value.is_empty() && syntax.wanted.has(name))
    };
    if most(whole(lines, head), |line| has_time(line) && names(line)) {
        return Ok(headed(Format::Text, lines, with_prefix(&syntax.prefix)));
    }
    match unknown {
        Refused::Unknown(None) if most(whole(lines, head), has_time) => Err(Refused::Unknown(Some(TEXT.into()))),
        unknown => Err(unknown),
    }
}

/// The advice on lines of text.
const TEXT: &str = "its lines are text with a time: set `format = \"text\"`, and take the user out of the line by \
                    `user = { path = \"line\", regex = \"user[= ](\\\\w+)\" }`";

/// The layout that a file names itself.
pub const W3C: &str = "w3c";

/// Returns what was recognised, if a user may not expect it.
fn note(format: Format, heading: &Heading) -> Option<String> {
    let mut parts = Vec::new();
    match (format, heading.layout.as_str()) {
        (_, "") => {}
        (Format::Log, layout) if layout.starts_with(FIELDS) => return None,
        (Format::Log, layout) => parts.push(format!("its lines are in the layout `{layout}`")),
        (_, path) => parts.push(format!("its events are texts in the field `{path}` of other objects")),
    }
    if let Some(prefix) = &heading.prefix {
        parts.push(format!("`{}` stands before each record", prefix.name()));
    }
    (!parts.is_empty()).then(|| parts.join(", and "))
}

/// Fields in which collectors put the line of a program (Docker, Fluentd and Fluent Bit, Filebeat and Vector, the journal
/// of systemd, Loki), and queues an event (SNS, Pub/Sub, Kinesis and Firehose, kcat, webhooks).
const WRAPPERS: [&str; 14] = [
    "log",
    "message",
    "MESSAGE",
    "msg",
    "line",
    "text",
    "Message",
    "message.data",
    "data",
    "payload",
    "value",
    "body",
    "Body",
    "event",
];

/// Returns the field of most objects that has an event as a text, if the object around it says of no user.
fn wrapper(framing: Framing, head: &[u8], prefix: Option<&Prefix>, syntax: &Syntax) -> Option<String> {
    let is_wrapped = |object: &[u8], field: &str| {
        let before = prefix.and_then(|prefix| prefix.of_line(object)).unwrap_or(0);
        let object: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&object[before..]).ok();
        object.is_some_and(|object| {
            let mut steps = field.split('.');
            let inner = steps.next().and_then(|first| object.get(first));
            let value = steps.fold(inner, |value, step| value.and_then(|value| value.get(step)));
            let text = embedded::plain(value.and_then(|text| text.as_str()).unwrap_or_default());
            let is_event = text.starts_with('{') && is_object(text.as_bytes()) || clf::is_line(&text);
            let is_of_docker = || {
                let known = |key: &String| ["log", "stream", "time", "attrs"].contains(&key.as_str());
                object.contains_key("stream") && object.contains_key("time") && object.keys().all(known)
            };
            // In these, `host` is the server.
            let has_user = || object.keys().any(|key| key != "host" && defaults::meaning(key).is_some());
            is_event && (is_of_docker() || syntax.wanted == Wanted::default() && !has_user())
        })
    };
    let field =
        WRAPPERS.into_iter().find(|field| most(whole(framing, head).take(64), |object| is_wrapped(object, field)));
    field.map(str::to_owned)
}

/// The advice on log lines in a layout that has no name.
const LAYOUT: &str = "its lines look like those of a server's log, in a layout that is not known: set `format = \"log\"` \
                      and `layout` to the directives of the server's configuration, such as \
                      `layout = '%v %h %l %u %t \"%r\" %>s %b'` or `'$remote_addr [$time_local] \"$request\" $status'`";

/// Returns the line that names the fields of a W3C log, if directives are all that stands before it. Zeek's begins with
/// `#fields` and a tab.
fn fields(lines: Framing, head: &[u8]) -> Option<String> {
    const OF_ZEEK: &[u8] = b"#fields\t";
    let mut directives = lines.records(head).map(|(_, line)| line).take_while(|line| line.starts_with(b"#"));
    let line = directives.find(|line| line.starts_with(FIELDS.as_bytes()) || line.starts_with(OF_ZEEK))?;
    Some(match line.strip_prefix(OF_ZEEK) {
        Some(names) => format!("{FIELDS} {}", String::from_utf8_lossy(names).trim_end().replace('\t', " ")),
        None => String::from_utf8_lossy(line).trim_end().to_owned(),
    })
}

/// The fields of a flow log of a VPC of AWS, where no line names them.
/// https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html
const FLOW: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";

/// Returns the names of the fields of a flow log, which its first line has, or else most lines fit.
fn flows<'h, I: Iterator<Item = &'h [u8]>>(lines: impl Fn() -> I) -> Option<String> {
    fn fields(line: &[u8]) -> SplitAsciiWhitespace<'_> {
        std::str::from_utf8(line).unwrap_or_default().split_ascii_whitespace()
    }
    let first: Vec<&str> = lines().next().map(|line| fields(line).collect())?;
    let is_name =
        |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let has = |name: &str| first.contains(&name);
    if first.iter().all(is_name) && has("srcaddr") && (has("interface-id") || has("start") || has("action")) {
        return Some(first.join(" "));
    }
    let fits = |line: &[u8]| {
        let found: Vec<&str> = fields(line).collect();
        let is_version = found.first().is_some_and(|version| version.parse::<u8>().is_ok());
        let ends = found.get(12..).unwrap_or_default();
        is_version && matches!(ends, ["ACCEPT" | "REJECT" | "-", "OK" | "NODATA" | "SKIPDATA"])
    };
    most(lines(), fits).then(|| FLOW.to_owned())
}

/// Returns the format and framing of a file that begins with `head`; `None` if they are not recognised.
pub fn detect(head: &[u8]) -> Option<Detected> {
    let opened = open(head, None, &Syntax::default(), usize::MAX >> 1, true).ok()?;
    Some(Detected { format: opened.format, framing: opened.framing })
}

/// Returns the framing of JSON.
pub fn framing_of_json(head: &[u8]) -> Framing {
    json(head).unwrap_or(Framing::Lines)
}

/// Returns the byte that ends lines: a carriage return, if there is no line feed.
fn line_end(head: &[u8]) -> u8 {
    if memchr(b'\n', head).is_none() && memchr(b'\r', head).is_some() { b'\r' } else { b'\n' }
}

/// Returns whether there are NUL bytes other than those that framing skips.
fn is_binary(head: &[u8]) -> bool {
    // Runs are passed in large steps.
    let Some(first) = memchr(0, head) else { return false };
    let lone = head[first..].chunk_by(|left, right| (*left == 0) == (*right == 0));
    let lone = lone.filter(|chunk| chunk[0] == 0 && chunk.len() < crate::framing::RUN).count();
    let lines = 1 + memchr_iter(b'\n', head).count();
    lone > lines
}

/// `None` if most of it is no JSON.
fn json(head: &[u8]) -> Option<Framing> {
    if most(whole(Framing::Lines, head), is_object) {
        return Some(Framing::Lines);
    }
    let text = head.trim_ascii();
    let is_array =
        matches!(text, [b'[', rest @ ..] if rest.trim_ascii_start().first().is_none_or(|b| b"{[]".contains(b)));
    let mut values = Framing::JsonValues.records(text).map(|(_, value)| value);
    let is_json = match is_array {
        true => values.next().is_none_or(|value| value.starts_with(b"{")),
        false => most(values, |value| value.starts_with(b"{")),
    };
    // One long line that is cut may be the first of many.
    let is_cut_line =
        text.starts_with(b"{") && memchr(b'\n', text).is_none() && Framing::JsonValues.boundary(text).is_none();
    is_json.then_some(if is_cut_line { Framing::Lines } else { Framing::JsonValues })
}

/// Returns whether the line is one JSON object and nothing else.
pub fn is_object(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.starts_with(b"{") && Framing::JsonValues.boundary(line) == Some(line.len()) && {
        let mut values = Framing::JsonValues.records(line);
        values.next().is_some() && values.next().is_none()
    }
}

/// Returns whether the line has what only Common and Combined Log Format have: `[17/May/2015:10:05:03 +0000] "`.
fn is_log_line(line: &[u8]) -> bool {
    const FORM: &[u8; 30] = b"[00/Aaa/0000:00:00:00 +0000] \"";
    memchr_iter(b'[', line).any(|at| {
        line.get(at..at + FORM.len()).is_some_and(|text| {
            FORM.iter().zip(text).all(|(form, byte)| match form {
                b'0' => byte.is_ascii_digit(),
                b'A' => byte.is_ascii_uppercase(),
                b'a' => byte.is_ascii_lowercase(),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
        })
    })
}

/// Returns the records of `head` but the last one if it may be cut, unless it is all there is.
fn whole(framing: Framing, head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = framing.boundary(head).filter(|end| !head[..*end].trim_ascii().is_empty()).unwrap_or(head.len());
    framing.records(&head[..end]).map(|(_, record)| record)
}

/// Returns whether there are any, and more than half of them are as expected.
fn most<'b>(records: impl Iterator<Item = &'b [u8]>, expected: impl Fn(&[u8]) -> bool) -> bool {
    let (hits, all) = records.fold((0, 0), |(hits, all), record| (hits + usize::from(expected(record)), all + 1));
    2 * hits > all
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a, HTTP/1.1" 200 203023 "-" "Mozilla/5.0 (X, Y)""#;

    #[test]
    fn formats_are_told_by_their_content() {
        const LINES: &str = "Json Lines";
        const VALUES: &str = "Json JsonValues";
        let long = format!("{{\"a\":\"{}", "x".repeat(HEAD_BYTES));
        let log = format!("{LOG}\n{LOG}\n");
        let bad_log = format!("restarted\n{log}");
        let cases: &[(&str, &str)] = &[
            ("{\"a\":1}\n{\"a\":2}\n", LINES),
            ("{\"a\":1}\r\n\r\n{\"a\":2}", LINES),
            ("{\"a\":1}", LINES),
            ("rubbish\n{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\"", LINES),
            ("{\"a\":1\n{\"a\":2}\n{\"a\":3}\n", LINES),
            (&long, LINES),
            ("[{\"a\":1},{\"a\":2}]", VALUES),
            ("  [\n  {\"a\":1},\n  {\"a\":2}\n]\n", VALUES),
            ("[{\"a\":1}]\n[{\"a\":2}]\n", VALUES),
            ("[]", VALUES),
            ("[{\"a\":[1,2,3,", VALUES),
            ("{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n", VALUES),
            ("{\n  \"a\": [1,\n", VALUES),
            ("{\"a\":1}{\"a\":2}", VALUES),
            ("\u{1e}{\"a\":1}\n\u{1e}{\"a\":2}\n", VALUES),
            ("rubbish\n[\n{\n\"a\":1\n},\n{\n\"a\":2\n}]", VALUES),
            ("user,time\nu1,2024-01-01\nu2,\"2024,01\n02\"\n", "Csv"),
            ("user;time\nu1;1,5\nu2;2,5\n", "Csv"),
            ("\tuser\tb\n0\tx\ty\n", "Csv"),
            ("user|time\n", "Csv"),
            ("\"user\",\"time\"\r\nu1,1\r\noops\r\nu2,2\r\nu3,", "Csv"),
            ("user,payload\nu1,\"{\"\"a\"\":1}\"\nu2,\"{\"\"a\"\":2}\"\n", "Csv"),
            (&log, "Clf Lines"),
            (&bad_log, "Clf Lines"),
            ("<?xml version=\"1.0\"?>\n<log a=\"1\", b=\"2\">\n<event/>\n", "none"),
            ("some prose\nwithout any form\n", "none"),
            ("2024-01-01 10:00:00,123 INFO start\n2024-01-01 10:00:01,456 INFO stop\n", "none"),
            ("2024-01-01 10:00:00,123 INFO user=a\n2024-01-01 10:00:01,456 INFO user=b\nat c\n", "Text Lines"),
            ("Report of 2024-05-02\nAccount: 7\n\nuser,time\nu1,2024-01-01\n", "Csv"),
            ("[Fri Sep 09 10:42:29 2011] [error] oops\n", "none"),
            ("PAR1\0\0\u{15}\0", "none"),
            ("1\n2\n3\n", "none"),
            ("", "none"),
            (" \n\n", "none"),
        ];
        for (head, expected) in cases {
            let found = match detect(head.as_bytes()) {
                Some(Detected { format: Format::Csv, .. }) => "Csv".to_string(),
                Some(Detected { format, framing }) => format!("{format:?} {framing:?}"),
                None => "none".to_string(),
            };
            assert_eq!(&found, expected, "{head:.80}");
        }
    }

    #[test]
    fn rows_are_told_by_what_their_header_names() {
        let open = |head: &str, format| {
            let opened = open(head.as_bytes(), format, &Syntax::default(), 1 << 20, true)?;
            let Framing::Rows(dialect) = opened.framing else { panic!("{head} is no table") };
            let header = String::from_utf8(opened.header.unwrap().to_vec()).unwrap();
            Ok((header, dialect, opened.start, opened.above.total()))
        };
        let rows = "user_id,ts\nu1,1\nu2,2\n";
        let is_rows = |head: &str| open(head, None).map(|(header, _, start, above)| (header, start, above));
        assert_eq!(is_rows(rows), Ok(("user_id,ts".into(), 11, 11)));
        assert_eq!(is_rows(&format!("sep=,\n# note\n{rows}")), Ok(("user_id,ts".into(), 24, 24)));
        assert_eq!(is_rows(&format!("#{rows}")), Ok(("user_id,ts".into(), 12, 12)));
        // What names nothing is no header.
        let data = "u1,2024-05-01,a\nu2,2024-05-01,b\n";
        assert!(matches!(is_rows(data), Err(Refused::Unknown(Some(advice))) if advice.contains("3 fields")));
        assert!(matches!(is_rows("a, b\nprose, and more\n"), Err(Refused::Unknown(None))));
        let (header, dialect, start, _) = open(data, Some(Format::Csv)).unwrap();
        assert_eq!((header.as_str(), dialect.fields, start), ("column_1,column_2,column_3", 3, 0));
        let (header, ..) = open("a,b\n1,2\n", Some(Format::Csv)).unwrap();
        assert_eq!(header, "a,b");
        // A header that is cut.
        let cut = super::open(b"user_id,\"ts", None, &Syntax::default(), 1 << 20, false);
        assert_eq!(cut, Err(Refused::Unknown(None)));
        let wide = format!("user_id,{}", "c,".repeat(99));
        assert_eq!(super::open(wide.as_bytes(), None, &Syntax::default(), 1 << 20, false), Err(Refused::More));
        let cut = super::open(b"user_id,\"ts", Some(Format::Csv), &Syntax::default(), 1 << 20, false);
        assert_eq!(cut, Err(Refused::More));
    }
}
