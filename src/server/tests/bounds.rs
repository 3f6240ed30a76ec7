//! Clients that are slow, many, or gone.

use super::{Answer, ONE, World, error};
use crate::patience::{PATIENCE, wait_until};
use crate::server::Bounds;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

const EVENT: &str = "{\"user_id\":\"ann\"}";
const HEAD: &str = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the time until the server closes.
fn until_closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let _ = stream.read_to_end(&mut Vec::new());
    start.elapsed()
}

#[test]
fn whoever_takes_too_long_to_send_a_head_is_disconnected_and_disturbs_nobody() {
    let world = World::within(ONE, Bounds { head: millis(300), ..Bounds::default() });
    let slow: Vec<_> = ["", "POST /v1/ev", "POST /v1/events HTTP/1.1\r\nhost: te"]
        .into_iter()
        .map(|head| {
            let mut stream = world.connect();
            stream.write_all(head.as_bytes()).unwrap();
            thread::spawn(move || until_closed(&mut stream))
        })
        .collect();
    // One byte at a time: each of them is progress, and it does not help.
    let mut dripping = world.connect();
    let dripped = thread::spawn(move || {
        let start = Instant::now();
        let head = HEAD.bytes().chain(std::iter::repeat(b'x'));
        for byte in head {
            thread::sleep(millis(20));
            if dripping.write_all(&[byte]).is_err() || start.elapsed() > PATIENCE {
                break;
            }
        }
        start.elapsed()
    });
    // Used once, and then silent.
    let mut kept = world.connect();
    write!(kept, "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{EVENT}", EVENT.len())
        .unwrap();
    for slow in slow {
        let took = slow.join().unwrap();
        assert!((millis(100)..PATIENCE).contains(&took), "{took:?}");
    }
    assert!(dripped.join().unwrap() < PATIENCE);
    assert!(until_closed(&mut kept) < PATIENCE);
}

/// Others are answered while the slow ones are still there: nothing waits for these.
#[test]
fn whoever_takes_long_to_send_a_request_holds_nobody_up() {
    let bound = 2 * PATIENCE;
    let world = World::within(ONE, Bounds { head: bound, body: bound, ..Bounds::default() });
    let body = format!("{HEAD}content-length: 100\r\n\r\n{{");
    let slow = ["", "POST /v1/ev", "POST /v1/events HTTP/1.1\r\nhost: te", &body].map(|sent| {
        let mut stream = world.connect();
        stream.write_all(sent.as_bytes()).unwrap();
        stream
    });
    for _ in 0..10 {
        assert_eq!(world.post(EVENT).status, 202);
    }
    for mut stream in slow {
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_body_that_takes_too_long_is_given_up() {
    let world = World::within(ONE, Bounds { body: millis(200), ..Bounds::default() });
    for sent in ["", "{\"a\":"] {
        let mut stream = world.connect();
        write!(stream, "{HEAD}content-length: 100\r\n\r\n{sent}").unwrap();
        assert_eq!(Answer::read(&mut stream).error(), error(408, "timeout"));
    }
    let mut stream = world.connect();
    write!(stream, "{HEAD}content-length: 100\r\n\r\n{EVENT}").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(world.records(), []);
}

#[test]
fn a_client_that_waits_to_be_told_to_send_is_told() {
    let world = World::new(ONE);
    let mut stream = world.connect();
    write!(stream, "{HEAD}expect: 100-continue\r\ncontent-length: {}\r\n\r\n", EVENT.len()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(EVENT.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream).status, 202);
    // What is refused anyway need not be sent.
    let mut stream = world.connect();
    write!(stream, "{HEAD}expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn whoever_takes_no_answers_is_disconnected() {
    let world = World::within(ONE, Bounds { stall: millis(300), ..Bounds::default() });
    let mut stream = world.connect();
    stream.set_write_timeout(Some(millis(200))).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    let start = Instant::now();
    let closed = loop {
        match stream.write_all(request.as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => thread::sleep(millis(50)),
            Err(_) => break true,
            Ok(()) => {}
        }
        if start.elapsed() > PATIENCE {
            break false;
        }
        assert_eq!(world.get("/healthz").status, 200);
    };
    assert!(closed, "it went on for {:?}", start.elapsed());
}

#[test]
fn a_thousand_idle_connections_disturb_nobody() {
    let bound = 2 * PATIENCE;
    let world = World::within(ONE, Bounds { head: bound, grace: bound, ..Bounds::default() });
    let idle: Vec<_> = (0..1000).map(|_| world.connect()).collect();
    for _ in 0..20 {
        assert_eq!(world.post(EVENT).status, 202);
    }
    let start = Instant::now();
    world.server.stop();
    assert!(start.elapsed() < PATIENCE, "there is nothing to wait for: {:?}", start.elapsed());
    drop(idle);
}

/// Opens a connection with a request in flight, whose body has not ended.
fn busy(world: &World) -> TcpStream {
    let mut stream = world.connect();
    write!(stream, "{HEAD}expect: 100-continue\r\ncontent-length: {}\r\n\r\n", EVENT.len()).unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).unwrap();
    assert!(line.starts_with(b"HTTP/1.1 100"), "it reads the body: {line:?}");
    stream
}

fn finish(mut busy: TcpStream) -> u16 {
    busy.write_all(EVENT.as_bytes()).unwrap();
    Answer::read(&mut busy).status
}

/// For these tests, time ends nothing.
fn patient(connections: usize) -> Bounds {
    let bound = 2 * PATIENCE;
    Bounds { connections, head: bound, body: bound, quick: bound, ..Bounds::default() }
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let world = World::within(ONE, patient(2));
    let (first, second) = (busy(&world), busy(&world));
    let mut third = world.connect();
    write!(third, "{HEAD}content-length: {}\r\n\r\n{EVENT}", EVENT.len()).unwrap();
    third.set_read_timeout(Some(millis(200))).unwrap();
    assert!(third.read(&mut [0]).is_err(), "there is no place for it");
    assert_eq!(finish(first), 202);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(Answer::read(&mut third).status, 202);
    assert_eq!(finish(second), 202);
}

/// 4,096 connections on which nothing was said kept all others out, for as long as they were opened again.
#[test]
fn idle_connections_make_room_for_newcomers_the_oldest_first() {
    let world = World::within(ONE, patient(4));
    let (mut silent, under_way) = (world.connect(), busy(&world));
    let mut begun = world.connect();
    begun.write_all(b"POST /v1/ev").unwrap();
    // Between two requests, and idle for less long than the others.
    let mut kept = world.connect();
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let ask = |kept: &mut TcpStream| {
        kept.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let mut length = 0;
        while !answer[..length].ends_with(b"ok\n") {
            match kept.read(&mut answer[length..]).unwrap() {
                0 => panic!("closed: {:?}", String::from_utf8_lossy(&answer[..length])),
                more => length += more,
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    };
    ask(&mut kept);

    assert_eq!(world.post(EVENT).status, 202);
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0, "the oldest goes first");
    ask(&mut kept);
    // One place is free again: it takes two to be in want of another one.
    let _newer = world.connect();
    assert_eq!(world.post(EVENT).status, 202);
    assert_eq!(begun.read(&mut [0]).unwrap_or(0), 0, "half a head is no request");
    ask(&mut kept);

    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(world.connect());
        assert_eq!(world.post(EVENT).status, 202);
    }
    assert_eq!(kept.read(&mut [0]).unwrap_or(0), 0, "others were idle for less long");
    assert_eq!(finish(under_way), 202, "a request in flight is not disturbed");
}

/// All are busy, and one becomes idle: it goes, although others were idle for longer when there was room.
#[test]
fn a_connection_that_becomes_idle_makes_room_for_one_that_waits() {
    let world = World::within(ONE, patient(2));
    let (mut first, second) = (busy(&world), busy(&world));
    let mut third = world.connect();
    write!(third, "{HEAD}content-length: {}\r\n\r\n{EVENT}", EVENT.len()).unwrap();
    first.write_all(EVENT.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut first).status, 202);
    assert_eq!(Answer::read(&mut third).status, 202);
    assert_eq!(finish(second), 202);
}

#[test]
fn heads_are_bounded() {
    let world = World::new(ONE);
    let long = format!("GET /healthz HTTP/1.1\nx: {}", "x".repeat(200 << 10));
    let many = format!("GET /healthz HTTP/1.1{}", "\nx: y".repeat(100));
    for (what, head) in [("long", long), ("many", many)] {
        assert_eq!(world.send(&head, b"").error(), error(431, "head_too_large"), "{what}");
    }
    assert_eq!(world.send(&format!("GET /healthz HTTP/1.1\nx: {}", "x".repeat(16 << 10)), b"").status, 200);
    // How much has come when it is looked at decides which of the two it is.
    let answer = world.get(&format!("/healthz?{}", "x".repeat(66_000)));
    assert!([error(414, "uri_too_long"), error(431, "head_too_large")].contains(&answer.error()), "{answer:?}");
}

/// hyper answered by itself, with a status and nothing else.
#[test]
fn what_is_no_request_is_answered_in_the_form_of_all_problems() {
    let world = World::new(ONE);
    let heads = [
        "\x16\x03\x01 this is TLS\r\n\r\n",
        "GET  HTTP/1.1\r\n\r\n",
        "GET / HTTP/3.0\r\nhost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nno field\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: many\r\n\r\n",
    ];
    for head in heads {
        let mut stream = world.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let answer = Answer::read(&mut stream);
        assert_eq!(answer.error(), error(400, "request"), "{head:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(world.get("/v1/collections/%ff/rows").error(), error(400, "request"));
    // Behind a good request on the same connection.
    let mut stream = world.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    stream.write_all(b"nonsense\r\n\r\n").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(answers.contains("HTTP/1.1 400") && answers.contains("\"code\":\"request\""), "{answers}");
}

/// Sends a request twice where there is room for one, which lasts. Returns the answer of the one that has to come
/// again, and the connection of the other, which has the room.
fn one_of_two(world: &World, request: &str) -> (Answer, TcpStream) {
    let mut streams = [world.connect(), world.connect()];
    let (sender, answered) = channel();
    for (index, stream) in streams.iter_mut().enumerate() {
        stream.write_all(request.as_bytes()).unwrap();
        let (stream, sender) = (stream.try_clone().unwrap(), sender.clone());
        thread::spawn(move || {
            let _ = stream.peek(&mut [0]);
            let _ = sender.send(index);
        });
    }
    let index = answered.recv_timeout(PATIENCE).unwrap();
    let refused = Answer::read(&mut streams[index]);
    assert_eq!(refused.error(), error(503, "busy"));
    let [first, second] = streams;
    (refused, if index == 0 { second } else { first })
}

/// With one place at the disk, which stands still.
fn one_at_the_disk(world: &World) -> TcpStream {
    one_of_two(world, &format!("{HEAD}content-length: {}\r\n\r\n{EVENT}", EVENT.len())).1
}

#[test]
fn bodies_under_way_share_a_budget() {
    let world = World::within(ONE, Bounds { bodies: 1000, quick: PATIENCE, ..Bounds::default() });
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(900));
    let request = format!("{HEAD}content-length: {}\r\n\r\n{}", large.len(), &large[..600]);
    let (answer, mut held) = one_of_two(&world, &request);
    assert_eq!(world.post(&large).error(), error(503, "busy"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(world.post(EVENT).status, 202);
    held.write_all(&large.as_bytes()[600..]).unwrap();
    assert_eq!(Answer::read(&mut held).status, 202);
    assert_eq!(world.post(&large).status, 202, "what was held is free again");
}

#[test]
fn requests_that_find_no_place_at_the_disk_are_to_come_again() {
    let world = World::within(ONE, Bounds { appending: 1, turn: millis(100), ..Bounds::default() });
    let intake = world.intake.clone();
    // As if the disk took long.
    let held: Vec<_> = intake.parts().iter().map(|part| part.partition()).collect();
    let mut waiting = one_at_the_disk(&world);
    assert_eq!(world.post(EVENT).error(), error(503, "busy"));
    assert_eq!(world.get("/healthz").status, 200);
    drop(held);
    assert_eq!(Answer::read(&mut waiting).status, 202);
}

#[test]
fn requests_under_way_finish_when_the_server_stops() {
    for (grace, finishes) in [(2 * PATIENCE, true), (millis(100), false)] {
        let world = World::within(ONE, Bounds { grace, appending: 1, turn: millis(100), ..Bounds::default() });
        let intake = world.intake.clone();
        let held: Vec<_> = intake.parts().iter().map(|part| part.partition()).collect();
        let mut waiting = one_at_the_disk(&world);
        let address = world.server.address();
        let server = world.server;
        let stopping = thread::spawn(move || {
            let start = Instant::now();
            server.stop();
            start.elapsed()
        });
        wait_until("no new client is let in", || TcpStream::connect(address).is_err());
        if finishes {
            assert!(!stopping.is_finished());
            drop(held);
            assert_eq!(Answer::read(&mut waiting).status, 202);
            assert!(stopping.join().unwrap() < PATIENCE);
        } else {
            // While the disk still stands still: no client gets an answer.
            assert!(stopping.join().unwrap() < PATIENCE);
            assert_eq!(waiting.read(&mut [0]).unwrap_or(0), 0);
            drop(held);
        }
    }
}

/// Between two requests a server may close a connection; not when the next request has come already, even if it has had no
/// time to read it.
#[test]
fn requests_that_have_come_when_the_server_stops_are_answered() {
    const CONNECTIONS: usize = 100;
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..5 {
        let world = World::new(ONE);
        let mut kept: Vec<_> = (0..CONNECTIONS).map(|_| world.connect()).collect();
        for stream in &mut kept {
            stream.write_all(request).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"ok\n") {
                let mut some = [0; 1000];
                let read = stream.read(&mut some).unwrap();
                answer.extend_from_slice(&some[..read]);
            }
        }
        for stream in &mut kept {
            stream.write_all(request).unwrap();
        }
        // And some that it may not even have accepted.
        let fresh = (0..CONNECTIONS).map(|_| {
            let mut stream = world.connect();
            stream.write_all(request).unwrap();
            stream
        });
        let all: Vec<_> = kept.into_iter().chain(fresh).collect();
        world.server.stop();
        for mut stream in all {
            assert_eq!(Answer::read(&mut stream).status, 200);
        }
    }
}
