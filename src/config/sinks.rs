//! `[[sink]]`: the changes that a run hands over, and their receiver.

use super::address;
use super::error::{Problems, choose, one_of};
use super::events::within;
use super::expression;
use super::kafka;
use super::states::{DECAYS, DECAYS_HELP};
use super::typed::{self, Action, HeaderFile, Sink};
use crate::collections::filter::Filter;
use crate::collections::{Collection, Schemas};
use crate::kafka::producer;
use crate::plan::{
    ActionPlan, ChangeKind, Envelope, HeaderValue, HttpTarget, KafkaTarget, SinkPlan, SinkStart, SinkTarget, StatePlan,
    When,
};
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::Spanned;
use ureq::http;

const KINDS: [&str; 3] = ["file", "http", "kafka"];
const WRITES: &str = "a sink is of kind = \"file\" with `path`, kind = \"http\" with `url`, or kind = \"kafka\" with `brokers` and `topic`";
const PATH_HELP: &str = "name the file, such as path = \"alerts.jsonl\"";
const URL_HELP: &str = "write it whole, such as url = \"https://hooks.example/changes\"";
const BATCH: RangeInclusive<i64> = 1..=10_000;
const DEFAULT_BATCH: usize = 100;
/// Of Kafka, where a batch is a transaction, and its records are sent together anyway.
const KAFKA_BATCH: usize = 10_000;
const TOPIC_HELP: &str = "name the topic, such as topic = \"sessions\"";
/// Of a name, which is one of a folder.
const NAME_CHARS: usize = 64;
/// Headers that say what is sent, which only the sink knows.
const OWN_HEADERS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "transfer-encoding",
];
/// Headers whose values are secrets.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

pub(super) fn check(
    text: &str,
    typed: &[Spanned<Sink>],
    (schemas, actions): (&Schemas, &Acting<'_>),
    states: &mut [StatePlan],
    folder: &Path,
    problems: &mut Problems,
) -> Vec<SinkPlan> {
    let mut taken = Taken::default();
    let one = |table: &Spanned<Sink>| sink(text, table, (schemas, actions, &mut *states), folder, &mut taken, problems);
    typed.iter().filter_map(one).collect()
}

/// The actions, as far as they are right, and as typed.
pub(super) struct Acting<'a> {
    pub plans: &'a [ActionPlan],
    pub typed: &'a [Spanned<Action>],
}

/// What only one sink may have.
#[derive(Default)]
struct Taken {
    names: HashSet<String>,
    paths: HashSet<PathBuf>,
    topics: HashSet<String>,
}

/// `None` only if something was wrong.
fn sink(
    file: &str,
    table: &Spanned<Sink>,
    (schemas, actions, states): (&Schemas, &Acting<'_>, &mut [StatePlan]),
    folder: &Path,
    taken: &mut Taken,
    problems: &mut Problems,
) -> Option<SinkPlan> {
    let typed = table.get_ref();
    let name = name(table, &mut taken.names, problems);
    let decisions = match typed.collection {
        None => of_actions(table, &name, (schemas, actions), problems),
        Some(_) => None,
    };
    let of_actions = decisions.is_some();
    let collection = match (&typed.collection, &decisions) {
        (None, Some(_)) => Some(Collection::ACTIONS),
        (None, None) => None,
        (Some(typed), _) => collection(typed, schemas, states, problems),
    };
    let when = typed.when.as_ref().zip(collection).and_then(|(when, collection)| {
        let text = when.get_ref().0.clone();
        let filter = Filter::parse(&text, schemas.of(collection));
        let filter = filter.inspect_err(|error| {
            let columns: Vec<_> =
                schemas.of(collection).columns.iter().map(|column| format!("`{}`", column.name)).collect();
            let help = format!("the columns of `{}` are: {}", collection.name(), columns.join(", "));
            problems.push(expression::place(file, when.span(), error), error.message.clone(), help);
        });
        Some(When { text, filter: filter.ok()? })
    });
    let when = when.or(decisions);
    let changes = one_of(typed.changes.as_ref(), "changes", &ChangeKind::ALL.map(|kind| (kind.name(), kind)), problems);
    let from = one_of(typed.from.as_ref(), "from", &[("now", SinkStart::Now), ("start", SinkStart::Start)], problems);
    let batch = typed.batch.as_ref().and_then(|batch| within(batch, BATCH, problems));
    let target = target(table, collection, folder, taken, problems)?;
    let is_kafka = matches!(target, SinkTarget::Kafka(_));
    let plan = SinkPlan {
        name,
        collection: collection?,
        of_actions,
        when,
        changes: changes.unwrap_or(if is_kafka { ChangeKind::All } else { ChangeKind::Added }),
        from: from.unwrap_or(SinkStart::Now),
        batch: batch.unwrap_or(if is_kafka { KAFKA_BATCH } else { DEFAULT_BATCH }),
        target,
    };
    Some(plan)
}

fn name(table: &Spanned<Sink>, names: &mut HashSet<String>, problems: &mut Problems) -> String {
    let Some(typed) = &table.get_ref().name else {
        problems.push(
            table.span(),
            "a [[sink]] without `name`",
            "add name = \"...\": it remembers by it what it has done",
        );
        return String::new();
    };
    let name = typed.get_ref();
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if name.is_empty() || name.len() > NAME_CHARS || !name.chars().all(fits) {
        let help = format!("write at most {NAME_CHARS} letters, digits, `-` and `_`: it is the name of a folder too");
        problems.push(typed.span(), format!("`{name}` is no name of a sink"), help);
    } else if !names.insert(name.to_ascii_lowercase()) {
        let message = format!("two sinks have the name `{name}`");
        problems.push(typed.span(), message, "give each sink a name of its own");
    }
    name.clone()
}

fn known(schemas: &Schemas) -> String {
    let names: Vec<_> = schemas.collections().map(|one| format!("`{}`", one.name())).collect();
    format!("the collections are: {}", names.join(", "))
}

/// Returns the decisions that a sink without `collection` hands over.
fn of_actions(
    table: &Spanned<Sink>,
    name: &str,
    (schemas, actions): (&Schemas, &Acting<'_>),
    problems: &mut Problems,
) -> Option<When> {
    let typed = table.get_ref();
    let Some((text, filter)) = super::actions::of_sink(name, actions.plans, schemas) else {
        let mut sinks = actions.typed.iter().filter_map(|action| action.get_ref().sink.as_ref());
        // Its own mistakes are reported.
        if sinks.any(|sink| sink.get_ref() == name) {
            return None;
        }
        let help = format!("{}; or name the sink in `sink` of an [[action]]", known(schemas));
        problems.push(table.span(), "a [[sink]] without `collection`", help);
        return None;
    };
    for (key, span) in
        [("when", typed.when.as_ref().map(Spanned::span)), ("changes", typed.changes.as_ref().map(Spanned::span))]
    {
        if let Some(span) = span {
            let message = format!("a sink of actions has no `{key}`");
            problems.push(span, message, format!("leave `{key}` out: the actions say what is handed over"));
        }
    }
    Some(When { text, filter })
}

fn collection(
    typed: &Spanned<String>,
    schemas: &Schemas,
    states: &mut [StatePlan],
    problems: &mut Problems,
) -> Option<Collection> {
    let names: Vec<&str> = schemas.collections().map(Collection::name).collect();
    let collection = Collection::named(typed.get_ref());
    if collection.is_some_and(|of| Collection::OF_SEQUENCES.contains(&of)) && schemas.named(typed.get_ref()).is_none() {
        let message = format!("`{}` has no rows: there is no [[sequence]]", typed.get_ref());
        problems.push(typed.span(), message, "add a [[sequence]] with `name`, `steps` and `within`");
        return None;
    }
    if collection.is_some_and(|of| Collection::OF_IDENTITIES.contains(&of)) && schemas.named(typed.get_ref()).is_none()
    {
        let message = format!("`{}` has no rows: there is no [identity]", typed.get_ref());
        problems.push(typed.span(), message, "add [identity] with `links`");
        return None;
    }
    let collection = collection.filter(|_| schemas.named(typed.get_ref()).is_some());
    if let Some(state) = states.iter_mut().find(|state| Some(state.schema.collection()) == collection) {
        // It is followed because a sink asks for it.
        state.changes = true;
        if state.decays() {
            problems.push(typed.span(), DECAYS, DECAYS_HELP);
        }
    }
    if collection.is_none() {
        let message = format!("unknown collection `{}`", typed.get_ref());
        problems.push(typed.span(), message, choose(typed.get_ref(), &names, &known(schemas)));
    }
    collection
}

fn target(
    table: &Spanned<Sink>,
    collection: Option<Collection>,
    folder: &Path,
    Taken { paths, topics, .. }: &mut Taken,
    problems: &mut Problems,
) -> Option<SinkTarget> {
    let typed = table.get_ref();
    let Sink { kind, path, url, headers, allow_private, brokers, topic, envelope, kafka, .. } = typed;
    let Some(kind) = kind else {
        problems.push(table.span(), "a [[sink]] without `kind`", WRITES);
        return None;
    };
    let keys = [
        ("path", "file", path.as_ref().map(Spanned::span)),
        ("url", "http", url.as_ref().map(Spanned::span)),
        ("headers", "http", headers.as_ref().map(Spanned::span)),
        ("allow_private", "http", allow_private.as_ref().map(Spanned::span)),
        ("brokers", "kafka", brokers.as_ref().map(Spanned::span)),
        ("topic", "kafka", topic.as_ref().map(Spanned::span)),
        ("envelope", "kafka", envelope.as_ref().map(Spanned::span)),
        ("kafka", "kafka", kafka.as_ref().map(Spanned::span)),
    ];
    for (key, of, span) in keys {
        if let Some(span) = span.filter(|_| of != kind.get_ref() && KINDS.contains(&kind.get_ref().as_str())) {
            let message = format!("only a sink of kind \"{of}\" has `{key}`");
            problems.push(span, message, format!("leave `{key}` out"));
        }
    }
    match kind.get_ref().as_str() {
        "file" => {
            let Some(path) = path else {
                problems.push(table.span(), "a [[sink]] of kind \"file\" without `path`", PATH_HELP);
                return None;
            };
            if path.get_ref().is_empty() {
                problems.push(path.span(), "an empty path", PATH_HELP);
            }
            let file = folder.join(path.get_ref());
            if !paths.insert(file.clone()) {
                let message = format!("two sinks write `{}`", path.get_ref());
                problems.push(path.span(), message, "give each sink a file of its own");
            }
            Some(SinkTarget::File(file))
        }
        "http" => {
            let allow_private = allow_private.as_ref().is_some_and(|allow| *allow.get_ref());
            let Some(url) = url else {
                problems.push(table.span(), "a [[sink]] of kind \"http\" without `url`", URL_HELP);
                return None;
            };
            check_url(url, allow_private, problems);
            let headers = headers.iter().flat_map(|headers| typed::in_order(headers.get_ref()));
            let mut sent = HashSet::new();
            let headers = headers.filter_map(|(name, value)| {
                let header = header(name, value, folder, problems)?;
                if !sent.insert(header.0.clone()) {
                    let message = format!("two values of the header `{}`", header.0);
                    problems.push(name.span(), message, "write one of them");
                }
                Some(header)
            });
            let headers = headers.collect();
            Some(SinkTarget::Http(HttpTarget { url: url.get_ref().clone(), headers, allow_private }))
        }
        "kafka" => topic_of(table, collection, folder, topics, problems).map(SinkTarget::Kafka),
        unknown => {
            let message = format!("unknown kind of sink `{unknown}`");
            problems.push(kind.span(), message, choose(unknown, &KINDS, WRITES));
            None
        }
    }
}

fn topic_of(
    table: &Spanned<Sink>,
    collection: Option<Collection>,
    folder: &Path,
    topics: &mut HashSet<String>,
    problems: &mut Problems,
) -> Option<KafkaTarget> {
    let typed = table.get_ref();
    let brokers = kafka::brokers(typed.brokers.as_ref(), "[[sink]]", table.span(), problems);
    let (settings, secrets) = kafka::passed(&typed.kafka, folder, producer::refusal, problems);
    let known = [("upsert", Envelope::Upsert), ("changes", Envelope::Changes)];
    let envelope = one_of(typed.envelope.as_ref(), "envelope", &known, problems);
    let is_view = collection.is_none_or(Collection::is_view);
    let envelope = envelope.unwrap_or(if is_view { Envelope::Upsert } else { Envelope::Changes });
    if let (Envelope::Upsert, false, Some(typed)) = (envelope, is_view, &typed.envelope) {
        let help = "leave it out: each change of a journal is a record of its own";
        problems.push(typed.span(), "the rows of a journal take the place of no others", help);
    }
    if let (Envelope::Upsert, Some(changes)) = (envelope, &typed.changes) {
        let help = "leave it out, or write envelope = \"changes\": a record without a value says that a row is gone";
        problems.push(changes.span(), "rows that take the place of others need all changes", help);
    }
    let Some(topic) = &typed.topic else {
        problems.push(table.span(), "a [[sink]] of kind \"kafka\" without `topic`", TOPIC_HELP);
        return None;
    };
    kafka::topic(topic.get_ref(), topic.span(), problems);
    if !topics.insert(topic.get_ref().clone()) {
        let message = format!("two sinks write the topic `{}`", topic.get_ref());
        problems.push(topic.span(), message, "give each sink a topic of its own");
    }
    Some(KafkaTarget { brokers, topic: topic.get_ref().clone(), envelope, settings, secrets })
}

fn check_url(typed: &Spanned<String>, allow_private: bool, problems: &mut Problems) {
    let text = typed.get_ref().as_str();
    let uri = text.parse::<http::Uri>().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let Some(authority) = uri.as_ref().and_then(http::Uri::authority).filter(|of| !of.host().is_empty()) else {
        problems.push(typed.span(), format!("`{text}` is no address to post to"), URL_HELP);
        return;
    };
    if authority.as_str().contains('@') {
        let help = "send it as a header: headers = { authorization = { file = \"hook.secret\" } }";
        problems.push(typed.span(), "an address with a password: every reader of this file would have it", help);
    }
    let host = authority.host().trim_matches(['[', ']']);
    let private = host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip| !address::is_public(ip));
    if private && !allow_private {
        let help = "add allow_private = true, if you mean it";
        problems.push(typed.span(), format!("`{host}` is an address of this machine or of a private network"), help);
    }
}

fn header(
    name: &Spanned<String>,
    value: &Spanned<typed::HeaderValue>,
    folder: &Path,
    problems: &mut Problems,
) -> Option<(String, HeaderValue)> {
    let text = name.get_ref();
    let Ok(parsed) = text.parse::<http::HeaderName>() else {
        problems.push(name.span(), format!("`{text}` is no name of a header"), "write it as in x-api-key = \"...\"");
        return None;
    };
    let lower = parsed.as_str();
    if OWN_HEADERS.contains(&lower) {
        problems.push(name.span(), format!("the header `{lower}` is set by the sink"), format!("leave `{text}` out"));
    }
    let value = match value.get_ref() {
        typed::HeaderValue::Text(_) if SECRET_HEADERS.contains(&lower) => {
            let message = format!("the value of `{lower}` is a secret: every reader of this file would have it");
            let help = format!("write it into a file, and {text} = {{ file = \"hook.secret\" }}");
            problems.push(value.span(), message, help);
            return None;
        }
        typed::HeaderValue::Text(text) => {
            if http::HeaderValue::from_str(text).is_err() {
                problems.push(value.span(), "no value of a header", "write printable characters on one line");
            }
            HeaderValue::Text(text.clone())
        }
        typed::HeaderValue::File(HeaderFile { file }) => {
            if file.get_ref().is_empty() {
                problems.push(file.span(), "an empty path", "name the file, such as { file = \"hook.secret\" }");
            }
            HeaderValue::File(folder.join(file.get_ref()))
        }
    };
    Some((lower.to_owned(), value))
}
