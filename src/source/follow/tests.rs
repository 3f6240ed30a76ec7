//! Files that are written, rotated and truncated on a real disk, polled on a clock that the tests move.

use super::*;
use crate::queue::cursor::FileId;
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_decode::framing::Framing;
use headwater_decode::spec::{EventsPlan, Limits};
use headwater_log::error::LogError;
use std::fs::OpenOptions;
use std::io::Write;
use tempfile::TempDir;

mod rotation;
mod script;

/// A folder, and a follower of what matches `*log*` in it.
struct World {
    folder: TempDir,
    plan: SourcePlan,
    follower: Follower,
    now: Instant,
    /// The durable deliveries: cursors, and records in their order.
    delivered: Vec<(FileCursor, Vec<String>)>,
}

impl World {
    fn new() -> World {
        World::with(true, None, 1 << 20)
    }

    fn with(follow: bool, format: Option<Format>, event_bytes: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path().join("*log*"), follow, format, event_bytes);
        let plan_of_none = SourcePlan { kind: SourceKind::File { follow: true }, ..plan.clone() };
        let follower = Follower::new(SourceNumber(3), &plan_of_none, Vec::new()).unwrap();
        let follower = Follower { follow, ..follower };
        World { folder, plan, follower, now: Instant::now(), delivered: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        fs::write(self.path(to), fs::read(self.path(from)).unwrap()).unwrap();
    }

    fn truncate(&self, name: &str) {
        OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn compress(&self, from: &str, to: &str) {
        let content = fs::read(self.path(from)).unwrap();
        fs::write(self.path(to), gzip(&content)).unwrap();
        self.remove(from);
    }

    /// Polls until there is nothing new; returns what was.
    fn poll(&mut self) -> Vec<String> {
        let before = self.delivered.len();
        loop {
            let delivered = &mut self.delivered;
            let again = self.follower.poll_at(self.now, &mut |delivery| {
                delivered.push(take(delivery));
                Ok(())
            });
            if !again.unwrap() {
                return self.delivered[before..].iter().flat_map(|(_, records)| records.clone()).collect();
            }
        }
    }

    fn later(&mut self, seconds: u64) -> Vec<String> {
        self.now += Duration::from_secs(seconds);
        self.poll()
    }

    /// The process ends, and the last `lost` deliveries are not durable.
    fn crash(&mut self, lost: usize) {
        self.delivered.truncate(self.delivered.len().saturating_sub(lost));
        let cursors = self.delivered.iter().map(|(cursor, _)| Cursor::File(cursor.clone())).collect();
        self.follower = Follower::new(SourceNumber(3), &self.plan, cursors).unwrap();
    }
}

fn take(delivery: &Delivery<'_>) -> (FileCursor, Vec<String>) {
    assert_eq!(delivery.source, SourceNumber(3));
    let records = delivery.framing.records(delivery.events);
    let records = records.map(|(_, record)| String::from_utf8(record.to_vec()).unwrap()).collect();
    let [Cursor::File(cursor)] = delivery.cursors.as_slice() else { panic!("{:?}", delivery.cursors) };
    (cursor.clone(), records)
}

fn plan(path: PathBuf, follow: bool, format: Option<Format>, event_bytes: usize) -> SourcePlan {
    let limits = Limits { event_bytes, ..Limits::default() };
    let events = EventsPlan { max_future: 0, limits, ..EventsPlan::default() };
    SourcePlan {
        name: "logs".into(),
        kind: SourceKind::File { follow },
        paths: vec![path],
        kafka: None,
        format,
        syntax: Arc::default(),
        events,
        is_implied: false,
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Line `index` of the log of `writer`.
fn line(writer: &str, index: usize) -> String {
    format!("{{\"writer\":\"{writer}\",\"index\":{index}}}")
}

fn lines(writer: &str, indexes: std::ops::Range<usize>) -> String {
    indexes.map(|index| line(writer, index) + "\n").collect()
}

fn expected(writer: &str, indexes: std::ops::Range<usize>) -> Vec<String> {
    indexes.map(|index| line(writer, index)).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn whole_records_are_delivered_as_they_come() {
    let mut world = World::new();
    assert_eq!(world.poll(), NONE);
    world.append("log", "{\"a\":1}\n{\"a\":2}\n{\"a\"");
    assert_eq!(world.later(1), ["{\"a\":1}", "{\"a\":2}"]);
    assert_eq!(world.later(100), NONE);
    world.append("log", ":3}\n");
    assert_eq!(world.later(1), ["{\"a\":3}"]);
    assert!(!world.follower.finished());
}

#[test]
fn a_refused_delivery_comes_again_byte_for_byte() {
    for compressed in [false, true] {
        let mut world = World::new();
        let text = lines("a", 0..100_000);
        match compressed {
            true => fs::write(world.path("log.gz"), gzip(text.as_bytes())).unwrap(),
            false => world.append("log", &text),
        }
        let mut refused = None;
        let mut records = Vec::new();
        for attempt in 0.. {
            let again = world.follower.poll_at(world.now, &mut |delivery| {
                if let Some(refused) = refused.take() {
                    assert_eq!(delivery.encode(), refused);
                } else if attempt % 2 == 0 {
                    refused = Some(delivery.encode());
                    return Err(if attempt % 4 == 0 {
                        Refusal::Busy
                    } else {
                        Refusal::Log(LogError::Refused("as the test wants".into()))
                    });
                }
                records.extend(take(delivery).1);
                Ok(())
            });
            if matches!(again, Ok(false)) && attempt % 2 == 1 {
                break;
            }
        }
        assert_eq!(records, expected("a", 0..100_000));
    }
}

#[test]
fn without_follow_everything_is_read_to_its_end_once() {
    let mut world = World::with(false, None, 1 << 20);
    world.append("log.1", &lines("a", 0..2));
    world.append("log.1", &line("a", 2));
    fs::write(world.path("log.2"), gzip(line("b", 0).as_bytes())).unwrap();
    world.append("log.3", "");
    world.append("log.4", "\n\n");
    assert!(!world.follower.finished());
    assert_eq!(world.poll(), [expected("a", 0..3), expected("b", 0..1)].concat());
    assert!(world.follower.finished());
    world.append("log.5", &lines("c", 0..1));
    world.append("log.4", &lines("d", 0..1));
    assert_eq!(world.later(10), NONE);
    assert!(world.follower.finished());
    world.crash(1);
    assert_eq!(world.poll(), [expected("b", 0..1), expected("d", 0..1), expected("c", 0..1)].concat());
    assert!(world.follower.finished());
}

#[test]
fn patterns_are_checked_at_the_start() {
    let open =
        |path: &str, follow| Follower::new(SourceNumber(0), &plan(path.into(), follow, None, 1 << 20), Vec::new());
    assert!(matches!(open("[", true), Err(SourceError::Pattern { .. })));
    assert!(open("/nowhere/*.log", true).is_ok());
    assert!(matches!(open("/nowhere/*.log", false), Err(SourceError::NoMatch { .. })));
    let large = Follower::new(SourceNumber(0), &plan("log".into(), true, None, 1 << 24), Vec::new());
    assert!(matches!(large, Err(SourceError::LargeRecords { .. })));
}

#[test]
fn a_record_that_is_too_large_is_delivered_up_to_the_limit() {
    let huge = |length: usize| format!("{{\"huge\":\"{}\"}}", "x".repeat(length));
    for compressed in [false, true] {
        let mut world = World::with(true, Some(Format::Json), 40);
        let name = if compressed { "log.gz" } else { "log" };
        let text = format!("{}{}\n{}", lines("a", 0..2), huge(3 << 20), lines("a", 2..3));
        match compressed {
            true => fs::write(world.path(name), gzip(text.as_bytes())).unwrap(),
            false => world.append(name, &text),
        }
        let cut = huge(100)[..41].to_string();
        assert_eq!(world.poll(), [expected("a", 0..2), vec![cut.clone()], expected("a", 2..3)].concat());
        world.crash(1);
        assert_eq!(world.poll(), expected("a", 2..3));
        if !compressed {
            // Cut between polls, and by a restart.
            world.append("log", &huge(100)[..50]);
            assert_eq!(world.later(1), NONE);
            world.append("log", &huge(100)[50..80]);
            assert_eq!(world.later(1), NONE);
            world.crash(0);
            world.append("log", &format!("{}\n{}", &huge(100)[80..], lines("a", 3..4)));
            assert_eq!(world.later(1), [vec![cut], expected("a", 3..4)].concat());
        }
    }
}

#[test]
fn rows_come_with_their_header_and_quoted_line_ends_do_not_cut() {
    let mut world = World::new();
    world.append("log.csv", "\u{feff}\r\nuser,ti");
    assert_eq!(world.later(1), NONE);
    world.append("log.csv", "me\r\nu1,1\r\nu2,\"2\n");
    let mut headers = Vec::new();
    let mut rows = Vec::new();
    for text in ["", "3\"\r\nu3,4\r\n"] {
        world.append("log.csv", text);
        world.now += Duration::from_secs(1);
        world
            .follower
            .poll_at(world.now, &mut |delivery| {
                assert_eq!(delivery.format, Format::Csv);
                assert!(matches!(delivery.framing, Framing::Rows(dialect) if dialect.fields == 2));
                headers.push(delivery.header.unwrap().to_vec());
                rows.push(take(delivery).1);
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(headers, [b"user,time", b"user,time"]);
    assert_eq!(rows, [vec!["u1,1"], vec!["u2,\"2\n3\"", "u3,4"]]);
}

#[test]
fn what_a_file_is_waits_until_that_can_be_told() {
    let mut world = World::new();
    world.append("log", "{\n");
    assert_eq!(world.poll(), NONE);
    world.append("log", "\"a\":1}\n{\n\"a\":");
    assert_eq!(world.later(1), ["{\n\"a\":1}"]);
    world.append("log.2", "restarted, at last\n");
    assert_eq!(world.later(1), NONE);
    world.append("log.2", &lines("a", 0..3));
    assert_eq!(world.later(1)[1..], expected("a", 0..3));
}

#[test]
fn compression_that_breaks_off_is_told_when_nothing_changes_any_more() {
    let mut world = World::new();
    let stored = gzip(lines("a", 0..5000).as_bytes());
    fs::write(world.path("log.gz"), &stored[..20]).unwrap();
    assert_eq!(world.poll(), NONE);
    fs::write(world.path("log.gz"), &stored[..stored.len() / 2]).unwrap();
    let mut found = world.later(1);
    assert!(found.iter().zip(0..).all(|(record, index)| *record == line("a", index)));
    fs::write(world.path("log.gz"), &stored).unwrap();
    found.extend(world.later(1));
    assert_eq!(found, expected("a", 0..5000));

    fs::write(world.path("log.2.gz"), &gzip(lines("b", 0..5000).as_bytes())[..stored.len() / 2]).unwrap();
    let mut found = world.later(1);
    let whole = found.len();
    found.extend(world.later(6));
    assert!(whole > 0 && found.len() == whole + 1);
    assert!(found[..whole].iter().zip(0..).all(|(record, index)| *record == line("b", index)));
    assert_eq!(world.later(6), NONE);
}

#[test]
fn many_files_need_few_handles_and_are_read_once() {
    let mut world = World::new();
    for index in 0..2000 {
        world.append(&format!("log.{index:04}"), &lines(&index.to_string(), 0..1));
    }
    assert_eq!(world.poll().len(), 2000);
    world.later(1);
    assert_eq!(world.follower.files.values().filter(|file| file.handle.is_some()).count(), HANDLES);
    assert!(world.follower.files.values().all(|file| !file.is_due(world.now)));
    world.append("log.0001", &lines("1", 1..2));
    assert_eq!(world.later(1), expected("1", 1..2));
    world.crash(0);
    world.append("log.0001", &lines("1", 2..3));
    assert_eq!(world.later(1), expected("1", 2..3));
}

#[test]
fn a_poll_is_bounded() {
    let text = lines("a", 0..600_000);
    for name in ["log", "log.gz"] {
        let mut world = World::new();
        match name {
            "log" => world.append(name, &text),
            _ => fs::write(world.path(name), gzip(text.as_bytes())).unwrap(),
        }
        let mut records = Vec::new();
        for poll in 0.. {
            let mut bytes = 0;
            let again = world.follower.poll_at(world.now, &mut |delivery| {
                assert!(delivery.events.len() <= 1 << 20);
                bytes += delivery.events.len();
                records.extend(take(delivery).1);
                Ok(())
            });
            assert!(bytes < 10 << 20);
            if !again.unwrap() {
                assert!(poll > 1);
                break;
            }
        }
        assert_eq!(records, expected("a", 0..600_000));
    }
}

/// A sparse file of 8 GiB without a line end was read for 29 seconds, before what came into other files was.
#[test]
fn a_large_hole_does_not_keep_other_files_waiting() {
    const LIMIT: usize = 1 << 16;
    const SPARSE: u64 = 16 * TURN_BYTES as u64;
    let mut world = World::with(true, None, LIMIT);
    world.append("log.1", &lines("a", 0..3));
    assert_eq!(world.poll(), expected("a", 0..3));
    OpenOptions::new().write(true).open(world.path("log.1")).unwrap().set_len(SPARSE).unwrap();
    // Polls until another file's line has come; how many it took.
    let comes = |world: &mut World, index: usize| {
        world.append("log.2", &lines("b", index..index + 1));
        world.now += Duration::from_secs(1);
        let mut found = Vec::new();
        for polls in 1.. {
            let again = world.follower.poll_at(world.now, &mut |delivery| {
                found.extend(take(delivery).1);
                Ok(())
            });
            if !found.is_empty() {
                assert_eq!(found, expected("b", index..index + 1));
                return polls;
            }
            assert!(again.unwrap(), "it is left out");
        }
        unreachable!("there is no last number")
    };
    for index in 0..3 {
        let polls = comes(&mut world, index);
        assert!(polls <= TURN_BYTES / POLL_BYTES + 2, "{polls} polls");
    }
    assert_eq!(world.poll(), NONE);
    let piece = &world.follower.piece;
    assert!(piece.window().len() + piece.new_bytes().len() <= 2 << 20);
    // What a truncation left is padding, and what follows it is read.
    world.append("log.1", &lines("a", 3..4));
    assert_eq!(world.later(1), expected("a", 3..4));
    assert!(world.follower.turns.is_empty());
}

#[test]
fn one_file_that_cannot_be_read_does_not_hold_up_the_others() {
    let mut world = World::new();
    world.append("log.1", "no known format\nwhatever it is\n");
    world.append("log.2", &lines("a", 0..1));
    std::os::unix::fs::symlink("nowhere", world.path("log.3")).unwrap();
    fs::create_dir(world.path("log.4")).unwrap();
    assert_eq!(world.later(10), expected("a", 0..1));
    assert_eq!(world.later(10), NONE);
    assert_eq!(world.follower.told.len(), 1);
    world.append("log.1", &lines("b", 0..9));
    assert_eq!(world.later(1)[2..], expected("b", 0..9));
    assert_eq!(world.follower.told.len(), 0);
}

/// A writer that does not append goes on where it was, behind NUL bytes in place of what was truncated.
#[test]
fn nul_bytes_that_a_truncation_left_are_passed() {
    for hole in [100, 5000, 3 << 20] {
        let mut world = World::new();
        world.append("log", &lines("a", 0..40));
        assert_eq!(world.later(1), expected("a", 0..40));
        world.copy("log", "log.1");
        world.truncate("log");
        assert_eq!(world.later(1), NONE);
        world.append("log", &("\0".repeat(hole) + &lines("a", 40..60)));
        assert_eq!([world.later(1), world.later(1)].concat(), expected("a", 40..60), "{hole}");
        // A crash leaves them too, perhaps behind half a record.
        world.append("log", &format!("{}{}{}", "{\"half\"", "\0".repeat(hole), lines("a", 60..61)));
        let half = vec!["{\"half\"".to_owned()];
        assert_eq!([world.later(1), world.later(1)].concat(), [half, expected("a", 60..61)].concat(), "{hole}");
        let delivered: usize = world.delivered.iter().map(|(_, records)| records.len()).sum();
        assert_eq!(delivered, 62);
    }
}

#[test]
fn a_quote_that_is_lost_keeps_no_row_waiting_for_long() {
    let mut world = World::new();
    world.append("log.csv", "user,time,event\nu1,1,\"a\n");
    let row = |index: usize| format!("u2,{index},b\n");
    world.append("log.csv", &(0..40).map(row).collect::<String>());
    assert_eq!(world.later(1).len(), 41);
}

/// The fields hold that were named last, also after a restart.
#[test]
fn a_w3c_log_may_name_other_fields_on_its_way() {
    let fields = |names: &str| format!("#Fields: {names}\n");
    let mut world = World::new();
    let mut headers = Vec::new();
    let mut poll = |world: &mut World| {
        world.now += Duration::from_secs(1);
        let (follower, delivered) = (&mut world.follower, &mut world.delivered);
        let again = follower.poll_at(world.now, &mut |delivery| {
            headers.push(String::from_utf8(delivery.header.unwrap().to_vec()).unwrap());
            delivered.push(take(delivery));
            Ok(())
        });
        again.unwrap();
        std::mem::take(&mut headers)
    };
    world.append("log", &format!("{}1 a\n2 b\n{}3 c d\n", fields("x y"), fields("x y z")));
    assert_eq!(poll(&mut world), ["#Fields: x y", "#Fields: x y z"]);
    world.append("log", "4 e f\n");
    assert_eq!(poll(&mut world), ["#Fields: x y z"]);
    world.crash(0);
    world.append("log", "5 g h\n");
    assert_eq!(poll(&mut world), ["#Fields: x y z"]);
    world.append("log", &format!("6 i j\n{}7 k\n", fields("x y")));
    assert_eq!(poll(&mut world), ["#Fields: x y z", "#Fields: x y"]);
}
