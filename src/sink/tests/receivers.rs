//! Receivers that answer by a script and record their requests.

use super::*;
use crate::plan::{HeaderValue, HttpTarget};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;

/// A request: its head, in lower case, and its body.
type Request = (String, Value);

struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    /// Answers with these status lines and headers, and then with 200. An empty one: closes the connection.
    fn new(script: &[&str]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Request>>>::default());
        let mut script: Vec<String> = script.iter().rev().map(|&answer| answer.to_owned()).collect();
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
                let head = head.to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let mut body = vec![0; length.parse().unwrap()];
                stream.read_exact(&mut body).unwrap();
                seen.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap()));
                let answer = script.pop().unwrap_or_else(|| "200 fine".into());
                if !answer.is_empty() {
                    let answer = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 3\r\n\r\nwhy");
                    stream.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        Receiver { address, requests }
    }

    fn sink(&self, more: &str) -> String {
        let url = self.address;
        format!(
            "name = 'h'\nkind = 'http'\nurl = 'http://{url}/hook?a=b'\nallow_private = true\ncollection = 'counts'\n\
             from = 'start'\n{more}"
        )
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn key(head: &str) -> &str {
    head.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap()
}

#[test]
fn a_receiver_gets_what_it_takes_in_batches() {
    let receiver = Receiver::new(&[]);
    let world = World::new(2);
    fs::write(world.folder.path().join("hook.secret"), "Bearer abc\n").unwrap();
    world.publish_some();
    let headers = "headers = { authorization = { file = 'hook.secret' }, x-shop = 'one' }\n";
    world.take_all(&receiver.sink(&format!("{headers}when = 'events >= 2'\nbatch = 4")));
    let requests = receiver.requests();
    assert_eq!(
        requests.iter().map(|(_, body)| body["changes"].as_array().unwrap().len()).collect::<Vec<_>>(),
        [4, 4, 4, 3]
    );
    let (head, body) = &requests[0];
    assert!(head.starts_with("post /hook?a=b http/1.1\r\n"), "{head}");
    for line in ["authorization: bearer abc", "x-shop: one", "content-type: application/json"] {
        assert!(head.lines().any(|other| other == line), "{line}: {head}");
    }
    assert_eq!(body["sink"], "h");
    let in_file = undisturbed(&SOME.replace("'f'", "'h'"), 1);
    let changes: Vec<Value> =
        requests.iter().flat_map(|(_, body)| body["changes"].as_array().unwrap().clone()).collect();
    let expected: Vec<Value> = in_file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // A file and a receiver get the same changes.
    assert_eq!(changes, expected);
    let keys: std::collections::BTreeSet<&str> = requests.iter().map(|(head, _)| key(head)).collect();
    assert_eq!(keys.len(), requests.len());
}

#[test]
fn what_may_pass_is_sent_again_as_it_was() {
    let receiver = Receiver::new(&["429 slower\r\nretry-after: 4", "503 no", ""]);
    let world = World::new(1);
    world.publish_some();
    let began = Instant::now();
    world.take_all(&receiver.sink("batch = 3"));
    // What was asked for, and the least of the other waits. Without being asked, 3.5 seconds are the most.
    assert!(began.elapsed() >= Duration::from_millis(5500), "{:?}", began.elapsed());
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3 + 7);
    for (head, body) in &requests[1..4] {
        assert_eq!((key(head), body), (key(&requests[0].0), &requests[0].1));
    }
    let metrics = world.metrics.text();
    for line in ["retries_total{sink=\"h\"} 3", "delivered_total{sink=\"h\"} 20", "dead_letters_total{sink=\"h\"} 0"] {
        assert!(metrics.contains(&format!("headwater_sink_{line}")), "{line}: {metrics}");
    }
}

#[test]
fn who_was_too_slow_to_read_is_asked_again() {
    let receiver = Receiver::new(&["408 late"]);
    let world = World::new(1);
    world.publish(&[("a", 1, 1)]);
    world.take_all(&receiver.sink(""));
    assert_eq!(receiver.requests().len(), 2);
    assert!(world.metrics.text().contains("headwater_sink_delivered_total{sink=\"h\"} 1"));
}

#[test]
fn what_is_refused_becomes_dead_letters_and_the_rest_goes_on() {
    let elsewhere = Receiver::new(&[]);
    let moved = format!("307 elsewhere\r\nlocation: http://{}/", elsewhere.address);
    let receiver = Receiver::new(&["400 wrong", &moved]);
    let world = World::new(1);
    for class in ["a", "b", "c"] {
        world.publish(&[(class, 1, 1)]);
    }
    world.take_all(&receiver.sink("batch = 1"));
    assert_eq!((receiver.requests().len(), elsewhere.requests().len()), (3, 0));
    let letters = world.letters("h");
    let reasons: Vec<_> =
        letters.iter().map(|letter| (letter["reason"].as_str().unwrap(), &letter["change"])).collect();
    let sent = |index: usize| receiver.requests()[index].1["changes"][0].clone();
    assert_eq!(reasons, [("status_400", &sent(0)), ("status_307", &sent(1))]);
    assert_eq!(letters[0]["message"], "why");
    assert!(world.metrics.text().contains("headwater_sink_dead_letters_total{sink=\"h\"} 2"));
}

#[test]
fn what_a_crash_leaves_unknown_comes_again_with_the_same_keys() {
    let receiver = Receiver::new(&[]);
    let world = World::new(1);
    world.publish_some();
    let mut sink = world.open(&receiver.sink("batch = 3")).unwrap();
    let Next::Batch(batch) = sink.changes.next(3).unwrap() else { panic!() };
    // Delivered, and never known to be.
    assert!(sink.hand_over(&batch.changes, &Stop::default()));
    drop(sink);
    world.take_all(&receiver.sink("batch = 3"));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1 + 7);
    assert_eq!((key(&requests[0].0), &requests[0].1), (key(&requests[1].0), &requests[1].1));
    // And with its cursor it does not.
    world.take_all(&receiver.sink("batch = 3"));
    assert_eq!(receiver.requests().len(), 1 + 7);
}

#[test]
fn nothing_is_sent_to_addresses_that_are_not_public() {
    let receiver = Receiver::new(&[]);
    let world = World::new(1);
    world.publish(&[("a", 1, 1)]);
    let mut sink = world.open(&receiver.sink("")).unwrap();
    let Next::Batch(batch) = sink.changes.next(1).unwrap() else { panic!() };
    let port = receiver.address.port();
    // Written out, as a name, and as the name service may read it.
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0"] {
        let target =
            |allow_private| HttpTarget { url: format!("http://{host}:{port}/"), headers: Vec::new(), allow_private };
        let outcome = Http::new("h", &target(false)).deliver(&batch.changes);
        let Outcome::Later { why, .. } = outcome else { panic!("{host}: {outcome:?}") };
        assert!(why.contains("not public"), "{host}: {why}");
        assert_eq!(receiver.requests().len(), 0, "{host}");
    }
    // The same addresses can be meant.
    let target = HttpTarget { url: format!("http://127.0.0.1:{port}/"), headers: Vec::new(), allow_private: true };
    assert!(matches!(Http::new("h", &target).deliver(&batch.changes), Outcome::Delivered));
}

#[test]
fn without_its_secret_nothing_is_sent() {
    let receiver = Receiver::new(&[]);
    let world = World::new(1);
    let path = world.folder.path().join("secret");
    let headers = vec![("authorization".to_owned(), HeaderValue::File(path.clone()))];
    let target = HttpTarget { url: format!("http://{}/", receiver.address), headers, allow_private: true };
    let http = Http::new("h", &target);
    for content in [None, Some("two\nlines")] {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let outcome = http.deliver(&[]);
        assert!(matches!(&outcome, Outcome::Later { why, .. } if !why.contains("two")), "{outcome:?}");
    }
    assert_eq!(receiver.requests().len(), 0);
    // It is read again each time.
    fs::write(&path, "Bearer new").unwrap();
    assert!(matches!(http.deliver(&[]), Outcome::Delivered));
}
