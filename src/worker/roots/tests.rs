use super::*;
use dataflows::identity::ShapeId;
use dataflows::link::Alias;
use dataflows::record::{Cue, Rank};
use dataflows::sequence::StepEvent;
use dataflows::sessionize::{Carried, EndedBy};
use dataflows::state::{Aggregate, Fold};
use dataflows::{Decimal, EventTime, Measure};

/// Snapshots hold these bytes: another encoding is another version of the rows (`run/history.rs`), and needs code that
/// reads this one.
#[test]
fn the_encoding_of_version_1_is_pinned() {
    let key = UserKey::from_bytes([0x11; 16]).unwrap();
    let time = EventTime::from_micros(1_000_000).unwrap();
    let descriptor = Descriptor { shape: ShapeId(5), kind: Some("view".into()), answers: vec![true, false] };
    let dirty = Dirty {
        names: vec![((key, "u1".into()), 1)],
        signatures: vec![(SignatureId(0x0102), descriptor.clone())],
        ids: vec![(IdRow::Forgotten { shard: 9, upto: time }, 1)],
        by_signature: vec![((SignatureId(0x0102), Some(time)), 3)],
        by_reason: vec![(Sessionless::NoTime, 2)],
        ..Dirty::default()
    };
    let rows = dirty.rows();
    let hex = |state: &str| -> Vec<(String, i64)> {
        rows[state].iter().map(|(row, times)| (crate::fingerprint::hex(row), *times)).collect()
    };
    let pinned = |row: &str, times| vec![(row.to_owned(), times)];
    let found = [NAMES, SIGNATURES, IDS, BY_SIGNATURE, BY_REASON].map(hex);
    let expected = [
        pinned("11111111111111111111111111111111027531", 1),
        pinned("000000000000010205010476696577020100", 1),
        pinned("09010980897a", 1),
        pinned("00000000000001020180897a", 3),
        pinned("0001", 2),
    ];
    assert_eq!(found, expected);
    let (mut roots, mut input) = (Roots::default(), Input::default());
    for (state, rows) in &rows {
        for (row, times) in rows {
            restore(state, row, *times, &mut roots, &mut input, &mut Folds::default()).unwrap();
        }
    }
    assert_eq!(roots.names, [((key, "u1".into()), 1)]);
    assert_eq!(input.signatures, [(SignatureId(0x0102), descriptor)]);
    assert_eq!(roots.by_reason, [(Sessionless::NoTime, 2)]);
}

/// As the other rows: under session policies, of an event that is there twice, and of a session.
#[test]
fn the_encoding_of_marks_and_of_sessions_with_policies_is_pinned() {
    let key = UserKey::from_bytes([0x11; 16]).unwrap();
    let pinned = [
        (SESSIONS, "111111111111111111111111111111118092f40180897a0205050002000080808030820c05", 1),
        (MARKS, "111111111111111111111111111111118092f4010580808030820c00", 2),
    ];
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let (mut roots, mut input) = (Roots::default(), Input::default());
    for (state, hex, times) in pinned {
        restore(state, &bytes(hex), times, &mut roots, &mut input, &mut Folds::default()).unwrap();
    }
    let at = |micros| EventTime::from_micros(micros).unwrap();
    let cue = Cue::new(Some(0x0600_0000 << 32), 3, true, false);
    let (_, session) = &roots.sessions[0];
    assert_eq!(
        (session.start, session.end, session.ended_by()),
        (at(1_000_000), at(2_000_000), Some(EndedBy::MaxDuration))
    );
    assert_eq!(session.details().unwrap().tail.unwrap().cue, cue);
    let mark = Mark { time: at(2_000_000), signature: SignatureId(5), cue, details: None };
    assert_eq!(roots.marks, [(key, mark, 2)]);
    let sessions = roots.sessions.into_iter().map(|row| (row, 1)).collect();
    let marks = roots.marks.into_iter().map(|(user, mark, times)| ((user, mark), times)).collect();
    let rows = Dirty { sessions, marks, ..Dirty::default() }.rows();
    for (state, hex, times) in pinned {
        assert_eq!(rows[state], [(bytes(hex), times)], "{}", crate::fingerprint::hex(&rows[state][0].0));
    }
}

/// As the other rows: of a session whose events have ranks.
#[test]
fn the_encoding_of_sessions_with_ranks_is_pinned() {
    let pinned = "111111111111111111111111111111118092f40180897a02050600030000000009000700";
    let bytes: Vec<u8> =
        (0..pinned.len()).step_by(2).map(|at| u8::from_str_radix(&pinned[at..at + 2], 16).unwrap()).collect();
    let (mut roots, mut input) = (Roots::default(), Input::default());
    restore(SESSIONS, &bytes, 1, &mut roots, &mut input, &mut Folds::default()).unwrap();
    let ranks = roots.sessions[0].1.details().unwrap().ranks.as_deref().unwrap();
    assert_eq!(ranks.ends, [Rank::new(None, 9), Rank::new(None, 7)]);
    let sessions = roots.sessions.into_iter().map(|row| (row, 1)).collect();
    let rows = Dirty { sessions, ..Dirty::default() }.rows();
    assert_eq!(crate::fingerprint::hex(&rows[SESSIONS][0].0), pinned);
}

/// As the other rows: of a session with one event signature and nothing else, and of one with all that there can be.
#[test]
fn the_encoding_of_sessions_of_version_1_is_pinned() {
    let pinned = [
        "111111111111111111111111111111118092f40180897a0205050000",
        "1111111111111111111111111111111180d1ca0880a4e8030306050102050106020101bf8db701020102000180a4e803022f6180d1ca0802\
         2f62",
    ];
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let (mut roots, mut input) = (Roots::default(), Input::default());
    for hex in pinned {
        restore(SESSIONS, &bytes(hex), 1, &mut roots, &mut input, &mut Folds::default()).unwrap();
    }
    let key = UserKey::from_bytes([0x11; 16]).unwrap();
    let at = |micros| EventTime::from_micros(micros).unwrap();
    let [(of, plain), (_, full)] = &roots.sessions[..] else { panic!("two sessions: {:?}", roots.sessions) };
    assert_eq!((*of, plain.start, plain.end, plain.events), (key, at(1_000_000), at(2_000_000), 2));
    assert_eq!((plain.first, plain.last), (SignatureId(5), SignatureId(5)));
    assert_eq!((plain.counts().collect::<Vec<_>>(), plain.details()), (vec![(SignatureId(5), 2)], None));
    assert_eq!((full.start, full.end, full.events), (at(4_000_000), at(9_000_000), 3));
    assert_eq!((full.first, full.last), (SignatureId(6), SignatureId(5)));
    assert_eq!(full.counts().collect::<Vec<_>>(), [(SignatureId(5), 1), (SignatureId(6), 2)]);
    let details = full.details().unwrap();
    assert_eq!(*details.sums, [Measure { sum: Decimal::from_millionths(-1_500_000), numbers: 2, others: 1 }]);
    let carried = Carried { entry: (at(4_000_000), "/a".into()), exit: (at(9_000_000), "/b".into()) };
    assert_eq!(*details.carried, [None, Some(carried)]);
    let sessions = roots.sessions.into_iter().map(|row| (row, 1)).collect();
    let rows = Dirty { sessions, ..Dirty::default() }.rows();
    let hex: Vec<String> = rows[SESSIONS].iter().map(|(row, _)| crate::fingerprint::hex(row)).collect();
    assert_eq!(hex, pinned);
}

/// As the other rows: a step event.
#[test]
fn the_encoding_of_step_events_is_pinned() {
    let folds = Folds { sequences: vec![[0x33; 16], [0x22; 16]], ..Folds::default() };
    let by = Some(Arc::new(vec![Some("DE".into()), None]));
    let event = StepEvent::new(EventTime::from_micros(1_000_000).unwrap(), 3, 4, 300, by);
    let track = Track { key: UserKey::from_bytes([0x11; 16]).unwrap(), sequence: 1 };
    let step = ((track, event), 2);
    let row = [&[0x11; 16][..], &[0x22; 16], b"\x80\x89\x7a\x00\x03\x04\xac\x02\x01\x02\x01\x02DE\x00"].concat();
    assert_eq!(folds.step_rows(vec![step.clone()]), [(row.clone(), 2)]);
    let mut roots = Roots::default();
    let mut folds = folds;
    restore(STEPS, &row, 2, &mut roots, &mut Input::default(), &mut folds).unwrap();
    assert_eq!(roots.steps, [step]);
    let unknown = [&row[..16], &[0x44; 16], &row[32..]].concat();
    assert_eq!(restore(STEPS, &unknown, 2, &mut roots, &mut Input::default(), &mut folds), None);
}

/// As the other rows: a link.
#[test]
fn the_encoding_of_links_is_pinned() {
    let alias = |kind, text: &str| Alias { kind, text: text.into() };
    let link = Link::new(alias(1, "ann"), alias(0, "c7")).unwrap();
    let row = (link, EventTime::from_micros(1_000_000).unwrap());
    let rows = Dirty { links: vec![(row.clone(), 1)], ..Dirty::default() }.rows();
    let bytes = &rows[LINKS][0].0;
    assert_eq!(crate::fingerprint::hex(&bytes[16..]), "000263370103616e6e80897a");
    let mut roots = Roots::default();
    restore(LINKS, bytes, 1, &mut roots, &mut Input::default(), &mut Folds::default()).unwrap();
    assert_eq!(roots.links, [row]);
    // One that comes and goes between two snapshots is of none.
    let row = roots.links.remove(0);
    let both = Dirty { links: vec![(row.clone(), 1), (row, -1)], ..Dirty::default() };
    assert_eq!(both.rows().get(LINKS), None);
}

/// As the other rows: an entity of a state, with an aggregate of each kind.
#[test]
fn the_encoding_of_entities_is_pinned() {
    let folds = [
        Fold::Count,
        Fold::Sum,
        Fold::First,
        Fold::Last,
        Fold::Min,
        Fold::Max,
        Fold::Values { cap: 9 },
        Fold::Decay { half_life: 1_000_000 },
    ];
    let aggregates = folds.into_iter().map(|fold| Aggregate { fold, window: None }).collect();
    let definition = Arc::new(Definition { aggregates, columns: Vec::new() });
    let mut states = Folds {
        known: vec![(Some([0x22; 16]), definition)],
        sequences: Vec::new(),
        counts: Vec::new(),
        gone: Vec::new(),
    };
    let cells: &[u8] = b"\x02\x08\x00\x01\x00\x02\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\
                         \x06\x01\x00\x05\x01a\x02\x00\x07\x01\x02\x03";
    let row = |id: u8| [&[0x11; 16][..], &[id; 16], cells].concat();
    let mut roots = Roots::default();
    for id in [0x22, 0x33] {
        restore(ENTITIES, &row(id), 1, &mut roots, &mut Input::default(), &mut states).unwrap();
    }
    let (number, entity, state) = roots.entities.pop().unwrap();
    assert_eq!((number, entity, roots.entities.len()), (0, UserKey::from_bytes([0x11; 16]).unwrap(), 0));
    assert_eq!(states.rows(vec![vec![((entity, state), 1)]]), [(row(0x22), 1)]);
    assert_eq!(states.gone, [(row(0x33), -1)], "of a state that is no longer there");
}
