//! A source against the mock cluster of librdkafka, which lives in this process: errors of the protocol, resuming,
//! refusals. What the mock cannot show (transactions, retention, the death of a broker) is in `tests/live/kafka.rs`.

use super::*;
use crate::observe::metrics::Metrics;
use crate::patience::wait_until;
use crate::plan::{KafkaStart, SourceKind};
use headwater_decode::messages;
use headwater_decode::spec::{EventsPlan, Limits};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

type Mock = MockCluster<'static, DefaultProducerContext>;

/// A mock cluster, a source that reads from it, and what was durable.
struct World {
    mock: Mock,
    producer: ThreadedProducer<DefaultProducerContext>,
    plan: KafkaPlan,
    metrics: Metrics,
    status: Arc<SourceStatus>,
    source: KafkaSource,
    durable: Vec<Cursor>,
    /// By partition: offsets and values, in the order of their deliveries.
    records: BTreeMap<i32, Vec<(i64, String)>>,
}

const TOPIC: &str = "orders";

fn plan_of_source() -> SourcePlan {
    let limits = Limits { event_bytes: 100, ..Limits::default() };
    let events = EventsPlan { max_future: 0, limits, ..EventsPlan::default() };
    SourcePlan {
        name: "test".into(),
        kind: SourceKind::Kafka,
        paths: Vec::new(),
        kafka: None,
        format: None,
        syntax: Arc::default(),
        events,
        is_implied: false,
    }
}

impl World {
    fn new(partitions: i32, start: KafkaStart) -> World {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic(TOPIC, partitions, 1).unwrap();
        let brokers = mock.bootstrap_servers();
        let mut producer = ClientConfig::new();
        producer.set("bootstrap.servers", &brokers).set("linger.ms", "0");
        // On a busy machine it would send a record again that was taken.
        let producer = producer.set("enable.idempotence", "true").create().unwrap();
        let topics = vec![TOPIC.to_owned()];
        let (settings, secrets) = (Vec::new(), Vec::new());
        let plan = KafkaPlan { brokers, topics, start, gaps: Gaps::Halt, settings, secrets };
        let metrics = Metrics::new();
        let status = Arc::new(SourceStatus::new("test", &metrics));
        let source = KafkaSource::new(SourceNumber(5), &plan_of_source(), &plan, Vec::new(), Arc::clone(&status));
        World { mock, producer, plan, metrics, status, source, durable: Vec::new(), records: BTreeMap::new() }
    }

    fn send(&self, partition: i32, time: i64, value: Option<&str>) {
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(TOPIC).partition(partition).timestamp(time).key("k");
        record.payload = value;
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// The process ends, and another one goes on from what is durable.
    fn restart(&mut self) {
        let (plan, durable) = (self.plan.clone(), self.durable.clone());
        self.source = KafkaSource::new(SourceNumber(5), &plan_of_source(), &plan, durable, Arc::clone(&self.status));
    }

    /// Polls once; `refused` says whether a delivery is.
    fn poll(&mut self, refused: &mut dyn FnMut() -> bool) {
        let World { source, durable, records, .. } = self;
        let polled = source.poll(&mut |delivery| {
            if refused() {
                return Err(Refusal::Busy);
            }
            assert!(delivery.messages && delivery.source == SourceNumber(5));
            let bytes = delivery.encode();
            let delivery = Delivery::decode(&bytes).unwrap();
            durable.extend(delivery.cursors.iter().cloned());
            for (_, message) in messages::read(delivery.events).unwrap() {
                assert_eq!((message.topic, message.key), (TOPIC, Some(b"k".as_slice())));
                let value = String::from_utf8(message.value.to_vec()).unwrap();
                records.entry(message.partition).or_default().push((message.offset, value));
            }
            Ok(())
        });
        assert!(matches!(polled, Ok(Polled::More | Polled::Nothing) | Err(Refusal::Busy)));
    }

    fn read_until(&mut self, awaited: &str, done: impl Fn(&World) -> bool) {
        wait_until(awaited, || {
            self.poll(&mut || false);
            done(self)
        });
    }

    fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }

    fn offsets(&self, partition: i32) -> Vec<i64> {
        self.records.get(&partition).into_iter().flatten().map(|(offset, _)| *offset).collect()
    }

    fn state(&self) -> (SourceState, String) {
        let report = self.status.report();
        (report.state, report.why.unwrap_or_default())
    }
}

#[test]
fn each_record_is_delivered_once_however_often_it_is_refused_or_the_process_ends() {
    let mut world = World::new(3, KafkaStart::Earliest);
    let mut random = 1_u32;
    let mut rare = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random >> 30 == 0
    };
    for round in 0..6 {
        for record in 0..20 {
            world.send(record % 3, i64::from(round * 100 + record), Some(&format!("{{\"n\":{record}}}")));
        }
        let wanted = (round as usize + 1) * 20 - 7;
        while world.count() < wanted {
            world.poll(&mut rare);
        }
        world.restart();
    }
    world.read_until("all records", |world| world.count() >= 120);
    assert_eq!(world.count(), 120);
    for partition in 0..3 {
        assert!(world.offsets(partition).iter().copied().eq(0..world.offsets(partition).len() as i64));
    }
}

#[test]
fn errors_of_the_protocol_and_of_brokers_pass() {
    let mut world = World::new(1, KafkaStart::Earliest);
    world.send(0, 1, Some("{}"));
    world.read_until("the first record", |world| world.count() == 1);
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    world.mock.request_errors(RDKafkaApiKey::Fetch, &errors);
    world.send(0, 2, Some("{}"));
    world.read_until("the second record", |world| world.count() == 2);

    world.mock.broker_down(1).unwrap();
    world.read_until("the status says that the broker is down", |world| world.state().0 == SourceState::Failing);
    assert!(!world.state().1.is_empty());
    world.mock.broker_up(1).unwrap();
    world.send(0, 3, Some("{}"));
    world.read_until("the third record", |world| world.count() == 3);
    world.read_until("the status says that all is well", |world| world.state().0 == SourceState::Reading);
    assert_eq!(world.offsets(0), [0, 1, 2]);
    assert!(world.metrics.text().contains("headwater_source_failures_total{source=\"test\"} 1"));
}

#[test]
fn a_topic_that_is_missing_is_named() {
    let mut world = World::new(1, KafkaStart::Earliest);
    world.plan.topics = vec!["nowhere".into()];
    world.restart();
    world.read_until("the status names the topic", |world| world.state().1.contains("`nowhere`"));
    assert_eq!(world.state().0, SourceState::Failing);
}

#[test]
fn tombstones_and_blanks_are_counted_and_passed_for_good() {
    let mut world = World::new(1, KafkaStart::Earliest);
    for value in [Some("{}"), None, Some("  "), Some("{}"), None] {
        world.send(0, 1, value);
    }
    let behind = |world: &World| matches!(world.durable.last(), Some(Cursor::Kafka(cursor)) if cursor.offset == 5);
    world.read_until("the cursor is behind all", behind);
    assert_eq!(world.offsets(0), [0, 3]);
    let text = world.metrics.text();
    for line in ["reason=\"tombstone\"} 2", "reason=\"blank\"} 1"] {
        assert!(text.contains(&format!("headwater_source_passed_total{{source=\"test\",{line}")), "{line}: {text}");
    }
    world.restart();
    world.send(0, 1, Some("{}"));
    world.read_until("the next record", |world| world.count() == 3);
    assert_eq!(world.offsets(0), [0, 3, 5]);
}

#[test]
fn a_value_that_is_too_large_comes_as_far_as_that_can_be_seen() {
    let mut world = World::new(1, KafkaStart::Earliest);
    world.send(0, 1, Some(&"x".repeat(5000)));
    world.read_until("the record", |world| world.count() == 1);
    assert_eq!(world.records[&0][0].1.len(), 101);
}

#[test]
fn a_start_at_the_end_is_remembered_before_there_is_a_record() {
    let mut world = World::new(2, KafkaStart::Latest);
    world.send(0, 1, Some("{}"));
    world.read_until("the beginning is durable", |world| world.durable.len() == 2);
    // The process ends before it has read anything, and records come meanwhile.
    world.restart();
    world.send(0, 2, Some("{}"));
    world.send(1, 2, Some("{}"));
    world.read_until("the records after the beginning", |world| world.count() == 2);
    assert_eq!((world.offsets(0), world.offsets(1)), (vec![1], vec![0]));
}

#[test]
fn a_position_that_is_behind_the_end_halts_until_it_is_accepted() {
    let mut world = World::new(1, KafkaStart::Earliest);
    world.send(0, 1, Some("{}"));
    let ahead = KafkaCursor { topic: TOPIC.into(), partition: 0, offset: 77, gaps: 0 };
    world.durable.push(Cursor::Kafka(ahead));
    world.restart();
    world.read_until("the source halts", |world| world.state().0 == SourceState::Halted);
    assert!(world.state().1.contains("--accept-gap test"), "{}", world.state().1);
    assert_eq!(world.count(), 0);
    world.plan.gaps = Gaps::AcceptAtStart;
    world.restart();
    world.read_until("the record", |world| world.count() == 1);
    let mut cursors = crate::queue::cursor::Cursors::default();
    world.durable.iter().for_each(|cursor| cursors.add(SourceNumber(5), cursor.clone()));
    let expected = KafkaCursor { topic: TOPIC.into(), partition: 0, offset: 1, gaps: 1 };
    assert_eq!(cursors.of(SourceNumber(5)).collect::<Vec<_>>(), [&Cursor::Kafka(expected)]);
}

#[test]
fn partitions_that_are_behind_enter_by_time() {
    let mut world = World::new(2, KafkaStart::Earliest);
    for record in 0..50 {
        // A producer takes the time 0 for none.
        world.send(0, 2 * record + 1, Some("{}"));
    }
    for record in 0..50 {
        world.send(1, 2 * record + 2, Some("{}"));
    }
    let mut order = Vec::new();
    wait_until("all records", || {
        let polled = world.source.poll(&mut |delivery| {
            let all = messages::read(delivery.events).unwrap();
            order.extend(all.into_iter().map(|(_, message)| message.time_ms.unwrap()));
            Ok(())
        });
        assert!(polled.is_ok());
        order.len() >= 100
    });
    assert!(order.is_sorted(), "{order:?}");
}
