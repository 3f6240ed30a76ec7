//! The client of the brokers, and looks at what they have: topics, partitions, and where these begin and end.

use crate::kafka::consumer;
use crate::plan::{KafkaPlan, KafkaStart};
use glob::Pattern;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The longest wait for one answer of a broker.
const TIMEOUT: Duration = Duration::from_secs(5);

pub type Consumer = BaseConsumer<Context>;

/// Keeps what librdkafka says beside the codes of errors: it knows why a broker cannot be reached.
#[derive(Default)]
pub struct Context {
    last: Mutex<Option<String>>,
}

impl Context {
    /// Takes the last reason.
    pub fn take(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The sum of what was said of each broker, which is more.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ConsumerContext for Context {}

/// Makes a client. Does not wait for a broker.
///
/// # Errors
/// A secret that cannot be read, or a setting that fits no other one.
pub fn connect(plan: &KafkaPlan) -> Result<Arc<Consumer>, String> {
    let config = consumer::config(plan)?;
    let consumer: Consumer = config.create_with_context(Context::default()).map_err(|error| error.to_string())?;
    Ok(Arc::new(consumer))
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// What the brokers have of a source's topics.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub partitions: BTreeMap<Place, Extent>,
    /// What cannot be read for now.
    pub failures: Vec<String>,
}

/// The offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Of the oldest record.
    pub low: i64,
    /// Behind the last record.
    pub high: i64,
    /// Where a source begins that has never been here.
    pub start: i64,
}

/// Looks at the brokers, on a thread of its own: they may take long to answer.
pub struct Looker {
    asks: Sender<Option<KafkaStart>>,
    answers: Receiver<Result<Look, String>>,
    pending: bool,
}

impl Looker {
    /// `wake` is called when there is an answer.
    pub fn spawn(consumer: Arc<Consumer>, topics: Vec<String>, wake: impl Fn() + Send + 'static) -> Looker {
        let (asks, asked) = channel::<Option<KafkaStart>>();
        let (answer, answers) = channel();
        let work = move || {
            while let Ok(start) = asked.recv() {
                if answer.send(look(&consumer, &topics, start)).is_err() {
                    return;
                }
                wake();
            }
        };
        let spawned = std::thread::Builder::new().name("kafka look".into()).spawn(work);
        drop(spawned.expect("the system has threads when a source starts"));
        Looker { asks, answers, pending: false }
    }

    /// Asks for a look, if none is in flight. `start`: for a source that has never been here.
    pub fn ask(&mut self, start: Option<KafkaStart>) {
        if !self.pending {
            self.pending = self.asks.send(start).is_ok();
        }
    }

    /// Returns the answer to the last question, if it has come.
    pub fn answer(&mut self) -> Option<Result<Look, String>> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.pending = false;
                Some(answer)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("the thread that looks at the brokers has ended".into())),
        }
    }
}

/// Asks the brokers. With `start`, the answer is about every partition of every topic that there is, or an error.
fn look(consumer: &Consumer, topics: &[String], start: Option<KafkaStart>) -> Result<Look, String> {
    let said = |doing: &str, error: &KafkaError| {
        let code = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        match consumer.context().take() {
            Some(reason) => format!("cannot {doing}: {code}: {reason}"),
            None => format!("cannot {doing}: {code}"),
        }
    };
    let mut look = Look::default();
    for (topic, partitions) in partitions(consumer, topics, &said, &mut look.failures)? {
        for partition in partitions {
            let place = Place { topic: Arc::clone(&topic), partition };
            match consumer.fetch_watermarks(&topic, partition, TIMEOUT) {
                Ok((low, high)) => {
                    let start = match start {
                        Some(KafkaStart::Latest) => high,
                        _ => low,
                    };
                    look.partitions.insert(place, Extent { low, high, start });
                }
                Err(error) => {
                    let failure = said(&format!("ask for the offsets of {place}"), &error);
                    if start.is_some() {
                        return Err(failure);
                    }
                    look.failures.push(failure);
                    // The others would take as long.
                    return Ok(look);
                }
            }
        }
    }
    if let Some(KafkaStart::Time(time_ms)) = start
        && !look.partitions.is_empty()
    {
        let mut times = TopicPartitionList::new();
        for place in look.partitions.keys() {
            let added = times.add_partition_offset(&place.topic, place.partition, Offset::Offset(time_ms));
            added.map_err(|error| said("ask for the offsets of a time", &error))?;
        }
        let found = consumer.offsets_for_times(times, TIMEOUT);
        let found = found.map_err(|error| said("ask for the offsets of a time", &error))?;
        for element in found.elements() {
            element.error().map_err(|error| said("ask for the offsets of a time", &error))?;
            let place = Place { topic: element.topic().into(), partition: element.partition() };
            if let Some(extent) = look.partitions.get_mut(&place) {
                extent.start = match element.offset() {
                    Offset::Offset(offset) => offset,
                    // There is no record as late as that.
                    _ => extent.high,
                };
            }
        }
    }
    Ok(look)
}

type Said<'s> = dyn Fn(&str, &KafkaError) -> String + 's;

/// Returns the partitions of each topic that `topics` names or fits.
fn partitions(
    consumer: &Consumer,
    topics: &[String],
    said: &Said<'_>,
    failures: &mut Vec<String>,
) -> Result<Vec<(Arc<str>, Vec<i32>)>, String> {
    let (patterns, names): (Vec<&String>, Vec<&String>) = topics.iter().partition(|topic| is_pattern(topic));
    // They were checked with the configuration.
    let patterns: Vec<Pattern> = patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect();
    let mut found: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
    let fits = |topic: &str| !topic.starts_with("__") && patterns.iter().any(|pattern| pattern.matches(topic));
    let metadata =
        |topic: Option<&str>| consumer.fetch_metadata(topic, TIMEOUT).map_err(|error| said("list the topics", &error));
    let mut lists = Vec::new();
    if !patterns.is_empty() {
        lists.push(metadata(None)?);
    }
    for name in &names {
        lists.push(metadata(Some(name))?);
    }
    for topic in lists.iter().flat_map(|list| list.topics()) {
        if !names.iter().any(|name| *name == topic.name()) && !fits(topic.name()) {
            continue;
        }
        if let Some(error) = topic.error() {
            let code = RDKafkaErrorCode::from(error);
            failures.push(format!("cannot read the topic `{}`: {code}", topic.name()));
            continue;
        }
        let ids = topic.partitions().iter().map(|partition| partition.id()).collect();
        found.insert(topic.name().into(), ids);
    }
    for name in names {
        let told = failures.iter().any(|failure| failure.contains(&format!("`{name}`")));
        if !told && found.get(name.as_str()).is_none_or(Vec::is_empty) {
            failures.push(format!("cannot read the topic `{name}`: there is none, or this user may not see it"));
        }
    }
    if found.is_empty() && failures.is_empty() {
        failures.push(format!("no topic fits {}", topics.join(", ")));
    }
    Ok(found.into_iter().collect())
}

/// Returns whether a topic of the configuration is a pattern: names of topics have no such characters.
pub fn is_pattern(topic: &str) -> bool {
    topic.contains(['*', '?', '['])
}
