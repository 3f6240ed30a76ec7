//! A topic of Kafka. Each batch is one transaction, together with a record that says how far the sink is: so each change
//! is in the topic once, for readers of committed records.
//!
//! ```text
//! batch ─▶ begin ─ records to TOPIC ─ progress to TOPIC.headwater ─ commit
//! start or failure ─▶ new producer: fences the old one ─ reads the progress ─ passes what was committed
//! ```
//!
//! **Order.** Fence first, then read: what an earlier producer still had in flight is decided when the progress is read.
//! After any failure the producer is destroyed, since librdkafka cannot know the end of a request that timed out
//! (KIP-890, which it does not have). Each call of it has a deadline.
//!
//! **Size.** Brokers refuse a batch above the topic's `max.message.bytes`, and with it all its records. So the producer
//! makes no larger ones, and a change that is larger by itself never leaves it.
//!
//! **One sink, one topic.** The progress names its sink and its log. A topic whose progress is of another one is refused.

mod limit;
mod progress;

use super::Outcome;
use super::changes::{Change, Position, Value};
use crate::kafka::producer;
use crate::plan::{KafkaTarget, SinkPlan};
use headwater_log::histories::{Histories, StartId};
use headwater_log::segment::LogId;
use progress::Progress;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest wait for the end of one call.
const CALL: Duration = Duration::from_secs(30);
/// A broker ends a transaction that is open for so long.
const TRANSACTION: Duration = Duration::from_secs(60);
/// The wait for room in the queue of the producer.
const ROOM: Duration = Duration::from_millis(50);

pub(super) struct Kafka {
    target: KafkaTarget,
    owner: Owner,
    histories: Arc<Histories>,
    connected: Option<Connected>,
}

/// Who writes a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    log: LogId,
    sink: String,
    collection: &'static str,
}

impl Owner {
    /// Returns the transactional id, which is also the key of the progress. It depends on neither worker, process nor
    /// host: a later producer of the sink fences all earlier ones. There is one shard.
    fn id(&self) -> String {
        let log: String = self.log.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("hw.{log}.{}.0", self.sink)
    }
}

struct Connected {
    producer: BaseProducer,
    /// Everything before it is committed; `None`: nothing is known to be.
    committed: Option<Position>,
}

/// Why a batch is not committed.
enum Failure {
    /// The change of this index can never be sent.
    Unfit(usize, String),
    Failed(String),
}

impl Kafka {
    pub fn new(plan: &SinkPlan, target: &KafkaTarget, log: LogId, histories: &Arc<Histories>) -> Kafka {
        let owner = Owner { log, sink: plan.name.clone(), collection: plan.collection.name() };
        Kafka { target: target.clone(), owner, histories: Arc::clone(histories), connected: None }
    }

    /// Commits the changes that are not committed yet.
    pub fn deliver(&mut self, changes: &[Change]) -> Outcome {
        let mut connected = match self.connected.take() {
            Some(connected) => connected,
            None => match self.connect() {
                Ok(connected) => connected,
                Err(why) => return Outcome::Later { why, after: None },
            },
        };
        let passed = changes.iter().take_while(|change| connected.committed.is_some_and(|upto| change.behind <= upto));
        let passed = passed.count();
        if let Some(last) = changes[passed..].last() {
            match self.commit(&connected.producer, &changes[passed..], last.behind) {
                Ok(()) => connected.committed = Some(last.behind),
                // The producer goes: what became of its transaction, the progress says.
                Err(Failure::Failed(why)) => return Outcome::Later { why, after: None },
                Err(Failure::Unfit(at, message)) => {
                    if connected.producer.abort_transaction(CALL).is_ok() {
                        self.connected = Some(connected);
                    }
                    return Outcome::Unfit { at: passed + at, reason: "message_too_large".into(), message };
                }
            }
        }
        self.connected = Some(connected);
        Outcome::Delivered
    }

    /// Makes a producer, and reads what earlier ones have committed.
    fn connect(&self) -> Result<Connected, String> {
        let KafkaTarget { topic, .. } = &self.target;
        let config = producer::config(&self.target)?;
        let said = |doing: &str| {
            let doing = doing.to_owned();
            move |error: KafkaError| format!("cannot {doing}: {error}")
        };
        let mut producing = config.clone();
        producing.set("transactional.id", self.owner.id());
        producing.set("transaction.timeout.ms", TRANSACTION.as_millis().to_string());
        limit::set(&mut producing, &config, topic);
        let producer: BaseProducer = producing.create().map_err(said("make a producer"))?;
        let metadata = producer.client().fetch_metadata(Some(topic), CALL).map_err(said("ask for the topic"))?;
        let missing = metadata.topics().iter().find_map(|found| found.error());
        if let Some(error) = missing {
            return Err(format!("cannot write to the topic `{topic}`: {}", RDKafkaErrorCode::from(error)));
        }
        progress::create(&config, &self.progress())?;
        producer.init_transactions(CALL).map_err(said("begin transactions"))?;
        let found = progress::read(&config, &self.progress(), CALL)?;
        if let Some(other) = found.values().find(|progress| !progress.is_of(&self.owner)) {
            return Err(format!(
                "the topic `{topic}` is written by {other}: name another topic, or remove `{}` to take it over",
                self.progress()
            ));
        }
        let committed = found.get(self.owner.id().as_bytes());
        if let Some(progress) = committed
            && !progress.fits(&self.histories)
        {
            return Err(format!(
                "the topic `{topic}` has changes of another copy of this data folder, as before a backup was restored: \
                 name another topic, or remove `{}` to go on anyway",
                self.progress()
            ));
        }
        Ok(Connected { producer, committed: committed.map(|progress| progress.position) })
    }

    fn commit(&self, producer: &BaseProducer, changes: &[Change], upto: Position) -> Result<(), Failure> {
        let failed = |doing: &str, error: &KafkaError| Failure::Failed(format!("{doing}: {error}"));
        producer.begin_transaction().map_err(|error| failed("begin a transaction", &error))?;
        let until = Instant::now() + CALL;
        for (at, change) in changes.iter().enumerate() {
            let (tick, key) = (change.tick.to_string(), change.key.as_str());
            let headers = OwnedHeaders::new_with_capacity(2)
                .insert(Header { key: "headwater-tick", value: Some(&tick) })
                .insert(Header { key: "headwater-key", value: Some(key) });
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.target.topic).timestamp(change.now_ms).headers(headers);
            if let Some(key) = &change.of {
                record = record.key(key);
            }
            match &change.value {
                Value::Change => record = record.payload(&change.json),
                Value::Row => record = record.payload(&change.json[change.row.clone()]),
                Value::Gone => {}
            }
            send(producer, record, until).map_err(|error| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => Failure::Unfit(at, error.to_string()),
                _ => failed("send", &error),
            })?;
        }
        let progress = Progress::new(&self.owner, self.histories.current(), upto).encode();
        let (topic, id) = (self.progress(), self.owner.id());
        let record = BaseRecord::<[u8], [u8]>::to(&topic).key(id.as_bytes()).payload(&progress);
        send(producer, record, until).map_err(|error| failed("send the progress", &error))?;
        producer.commit_transaction(CALL).map_err(|error| failed("commit a transaction", &error))
    }

    fn progress(&self) -> String {
        format!("{}.headwater", self.target.topic)
    }
}

/// Waits for room in the queue of the producer.
fn send<'r>(producer: &BaseProducer, mut record: BaseRecord<'r, [u8], [u8]>, until: Instant) -> Result<(), KafkaError> {
    loop {
        match producer.send(record) {
            Ok(()) => {
                // Reports of what was sent would fill the queue.
                producer.poll(Duration::ZERO);
                return Ok(());
            }
            Err((error, back)) => {
                let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                if !full || Instant::now() >= until {
                    return Err(error);
                }
                record = back;
                producer.poll(ROOM);
            }
        }
    }
}
