//! The topic in which a sink says how far it is: one partition, compacted, a record for each sink that ever wrote.

use super::{Owner, StartId};
use crate::sink::changes::Position;
use headwater_log::histories::Histories;
use headwater_log::segment::LogId;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

const VERSION: u8 = 1;
/// The wait for one answer while the topic is read.
const POLL: Duration = Duration::from_millis(500);

/// The value of a record, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    version: u8,
    log: LogId,
    /// The start that has written this.
    start: StartId,
    sink: String,
    collection: String,
    /// Everything before it that the sink takes is committed.
    pub position: Position,
}

impl Progress {
    pub fn new(owner: &Owner, start: StartId, position: Position) -> Progress {
        let (sink, collection) = (owner.sink.clone(), owner.collection.to_owned());
        Progress { version: VERSION, log: owner.log, start, sink, collection, position }
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers are always JSON")
    }

    pub fn is_of(&self, owner: &Owner) -> bool {
        (self.log, &*self.sink, &*self.collection) == (owner.log, &*owner.sink, owner.collection)
    }

    /// Returns whether the history that is here has the ticks before the position.
    pub fn fits(&self, histories: &Histories) -> bool {
        let Position { tick, index } = self.position;
        histories.has_ticks(self.start, tick.saturating_add(u64::from(index > 0)))
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log: String = self.log.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "the sink `{}` of `{}` in the data folder {log}", self.sink, self.collection)
    }
}

/// Creates the topic, if it is not there.
///
/// # Errors
/// What the brokers say.
pub(super) fn create(config: &ClientConfig, topic: &str) -> Result<(), String> {
    let failed = |why: &dyn fmt::Display| {
        format!("cannot create `{topic}`: {why}: create it with one partition and cleanup.policy=compact")
    };
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(|error| failed(&error))?;
    let there = admin.inner().fetch_metadata(Some(topic), super::CALL).map_err(|error| failed(&error))?;
    if there.topics().iter().all(|found| found.error().is_none()) {
        return Ok(());
    }
    // Of the brokers: how often they keep a topic.
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
    let options = AdminOptions::new().request_timeout(Some(super::CALL));
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| failed(&error))?;
    let created = runtime.block_on(admin.create_topics(&[new], &options)).map_err(|error| failed(&error))?;
    match created.into_iter().find_map(Result::err) {
        None | Some((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
        Some((_, code)) => Err(failed(&code)),
    }
}

/// Reads the last committed progress of each sink, by the keys of the records. Reads to where the topic ended when this
/// began, as the offsets of markers and aborted records are no records.
///
/// # Errors
/// What the brokers say; a value that this version does not know; or if the end is not reached in `time`.
pub(super) fn read(config: &ClientConfig, topic: &str, time: Duration) -> Result<BTreeMap<Vec<u8>, Progress>, String> {
    let failed = |error: KafkaError| format!("cannot read `{topic}`: {error}");
    let until = Instant::now() + time;
    let mut config = config.clone();
    // librdkafka assigns nothing without a name of a group. No group is joined, and nothing is committed.
    config.set("group.id", "headwater");
    config.set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "earliest");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let (_, high) = consumer.fetch_watermarks(topic, 0, time).map_err(failed)?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
    consumer.assign(&partitions).map_err(failed)?;
    let mut found = BTreeMap::new();
    while Instant::now() < until {
        match consumer.poll(POLL) {
            Some(Ok(record)) => {
                let Some(key) = record.key() else { continue };
                match record.payload() {
                    Some(value) => {
                        let progress = serde_json::from_slice::<Progress>(value).ok();
                        let progress = progress.filter(|progress| progress.version == VERSION);
                        let unknown = || format!("`{topic}` has a record at {} that is no progress", record.offset());
                        found.insert(key.to_vec(), progress.ok_or_else(unknown)?);
                    }
                    None => _ = found.remove(key),
                }
            }
            // Also behind what is not committed and what was removed.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                let at = consumer.position().map_err(failed)?.find_partition(topic, 0).map(|place| place.offset());
                if high == 0
                    || matches!(at, Some(Offset::Offset(at)) if at >= high)
                    || is_empty(&consumer, topic, high)?
                {
                    return Ok(found);
                }
            }
            Some(Err(error)) => return Err(failed(error)),
            None => {}
        }
    }
    Err(format!("cannot read `{topic}` to its end in {} s", time.as_secs()))
}

/// Returns whether there is nothing before `high`: retention has removed all.
fn is_empty(consumer: &BaseConsumer, topic: &str, high: i64) -> Result<bool, String> {
    let extent = consumer.fetch_watermarks(topic, 0, super::CALL);
    extent.map(|(low, _)| low >= high).map_err(|error| format!("cannot read `{topic}`: {error}"))
}
