//! What a collector or an operator's tool puts before each record on its line: syslog, Docker, Kubernetes. The time in it
//! is the field `prefix.time` of the event.

use memchr::memmem;

/// The form of what stands before a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// RFC 3164 and RFC 5424, or as rsyslog writes them to files: `May  1 10:00:00 web1 nginx[7]: `.
    Syslog,
    /// `docker compose logs`: `web_1  | `.
    Compose,
    /// Of the Container Runtime Interface: `2024-05-01T10:00:00.123456789Z stdout F `.
    Cri,
    /// `docker logs --timestamps`: `2024-05-01T10:00:00.123456789Z `.
    Timestamp,
    /// Whatever stands before an object of JSON that ends the line, as programs and tools write it.
    Object,
    /// A text in which `*` stands for anything, as little as possible.
    Pattern(String),
}

impl Prefix {
    /// Those that have a name, most special first.
    pub const NAMED: [Prefix; 4] = [Prefix::Cri, Prefix::Syslog, Prefix::Compose, Prefix::Timestamp];

    /// Where a path finds the time of a prefix.
    pub const TIME: &str = "prefix.time";

    /// Returns its name in the configuration, or its text.
    pub fn name(&self) -> &str {
        match self {
            Prefix::Syslog => "syslog",
            Prefix::Compose => "compose",
            Prefix::Cri => "cri",
            Prefix::Timestamp => "timestamp",
            Prefix::Object => "object",
            Prefix::Pattern(text) => text,
        }
    }

    /// Returns the prefix of this name, or a pattern.
    pub fn of(name: &str) -> Prefix {
        let known = Prefix::NAMED.into_iter().chain([Prefix::Object]).find(|known| known.name() == name);
        known.unwrap_or_else(|| Prefix::Pattern(name.to_owned()))
    }

    /// Returns the length of the prefix that `line` begins with.
    pub fn of_line(&self, line: &[u8]) -> Option<usize> {
        match self {
            Prefix::Syslog => syslog(line),
            Prefix::Compose => {
                let bar = memchr::memchr(b'|', &line[..line.len().min(128)])?;
                let name = line[..bar].trim_ascii_end();
                let is_name = !name.is_empty() && !name.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b'"');
                let end = bar + 1 + usize::from(line.get(bar + 1) == Some(&b' '));
                (is_name && name.len() < bar).then_some(end)
            }
            Prefix::Cri => {
                let stream = timestamp(line)?;
                let rest = &line[stream..];
                let rest = rest.strip_prefix(b"stdout ").or_else(|| rest.strip_prefix(b"stderr "))?;
                matches!(rest, [b'F' | b'P', b' ', ..]).then_some(stream + 9)
            }
            Prefix::Timestamp => timestamp(line),
            Prefix::Object => memchr::memchr(b'{', &line[..line.len().min(OBJECT_WITHIN)]),
            Prefix::Pattern(pattern) => {
                let mut end = 0;
                for (index, text) in pattern.split('*').enumerate() {
                    end += match index {
                        0 => line.starts_with(text.as_bytes()).then_some(text.len())?,
                        _ => memmem::find(&line[end..], text.as_bytes())? + text.len(),
                    };
                }
                Some(end)
            }
        }
    }
}

/// Bytes of a line within which an object begins that has something before it.
const OBJECT_WITHIN: usize = 512;

/// Bytes at the front of a line within which its time begins.
const TIME_WITHIN: usize = 128;

/// Returns the first date with a time of day in what stands before a record, or at the front of a line of text:
/// `2024-05-01T10:00:00.123Z`, or with a blank between them. Else one as access logs, Go and nginx, C and syslog write it.
/// `without_year`: those of syslog count too.
pub fn time(line: &[u8], without_year: bool) -> Option<&str> {
    let front = &line[..line.len().min(TIME_WITHIN)];
    iso(front).or_else(|| {
        let text = |start: usize, length: usize| std::str::from_utf8(front.get(start..start + length)?).ok();
        let find = |form: &[u8]| front.windows(form.len()).position(|text| is_of(form, text));
        let brackets = || find(b"00/Aaa/0000:00:00:00 ").and_then(|start| text(start, 26).or_else(|| text(start, 20)));
        let slashes = || find(b"0000/00/00 00:00:00").and_then(|start| text(start, 19));
        let named = || {
            let start = find(b"Aaa 90 00:00:00")?;
            let rest = &front[start + 15..];
            let fraction = match rest {
                [b'.', digits @ ..] => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
                _ => 0,
            };
            if rest.get(fraction..fraction + 5).is_some_and(|year| is_of(b" 0000", year)) {
                return text(start, 15 + fraction + 5);
            }
            without_year.then(|| text(start, 15 + fraction))?
        };
        brackets().or_else(slashes).or_else(named)
    })
}

/// Returns whether a text is of a form: `0` is a digit, `9` a digit or a blank, `A` and `a` are letters.
fn is_of(form: &[u8], text: &[u8]) -> bool {
    form.iter().zip(text).all(|(form, byte)| match form {
        b'0' => byte.is_ascii_digit(),
        b'9' => byte.is_ascii_digit() || *byte == b' ',
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        other => byte == other,
    })
}

fn iso(prefix: &[u8]) -> Option<&str> {
    const FORM: &[u8; 19] = b"0000-00-00T00:00:00";
    let fits = |text: &[u8]| {
        FORM.iter().zip(text).all(|(form, byte)| match form {
            b'0' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' '),
            other => byte == other,
        })
    };
    let start = prefix.windows(FORM.len()).position(fits)?;
    let rest = &prefix[start + FORM.len()..];
    let mut end = 0;
    if matches!(rest.first(), Some(b'.' | b',')) {
        let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        end = if digits > 0 { 1 + digits } else { 0 };
    }
    end += match &rest[end..] {
        [b'Z' | b'z', ..] => 1,
        [b'+' | b'-', zone @ ..] => {
            1 + zone.iter().take(5).take_while(|byte| byte.is_ascii_digit() || **byte == b':').count()
        }
        _ => 0,
    };
    std::str::from_utf8(&prefix[start..start + FORM.len() + end]).ok()
}

/// Returns the length of a time of RFC 3339 and the blank behind it.
fn timestamp(line: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b' ', &line[..line.len().min(40)])?;
    let form = |form: &[u8], text: &[u8]| {
        form.len() <= text.len()
            && form
                .iter()
                .zip(text)
                .all(|(form, byte)| if *form == b'0' { byte.is_ascii_digit() } else { form == byte })
    };
    form(b"0000-00-00T00:00:00", &line[..end]).then_some(end + 1)
}

fn syslog(line: &[u8]) -> Option<usize> {
    let mut at = 0;
    if line.first() == Some(&b'<') {
        let end = memchr::memchr(b'>', &line[..line.len().min(6)])?;
        line[1..end].iter().all(u8::is_ascii_digit).then_some(())?;
        at = end + 1;
    }
    if at > 0 && line[at..].starts_with(b"1 ") {
        return rfc_5424(line, at + 2);
    }
    let rest = &line[at..];
    at += match timestamp(rest) {
        Some(length) => length,
        None => {
            const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = rest.get(..3)?;
            MONTHS.chunks(3).any(|known| known == month).then_some(())?;
            // `May  1 10:00:00 `, perhaps with the year.
            let clock = memchr::memchr(b':', &rest[..rest.len().min(16)])?;
            let end = memchr::memchr(b' ', &rest[clock..]).map(|end| clock + end)?;
            (end - clock >= 6 && clock >= 8).then_some(end + 1)?
        }
    };
    let host = memchr::memchr(b' ', &line[at..])?;
    (host > 0).then_some(())?;
    at += host + 1;
    // Heroku and others write no host.
    let is_tag = |text: &[u8]| !text.iter().any(|byte| byte.is_ascii_whitespace() || b"\"{".contains(byte));
    if let Some(tag) = line[..at - 1].strip_suffix(b":").map(|text| &text[at - 1 - host..])
        && !tag.is_empty()
        && is_tag(tag)
    {
        return Some(at);
    }
    // The tag, with the number of the process.
    let tag = memmem::find(&line[at..line.len().min(at + 128)], b": ")?;
    is_tag(&line[at..at + tag]).then_some(at + tag + 2)
}

fn rfc_5424(line: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..5 {
        at += memchr::memchr(b' ', &line[at..])? + 1;
    }
    if line[at..].starts_with(b"- ") {
        at += 2;
    } else {
        // Structured data, in which a bracket inside of quotes is escaped.
        while line.get(at) == Some(&b'[') {
            let mut end = at;
            loop {
                end += memchr::memchr(b']', &line[end..])? + 1;
                if line[end - 2] != b'\\' {
                    break;
                }
            }
            at = end;
        }
        (line.get(at) == Some(&b' ')).then_some(())?;
        at += 1;
    }
    Some(if line[at..].starts_with(b"\xef\xbb\xbf") { at + 3 } else { at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_end_where_the_record_begins() {
        let cases = [
            (Prefix::Syslog, "May  1 10:00:00 web1 nginx[7]: ", true),
            (Prefix::Syslog, "<34>Oct 11 22:14:15 mymachine su: ", true),
            (Prefix::Syslog, "2024-05-01T10:00:00.1+00:00 web1 nginx: ", true),
            (Prefix::Syslog, "<165>1 2003-10-11T22:14:15.003Z host app 7 ID47 [a b=\"[x\\]\"][c] ", true),
            (Prefix::Syslog, "<165>1 2003-10-11T22:14:15.003Z host app - - - ", true),
            (Prefix::Compose, "web_1  | ", true),
            (Prefix::Cri, "2024-05-01T10:00:00.123456789Z stdout F ", true),
            (Prefix::Timestamp, "2024-05-01T10:00:00.123456789Z ", true),
            (Prefix::of("[*] "), "[pod/web-7/nginx] ", true),
            (Prefix::of("web: "), "web: ", true),
            (Prefix::Syslog, "2024-05-01T10:00:00.1+00:00 heroku[router]: ", true),
            (Prefix::Object, "web-7d app ", true),
            (Prefix::Syslog, "203.0.113.5 - - ", false),
            (Prefix::Syslog, "Maybe 1 10:00 x: ", false),
            (Prefix::Compose, "a b | ", false),
            (Prefix::Compose, "a|b", false),
            (Prefix::Cri, "2024-05-01T10:00:00Z stdin F ", false),
            (Prefix::of("web: "), "app: ", false),
        ];
        for (prefix, text, fits) in cases {
            let line = format!("{text}{{\"a\": 1}}");
            assert_eq!(prefix.of_line(line.as_bytes()), fits.then_some(text.len()), "{prefix:?} {text}");
            assert_eq!(Prefix::of(prefix.name()), prefix);
        }
    }

    #[test]
    fn the_time_of_a_prefix_is_found() {
        for (prefix, expected) in [
            ("2024-05-01T10:00:00.123456789Z stdout F ", Some("2024-05-01T10:00:00.123456789Z")),
            ("<165>1 2003-10-11T22:14:15.003-07:00 host app 7 ID47 - ", Some("2003-10-11T22:14:15.003-07:00")),
            ("INFO 2024-05-01 10:00:00,123 events - ", Some("2024-05-01 10:00:00,123")),
            ("[2024-05-01 10:00:00] ", Some("2024-05-01 10:00:00")),
            ("2024-05-01 10:00:00. ", Some("2024-05-01 10:00:00")),
            ("May  1 10:00:00 web1 nginx: ", None),
            ("web_1  | ", None),
            ("", None),
        ] {
            assert_eq!(time(prefix.as_bytes(), false), expected, "{prefix}");
        }
    }

    #[test]
    fn the_time_of_a_line_is_found() {
        for (line, expected) in [
            ("203.0.113.5 - - [01/May/2024:10:00:00 +0000] \"GET", Some("01/May/2024:10:00:00 +0000")),
            ("2024/05/01 10:00:00 [error] 7#7: open() failed", Some("2024/05/01 10:00:00")),
            ("[Fri Sep 09 10:42:29.902022 2011] [core:error]", Some("Sep 09 10:42:29.902022 2011")),
            ("Fri Sep  9 10:42:29 2011 a", Some("Sep  9 10:42:29 2011")),
            ("May  1 10:00:01 web1 sshd[7]: Accepted", Some("May  1 10:00:01")),
            ("May  1 10:00", None),
        ] {
            assert_eq!(time(line.as_bytes(), true), expected, "{line}");
        }
        let late = " ".repeat(TIME_WITHIN) + "2024-05-01 10:00:00";
        assert_eq!(time(late.as_bytes(), true), None);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "(<1>|1 |May|May  1 10:00:00|é|[ 10:\\[\\]\\\\|-]|2024-05-01T10:00:00|stdout ){0,9}") {
            prop_assert!(time(line.as_bytes(), true).is_none_or(|time| line.contains(time)));
            for prefix in Prefix::NAMED {
                prop_assert!(prefix.of_line(line.as_bytes()).is_none_or(|length| length <= line.len()));
            }
        }
    }
}
