//! The keys of `[[source]]` that say how the bytes of its files are written.

use super::error::{Problems, choose};
use super::events::{path, within};
use super::typed::{self, Source};
use headwater_decode::detect::W3C;
use headwater_decode::log::layout::Layout;
use headwater_decode::log::named::Named;
use headwater_decode::prefix::Prefix;
use headwater_decode::spec::Format;
use headwater_decode::syntax::{Encoding, Header, Syntax};
use std::collections::HashSet;
use std::ops::RangeInclusive;
use toml::Spanned;

/// Lines above a header. More than that is a slip.
const SKIP: RangeInclusive<i64> = 0..=1000;

pub(super) fn check(source: &Source, format: Option<Format>, problems: &mut Problems) -> Syntax {
    let Source { delimiter, quote, escape, header, comment, .. } = source;
    let of_rows = [
        ("delimiter", delimiter.as_ref().map(Spanned::span)),
        ("quote", quote.as_ref().map(Spanned::span)),
        ("escape", escape.as_ref().map(Spanned::span)),
        ("header", header.as_ref().map(Spanned::span)),
        ("comment", comment.as_ref().map(Spanned::span)),
    ];
    for (key, span) in of_rows {
        if let (Some(span), Some(format)) = (span, format.filter(|format| *format != Format::Csv)) {
            let message = format!("`{key}` is of rows, and the format is `{}`", format.name());
            problems.push(span, message, "leave it out, or write format = \"csv\"");
        }
    }
    let syntax = Syntax {
        delimiter: delimiter.as_ref().and_then(|text| character(text, problems)),
        quote: quote.as_ref().and_then(|text| match text.get_ref().as_str() {
            "" => Some(None),
            _ => character(text, problems).map(Some),
        }),
        escape: escape.as_ref().and_then(|text| character(text, problems)),
        header: header.as_ref().map_or(Header::First, |header| check_header(header, problems)),
        skip: source.skip.as_ref().and_then(|skip| within(skip, SKIP, problems)).unwrap_or(0),
        comment: comment.as_ref().and_then(|text| character(text, problems)),
        encoding: source.encoding.as_ref().map_or(Encoding::Utf8, |name| check_encoding(name, problems)),
        layout: source.layout.as_ref().map(|layout| check_layout(layout, format, problems)),
        prefix: source.prefix.as_ref().map(|prefix| check_prefix(prefix, format, problems)),
        unwrap: source.unwrap.as_ref().and_then(|text| path(text.get_ref(), text.span(), problems)),
        ..Syntax::default()
    };
    if let (Some(unwrap), Some(format)) = (&source.unwrap, format.filter(|format| *format != Format::Json)) {
        let message = format!("`unwrap` is of JSON objects, and the format is `{}`", format.name());
        problems.push(unwrap.span(), message, "leave it out, or write format = \"json\"");
    }
    let used = [syntax.delimiter, syntax.quote.flatten(), syntax.comment];
    let typed = [delimiter, quote, comment];
    for (index, one) in used.iter().enumerate().filter(|(_, one)| one.is_some()) {
        if let (true, Some(text)) = (used[..index].contains(one), typed[index]) {
            problems.push(text.span(), "one character cannot mean two things in a row", "choose another one");
        }
    }
    syntax
}

fn check_layout(layout: &Spanned<String>, format: Option<Format>, problems: &mut Problems) -> String {
    let text = layout.get_ref();
    if let Some(format) = format.filter(|format| *format != Format::Log) {
        let message = format!("`layout` is of log lines, and the format is `{}`", format.name());
        problems.push(layout.span(), message, "write format = \"log\"");
    }
    // The fields of such a log are in the file.
    if text == W3C || Named::of(text).is_some() {
        return text.clone();
    }
    if let Err(wrong) = Layout::parse(text) {
        let names = Named::ALL.map(Named::name);
        let help = "write the directives of the server's configuration, such as '%h %l %u %t \"%r\" %>s %b' or \
                    '$remote_addr - $remote_user [$time_local] \"$request\" $status', or a name: ";
        let names = names.map(|name| format!("\"{name}\"")).join(", ");
        let is_word = text.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
        match is_word {
            true => {
                let help = choose(text, &Named::ALL.map(Named::name), &format!("{help}{names}"));
                problems.push(layout.span(), format!("unknown layout `{text}`"), help);
            }
            false => problems.push(layout.span(), wrong, format!("{help}{names}")),
        }
    }
    text.clone()
}

fn check_prefix(prefix: &Spanned<String>, format: Option<Format>, problems: &mut Problems) -> Prefix {
    if prefix.get_ref().is_empty() {
        let help = "write \"syslog\", \"compose\", \"cri\", \"timestamp\", or a text in which `*` stands for anything";
        problems.push(prefix.span(), "the prefix is empty", help);
    }
    if format == Some(Format::Csv) {
        problems.push(prefix.span(), "rows have no `prefix`", "leave it out");
    }
    Prefix::of(prefix.get_ref())
}

/// Returns the ASCII character of a text.
fn character(text: &Spanned<String>, problems: &mut Problems) -> Option<u8> {
    match text.get_ref().as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
        b"\\t" => Some(b'\t'),
        _ => {
            let message = format!("`{}` is no single ASCII character", text.get_ref().escape_debug());
            problems.push(text.span(), message, "write one character, such as \";\", or \"\\t\" for a tab");
            None
        }
    }
}

fn check_header(header: &Spanned<typed::Header>, problems: &mut Problems) -> Header {
    match header.get_ref() {
        typed::Header::First(true) => Header::First,
        typed::Header::First(false) => Header::Absent,
        typed::Header::Names(names) => {
            if names.is_empty() {
                let help = "name each column, or write `false`: columns are then called `column_1`, `column_2` …";
                problems.push(header.span(), "the header names no columns", help);
            }
            let mut seen = HashSet::new();
            for name in names {
                if !name.get_ref().is_empty() && !seen.insert(name.get_ref()) {
                    let message = format!("the header names the column `{}` twice", name.get_ref());
                    problems.push(name.span(), message, "give each column a name of its own");
                }
            }
            Header::Names(names.iter().map(|name| name.get_ref().clone()).collect())
        }
    }
}

fn check_encoding(name: &Spanned<String>, problems: &mut Problems) -> Encoding {
    // The names that people and other tools use.
    const OTHERS: [(&str, Encoding); 8] = [
        ("utf8", Encoding::Utf8),
        ("iso-8859-1", Encoding::Latin1),
        ("iso8859-1", Encoding::Latin1),
        ("latin-1", Encoding::Latin1),
        ("cp1252", Encoding::Windows1252),
        ("windows1252", Encoding::Windows1252),
        ("utf16le", Encoding::Utf16Le),
        ("utf16be", Encoding::Utf16Be),
    ];
    let text = name.get_ref().to_lowercase().replace('_', "-");
    let known = Encoding::ALL.into_iter().map(|encoding| (encoding.name(), encoding)).chain(OTHERS);
    let known: Vec<_> = known.collect();
    if let Some((_, encoding)) = known.iter().find(|(known, _)| *known == text) {
        return *encoding;
    }
    let names = Encoding::ALL.map(Encoding::name);
    let otherwise = format!("write one of {}", names.map(|name| format!("\"{name}\"")).join(", "));
    let help = match text.as_str() {
        "utf-16" | "utf16" => "leave it out where files begin with a byte order mark, else write \"utf-16le\"".into(),
        _ => choose(&text, &names, &otherwise),
    };
    problems.push(name.span(), format!("unknown encoding `{}`", name.get_ref()), help);
    Encoding::Utf8
}
