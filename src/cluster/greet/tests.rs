//! Handshakes and sealed connections over real sockets, with peers that do what they like.

use super::*;
use headwater_log::vfs::model::Rng;
use std::net::{Shutdown, TcpListener};
use std::thread::{self, JoinHandle};

const KEY: [u8; 32] = [7; 32];

fn terms() -> Terms {
    Terms { release: "1.2.3".into(), hosts: 3, list: [1; 32], workers: 2, program: [2; 32] }
}

fn hello(from: usize, to: usize) -> Hello {
    Hello { purpose: Purpose::Mesh, from, to, terms: terms(), epoch: 5, round: 1 }
}

/// Both ends of a connection.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (dialled, listener.accept().unwrap().0)
}

type Greeted = Result<(Hello, Sealed), GreetError>;

fn answering(tcp: TcpStream, key: [u8; 32], own: Hello) -> JoinHandle<Greeted> {
    thread::spawn(move || answer(tcp, &key, |_| (own, None, "the dialler".into())))
}

fn greet(dialler: Hello, answerer: Hello, keys: [[u8; 32]; 2]) -> (Greeted, Greeted) {
    let (ours, theirs) = connected();
    let answer = answering(theirs, keys[1], answerer);
    let dialled = dial(ours, &keys[0], &dialler, "the answerer".into());
    (dialled, answer.join().unwrap())
}

/// A sealed connection.
pub(crate) fn sealed() -> (Sealed, Sealed) {
    let (dialled, answered) = greet(hello(1, 0), hello(0, 1), [KEY; 2]);
    (dialled.unwrap().1, answered.unwrap().1)
}

fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| rng.next_u64() as u8).collect()
}

#[test]
fn what_is_written_in_any_pieces_is_read_in_any_pieces() {
    let ((mut ours, mut theirs), mut rng) = (sealed(), Rng::new(3));
    let pieces: Vec<Vec<u8>> = [0, 1, 2, 65_517, 65_518, 65_519, 65_536, 300_000, 7]
        .into_iter()
        .map(|length| bytes(&mut rng, length))
        .collect();
    let all = pieces.concat();
    let writing = thread::spawn(move || {
        pieces.iter().for_each(|piece| ours.write_all(piece).unwrap());
        ours.shutdown(Shutdown::Write).unwrap();
        // The other direction is still open.
        let mut heard = [0; 2];
        ours.read_exact(&mut heard).unwrap();
        assert_eq!((heard, ours.write(&[1]).unwrap_err().kind()), (*b"ok", ErrorKind::BrokenPipe));
    });
    let mut read = Vec::new();
    loop {
        let mut buffer = vec![0; 1 + rng.below(100_000) as usize];
        match theirs.read(&mut buffer).unwrap() {
            0 => break,
            length => read.extend_from_slice(&buffer[..length]),
        }
    }
    assert!(read == all, "{} of {} bytes", read.len(), all.len());
    theirs.write_all(b"ok").unwrap();
    writing.join().unwrap();
}

#[test]
fn both_sides_know_what_the_other_one_says() {
    let (dialled, answered) = greet(hello(1, 0), hello(0, 1), [KEY; 2]);
    assert_eq!((dialled.unwrap().0, answered.unwrap().0), (hello(0, 1), hello(1, 0)));
}

#[test]
fn another_key_is_said_on_both_sides() {
    let (dialled, answered) = greet(hello(1, 0), hello(0, 1), [KEY, [8; 32]]);
    for error in [dialled.unwrap_err(), answered.unwrap_err()] {
        assert!(matches!(error, GreetError::Key), "{error}");
    }
}

#[test]
fn each_difference_is_said_on_both_sides_with_both_values() {
    let with = |change: &dyn Fn(&mut Hello)| {
        let mut hello = hello(1, 0);
        change(&mut hello);
        hello
    };
    let cases = [
        (with(&|it| it.terms.release = "1.2.4".into()), "1.2.3", "1.2.4"),
        (with(&|it| it.terms.hosts = 4), "3", "4"),
        (with(&|it| it.terms.list = [0xab; 32]), "010101010101", "abababababab"),
        (with(&|it| it.terms.workers = 5), "2", "5"),
        (with(&|it| it.terms.program = [0xcd; 32]), "020202020202", "cdcdcdcdcdcd"),
    ];
    for (other, own, theirs) in cases {
        let (dialled, answered) = greet(other, hello(0, 1), [KEY; 2]);
        let (dialled, answered) = (dialled.unwrap_err().to_string(), answered.unwrap_err().to_string());
        assert!(dialled.contains(&format!("{theirs} here, {own} there")), "{dialled}");
        assert!(answered.contains(&format!("{own} here, {theirs} there")), "{answered}");
    }
}

#[test]
fn a_host_at_another_place_is_refused() {
    // It says that it is the first host, as the other one does.
    let (dialled, answered) = greet(hello(0, 0), hello(0, 0), [KEY; 2]);
    assert!(dialled.unwrap_err().to_string().contains("it says that it is host 1"));
    assert!(answered.unwrap_err().to_string().contains("it says that it is host 1"));
    // It looks for the second one, and this is the first.
    let (dialled, answered) = greet(hello(2, 1), hello(0, 2), [KEY; 2]);
    assert!(dialled.unwrap_err().to_string().contains("it is host 1, not host 2"));
    assert!(answered.unwrap_err().to_string().contains("it looks for host 2 at this address, and this is host 1"));
    // There is no such host.
    let (_, answered) = greet(hello(3, 0), hello(0, 3), [KEY; 2]);
    assert!(answered.unwrap_err().to_string().contains("it says that it is host 4"));
}

#[test]
fn another_version_is_said_on_both_sides() {
    let (mut ours, theirs) = connected();
    let answer = answering(theirs, KEY, hello(0, 1));
    ours.write_all(b"HWHOST\x09\x00").unwrap();
    let mut heard = [0; 8];
    ours.read_exact(&mut heard).unwrap();
    assert_eq!(heard, prefix());
    let error = answer.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("version 9 of messages between hosts there, 1 here"), "{error}");

    let (ours, mut theirs) = connected();
    theirs.write_all(b"HWHOST\x09\x00").unwrap();
    let error = dial(ours, &KEY, &hello(1, 0), "it".into()).unwrap_err();
    assert!(matches!(error, GreetError::Version { theirs: 9 }), "{error}");
}

#[test]
fn garbage_of_any_kind_opens_nothing() {
    let mut rng = Rng::new(4);
    let mut garbage: Vec<Vec<u8>> = (0..40).map(|length| bytes(&mut rng, length * 7)).collect();
    garbage.push(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    // Right until there: then nothing, an empty message, a length that is too large, and bytes of no host.
    let starts: [&[u8]; 5] = [b"", b"\x00\x00", b"\xff\xff", b"\x30\x00", b"\x01\x08"];
    garbage.extend(starts.map(|start| [&prefix()[..], start, &[0; 48]].concat()));
    for bytes in garbage {
        for from_answerer in [false, true] {
            let (ours, theirs) = connected();
            let (mut evil, greeting) = match from_answerer {
                false => (ours, answering(theirs, KEY, hello(0, 1))),
                true => (theirs, thread::spawn(move || dial(ours, &KEY, &hello(1, 0), "it".into()))),
            };
            let _ = evil.write_all(&bytes);
            let _ = evil.shutdown(Shutdown::Write);
            assert!(greeting.join().unwrap().is_err(), "{bytes:?}");
        }
    }
}

#[test]
fn a_silent_peer_and_a_slow_one_hold_a_place_until_the_deadline() {
    let began = Instant::now();
    let (silent, theirs) = connected();
    let (mut slow, of_slow) = connected();
    let silence = answering(theirs, KEY, hello(0, 1));
    let slowness = answering(of_slow, KEY, hello(0, 1));
    let writing = thread::spawn(move || {
        // Each byte is in time, and all together are not.
        let endless = prefix().into_iter().chain([0xff, 0x07]).chain(std::iter::repeat(0));
        endless.take_while(|byte| slow.write_all(&[*byte]).map(|()| thread::sleep(DEADLINE / 20)).is_ok()).count()
    });
    for greeting in [silence, slowness] {
        let error = greeting.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("has not said who it is within 2 s"), "{error}");
    }
    assert!(began.elapsed() >= DEADLINE);
    assert!(writing.join().unwrap() > 0);
    drop(silent);
}

/// Passes on what the dialler sends, with a change, and what comes back; returns all that the dialler has sent.
fn between(change: impl Fn(usize, &mut u8) + Send + 'static) -> (TcpStream, TcpStream, JoinHandle<Vec<u8>>) {
    let (dialler, mut from_dialler) = connected();
    let (mut to_answerer, answerer) = connected();
    let (mut back, mut back_to) = (to_answerer.try_clone().unwrap(), from_dialler.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
    });
    let passing = thread::spawn(move || {
        let (mut sent, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = from_dialler.read(&mut buffer) {
            let start = sent.len();
            sent.extend_from_slice(&buffer[..length]);
            buffer[..length].iter_mut().enumerate().for_each(|(at, byte)| change(start + at, byte));
            if to_answerer.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to_answerer.shutdown(Shutdown::Write);
        sent
    });
    (dialler, answerer, passing)
}

#[test]
fn a_first_message_that_is_sent_again_opens_nothing() {
    let (ours, theirs, passing) = between(|_, _| ());
    let answer = answering(theirs, KEY, hello(0, 1));
    let (_, sealed) = dial(ours, &KEY, &hello(1, 0), "it".into()).unwrap();
    answer.join().unwrap().unwrap();
    sealed.shutdown(Shutdown::Both).unwrap();
    let sent = passing.join().unwrap();
    // All that the host has sent, signs of life and all.
    let (mut evil, theirs) = connected();
    let answer = answering(theirs, KEY, hello(0, 1));
    evil.write_all(&sent).unwrap();
    assert!(answer.join().unwrap().is_err());
}

#[test]
fn a_changed_byte_anywhere_is_found() {
    // The first message with its prefix and length, the sign of life, and the data.
    let whole = {
        let (ours, theirs, passing) = between(|_, _| ());
        let answer = answering(theirs, KEY, hello(0, 1));
        let (_, mut sealed) = dial(ours, &KEY, &hello(1, 0), "it".into()).unwrap();
        let (_, mut theirs) = answer.join().unwrap().unwrap();
        sealed.write_all(b"twelve bytes").unwrap();
        theirs.read_exact(&mut [0; 12]).unwrap();
        sealed.shutdown(Shutdown::Both).unwrap();
        passing.join().unwrap().len()
    };
    // Not the last record: it only says that the rest is whole.
    for at in 0..whole - 19 {
        let (ours, theirs, _passing) = between(move |place, byte| *byte ^= if place == at { 0x10 } else { 0 });
        let answer = answering(theirs, KEY, hello(0, 1));
        let dialled = dial(ours, &KEY, &hello(1, 0), "it".into());
        if let Ok((_, sealed)) = &dialled {
            let _ = sealed.clone().write_all(b"twelve bytes");
            let _ = sealed.shutdown(Shutdown::Write);
        }
        let heard = answer.join().unwrap().map_err(|error| error.to_string()).and_then(|(_, mut sealed)| {
            let mut heard = Vec::new();
            sealed.read_to_end(&mut heard).map(|_| heard).map_err(|error| error.to_string())
        });
        assert!(heard.is_err(), "byte {at}: {heard:?}");
    }
}

#[test]
fn an_end_on_purpose_differs_from_a_lost_connection() {
    let (ours, mut theirs) = sealed();
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(theirs.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(theirs.read(&mut [0; 9]).unwrap(), 0, "it stays so");

    let (ours, mut theirs) = sealed();
    drop(ours);
    assert!(theirs.read(&mut [0; 9]).unwrap_err().to_string().contains("it was closed"));
    assert!(theirs.is_broken());
}

#[test]
fn a_peer_that_gives_no_sign_of_life_is_lost_and_one_that_does_is_not() {
    let (mut ours, mut theirs) = sealed();
    let began = Instant::now();
    let speaking = thread::spawn(move || {
        // For longer than a silence may last, there is nothing to say.
        thread::sleep(super::super::sealed::SILENCE + Duration::from_secs(2));
        ours.write_all(b"here").unwrap();
        ours
    });
    let mut heard = [0; 4];
    theirs.read_exact(&mut heard).unwrap();
    assert!(heard == *b"here" && began.elapsed() > super::super::sealed::SILENCE);
    let ours = speaking.join().unwrap();
    // Behind the end on purpose of one direction there are no signs of life. Its reader does not wait for them.
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(theirs.read(&mut heard).unwrap(), 0);

    // The peer speaks its version, and then nothing for ever: the host that waits for it is woken.
    let (ours, theirs) = connected();
    let answer = answering(theirs, KEY, hello(0, 1));
    let mute = ours.try_clone().unwrap();
    let (_, sealed) = dial(ours, &KEY, &hello(1, 0), "it".into()).unwrap();
    let (_, mut waits) = answer.join().unwrap().unwrap();
    sealed.mute();
    assert!(waits.read(&mut heard).unwrap_err().to_string().contains("no sign of life for 5 s"));
    drop(mute);
}
