//! Topics of a real broker, which `HEADWATER_KAFKA=HOST:PORT` names; without it these tests say that they are skipped.
//! `HEADWATER_KAFKA_CONTROL="SCRIPT DIR"` lets one of them kill, pause and start the broker: it calls
//! `SCRIPT kill|start|pause|resume DIR`.

use super::client::Client;
use super::events::{Event, PAST_MS, lines, sessions};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN};
use crate::headwater::Folder;
use crate::patience::{eventually, wait_until};
use headwater_log::vfs::model::Rng;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use std::env;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;
use tokio::runtime::Runtime;

pub const TIMEOUT: Duration = Duration::from_secs(60);

/// One of these tests may kill the broker of the others.
pub static BROKER: Mutex<()> = Mutex::new(());

/// The address of the broker; says that the test is skipped if there is none.
pub fn broker(test: &str) -> Option<String> {
    let broker = env::var("HEADWATER_KAFKA").ok().filter(|broker| !broker.is_empty());
    if broker.is_none() {
        eprintln!("SKIPPED: {test}: HEADWATER_KAFKA names no broker");
    }
    broker
}

/// Returns what kills, pauses and starts the broker; says that the test is skipped if there is none.
pub fn control(test: &str) -> Option<impl Fn(&str)> {
    let Ok(control) = env::var("HEADWATER_KAFKA_CONTROL") else {
        eprintln!("SKIPPED: {test}: HEADWATER_KAFKA_CONTROL names no way to kill the broker");
        return None;
    };
    let (script, dir) = control.rsplit_once(' ').expect("HEADWATER_KAFKA_CONTROL is a script and a folder");
    let (script, dir) = (script.to_owned(), dir.to_owned());
    Some(move |verb: &str| {
        let done = Command::new(&script).args([verb, &dir]).status().unwrap();
        assert!(done.success(), "{verb}");
    })
}

/// A name that no other test has, nor any earlier run.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = headwater::queue::intake::wall_ms();
    format!("{name}-{now}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The broker's other side: makes topics, writes records.
pub struct Kafka {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: Runtime,
}

type Producer = ThreadedProducer<DefaultProducerContext>;

impl Kafka {
    pub fn new(brokers: &str) -> Kafka {
        let admin = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Kafka { brokers: brokers.into(), admin, runtime }
    }

    pub fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let created = self.runtime.block_on(self.admin.create_topics([&topic], &AdminOptions::new())).unwrap();
        created.into_iter().for_each(|topic| drop(topic.unwrap()));
    }

    /// Creates a topic of one partition that takes no larger batches.
    pub fn create_small(&self, topic: &str, bytes: usize) {
        let bytes = bytes.to_string();
        let topic = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", &bytes);
        let created = self.runtime.block_on(self.admin.create_topics([&topic], &AdminOptions::new())).unwrap();
        created.into_iter().for_each(|topic| drop(topic.unwrap()));
    }

    fn grow(&self, topic: &str, partitions: usize) {
        let grown = NewPartitions::new(topic, partitions);
        let done = self.runtime.block_on(self.admin.create_partitions([&grown], &AdminOptions::new())).unwrap();
        done.into_iter().for_each(|topic| drop(topic.unwrap()));
    }

    /// Removes the records of a partition before an offset, as retention does.
    fn remove(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        self.runtime.block_on(self.admin.delete_records(&list, &AdminOptions::new())).unwrap();
    }

    fn producer(&self, transactional: Option<&str>) -> Producer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("linger.ms", "5").set("enable.idempotence", "true");
        if let Some(id) = transactional {
            config.set("transactional.id", id);
            config.set("transaction.timeout.ms", "300000");
        }
        config.create().unwrap()
    }
}

/// Sends an event to a partition of its user's.
fn send(producer: &Producer, topic: &str, partitions: i32, event: &Event) {
    let value = event.json().to_string();
    let partition = event.user.bytes().map(i32::from).sum::<i32>() % partitions;
    write(producer, topic, partition, Some(event), Some(&value));
}

fn write(producer: &Producer, topic: &str, partition: i32, event: Option<&Event>, value: Option<&str>) {
    let mut record = BaseRecord::to(topic).partition(partition);
    record.key = event.map(|event| event.user.as_str());
    record.payload = value;
    record.timestamp = event.map(|event| event.time);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            // The producer's queue is full.
            Err((_, same)) => record = same,
        }
        sleep(Duration::from_millis(10));
    }
}

fn run_toml(brokers: &str, topics: &str, more: &str) -> String {
    format!(
        "[cluster]\n{OFTEN}\n[[source]]\nname = \"collector\"\nkind = \"kafka\"\nbrokers = \"{brokers}\"\n\
         topics = [{topics}]\n{more}{MEANING}"
    )
}

fn folder(brokers: &str, topics: &str, more: &str) -> Folder {
    let folder = Folder::new();
    folder.write("run.toml", run_toml(brokers, topics, more));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{MEANING}"));
    folder
}

/// Events of the past, a second apart on average, of a few users.
fn events(rng: &mut Rng, count: u64) -> Vec<Event> {
    let event = |at: u64| {
        let user = format!("user {}", rng.below(40));
        Event::any(rng, user, PAST_MS + at as i64 * 100, 4000, None)
    };
    (0..count).map(event).collect()
}

fn source(client: &mut Client) -> Value {
    let status = eventually("the status", || client.get_json("/v1/status"));
    status.1["sources"][0].clone()
}

/// Waits until `records` of the source are durable, and can be read.
fn wait_for(client: &mut Client, records: u64) {
    let mut last = Value::Null;
    let mut read = || {
        last = source(client);
        let parts = last["partitions"].as_array().cloned().unwrap_or_default();
        parts.iter().map(|part| part["position"].as_i64().unwrap_or(0)).sum::<i64>() as u64
    };
    wait_until(&format!("{records} records"), || read() >= records);
    client.published();
}

#[test]
fn the_records_of_topics_give_the_sessions_of_a_replay() {
    let Some(brokers) = broker("the_records_of_topics_give_the_sessions_of_a_replay") else { return };
    let _alone = BROKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let kafka = Kafka::new(&brokers);
    let (orders, clicks) = (unique("orders"), unique("clicks"));
    kafka.create(&orders, 3);
    let mut rng = Rng::new(7);
    let all = events(&mut rng, 3000);
    let (first, rest) = all.split_at(2000);
    let (second, third) = rest.split_at(500);
    let producer = kafka.producer(None);
    first.iter().for_each(|event| send(&producer, &orders, 3, event));
    // A tombstone, blanks, and something that is no event.
    write(&producer, &orders, 0, first.first(), None);
    write(&producer, &orders, 1, first.first(), Some(" \n"));
    write(&producer, &orders, 2, first.first(), Some("{\"user\":"));
    producer.flush(TIMEOUT).unwrap();
    let folder = folder(&brokers, &format!("\"{orders}\", \"{clicks}*\""), "");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    wait_for(&mut client, 2003);

    // A partition is added, and a topic that fits the pattern.
    kafka.grow(&orders, 4);
    kafka.create(&format!("{clicks}-a"), 1);
    let aborted = kafka.producer(Some(&unique("aborted")));
    aborted.init_transactions(TIMEOUT).unwrap();
    aborted.begin_transaction().unwrap();
    first[..50].iter().for_each(|event| send(&aborted, &orders, 4, event));
    aborted.flush(TIMEOUT).unwrap();
    aborted.abort_transaction(TIMEOUT).unwrap();
    aborted.begin_transaction().unwrap();
    second.iter().for_each(|event| write(&aborted, &orders, 3, Some(event), Some(&event.json().to_string())));
    aborted.commit_transaction(TIMEOUT).unwrap();
    third.iter().for_each(|event| send(&producer, &format!("{clicks}-a"), 1, event));
    producer.flush(TIMEOUT).unwrap();
    wait_until("all partitions are read", || {
        let source = source(&mut client);
        let position = |partition: &str| {
            let parts = source["partitions"].as_array().cloned().unwrap_or_default();
            let found = parts.into_iter().find(|part| part["partition"] == partition);
            found.and_then(|part| part["position"].as_i64()).unwrap_or(0)
        };
        position(&format!("{orders}/3")) >= 500 && position(&format!("{clicks}-a/0")) >= 500
    });
    client.published();
    process.drain();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&all));
    let broken = "{\"user\":\n";
    published.is_replayed(&folder, &(lines(&all) + broken));
}

#[test]
fn killed_at_random_each_record_counts_once() {
    let Some(brokers) = broker("killed_at_random_each_record_counts_once") else { return };
    let _alone = BROKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let rounds = env::var("HEADWATER_KILL_ROUNDS").map_or(20, |text| text.parse().unwrap());
    let kafka = Kafka::new(&brokers);
    let topic = unique("killed");
    kafka.create(&topic, 4);
    let mut rng = Rng::new(super::kill::seed());
    let folder = folder(&brokers, &format!("\"{topic}\""), "");
    let producer = kafka.producer(None);
    let mut all = Vec::new();
    for round in 0..rounds {
        let process = Process::start(&folder, "data", 1 + rng.below(3) as usize, Restart::No);
        let count = 1 + rng.below(400);
        let batch = events(&mut rng, count);
        batch.iter().for_each(|event| send(&producer, &topic, 4, event));
        all.extend(batch);
        if round % 4 != 0 {
            process.ready();
        }
        sleep(Duration::from_millis(rng.below(1500)));
        process.kill();
    }
    producer.flush(TIMEOUT).unwrap();
    let process = Process::start(&folder, "data", 2, Restart::No);
    wait_for(&mut Client::new(process.ready()), all.len() as u64);
    process.drain();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&all));
    published.is_replayed(&folder, &lines(&all));
    eprintln!("{rounds} kills, {} records, 0 lost, 0 twice", all.len());
}

#[test]
fn a_broker_that_is_killed_or_hangs_pauses_its_source_alone() {
    const TEST: &str = "a_broker_that_is_killed_or_hangs_pauses_its_source_alone";
    let Some(brokers) = broker(TEST) else { return };
    let Some(control) = control(TEST) else { return };
    let _alone = BROKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let kafka = Kafka::new(&brokers);
    let topic = unique("outage");
    kafka.create(&topic, 2);
    let posted = "[[source]]\nname = \"posted\"\nkind = \"http\"\n";
    let folder = folder(&brokers, &format!("\"{topic}\""), posted);
    let mut rng = Rng::new(11);
    let (producer, process) = (kafka.producer(None), Process::start(&folder, "data", 2, Restart::No));
    let mut client = Client::new(process.ready());
    let mut all = Vec::new();
    for (begin, end) in [("kill", "start"), ("pause", "resume")] {
        let batch = events(&mut rng, 300);
        batch.iter().for_each(|event| send(&producer, &topic, 2, event));
        producer.flush(TIMEOUT).unwrap();
        all.extend(batch);
        wait_for(&mut client, all.iter().filter(|event| event.user != "posted").count() as u64);
        control(begin);
        wait_until("the status says so", || source(&mut client)["state"] == "failing");
        assert!(source(&mut client)["why"].as_str().is_some_and(|why| !why.is_empty()));
        // The other source goes on.
        let event = Event::any(&mut rng, "posted".into(), PAST_MS, 100_000, None);
        assert_eq!(client.post(&lines([&event])), super::client::Outcome::Acknowledged);
        all.push(event);
        client.published();
        control(end);
        wait_until("the source is read again", || source(&mut client)["state"] == "reading");
    }
    let batch = events(&mut rng, 300);
    batch.iter().for_each(|event| send(&producer, &topic, 2, event));
    producer.flush(TIMEOUT).unwrap();
    all.extend(batch);
    wait_for(&mut client, all.iter().filter(|event| event.user != "posted").count() as u64);
    process.drain();
    same("sessions", &Published::read(&folder.path("data")).sessions(), &sessions(&all));
}

#[test]
fn a_source_halts_before_a_gap_until_it_is_accepted() {
    let Some(brokers) = broker("a_source_halts_before_a_gap_until_it_is_accepted") else { return };
    let _alone = BROKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let kafka = Kafka::new(&brokers);
    let topic = unique("gap");
    kafka.create(&topic, 1);
    let mut rng = Rng::new(3);
    let all = events(&mut rng, 300);
    let producer = kafka.producer(None);
    all[..100].iter().for_each(|event| send(&producer, &topic, 1, event));
    producer.flush(TIMEOUT).unwrap();
    let folder = folder(&brokers, &format!("\"{topic}\""), "");
    let process = Process::start(&folder, "data", 1, Restart::No);
    wait_for(&mut Client::new(process.ready()), 100);
    process.drain();

    all[100..].iter().for_each(|event| send(&producer, &topic, 1, event));
    producer.flush(TIMEOUT).unwrap();
    kafka.remove(&topic, 0, 200);
    let process = Process::start(&folder, "data", 1, Restart::No);
    let mut client = Client::new(process.ready());
    wait_until("the source halts", || source(&mut client)["state"] == "halted");
    let why = source(&mut client)["why"].as_str().unwrap().to_owned();
    assert!(why.contains("from offset 100 to 200") && why.contains("--accept-gap collector"), "{why}");
    process.drain();

    let process = Process::start_with(&folder, "data", 1, Restart::No, None, &["--accept-gap", "collector"]);
    wait_for(&mut Client::new(process.ready()), 300);
    process.drain();
    let counted = all[..100].iter().chain(&all[200..]);
    let expected = sessions(counted);
    same("sessions", &Published::read(&folder.path("data")).sessions(), &expected);
    // The gap is behind it: the next start needs no acceptance.
    let process = Process::start(&folder, "data", 1, Restart::No);
    let mut client = Client::new(process.ready());
    wait_until("the source reads", || {
        let source = source(&mut client);
        source["state"] == "reading" && source["partitions"][0]["position"] == 300
    });
    process.drain();
    same("sessions", &Published::read(&folder.path("data")).sessions(), &expected);
}
