//! Files in, chunks out, through the interface that workers use.

use super::*;
use dataflows::{Position, Reason};
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_decode::detect;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::sync::Mutex;
use tempfile::TempDir;

/// Files of a replay in a folder of their own.
struct Files {
    folder: TempDir,
    parts: Vec<Part>,
}

impl Files {
    fn new() -> Files {
        Files { folder: tempfile::tempdir().unwrap(), parts: Vec::new() }
    }

    fn with(mut self, format: impl Into<Option<Format>>, stored: &[u8]) -> Files {
        let path = self.folder.path().join(format!("part-{}", self.parts.len()));
        fs::write(&path, stored).unwrap();
        self.parts.push(Part {
            source: SourceIndex(7),
            path,
            format: format.into(),
            syntax: Arc::default(),
            member: None,
        });
        self
    }

    fn open(&self, chunking: Chunking) -> Chunks {
        Chunks::open(self.parts.clone(), chunking).unwrap()
    }

    fn read(&self, chunking: Chunking) -> Result<Replay, SourceError> {
        let (chunks, mut chunk, mut replay) = (self.open(chunking), Chunk::default(), Replay::default());
        while chunks.next(Tick::MAX, &mut chunk)? == Next::Chunk {
            replay.take(&chunk);
        }
        replay.capacity = chunk.bytes.capacity();
        let progress = chunks.progress();
        assert_eq!((progress.bytes_read, progress.parts_read), (progress.bytes_total, progress.parts_total));
        Ok(replay)
    }
}

/// The records and dead letters of all chunks.
#[derive(Debug, Default)]
struct Replay {
    records: BTreeMap<(usize, u64), Vec<u8>>,
    headers: BTreeMap<usize, Vec<u8>>,
    dead_letters: Vec<DeadLetter>,
    ticks: Vec<Tick>,
    capacity: usize,
}

impl Replay {
    fn take(&mut self, chunk: &Chunk) {
        assert_eq!(chunk.source, SourceIndex(7));
        for (at, record) in chunk.framing.records(&chunk.bytes) {
            let place = (chunk.part, chunk.offset + at as u64);
            assert!(self.records.insert(place, record.to_vec()).is_none(), "twice: {place:?}");
        }
        if let Some(header) = &chunk.header {
            let known = self.headers.entry(chunk.part).or_insert_with(|| header.to_vec());
            assert_eq!(known[..], header[..]);
        }
        self.dead_letters.extend(chunk.dead_letters.iter().cloned());
        self.ticks.push(chunk.tick);
    }

    fn texts(&self) -> Vec<&str> {
        self.records.values().map(|record| std::str::from_utf8(record).unwrap()).collect()
    }

    fn offsets(&self) -> Vec<u64> {
        self.records.keys().map(|(_, offset)| *offset).collect()
    }

    fn reasons(&self) -> Vec<(Reason, u64, u64)> {
        self.dead_letters.iter().map(|letter| (letter.reason, letter.position.offset, letter.length)).collect()
    }
}

fn chunking(chunk_bytes: usize, event_bytes: usize) -> Chunking {
    Chunking { chunk_bytes, tick_bytes: 64, event_bytes }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

/// One file in every way in which it may be stored; the concatenated ones are cut anywhere.
fn stored(content: &[u8]) -> Vec<Vec<u8>> {
    let (left, right) = content.split_at(content.len() / 3);
    let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc".to_vec();
    vec![
        content.to_vec(),
        gzip(content),
        [gzip(left), gzip(right)].concat(),
        zstd(content),
        [zstd(left), zstd(right)].concat(),
        [skippable, zstd(content)].concat(),
    ]
}

#[test]
fn compression_is_recognised_by_content() {
    let content = b"{\"a\":1}\r\n\r\n{\"a\":2}\n{\"a\":3}";
    for stored in stored(content) {
        let replay = Files::new().with(None, &stored).read(chunking(16, 100)).unwrap();
        assert_eq!(replay.texts(), ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
        assert_eq!(replay.offsets(), [0, 11, 19]);
        assert_eq!(replay.dead_letters, []);
    }
}

#[test]
fn a_byte_order_mark_and_blank_lines_are_skipped_but_counted() {
    let replay = Files::new().with(None, b"\xef\xbb\xbf\r\n {\"a\":1}\n{\"a\":2}\n").read(Chunking::default()).unwrap();
    assert_eq!(replay.texts(), [" {\"a\":1}", "{\"a\":2}"]);
    assert_eq!(replay.offsets(), [5, 14]);
    // However many there are.
    let blank = "\n".repeat(200_000) + "{\"a\":1}";
    let replay = Files::new().with(None, blank.as_bytes()).read(Chunking::default()).unwrap();
    assert_eq!(replay.offsets(), [200_000]);
}

#[test]
fn an_empty_file_has_no_records() {
    let blank = " \r\n\n".repeat(50_000);
    let files = Files::new().with(None, b"").with(None, b"\xef\xbb\xbf").with(Format::Csv, b"").with(None, &gzip(b""));
    let replay = files.with(None, blank.as_bytes()).with(None, b"{}\n").read(Chunking::default()).unwrap();
    assert_eq!(replay.records.keys().collect::<Vec<_>>(), [&(5, 0)]);
    assert_eq!(replay.dead_letters, []);
}

#[test]
fn a_header_is_kept_once_and_handed_with_every_chunk() {
    let table = "\r\nuser,\"time\r\nof\"\r\nu1,1\r\nu2,\"2\n\"\r\n\r\nu3,3";
    for chunk_bytes in [1, 16, 1000] {
        let files = Files::new().with(None, table.as_bytes()).with(Format::Csv, b"a,b").with(Format::Csv, b"c\nd\n");
        let replay = files.read(chunking(chunk_bytes, 100)).unwrap();
        assert_eq!(replay.texts(), ["u1,1", "u2,\"2\n\"", "u3,3", "d"]);
        assert_eq!(replay.headers[&0], b"user,\"time\r\nof\"");
        assert_eq!(replay.headers[&2], b"c");
    }
    let long = "column,".repeat(50_000);
    let replay = Files::new().with(Format::Csv, (long.clone() + "\n1\n").as_bytes()).read(Chunking::default()).unwrap();
    assert_eq!((replay.headers[&0].len(), replay.texts()), (long.len(), vec!["1"]));
    let error = Files::new().with(Format::Csv, long.as_bytes()).read(chunking(16, 100)).unwrap_err();
    assert!(error.to_string().contains("its first row has more than 100 bytes"), "{error}");
}

#[test]
fn a_record_that_is_too_large_is_one_dead_letter() {
    let large = |length: usize| "x".repeat(length);
    let limit = 1000;
    let content =
        [large(5000), large(1000), "a".into(), large(1001), large(300_000), "b".into(), large(1001)].join("\r\n");
    for chunk_bytes in [16, 1000, 4096, 1 << 20] {
        for end in ["", "\r", "\r\n"] {
            let content = content.clone() + end;
            let replay =
                Files::new().with(Format::Json, content.as_bytes()).read(chunking(chunk_bytes, limit)).unwrap();
            assert_eq!(replay.texts(), [&large(1000), "a", "b"], "{chunk_bytes}");
            assert_eq!(replay.offsets(), [5002, 6004, 307_012]);
            let expected = [(0, 5000), (6007, 1001), (7010, 300_000), (307_015, 1001)];
            assert_eq!(replay.reasons(), expected.map(|(offset, length)| (Reason::TooLarge, offset, length)));
            assert!(replay.dead_letters.iter().all(|letter| letter.payload == large(limit).as_bytes()));
            assert!(replay.capacity <= chunk_bytes.max(4 * limit), "{} bytes", replay.capacity);
        }
    }
    let rows = format!("h\n\"{}\n\"\nr\n", large(2000));
    let replay = Files::new().with(Format::Csv, rows.as_bytes()).read(chunking(16, limit)).unwrap();
    assert_eq!((replay.texts(), replay.reasons()), (vec!["\"", "r"], vec![(Reason::TooLarge, 2, 2001)]));
    let values = format!("[ {{\"a\":\n\"{}\"}} ,{{}}]", large(2000));
    let replay = Files::new().with(None, values.as_bytes()).read(chunking(16, limit)).unwrap();
    assert_eq!((replay.texts(), replay.reasons()), (vec!["{}"], vec![(Reason::TooLarge, 2, 2009)]));
    assert_eq!(replay.dead_letters[0].payload, &values.as_bytes()[2..2 + limit]);
}

/// Lines that compress, but not to nothing.
fn lines(count: u64) -> String {
    (0..count)
        .map(|line| format!("{{\"line\":{line},\"hash\":{}}}\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect()
}

#[test]
fn what_comes_before_damage_counts() {
    let content = lines(20_000);
    let broken = |mut stored: Vec<u8>| {
        let middle = stored.len() / 2;
        // Enough to hit a block header of zstd, which has no sums by default.
        stored[middle..].iter_mut().take(100_000).for_each(|byte| *byte = 0xff);
        stored
    };
    let cut = |mut stored: Vec<u8>| {
        stored.truncate(stored.len() / 2);
        stored
    };
    let wrong_sum = |mut stored: Vec<u8>| {
        let last = stored.len() - 8;
        stored[last] ^= 1;
        stored
    };
    let bytes = content.as_bytes();
    for (name, stored, whole) in [
        ("cut gzip", cut(gzip(bytes)), false),
        ("broken gzip", broken(gzip(bytes)), false),
        ("gzip with a wrong sum", wrong_sum(gzip(bytes)), true),
        ("gzip with rubbish behind", [&gzip(bytes)[..], b"rubbish"].concat(), true),
        ("cut zstd", cut(zstd(bytes)), false),
        ("broken zstd", broken(zstd(bytes)), false),
    ] {
        let replays = [16, 1000, 1 << 20].map(|chunk_bytes| {
            let files = Files::new().with(None, &stored).with(None, b"{\"next\":1}\n");
            files.read(Chunking { chunk_bytes, ..Chunking::default() }).unwrap()
        });
        let [replay, others @ ..] = &replays;
        for other in others {
            assert_eq!((&other.records, &other.dead_letters), (&replay.records, &replay.dead_letters), "{name}");
        }
        let [letter] = &replay.dead_letters[..] else { panic!("{name}: {:?}", replay.dead_letters) };
        assert_eq!((letter.reason, letter.position.part, letter.position.source), (Reason::DamagedInput, 0, 7));
        assert!(letter.message.contains("damaged or cut short: "), "{}", letter.message);

        // All that a decoder gives when it is asked for single bytes, but for one block if the damage is inside.
        let mut decoder: Box<dyn Read> = match name.contains("gzip") {
            true => Box::new(flate2::read::MultiGzDecoder::new(&stored[..])),
            false => Box::new(zstd::Decoder::new(&stored[..]).unwrap()),
        };
        let mut expected = Vec::new();
        let mut byte = [0];
        while let Ok(1) = decoder.read(&mut byte) {
            expected.extend(byte);
        }
        let offset = letter.position.offset as usize;
        let lost = if name.starts_with("broken") { 16 << 10 } else { 0 };
        assert!((expected.len().saturating_sub(lost)..=expected.len()).contains(&offset), "{name}: {offset}");
        assert_eq!(whole, offset == content.len(), "{name}");
        assert!(offset > content.len() / 4, "{name}: {offset}");

        // The last line is a record, although it is cut.
        let records = Framing::Lines.records(&expected[..offset]).map(|(at, line)| ((0, at as u64), line.to_vec()));
        let next = ((1, 0), b"{\"next\":1}".to_vec());
        assert!(records.chain([next]).eq(replay.records.clone()), "{name}");
    }
    // Before anything could be recognised.
    let replay = Files::new().with(None, &gzip(b"{}")[..5]).with(None, &gzip(b"{}")).read(Chunking::default()).unwrap();
    assert_eq!((replay.reasons(), replay.texts()), (vec![(Reason::DamagedInput, 0, 0)], vec!["{}"]));
}

#[test]
fn what_cannot_be_read_fails_the_run_for_every_worker() {
    let prose = Files::new().with(None, b"{}\n").with(None, b"some prose\n");
    let chunks = prose.open(Chunking::default());
    let mut chunk = Chunk::default();
    assert_eq!(chunks.next(0, &mut chunk).unwrap(), Next::Chunk);
    for _ in 0..2 {
        let error = chunks.next(0, &mut chunk).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot detect the format of `") && error.contains("part-1`: set `format` "),
            "{error}"
        );
    }

    let files = Files::new().with(None, b"{}\n").with(None, b"{}\n");
    let chunks = files.open(Chunking::default());
    fs::remove_file(&files.parts[1].path).unwrap();
    assert_eq!(chunks.next(0, &mut chunk).unwrap(), Next::Chunk);
    let error = chunks.next(0, &mut chunk).unwrap_err().to_string();
    assert_eq!(error, format!("cannot open `{}`", files.parts[1].path.display()));
    assert!(Chunks::open(files.parts.clone(), Chunking::default()).is_err());

    let folder = Part { path: files.folder.path().to_path_buf(), ..files.parts[0].clone() };
    let chunks = Chunks::open(vec![folder], Chunking::default()).unwrap();
    let error = chunks.next(0, &mut chunk).unwrap_err().to_string();
    assert_eq!(error, format!("cannot read `{}`", files.folder.path().display()));
}

#[test]
fn ticks_follow_the_log_and_not_who_reads_it() {
    let contents = [lines(700), lines(1), lines(1500)];
    let [first, second, third] = contents.each_ref().map(String::as_bytes);
    let files = Files::new().with(None, first).with(None, &gzip(second)).with(None, b"").with(None, &zstd(third));
    let sizes = Chunking { chunk_bytes: 256, tick_bytes: 5000, event_bytes: 200 };
    let alone = files.read(sizes).unwrap();
    assert!(alone.ticks.is_sorted() && alone.ticks[0] == 0);
    let total: usize = contents.iter().map(String::len).sum();
    assert_eq!(*alone.ticks.last().unwrap(), (total as u64 - 1) / 5000);

    let chunks = files.open(sizes);
    let taken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut chunk = Chunk::default();
                loop {
                    let floor = chunks.tick();
                    if chunks.next(Tick::MAX, &mut chunk).unwrap() == Next::End {
                        break;
                    }
                    assert!(chunk.tick >= floor);
                    taken.lock().unwrap().push(chunk.clone());
                }
            });
        }
    });
    let mut taken = taken.into_inner().unwrap();
    taken.sort_by_key(|chunk| (chunk.part, chunk.offset));
    let mut together = Replay::default();
    taken.iter().for_each(|chunk| together.take(chunk));
    assert_eq!((together.ticks, together.records), (alone.ticks, alone.records));
}

#[test]
fn reading_waits_at_the_limit() {
    let content = lines(100);
    let files = Files::new().with(None, content.as_bytes());
    let chunks = files.open(Chunking { chunk_bytes: 256, tick_bytes: 1000, event_bytes: 200 });
    let (mut chunk, mut replay) = (Chunk::default(), Replay::default());
    for limit in 0.. {
        let next = loop {
            match chunks.next(limit, &mut chunk).unwrap() {
                Next::Chunk => assert_eq!(chunk.tick, limit),
                next => break next,
            }
            replay.take(&chunk);
        };
        if next == Next::End {
            break;
        }
        assert_eq!(chunks.tick(), limit + 1);
    }
    assert_eq!(replay.texts(), content.lines().collect::<Vec<_>>());
}

#[test]
fn records_can_be_read_again() {
    let array = "[{\"a\":1},\n {\"a\":[2,\n3]}, {\"a\":4}]";
    let files = Files::new().with(None, lines(1000).as_bytes()).with(None, array.as_bytes());
    let sizes = chunking(256, 200);
    let replay = files.read(sizes).unwrap();
    let position = |part: u32, offset: u64| Position { source: 7, part, offset };
    // At its start and within it, of every third record.
    let wanted: Vec<_> = replay.records.iter().step_by(3).collect();
    let positions = |(place, _): &(&(usize, u64), _)| [0, 3].map(|within| position(place.0 as u32, place.1 + within));
    let positions: Vec<_> = wanted.iter().flat_map(positions).collect();
    let mut found = Vec::new();
    payloads(&files.parts, sizes, &positions, |position, start, record| {
        assert!((start..start + record.len() as u64).contains(&position.offset));
        found.push((position, record.to_vec()));
    })
    .unwrap();
    let expected = wanted.iter().flat_map(|(_, record)| [*record, *record]).cloned();
    assert_eq!(found, positions.iter().copied().zip(expected).collect::<Vec<_>>());

    for offset in [8, 1000] {
        let error = payloads(&files.parts, sizes, &[position(1, offset)], |_, _, _| {}).unwrap_err().to_string();
        assert!(error.contains(&format!("offset {offset} of")) && error.ends_with("the file has changed"), "{error}");
    }
}

/// A file cut between two elements would otherwise look complete.
#[test]
fn an_array_that_is_not_closed_is_reported() {
    for (content, open) in [
        ("[{}\n]", false),
        ("{}\n{\n}\n", false),
        ("[]", false),
        ("[\n{},\n{}\n", true),
        ("[{},\n", true),
        ("[\n", true),
    ] {
        for chunk_bytes in [1, 3, 1000] {
            let replay = Files::new().with(Format::Json, content.as_bytes()).read(chunking(chunk_bytes, 100)).unwrap();
            let expected = if open { vec![(Reason::DamagedInput, content.len() as u64, 0)] } else { vec![] };
            assert_eq!(replay.reasons(), expected, "{content:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Any storage and chunking of a content gives the records and dead letters of the whole content in memory.
    #[test]
    fn chunks_make_no_difference(
        text in "([\\[\\]{},:\" \\\\\n]|\r\n|\"\"|abc|\\{\"a\":1\\}\n|x,\"|\u{1e}|é){0,120}",
        chunk_bytes in 1_usize..64,
        event_bytes in 1_usize..40,
        storage in 0_usize..6,
    ) {
        for (format, start, header) in [(Format::Json, "", 0), (Format::Json, "[{}", 0), (Format::Csv, "h\n", 2)] {
            let content = format!("{start}{text}");
            let head = content.as_bytes();
            let first = head.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(head.len());
            let opened = detect::open(&head[first..], Some(format), &Syntax::default(), event_bytes, true).unwrap();
            let framing = opened.framing;
            let (mut records, mut large) = (BTreeMap::new(), Vec::new());
            let mut at = header;
            while at < head.len() {
                let span = &head[at..at + framing.end(&head[at..], true).unwrap_or(head.len() - at)];
                let start = (at + framing.separators(span)) as u64;
                let length = span.len() - framing.separators(span) - framing.terminator(span);
                // A first line of blanks is skipped, not a record that is too large.
                if length > event_bytes && at + span.len() > first {
                    large.push((Reason::TooLarge, start, length as u64));
                } else if let Some((_, record)) = framing.records(span).next() {
                    records.insert((0, start), record.to_vec());
                }
                at += span.len();
            }
            let replay = Files::new().with(format, &stored(head)[storage]).read(chunking(chunk_bytes, event_bytes)).unwrap();
            prop_assert_eq!(&replay.records, &records, "{:?}", framing);
            let mut letters = replay.reasons();
            // An array that is not closed is reported at the end.
            letters.pop_if(|(reason, offset, _)| (*reason, *offset) == (Reason::DamagedInput, head.len() as u64));
            prop_assert_eq!(&letters, &large, "{:?}", framing);
            prop_assert!(replay.ticks.is_sorted());
        }
    }
}
