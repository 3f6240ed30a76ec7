//! [`Decoder`]: for any bytes, each record comes to exactly one end, and to the same one however the bytes are cut.
//!
//! The first byte of the input chooses a configuration and a format; the rest is the bytes that a source would hand
//! out.

use dataflows::{DeadLetter, EventTime, Position, Reason, Record, UserKey};
use headwater::config::{self, Overrides};
use headwater::inspect::explain::explain;
use headwater::plan::Plan;
use headwater_decode::framing::Framing;
use headwater_decode::interpret::{Batch, Interpreter, Range};
use headwater_decode::longest::LONGEST;
use headwater_decode::spec::Format;
use headwater_decode::syntax::{Encoding, Syntax};
use headwater_decode::{Block, Decoder, Harvest, Read, detect, events_of};
use std::path::Path;
use std::sync::{Arc, LazyLock};

const CONFIGURATIONS: [&str; 4] = [
    "",
    r#"
        [events]
        user = ["u", ["a", "b[]", "a.c"]]
        time = ["t", "e[].t"]
        type = [["k", "l"], "k2"]
        id = "i"
        join = "é"
        zone = "Europe/Berlin"
        max_bytes = 200
        max_depth = 4
        max_keys = 8
        [fields]
        price = ["p[].q", "p", "bytes"]
        [sessions]
        sum = { total = "price", depth = "a.b" }
        carry = ["price", "agent", "x y"]
        [[class]]
        name = "one"
        priority = 3
        when = { price = { min = 1, max = 1e3 }, k = { in = ["x", 1, true], prefix = "x" } }
        [[class]]
        name = "two"
        when = { u = { exists = false }, "e[].t" = 1.5 }
    "#,
    r#"
        [events]
        user = "s"
        explode = "e"
        max_keys = 8
        id = "aid"
    "#,
    r#"
        [events]
        explode = "a[].e"
        id = ["i", "a[].i"]
        user = [{ path = "u", as = ["trim", "first_of_list", "without_port", "ip"] }, "k[a=b].v", "s{}.u", "host"]
        time_format = "%d/%m/%Y"
        absent = ["x", "0"]
        [fields]
        f = { path = "k", regex = "(a+)b?", map = { a = "c" } }
        [sessions]
        carry = "f"
        [[class]]
        name = "out"
        sessions = false
        when = { f = { contains = ["c", "B"], nocase = true }, "s{}.t" = { not = { matches = "^x" } } }
    "#,
];

static PLANS: LazyLock<Vec<Arc<Plan>>> = LazyLock::new(|| {
    let overrides = Overrides { workers: Some(1), without_files: true, ..Overrides::default() };
    let plan = |text: &&str| Arc::new(config::parse("event.toml", text, Path::new("/"), &overrides).unwrap());
    CONFIGURATIONS.iter().map(plan).collect()
});

const PART: Position = Position { source: 0, part: 2, offset: 1000 };

pub fn check(data: &[u8]) {
    let Some((options, bytes)) = data.split_first() else { return };
    let plan = &PLANS[usize::from(options % 4)];
    let format = Format::ALL[usize::from(options >> 2) % 8 % 6];
    let syntax = Syntax { encoding: Encoding::ALL[usize::from(options >> 5) % 5], ..Syntax::default() };
    let limit = plan.sources[0].events.limits.event_bytes;
    let (framing, header) = match detect::open(bytes, Some(format), &syntax, limit, true) {
        Ok(opened) => (opened.framing, opened.header),
        // Lines of logs whose layout is not known: in one that is.
        Err(_) => (Framing::Lines, Some(Arc::from(&b"$host [$time] \"$request\" $status"[..]))),
    };
    let block = Block { position: PART, format, framing, header: header.as_ref(), received: None, bytes };

    let mut decoder = Decoder::new(plan.spec(), Range::default());
    let mut ends = Ends { bytes, events: Vec::new() };
    decoder.read(&block, &mut ends);
    let events = ends.events;
    one_end_each(plan, &block, &events);

    let whole = decode(&mut Decoder::new(plan.spec(), Range::default()), &block);
    assert_eq!(whole.records.len() + whole.dead_letters.len(), events.len());
    assert_eq!(whole.outside, 0);
    let letters = events.iter().filter_map(|(position, payload, read)| {
        let (reason, message) = read.clone().err()?;
        assert!(!message.is_empty() && reason != Reason::Poison, "{message}");
        let length = payload.len();
        let kept = match reason {
            Reason::TooLarge => plan.sources[0].events.limits.event_bytes,
            _ => length,
        };
        let payload = payload[..kept].to_vec();
        Some(DeadLetter { position: *position, reason, message, payload, length: length as u64 })
    });
    assert_eq!(whole.dead_letters, letters.collect::<Vec<_>>());
    // Once warm, the same again; and cut anywhere, still the same.
    assert_eq!(decode(&mut decoder, &block), whole);
    pieces(plan, &block, &whole);
    range(plan, &block, &whole);

    // In words.
    if let Ok(text) = explain(plan, None, bytes, None, false) {
        assert!(text.contains("event at byte") && !text.contains(['\u{1b}', '\0']));
    }
}

/// The result of a block, without the strings that are sent only once.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    records: Vec<Record>,
    dead_letters: Vec<DeadLetter>,
    ambiguous: u64,
    outside: u64,
    texts_cut: u64,
}

fn decode(decoder: &mut Decoder, block: &Block) -> Decoded {
    let mut batch = Batch::default();
    decoder.read(block, &mut batch);
    assert!(batch.dead_letters.iter().all(|letter| letter.reason != Reason::Poison));
    for (key, name) in &batch.input.names {
        assert!(*key == UserKey::of(name) && !name.is_empty() && name.len() <= LONGEST);
    }
    for kind in batch.input.signatures.iter().filter_map(|(_, descriptor)| descriptor.kind.as_ref()) {
        assert!(!kind.is_empty() && kind.len() <= LONGEST);
    }
    for details in batch.input.records.iter().filter_map(|record| record.event.details.as_ref()) {
        assert!(details.carried.iter().flatten().all(|text| !text.is_empty() && text.len() <= LONGEST));
    }
    for record in &batch.input.records {
        assert!(
            record.event.time.is_ok_and(|time| time >= EventTime::MIN && time <= EventTime::MAX)
                || record.event.time.is_err()
        );
    }
    let Batch { input, dead_letters, ambiguous, outside, texts_cut, .. } = batch;
    Decoded { records: input.records, dead_letters, ambiguous, outside, texts_cut }
}

type Event = (Position, Vec<u8>, Result<(), (Reason, String)>);

/// The end of each event of a block.
struct Ends<'b> {
    bytes: &'b [u8],
    events: Vec<Event>,
}

impl Harvest for Ends<'_> {
    type Mark = usize;

    fn event(&mut self, _: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]) {
        let at = (position.offset - PART.offset) as usize;
        assert_eq!(&self.bytes[at..at + payload.len()], payload);
        self.events.push((position, payload.to_vec(), read.map(|_| ()).map_err(|fault| (fault.reason, fault.message))));
    }

    fn mark(&self) -> usize {
        self.events.len()
    }

    fn back_to(&mut self, mark: usize) {
        self.events.truncate(mark);
    }
}

/// Every record is one event, or holds those that it explodes into.
fn one_end_each(plan: &Plan, block: &Block, events: &[Event]) {
    let mut events = events.iter().peekable();
    for (at, record) in block.framing.records(block.bytes) {
        let start = PART.offset + at as u64;
        let mut found = Vec::new();
        while let Some((position, payload, _)) =
            events.next_if(|(position, ..)| (start..start + record.len() as u64).contains(&position.offset))
        {
            assert_eq!((position.source, position.part), (PART.source, PART.part));
            let offset = (position.offset - start) as usize;
            found.push(offset..offset + payload.len());
        }
        let is_whole = found.len() == 1 && found[0].end == record.len();
        if block.format == Format::Json {
            // A key that is named again may matter to the decoder.
            assert!(is_whole || found == events_of(&plan.sources[0].events, record));
            assert!(found.len() == 1 || plan.sources[0].events.explode.is_some());
        } else {
            let is_skipped = record.first() == Some(&b'#') || block.header.is_some_and(|header| **header == *record);
            assert!(is_whole || found.is_empty() && is_skipped);
        }
    }
    assert!(events.next().is_none());
}

fn pieces(plan: &Arc<Plan>, block: &Block, whole: &Decoded) {
    let mut ends: Vec<usize> = Vec::new();
    let mut left = block.bytes;
    while let Some(end) = block.framing.boundary(left).filter(|_| ends.len() < 8) {
        ends.push(end);
        left = &left[..end - 1];
        if matches!(block.framing, Framing::Rows(_)) {
            // Otherwise each later search would start again over more bytes.
            break;
        }
    }
    let mut decoder = Decoder::new(plan.spec(), Range::default());
    for end in ends {
        let mut sum = Decoded::default();
        for (offset, bytes) in [(0, &block.bytes[..end]), (end, &block.bytes[end..])] {
            let position = Position { offset: PART.offset + offset as u64, ..PART };
            let part = decode(&mut decoder, &Block { position, bytes, ..*block });
            sum.records.extend(part.records);
            sum.dead_letters.extend(part.dead_letters);
            sum.ambiguous += part.ambiguous;
            sum.texts_cut += part.texts_cut;
        }
        assert_eq!(&sum, whole, "cut at {end}");
    }
}

/// A range takes what lies in it, and leaves the rest.
fn range(plan: &Arc<Plan>, block: &Block, whole: &Decoded) {
    let mut times: Vec<EventTime> = whole.records.iter().filter_map(|record| record.event.time.ok()).collect();
    times.sort_unstable();
    let Some(from) = times.get(times.len() / 2).copied() else { return };
    for range in [Range { from: Some(from), to: None }, Range { from: None, to: Some(from) }] {
        let part = decode(&mut Decoder::new(plan.spec(), range), block);
        let within = |time: EventTime| (time >= from) == range.from.is_some();
        let expected = whole.records.iter().filter(|record| record.event.time.is_ok_and(within));
        assert!(part.records.iter().eq(expected));
        assert_eq!(part.records.len() + part.outside as usize, whole.records.len());
        assert_eq!(part.dead_letters, whole.dead_letters);
    }
}
