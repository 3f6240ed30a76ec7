//! Links over a real socket pair.

use super::*;
use crate::collections::Schemas;
use crate::collections::filter::Filter;
use crate::collections::sessions::SessionSchema;
use crate::queue::cursor::{Cursor, Cursors, KafkaCursor};
use crate::queue::forgotten::Seen;
use crate::queue::sequencer::Bound;
use crate::read::reads::{Question, Wanted, Whose};
use crate::worker::port::{Arrival, Moved, Told};
use crate::worker::roots::Dirty;
use dataflows::{EventTime, Reason, SessionId, SignatureId, UserKey};
use headwater_log::output::Block;
use std::fmt::Debug;
use std::os::unix::net::UnixStream;

fn bound() -> Bound {
    Bound { tick: 7, now_ms: -3, queue: vec![0..5, 9..9], control: 2..3, snapshot: true }
}

fn cursors() -> Cursors {
    let cursor = KafkaCursor { topic: "orders".into(), partition: 3, offset: 9, gaps: 1 };
    Cursors::from(vec![(SourceNumber(4), Cursor::Kafka(cursor))])
}

fn checkpoint(names: u32) -> Checkpoint {
    let name = |number: u32| ((UserKey::of(&number.to_string()), number.to_string().into()), 1);
    let mut dirty = Dirty::default();
    dirty.names.extend((0..names).map(name));
    Checkpoint { tick: 7, dirty, cursors: cursors() }
}

/// Every kind of message that goes down, each with everything that it can have.
fn down() -> Vec<In> {
    let schemas = Schemas::new(&SessionSchema::default(), false, &[]);
    let text = "events >= 5 and (user in ('a', 'b') or not user matches '^x+$') and user contains ('p', 'q') nocase and classes.buy between 1 and 2";
    let filter = Filter::parse(text, schemas.of(Collection::SESSIONS)).unwrap();
    let user = UserKey::of("u");
    let start = EventTime::from_micros(5).unwrap();
    let of = Whose { users: vec![user], ids: vec![SessionId::of(user, start)] };
    let question = Question {
        number: 9,
        collection: Collection::SESSIONS,
        tick: 7,
        now_ms: 8,
        wanted: Wanted { of: Some(of), after: Some((user, start, 7)) },
        filter: Some(Arc::new(filter)),
        limit: usize::MAX,
    };
    let requests = [Request::Rows(question), Request::More(9), Request::Enough(9), Request::Since(6)];
    [In::Tick(bound())].into_iter().chain(requests.map(In::Ask)).chain([In::End]).collect()
}

fn up() -> Vec<Out> {
    let mut block = Block::new(7, 70);
    block.add("sessions", vec![(b"row".to_vec(), -2), (vec![0xff; 300], 1)]).unwrap();
    let told = Told {
        arrivals: vec![Arrival { received_ms: 1, newest_ms: Some(2) }],
        events: 3,
        texts_cut: 4,
        repaired: 5,
        duplicates: 6,
        dead_letters: BTreeMap::from([(Reason::NoJson, 7)]),
        decisions: Vec::new(),
        waiting: Some(vec![("a".into(), 8)]),
        sessions: -3,
        seen: vec![
            Seen::Sessions(1, vec![(SignatureId(2), 3)]),
            Seen::Gone(1, BTreeMap::from([("sessions".into(), 4)])),
        ],
        moved: Moved { sessions: 9, events: 10 },
    };
    vec![
        Out::Restored { sessions: 7 },
        Out::Alive { rows: 9 },
        Out::Block { block: block.clone(), told: None },
        Out::Block { block, told: Some(told) },
        Out::Checkpoint(checkpoint(3)),
        Out::Done { upper: 8, deadline: EventTime::from_micros(5) },
        Out::Rows {
            number: 9,
            chunk: vec![(Some((UserKey::of("u"), EventTime::MIN, 7)), b"row".to_vec()), (None, Vec::new())],
            last: true,
        },
    ]
}

fn shown(all: &[impl Debug]) -> Vec<String> {
    all.iter().map(|one| format!("{one:?}")).collect()
}

/// Notes what the workers say.
#[derive(Default)]
struct Noted(Mutex<Vec<(usize, String)>>);

impl Desk for Noted {
    fn take(&self, worker: usize, out: Out) -> Result<(), Error> {
        self.0.lock().unwrap().push((worker, format!("{out:?}")));
        Ok(())
    }

    fn closed(&self, worker: usize) {
        self.0.lock().unwrap().push((worker, "closed".into()));
    }
}

#[test]
fn messages_arrive_as_they_were_sent_and_in_order() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (to, messages) = std::sync::mpsc::channel();
    let begin = Begin {
        program: [9; 32],
        threads: 2,
        log: [8; 16],
        epoch: 3,
        parts: 16,
        numbers: vec![SourceNumber(5), SourceNumber(0)],
        definitions: vec![(4, Definitions::default())],
        begins: BTreeMap::from([(Collection::USERS, 5)]),
        resume: Some(Resume { sequence: 1, tick: 2, now_ms: 3, control: 4 }),
        memory: 6,
    };
    let expected = format!("{:?}", Down::Begin(begin.clone()));
    for message in down() {
        Remote { worker: 3, to: to.clone() }.tell(message);
    }
    drop(to);
    write(ours, begin, &messages).unwrap();
    let mut incoming = Incoming::new(theirs);
    assert_eq!(format!("{:?}", incoming.receive::<Down>().unwrap().unwrap()), expected);
    for message in shown(&down()) {
        let Some(Down::Worker(3, heard)) = incoming.receive().unwrap() else { panic!("not for worker 3") };
        assert_eq!(format!("{heard:?}"), message);
    }
    assert!(incoming.receive::<Down>().unwrap().is_none());

    let (ours, theirs) = UnixStream::pair().unwrap();
    let outgoing = Outgoing::new(theirs);
    up().into_iter().for_each(|out| outgoing.take(2, out).unwrap());
    outgoing.resident(77).unwrap();
    [3, 2].into_iter().for_each(|worker| outgoing.closed(worker));
    let (noted, mut resident) = (Noted::default(), 0);
    read(ours, 2, &noted, &mut |bytes| resident = bytes).unwrap();
    let all: Vec<_> = shown(&up()).into_iter().map(|out| (2, out)).collect();
    let ends = [(3, "closed".to_owned()), (2, "closed".to_owned())];
    assert_eq!((noted.0.into_inner().unwrap(), resident), ([all, ends.to_vec()].concat(), 77));
}

#[test]
fn a_checkpoint_of_many_rows_comes_in_parts_and_arrives_whole() {
    let names = 2 * CHECKPOINT_ROWS as u32 + 5;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let sending = std::thread::spawn(move || {
        let outgoing = Outgoing::new(theirs);
        outgoing.take(1, Out::Checkpoint(checkpoint(names))).unwrap();
        outgoing.closed(1);
    });
    let noted = Noted::default();
    read(ours, 1, &noted, &mut |_| ()).unwrap();
    sending.join().unwrap();
    let noted = noted.0.into_inner().unwrap();
    assert_eq!(noted.len(), 2, "one checkpoint, and the end");
    assert!(noted[0].1 == format!("{:?}", Out::Checkpoint(checkpoint(names))), "rows are missing or moved");
}

#[test]
fn a_process_that_ends_too_early_or_says_something_else_is_an_error() {
    let mut frames = Vec::new();
    encode(&mut frames, &Up::Closed(1)).unwrap();
    let heard = |bytes: &[u8]| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        read(ours, 1, &Noted::default(), &mut |_| ()).map_err(crate::error::shown)
    };
    assert_eq!(heard(&frames), Ok(()));
    assert!(heard(b"").unwrap_err().contains("it has ended"));
    assert!((1..frames.len()).all(|length| heard(&frames[..length]).is_err()));
    let mut other = frames.clone();
    other[4] = VERSION + 1;
    assert!(heard(&other).unwrap_err().contains("version 2 of messages"));
    assert!(heard(&[0xff; 20]).is_err(), "it is never as large");
    assert!(heard(&[2, 0, 0, 0, VERSION, 0xff]).is_err(), "no such message");
}
