//! Sinks of Kafka on a real broker, as in [`super::kafka`]. The process is killed at random, and the broker too: readers
//! of committed records find each change once, and the last record of each key is its row.

use super::client::Client;
use super::events::{Event, PAST_MS, lines};
use super::kafka::{BROKER, Kafka, TIMEOUT, broker, control, unique};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, run_toml};
use crate::headwater::Folder;
use crate::patience::wait_until;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::thread::sleep;
use std::time::Duration;

/// A record: its key, its value, and its header `headwater-key`.
type Record = (Option<String>, Option<Value>, String);

/// Returns all committed records of a topic.
fn committed(brokers: &str, topic: &str) -> Vec<Record> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "the test's own").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
    let mut open: BTreeSet<i32> = metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect();
    let mut list = TopicPartitionList::new();
    for partition in &open {
        list.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut records = Vec::new();
    while !open.is_empty() {
        match consumer.poll(TIMEOUT).expect("the broker answers") {
            Ok(record) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let headers = record.headers().unwrap();
                let id = headers.iter().find(|header| header.key == "headwater-key").and_then(|header| header.value);
                assert!(record.timestamp().to_millis().is_some_and(|time| time > 0));
                records.push((
                    record.key().map(text),
                    record.payload().map(|value| serde_json::from_slice(value).unwrap()),
                    text(id.unwrap()),
                ));
            }
            Err(KafkaError::PartitionEOF(partition)) => _ = open.remove(&partition),
            Err(error) => panic!("{error}"),
        }
    }
    records
}

/// Events of the past, within a minute, of a few users.
fn events(rng: &mut Rng, count: u64) -> Vec<Event> {
    let event = |_| {
        let user = format!("user {}", rng.below(30));
        Event::any(rng, user, PAST_MS, 60_000, None)
    };
    (0..count).map(event).collect()
}

fn sinks(brokers: &str, rows: &str, changes: &str) -> String {
    let sink = |name: &str, collection: &str, topic: &str, more: &str| {
        format!(
            "[[sink]]\nname = \"{name}\"\ncollection = \"{collection}\"\nkind = \"kafka\"\nbrokers = \"{brokers}\"\n\
             topic = \"{topic}\"\nfrom = \"start\"\n{more}"
        )
    };
    // Few changes in a transaction, so that ticks are cut.
    sink("rows", "sessions", rows, "") + &sink("changes", "sessions", changes, "envelope = \"changes\"\nbatch = 7\n")
}

/// Waits until everything is published and the sinks have handed it over.
fn handed_over(client: &mut Client) {
    client.published();
    wait_until("the sinks have handed over all", || {
        let url = format!("http://{}/metrics", client.address);
        let metrics = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        let lags = metrics.lines().filter(|line| line.starts_with("headwater_sink_lag_ticks{"));
        lags.clone().count() == 2 && lags.clone().all(|line| line.ends_with(" 0"))
    });
}

/// The topics have what was published.
fn check(brokers: &str, (rows, changes): (&str, &str), folder: &Folder) -> usize {
    let published = Published::read_ticks(&folder.path("data"));
    let records = committed(brokers, changes);
    let ids: BTreeSet<&String> = records.iter().map(|(.., id)| id).collect();
    assert_eq!(ids.len(), records.len(), "each change is there once");
    let mut found: Vec<Value> = records.iter().filter_map(|(_, value, _)| value.clone()).collect();
    for change in &mut found {
        change.as_object_mut().unwrap().remove("key");
    }
    let mut expected = published.changes(Collection::SESSIONS);
    expected.sort_by_key(Value::to_string);
    found.sort_by_key(Value::to_string);
    same("changes", &expected, &found);

    let mut last = BTreeMap::new();
    for (key, value, _) in committed(brokers, rows) {
        last.insert(key.unwrap(), value);
    }
    let mut found: Vec<Value> = last.values().flatten().cloned().collect();
    assert!(last.iter().all(|(key, value)| value.as_ref().is_none_or(|value| value["session_id"] == key.as_str())));
    found.sort_by_key(Value::to_string);
    same("rows", &published.rows(Collection::SESSIONS), &found);
    records.len()
}

#[test]
fn killed_at_random_a_topic_has_each_change_once() {
    let Some(brokers) = broker("killed_at_random_a_topic_has_each_change_once") else { return };
    let _alone = BROKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let rounds: u64 = env::var("HEADWATER_KILL_ROUNDS").map_or(15, |text| text.parse().unwrap());
    let (rows, changes) = (unique("rows"), unique("changes"));
    let kafka = Kafka::new(&brokers);
    kafka.create(&rows, 3);
    kafka.create(&changes, 2);
    let mut rng = Rng::new(super::kill::seed());
    let folder = Folder::new();
    folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{}", sinks(&brokers, &rows, &changes))));
    for _ in 0..rounds {
        let process = Process::start(&folder, "data", 1 + rng.below(3) as usize, Restart::No);
        let mut client = Client::new(process.ready());
        for _ in 0..rng.below(8) {
            let count = 1 + rng.below(40);
            client.post(&lines(&events(&mut rng, count)));
            sleep(Duration::from_millis(rng.below(120)));
        }
        process.kill();
    }
    let process = Process::start(&folder, "data", 2, Restart::No);
    handed_over(&mut Client::new(process.ready()));
    process.drain();
    let records = check(&brokers, (&rows, &changes), &folder);
    eprintln!("{rounds} kills, {records} changes, each once");
}

#[test]
fn a_broker_that_is_killed_or_hangs_loses_no_change_and_repeats_none() {
    const TEST: &str = "a_broker_that_is_killed_or_hangs_loses_no_change_and_repeats_none";
    let Some((brokers, control)) = broker(TEST).zip(control(TEST)) else { return };
    let _alone = BROKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (rows, changes) = (unique("rows"), unique("changes"));
    let kafka = Kafka::new(&brokers);
    kafka.create(&rows, 3);
    kafka.create(&changes, 2);
    let folder = Folder::new();
    folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{}", sinks(&brokers, &rows, &changes))));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    let mut rng = Rng::new(5);
    let mut post = |client: &mut Client| {
        client.post(&lines(&events(&mut rng, 40)));
        client.published();
    };
    for (begin, end) in [("kill", "start"), ("pause", "resume"), ("kill", "start")] {
        // In the middle of transactions.
        for at in 0..12 {
            post(&mut client);
            if at == 6 {
                control(begin);
            }
        }
        control(end);
    }
    handed_over(&mut client);
    process.drain();
    let records = check(&brokers, (&rows, &changes), &folder);
    eprintln!("{records} changes, each once");
}

/// Two data folders that write one topic would undo each other's rows.
#[test]
fn a_topic_has_one_writer() {
    let Some(brokers) = broker("a_topic_has_one_writer") else { return };
    let _alone = BROKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (rows, changes) = (unique("rows"), unique("changes"));
    let kafka = Kafka::new(&brokers);
    kafka.create(&rows, 1);
    kafka.create(&changes, 1);
    let folder = Folder::new();
    folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{}", sinks(&brokers, &rows, &changes))));
    let event = Event::any(&mut Rng::new(1), "ann".into(), PAST_MS, 1000, None);
    let start = |data: &str| {
        let process = Process::start(&folder, data, 1, Restart::No);
        let mut client = Client::new(process.ready());
        client.post(&lines([&event]));
        (process, client)
    };
    let (process, mut client) = start("data");
    handed_over(&mut client);
    process.drain();
    let before = committed(&brokers, &rows).len();
    let (process, _) = start("other");
    wait_until("the sinks say who writes their topics", || {
        process.stderr().matches("is written by the sink").count() >= 2
    });
    process.drain();
    assert_eq!(committed(&brokers, &rows).len(), before);
}

#[test]
fn a_change_that_is_too_large_is_set_aside_and_the_others_go_on() {
    let Some(brokers) = broker("a_change_that_is_too_large_is_set_aside_and_the_others_go_on") else { return };
    let _alone = BROKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let kafka = Kafka::new(&brokers);
    // The limit is the producer's own, or that of the topic: brokers refuse a whole batch then.
    for (of_topic, settings) in [(false, "[sink.kafka]\nmessage.max.bytes = 1500\n"), (true, "")] {
        let topic = unique("large");
        if of_topic {
            kafka.create_small(&topic, 1756)
        } else {
            kafka.create(&topic, 1)
        }
        let folder = Folder::new();
        let sink = format!(
            "[[sink]]\nname = \"large\"\ncollection = \"sessions\"\nkind = \"kafka\"\nbrokers = \"{brokers}\"\n\
             topic = \"{topic}\"\nfrom = \"start\"\n{settings}"
        );
        folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{sink}")));
        let process = Process::start(&folder, "data", 1, Restart::No);
        let mut client = Client::new(process.ready());
        let event = |user: &str, page: &str| {
            format!("{{\"user\":\"{user}\",\"time\":{PAST_MS},\"kind\":\"view\",\"page\":\"{page}\"}}\n")
        };
        // One request, so one tick and one transaction, with more records than a batch takes. What is large does not
        // become small by compression.
        let mut rng = Rng::new(3);
        let large: String =
            (0..900).map(|_| char::from(b'!' + rng.below(90) as u8)).filter(|c| !"\"\\".contains(*c)).collect();
        let others: Vec<String> = (0..30).map(|number| format!("user {number}")).collect();
        let mut body: Vec<String> = others.iter().map(|user| event(user, "/")).collect();
        body.insert(7, event("bob", &large));
        client.post(&body.concat());
        wait_until("the others are there", || committed(&brokers, &topic).len() == others.len());
        process.drain();
        let user = |(_, value, _): &Record| value.as_ref().unwrap()["user"].as_str().unwrap().to_owned();
        let users: BTreeSet<String> = committed(&brokers, &topic).iter().map(user).collect();
        assert_eq!(users, others.into_iter().collect());
        let letters = folder.read("data/sinks/large/dead_letters.jsonl");
        assert!(
            letters.lines().count() == 1 && letters.contains("message_too_large") && letters.contains("bob"),
            "{letters}"
        );
    }
}
