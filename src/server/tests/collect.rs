//! Posts, their answers, and the log after them.

use super::{Answer, NUMBER, ONE, World, error};
use crate::observe::status::{Phase, Report};
use crate::queue::delivery::Delivery;
use crate::queue::numbers::SourceNumber;
use dataflows::Position;
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_decode::framing::Framing;
use headwater_decode::interpret::{Batch, Range};
use headwater_decode::spec::Format;
use headwater_decode::{Block, Decoder};
use serde_json::json;
use std::io::Write;
use std::sync::atomic::Ordering;

const EVENT: &str = r#"{"user_id":"ann","timestamp":"2024-05-01T10:00:00Z","action":"login"}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn what_is_acknowledged_lies_in_the_log_as_it_came() {
    let world = World::new(ONE);
    let pretty = "{\n  \"user_id\": \"ann\",\n  \"tags\": [\"a\", \"}\"]\n}\n";
    for (body, accepted, framing) in [
        (EVENT.to_owned(), 1, Framing::Lines),
        (pretty.to_owned(), 1, Framing::JsonValues),
        (format!("[{EVENT}]"), 1, Framing::JsonValues),
        (format!("[{EVENT},\n {EVENT} , {EVENT}]\r\n"), 3, Framing::JsonValues),
        (format!("[\n{pretty},{pretty}]"), 2, Framing::JsonValues),
        (format!("{EVENT}\n{EVENT}\n"), 2, Framing::Lines),
        (format!("\r\n{EVENT}\r\n\r\n{EVENT}"), 2, Framing::Lines),
        // A lost quote harms one line: nothing else would say that the line ends there.
        (format!("{EVENT}\n{{\"a\":\"b\n{EVENT}"), 2, Framing::Lines),
    ] {
        let answer = world.post(&body);
        assert_eq!(answer.json()["accepted"], accepted, "{body}: {answer:?}");
        let stored = world.stored(&answer.token());
        let expected = Delivery {
            source: SourceNumber(NUMBER),
            format: Format::Json,
            framing,
            messages: false,
            header: None,
            cursors: Vec::new(),
            events: body.as_bytes(),
        };
        assert_eq!(Delivery::decode(&stored), Some(expected), "{body}");
    }
    // Brackets separate, however deep: what is in an array within an array is a record, as in a replay.
    for (body, accepted, rejected) in [
        (format!("[[{EVENT}]]"), 1, vec![]),
        (format!("[[{EVENT},{EVENT}],[{EVENT}],[],7]"), 3, vec![3]),
        (format!("[{EVENT},[\"x\",[null]],[[[{EVENT}]]]]"), 2, vec![1, 2]),
    ] {
        let answer = world.post(&body);
        let answer = answer.json();
        assert_eq!(answer["accepted"], accepted, "{body}: {answer}");
        let listed: Vec<_> = answer["rejected"].as_array().unwrap().iter().map(|one| one["index"].clone()).collect();
        assert_eq!(listed, rejected, "{body}: {answer}");
        assert!(answer["rejected"].as_array().unwrap().iter().all(|one| one["reason"] == "not_an_object"), "{answer}");
    }
    assert_eq!(world.post("[[1,2],[]]").error(), error(400, "no_event"));
    assert_eq!(world.post("[[],[[]]]").status, 400);
    let marked = world.post(format!("\u{feff}{EVENT}")).token();
    assert_eq!(Delivery::decode(&world.stored(&marked)).unwrap().events, EVENT.as_bytes());
}

#[test]
fn bad_events_are_told_at_once_and_are_the_dead_letters_of_the_graph() {
    let world = World::new("events = { max_bytes = 200, max_depth = 3 }\nsource = [{ name = 'app', kind = 'http' }]");
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(300));
    let lines = [
        EVENT,
        "",
        "free text",
        "[1]",
        &long,
        EVENT,
        // What is asked for has to be clear.
        "{\"user_id\":1,\"user_id\":2}",
        "{\"a\":{\"b\":{\"c\":{}}}}",
        "{\"a\":\"\u{0}\"}",
    ];
    let answer = world.post(lines.join("\n"));
    let reasons = |answer: &Answer| -> Vec<(u64, String)> {
        let rejected = answer.json()["rejected"].as_array().unwrap().clone();
        let one = |one: &serde_json::Value| (one["index"].as_u64().unwrap(), one["reason"].as_str().unwrap().into());
        rejected.iter().map(one).collect()
    };
    let expected =
        [(1, "no_json"), (2, "not_an_object"), (3, "too_large"), (5, "duplicate_key"), (6, "too_deep"), (7, "no_json")];
    assert_eq!(reasons(&answer), expected.map(|(index, reason)| (index, reason.to_owned())));
    assert_eq!((answer.json()["accepted"].clone(), answer.json()["rejected_total"].clone()), (json!(2), json!(6)));

    let stored = world.stored(&answer.token());
    let delivery = Delivery::decode(&stored).unwrap();
    let mut batch = Batch::default();
    let position = Position { source: 0, part: 0, offset: 0 };
    let block = Block {
        position,
        format: delivery.format,
        framing: delivery.framing,
        header: None,
        received: None,
        bytes: delivery.events,
    };
    Decoder::new(world.plan.spec(), Range::default()).read(&block, &mut batch);
    let letters: Vec<_> =
        batch.dead_letters.iter().map(|letter| json!([letter.reason.code(), letter.message])).collect();
    let told = answer.json();
    let told = told["rejected"].as_array().unwrap().iter().map(|one| json!([one["reason"], one["message"]]));
    assert_eq!(letters, told.collect::<Vec<_>>());
    assert_eq!(batch.input.records.len(), 2);

    // In an array, and where one record holds several events.
    let answer = world.post(format!("[{EVENT}, 7, {EVENT}, {{\"a\":}}]"));
    assert_eq!(reasons(&answer), [(1, "not_an_object".to_owned()), (3, "no_json".to_owned())]);
    let world = World::new("events = { explode = 'e' }\nsource = [{ name = 'app', kind = 'http' }]");
    let answer = world.post("{\"e\":[{},{}]}\n{\"e\":[1,{\"a\":1},2]}\n{\"e\":[]}\n");
    assert_eq!(reasons(&answer), [(1, "not_an_object".to_owned()), (1, "not_an_object".to_owned())]);
    assert_eq!(answer.json()["accepted"], 3);
}

#[test]
fn a_body_without_a_good_event_is_refused_and_not_stored() {
    let world = World::new("events = { explode = 'e' }\nsource = [{ name = 'app', kind = 'http' }]");
    for body in ["", " \r\n\t", "\u{feff}"] {
        assert_eq!(world.post(body).error(), error(400, "empty"), "{body:?}");
    }
    for body in ["[]", "{\"e\":[]}"] {
        assert_eq!(world.post(body).error(), error(400, "no_event"), "{body}");
    }
    let answer = world.post("rubbish\nmore of it");
    assert_eq!(answer.error(), error(400, "no_event"));
    assert_eq!(answer.json()["rejected"][1]["index"], 1);
    assert_eq!(world.records(), []);
}

#[test]
fn a_long_list_of_rejected_events_is_cut() {
    let world = World::new(ONE);
    let answer = world.post(format!("{}{EVENT}\n", "x\n".repeat(5000))).json();
    assert_eq!(answer["rejected"].as_array().unwrap().len(), 100);
    assert_eq!((&answer["rejected_total"], &answer["accepted"]), (&json!(5000), &json!(1)));
}

#[test]
fn bodies_come_compressed() {
    let world = World::new(ONE);
    let body = format!("{EVENT}\n").repeat(1000);
    let (one, two) = body.as_bytes().split_at(body.len() / 2);
    for (encoding, sent) in [
        ("gzip", gzip(body.as_bytes())),
        ("X-GZIP", gzip(body.as_bytes())),
        ("gzip", [gzip(one), gzip(two)].concat()),
        ("zstd", zstd(body.as_bytes())),
        ("zstd", [zstd(one), zstd(two)].concat()),
        ("identity", body.clone().into_bytes()),
        ("identity, gzip", gzip(body.as_bytes())),
    ] {
        let answer = world.send(&format!("POST /v1/events HTTP/1.1\ncontent-encoding: {encoding}"), &sent);
        assert_eq!(answer.json()["accepted"], 1000, "{encoding}: {answer:?}");
        assert_eq!(Delivery::decode(&world.stored(&answer.token())).unwrap().events, body.as_bytes());
    }
    for encoding in ["br", "deflate", "gzip, gzip", "gzip\ncontent-encoding: zstd"] {
        let answer = world.send(&format!("POST /v1/events HTTP/1.1\ncontent-encoding: {encoding}"), EVENT.as_bytes());
        assert_eq!(answer.error(), error(415, "encoding"));
        assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd"));
    }
    for (encoding, whole) in [("gzip", gzip(body.as_bytes())), ("zstd", zstd(body.as_bytes()))] {
        let head = format!("POST /v1/events HTTP/1.1\ncontent-encoding: {encoding}");
        for damaged in [&whole[..whole.len() - 3], EVENT.as_bytes()] {
            assert_eq!(world.send(&head, damaged).error(), error(400, "encoding"));
        }
    }
}

#[test]
fn a_body_is_too_large_before_or_after_it_is_decompressed() {
    let world = World::new("http = { max_body = 100000 }\nsource = [{ name = 'app', kind = 'http' }]");
    let fits = format!("{EVENT}{}", " ".repeat(100_000 - EVENT.len()));
    assert_eq!(world.post(&fits).status, 202);
    assert_eq!(world.post(format!("{fits} ")).error(), error(413, "too_large"));
    // A sender that does not say how long it is.
    let mut stream = world.connect();
    write!(
        stream,
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .unwrap();
    let _ = write!(stream, "18000\r\n{0}\r\n18000\r\n{0}\r\n0\r\n\r\n", " ".repeat(0x18000));
    assert_eq!(Answer::read(&mut stream).error(), error(413, "too_large"));

    for (encoding, compress) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd)] {
        let head = format!("POST /v1/events HTTP/1.1\ncontent-encoding: {encoding}");
        assert_eq!(world.send(&head, &compress(fits.as_bytes())).status, 202);
        assert_eq!(world.send(&head, &compress(format!("{fits} ").as_bytes())).error(), error(413, "too_large"));
    }
}

#[test]
fn bombs_cost_no_more_than_the_limit() {
    const MIB: usize = 300;
    let world = World::new(ONE);
    let blank = vec![b' '; 1 << 20];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    (0..MIB).for_each(|_| encoder.write_all(&blank).unwrap());
    let gzip = encoder.finish().unwrap();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    (0..MIB).for_each(|_| encoder.write_all(&blank).unwrap());
    let zstd = encoder.finish().unwrap();

    let before = crate::observe::memory::peak_rss_bytes();
    for (encoding, bomb) in [("gzip", gzip), ("zstd", zstd)] {
        assert!(bomb.len() < 1 << 20);
        let head = format!("POST /v1/events HTTP/1.1\ncontent-encoding: {encoding}");
        assert_eq!(world.send(&head, &bomb).error(), error(413, "too_large"));
    }
    if let (Some(before), Some(after)) = (before, crate::observe::memory::peak_rss_bytes()) {
        // Other tests run meanwhile.
        assert!(after - before < (MIB as u64) << 19, "from {before} to {after}");
    }
}

#[test]
fn the_source_is_the_only_one_or_named() {
    let world = World::new(
        "source = [{ name = 'files', kind = 'file' }, { name = 'app', kind = 'http' }, { name = 'a b', kind = 'http' }]",
    );
    let to = |query: &str| world.send(&format!("POST /v1/events{query} HTTP/1.1"), EVENT.as_bytes());
    let answer = to("");
    assert_eq!(answer.error(), error(400, "source"));
    assert!(answer.body.contains("`app`, `a b`"), "{answer:?}");
    for query in ["?source=files", "?source=App", "?source="] {
        assert_eq!(to(query).error(), error(404, "source"), "{query}");
    }
    assert_eq!(to("?source=app&source=app").error(), error(400, "query"));
    for (query, number) in [
        ("?source=app", SourceNumber(NUMBER + 1)),
        ("?source=a%20b", SourceNumber(NUMBER + 2)),
        ("?x=1&source=a+b", SourceNumber(NUMBER + 2)),
    ] {
        assert_eq!(Delivery::decode(&world.stored(&to(query).token())).unwrap().source, number);
    }
    assert_eq!(World::new("source = [{ name = 'files', kind = 'file' }]").post(EVENT).error(), error(404, "source"));
}

#[test]
fn other_paths_and_methods() {
    let world = World::new(ONE);
    assert_eq!(world.get("/").error(), error(404, "not_found"));
    assert_eq!(world.send("POST /v1/event HTTP/1.1", EVENT.as_bytes()).error(), error(404, "not_found"));
    for (head, allow) in [
        ("GET /v1/events HTTP/1.1", "post"),
        ("DELETE /v1/events HTTP/1.1", "post"),
        ("OPTIONS /v1/events HTTP/1.1", "post"),
        ("POST /metrics HTTP/1.1", "get,head"),
    ] {
        let answer = world.send(head, b"");
        assert_eq!(answer.error(), error(405, "method"), "{head}");
        assert_eq!(answer.header("allow"), Some(allow));
    }
}

#[test]
fn events_are_taken_when_the_process_is_ready() {
    let world = World::new(ONE);
    for (phase, posted, ready) in [
        (Phase::Starting, Err("starting"), Err("starting")),
        (Phase::Recovering, Err("starting"), Err("recovering")),
        (Phase::Ready, Ok(202), Ok(200)),
        (Phase::Draining, Err("draining"), Err("draining")),
    ] {
        world.status.enter(phase);
        for (answer, expected) in [(world.post(EVENT), posted), (world.get("/readyz"), ready)] {
            match expected {
                Ok(status) => assert_eq!(answer.status, status),
                Err(code) => {
                    assert_eq!(answer.error(), error(503, code));
                    assert_eq!(answer.header("retry-after"), Some("1"));
                }
            }
        }
        assert_eq!(world.get("/healthz").status, 200);
    }
    world.status.enter(Phase::Ready);
    world.intake.drain();
    assert_eq!(world.post(EVENT).error(), error(503, "draining"));
}

#[test]
fn it_says_how_it_is() {
    let world = World::new(ONE);
    world.status.bound.store(9, Ordering::Relaxed);
    world.status.published.store(8, Ordering::Relaxed);
    world.post(EVENT).token();
    world.post("rubbish");
    let answer = world.get("/v1/status");
    let report: Report = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((report.phase, report.epoch, report.bound, report.published), (Phase::Ready, 3, 9, 8));
    assert_eq!(report.backlog_bytes, world.intake.backlog());
    assert!(report.backlog_bytes > 0 && report.resident_bytes > 1 << 20);

    let answer = world.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    for line in [
        "headwater_requests_total{status=\"202\"} 1".to_owned(),
        "headwater_requests_total{status=\"400\"} 1".into(),
        "headwater_latency_seconds_count{stage=\"durable\"} 1".into(),
        format!("headwater_delivered_bytes_total {}", EVENT.len()),
        format!("headwater_backlog_bytes {}", report.backlog_bytes),
    ] {
        assert!(answer.body.lines().any(|said| said == line), "{line}: {}", answer.body);
    }
    assert!(world.metrics.resident_bytes.get() > 1 << 20);
    assert!(answer.body.ends_with("# EOF\n"));
}
