//! The keys of a `[[source]]` of kind `kafka`, and `[source.kafka]`: settings of librdkafka.

use super::error::Problems;
use super::typed::{self, Header, Named, OneOrMany, Setting, Source};
use crate::kafka::{self, consumer};
use crate::plan::{Gaps, KafkaPlan, KafkaStart};
use crate::source::kafka::client;
use glob::Pattern;
use headwater_decode::reading::Value;
use headwater_decode::spec::Format;
use headwater_decode::time::TimeReader;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

const BROKERS_HELP: &str = "name one or more, such as brokers = \"localhost:9092\"";
const TOPICS_HELP: &str = "name them, or patterns, such as topics = [\"orders\", \"clicks-*\"]";
const START_HELP: &str = "write \"earliest\", \"latest\", or a time such as \"2024-05-01T12:00:00Z\"";
/// Kafka's own limit of a name.
const TOPIC_CHARS: usize = 249;

/// `format`: of the source, if it says one.
pub(super) fn check(
    table: &Spanned<Source>,
    format: Option<Format>,
    folder: &Path,
    problems: &mut Problems,
) -> KafkaPlan {
    let typed = table.get_ref();
    let brokers = brokers(typed.brokers.as_ref(), "[[source]]", table.span(), problems);
    let topics = topics(table, problems);
    let start = typed.start.as_ref().and_then(|typed| {
        let start = start(typed.get_ref());
        if start.is_none() {
            problems.push(typed.span(), format!("`{}` is no place to begin", typed.get_ref()), START_HELP);
        }
        start
    });
    let gaps = match typed.on_gap.as_ref().map(|typed| (typed.get_ref().as_str(), typed.span())) {
        None | Some(("halt", _)) => Gaps::Halt,
        Some(("accept", _)) => Gaps::Accept,
        Some((other, span)) => {
            let message = format!("`{other}` is nothing that `on_gap` can be");
            problems.push(span, message, "write \"halt\" or \"accept\"");
            Gaps::Halt
        }
    };
    let at = || typed.format.as_ref().map_or(table.span(), Spanned::span);
    let names = matches!(typed.header.as_ref().map(Spanned::get_ref), Some(Header::Names(_)));
    match format {
        Some(Format::Csv) if !names => problems.push(
            at(),
            "rows of Kafka have no header row, so it is not clear what their columns are",
            "name the columns, such as header = [\"user\", \"time\", \"page\"]",
        ),
        Some(Format::Log) if typed.layout.is_none() => problems.push(
            at(),
            "the layout of log lines is not recognised in Kafka, where there is no file that stays as it is",
            "name it, such as layout = \"combined\"",
        ),
        _ => {}
    }
    let (settings, secrets) = passed(&typed.kafka, folder, consumer::refusal, problems);
    KafkaPlan { brokers, topics, start: start.unwrap_or(KafkaStart::Earliest), gaps, settings, secrets }
}

/// Returns the addresses of the brokers of a `[[source]]` or a `[[sink]]`, separated by commas.
pub(super) fn brokers(
    typed: Option<&Spanned<OneOrMany<Spanned<String>>>>,
    table: &str,
    span: Range<usize>,
    problems: &mut Problems,
) -> String {
    let Some(typed) = typed else {
        problems.push(span, format!("a {table} of kind \"kafka\" without `brokers`"), BROKERS_HELP);
        return String::new();
    };
    let all = texts(typed);
    for (text, span) in &all {
        for broker in text.split(',') {
            let port = broker
                .trim()
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()).flatten());
            if port.is_none() {
                problems.push(span.clone(), format!("`{broker}` is no address of a broker"), BROKERS_HELP);
            }
        }
    }
    all.iter().map(|(text, _)| *text).collect::<Vec<_>>().join(",")
}

/// Checks the name of a topic.
pub(super) fn topic(text: &str, span: Range<usize>, problems: &mut Problems) {
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    if text.is_empty() || text.len() > TOPIC_CHARS || !text.chars().all(is_of_name) {
        let help = format!("names of topics have at most {TOPIC_CHARS} letters, digits, dots, `_` and `-`");
        problems.push(span, format!("`{text}` is no name of a topic"), help);
    }
}

/// Reports keys that only a source of Kafka has.
pub(super) fn refuse(source: &Source, problems: &mut Problems) {
    // The keys of a kind that is not known may be right.
    if source.kind.as_ref().is_some_and(|kind| !matches!(kind.get_ref().as_str(), "file" | "http")) {
        return;
    }
    let keys = [
        ("brokers", source.brokers.as_ref().map(Spanned::span)),
        ("topics", source.topics.as_ref().map(Spanned::span)),
        ("start", source.start.as_ref().map(Spanned::span)),
        ("on_gap", source.on_gap.as_ref().map(Spanned::span)),
        ("kafka", source.kafka.as_ref().map(Spanned::span)),
    ];
    for (key, span) in keys {
        if let Some(span) = span {
            let message = format!("only a source of kind \"kafka\" has `{key}`");
            problems.push(span, message, format!("leave `{key}` out, or write kind = \"kafka\""));
        }
    }
}

fn texts(typed: &Spanned<OneOrMany<Spanned<String>>>) -> Vec<(&str, Range<usize>)> {
    match typed.get_ref() {
        OneOrMany::One(text) => vec![(text.as_str(), typed.span())],
        OneOrMany::Many(texts) => texts.iter().map(|text| (text.get_ref().as_str(), text.span())).collect(),
    }
}

fn topics(table: &Spanned<Source>, problems: &mut Problems) -> Vec<String> {
    let Some(typed) = &table.get_ref().topics else {
        problems.push(table.span(), "a [[source]] of kind \"kafka\" without `topics`", TOPICS_HELP);
        return Vec::new();
    };
    let all = texts(typed);
    if all.is_empty() {
        problems.push(typed.span(), "no topics: the list is empty", TOPICS_HELP);
    }
    for (text, span) in &all {
        if client::is_pattern(text) {
            if let Err(wrong) = Pattern::new(text) {
                problems.push(span.clone(), format!("`{text}` is no pattern: {}", wrong.msg), TOPICS_HELP);
            }
        } else {
            topic(text, span.clone(), problems);
        }
    }
    all.iter().map(|(text, _)| (*text).to_owned()).collect()
}

fn start(text: &str) -> Option<KafkaStart> {
    match text {
        "earliest" => Some(KafkaStart::Earliest),
        "latest" => Some(KafkaStart::Latest),
        time => {
            let reader = TimeReader::new("UTC").ok()?;
            let value = Value { kind: dataflows::ValueKind::String, text: time };
            // A number alone is more likely to be meant as an offset.
            let time = reader.read(value).filter(|_| time.contains('-'))?;
            Some(KafkaStart::Time(time.micros().div_euclid(1000)))
        }
    }
}

type Settings = (Vec<(String, String)>, Vec<(String, PathBuf)>);

/// Returns the settings that are passed to librdkafka, and the files that have the values of others.
/// `refusal` says why one cannot be passed.
pub(super) fn passed(
    table: &Option<Spanned<Named<Spanned<Setting>>>>,
    folder: &Path,
    refusal: impl Fn(&str, &str) -> Option<(String, String)>,
    problems: &mut Problems,
) -> Settings {
    let (mut settings, mut secrets) = (Vec::new(), Vec::new());
    let mut flat = Vec::new();
    if let Some(table) = table {
        flatten("", table.get_ref(), &mut flat);
    }
    for (key, value, span) in flat {
        if let Some(of) = key.strip_suffix(kafka::FILE).filter(|of| kafka::is_secret(of)) {
            if value.is_empty() {
                problems.push(span, "an empty path", "name the file that has the secret");
            }
            secrets.push((of.to_owned(), folder.join(value)));
            continue;
        }
        if let Some((what, help)) = refusal(&key, &value) {
            problems.push(span, what, help);
        } else if let Err(what) = kafka::check(&key, &value) {
            let tls =
                key.starts_with("ssl.") || key == "security.protocol" && value.to_ascii_lowercase().contains("ssl");
            let help = match tls && !cfg!(feature = "kafka-ssl") {
                true => "this build has no TLS: build headwater with `--features kafka-ssl`",
                false => "the settings are those of librdkafka 2.12: leave it out, or see its CONFIGURATION.md",
            };
            problems.push(span, format!("librdkafka does not take `{key}`: {what}"), help);
        } else {
            settings.push((key, value));
        }
    }
    (settings, secrets)
}

/// TOML reads `sasl.username = …` as a table in a table. To librdkafka it is one name.
fn flatten(before: &str, table: &Named<Spanned<Setting>>, flat: &mut Vec<(String, String, Range<usize>)>) {
    for (name, value) in typed::in_order(table) {
        let key = format!("{before}{}", name.get_ref());
        match value.get_ref() {
            Setting::Value(text) => flat.push((key, text.clone(), value.span())),
            Setting::Table(inner) => flatten(&format!("{key}."), inner, flat),
        }
    }
}
