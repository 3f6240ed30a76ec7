//! Decoding: what holds for all formats; each of them has its own tests.

use dataflows::{DeadLetter, UserKey};
use dataflows::{EventTime, Position, Reason};
use headwater::config::{self, Overrides};
use headwater::plan::Plan;
use headwater_decode::framing::{Dialect, Framing};
use headwater_decode::interpret::{self, Interpreter};
use headwater_decode::spec::Format;
use headwater_decode::{Block, Decoder, Harvest, Read};
use interpret::{Batch, BatchMark};
use std::collections::BTreeSet;
use std::sync::Arc;

fn plan(text: &str) -> Arc<Plan> {
    let overrides = Overrides { without_files: true, ..Overrides::default() };
    let text = format!("{text}\nsource = [{{ name = 'a', kind = 'http' }}]");
    Arc::new(config::parse("a.toml", &text, std::path::Path::new("/"), &overrides).unwrap())
}

#[test]
fn a_record_above_the_limit_of_its_source_is_a_dead_letter_with_its_first_bytes_and_the_others_go_on() {
    let plan = plan("events = { max_bytes = 20 }");
    let header: Arc<[u8]> = Arc::from(&b"user,time"[..]);
    let long = "x".repeat(40);
    for (format, framing, large, small) in [
        (Format::Json, Framing::Lines, format!("{{\"user\":\"{long}\"}}"), "{\"user\":\"a\"}"),
        (Format::Json, Framing::JsonValues, format!("{{\"user\":\n\"{long}\"}}"), "{\"user\":\n\"a\"}"),
        (Format::Csv, Framing::Rows(Dialect::default()), format!("{long},1"), "a,1"),
        (Format::Clf, Framing::Lines, format!("- - {long}"), ""),
    ] {
        let bytes = format!("{small}\n{large}\n{small}\n");
        let mut batch = Batch::default();
        let position = Position { source: 0, part: 3, offset: 100 };
        let block = Block { position, format, framing, header: Some(&header), received: None, bytes: bytes.as_bytes() };
        Decoder::new(plan.spec(), interpret::Range::default()).read(&block, &mut batch);
        let expected = DeadLetter {
            position: Position { offset: 100 + small.len() as u64 + 1, ..position },
            reason: Reason::TooLarge,
            message: format!(
                "the record has {} bytes, more than the limit of 20 (`max_bytes` of [events])",
                large.len()
            ),
            payload: large.as_bytes()[..20].to_vec(),
            length: large.len() as u64,
        };
        assert_eq!(batch.dead_letters, [expected], "{framing:?}");
        assert_eq!(batch.input.records.len(), if small.is_empty() { 0 } else { 2 });
    }
}

/// A batch that panics once it has taken an event with these bytes, and leaves everything half done.
struct Fragile {
    batch: Batch,
    poison: &'static [u8],
}

impl Harvest for Fragile {
    type Mark = BatchMark;

    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, at: Position, payload: &[u8]) {
        let fails = read.is_ok() && memchr::memmem::find(payload, self.poison).is_some();
        self.batch.event(interpreter, read, at, payload);
        assert!(!fails, "it is fragile");
    }

    fn finish(&mut self, interpreter: &mut Interpreter) {
        self.batch.finish(interpreter);
    }

    fn mark(&self) -> BatchMark {
        self.batch.mark()
    }

    fn back_to(&mut self, mark: BatchMark) {
        self.batch.back_to(mark);
    }
}

#[test]
fn a_record_that_breaks_the_decoder_is_a_dead_letter_and_all_others_are_as_if_it_were_not_there() {
    let position = Position { source: 0, part: 1, offset: 50 };
    let received = EventTime::from_micros(1_000_000_000_000_000);
    let csv: Arc<[u8]> = Arc::from(&b"user,time,id,poison"[..]);
    let clf = |user: &str| format!("1.2.3.4 - {user} [09/Sep/2001:01:46:40 +0000] \"GET /{user} HTTP/1.1\" 200 1");
    let json = |user: &str| format!("{{\"user\":\"{user}\",\"time\":9000000000,\"id\":\"{user}\"}}");
    let exploded =
        |user: &str| format!("{{\"user\":\"{user}\",\"parts\":[{{\"n\":1}},{{\"n\":2,\"is\":\"{user}\"}}]}}");
    let row = |user: &str| format!("{user},2001-09-09T01:46:40Z,{user},");
    type Make<'m> = &'m dyn Fn(&str) -> String;
    let cases: [(&str, Format, Option<&Arc<[u8]>>, usize, Make<'_>); 5] = [
        ("", Format::Json, None, 1, &json),
        ("events = { id = 'id', dedupe = '1h' }", Format::Json, None, 1, &json),
        ("events = { explode = 'parts' }", Format::Json, None, 2, &exploded),
        ("", Format::Csv, Some(&csv), 1, &row),
        ("", Format::Clf, None, 1, &clf),
    ];
    for (text, format, header, events, make) in cases {
        let plan = plan(text);
        let decoder = || Decoder::new(plan.spec(), interpret::Range::default());
        let lines = |users: &[&str]| users.iter().map(|user| make(user) + "\n").collect::<String>();
        let read = |decoder: &mut Decoder, bytes: &str, poison| {
            let framing = if format == Format::Csv { Framing::Rows(Dialect::default()) } else { Framing::Lines };
            let mut fragile = Fragile { batch: Batch::default(), poison };
            decoder.read(&Block { position, format, framing, header, received, bytes: bytes.as_bytes() }, &mut fragile);
            fragile.batch
        };
        let names = |batch: &Batch| batch.input.names.iter().cloned().collect::<BTreeSet<(UserKey, Arc<str>)>>();
        let kinds = |batch: &Batch| batch.input.signatures.iter().cloned().collect::<BTreeSet<_>>();
        let without_places = |batch: &Batch| {
            let mut records = batch.input.records.clone();
            for record in &mut records {
                record.identity.iter_mut().for_each(|one| one.position = position);
                record.event.details.iter_mut().for_each(|details| details.rank = Default::default());
            }
            records
        };

        let mut decoder_of_poison = decoder();
        let found = read(&mut decoder_of_poison, &lines(&["ann", "bob", "poison", "cy", "ann"]), b"poison");
        let expected = read(&mut decoder(), &lines(&["ann", "bob", "cy", "ann"]), b"poison");
        assert_eq!(found.input.records.len(), 4 * events, "{text} {format:?}");
        assert_eq!(without_places(&found), without_places(&expected));
        assert_eq!((names(&found), kinds(&found)), (names(&expected), kinds(&expected)));
        assert_eq!((found.skewed, found.ambiguous, found.outside), (expected.skewed, 0, 0));
        let payload = make("poison").into_bytes();
        let letter = DeadLetter {
            position: position.behind(lines(&["ann", "bob"]).len()),
            reason: Reason::Poison,
            message: "a defect of the decoder: it is fragile".into(),
            length: payload.len() as u64,
            payload,
        };
        assert_eq!(found.dead_letters, [letter]);

        // What was in the batch before stays, and the decoder goes on.
        let next = lines(&["dan", "ann"]);
        assert_eq!(
            without_places(&read(&mut decoder_of_poison, &next, b"poison")),
            without_places(&read(&mut decoder(), &next, b"poison"))
        );
    }
}

/// `coupon = { exists = false }` claimed an event whose coupon is an object.
#[test]
fn rules_and_explain_agree_on_what_exists() {
    let class = |class: &str, exists: bool| {
        format!("[[class]]\nname = '{class}'\nwhen = {{ coupon = {{ exists = {exists} }} }}\n")
    };
    let fields = "[fields]\ncoupon = ['coupon', 'promo.code']\n[sessions]\ncarry = ['coupon']\n";
    let text = format!("{fields}{}{}", class("with", true), class("without", false));
    let overrides = Overrides { without_files: true, ..Overrides::default() };
    let text = format!("{text}[[source]]\nname = 'a'\nkind = 'http'\n");
    let plan = Arc::new(config::parse("a.toml", &text, std::path::Path::new("/"), &overrides).unwrap());
    for (payload, class, carried) in [
        (r#"{"user":"a","coupon":{"code":"X"}}"#, "with", None),
        (r#"{"user":"a","coupon":["X"]}"#, "with", None),
        (r#"{"user":"a","coupon":{}}"#, "with", None),
        (r#"{"user":"a","coupon":[]}"#, "with", None),
        (r#"{"user":"a","coupon":[],"promo":{"code":"Y"}}"#, "with", Some("Y")),
        (r#"{"user":"a","promo":{"code":[1]}}"#, "with", None),
        (r#"{"user":"a","coupon":"X"}"#, "with", Some("X")),
        (r#"{"user":"a","coupon":null}"#, "without", None),
        (r#"{"user":"a","coupon":""}"#, "without", None),
        (r#"{"user":"a","promo":{}}"#, "without", None),
    ] {
        let mut batch = Batch::default();
        let position = Position { source: 0, part: 0, offset: 0 };
        let (format, framing, bytes) = (Format::Json, Framing::Lines, payload.as_bytes());
        let block = Block { position, format, framing, header: None, received: None, bytes };
        Decoder::new(plan.spec(), interpret::Range::default()).read(&block, &mut batch);
        let descriptor = &batch.input.signatures[0].1;
        let definitions = dataflows::classify::Definitions::new(plan.rules.clone(), &BTreeSet::new());
        assert_eq!(definitions.classify(descriptor).0, class, "{payload}");
        let details = batch.input.records[0].event.details.as_ref().unwrap();
        assert_eq!(details.carried[0].as_deref(), carried, "{payload}");
        let sheet = headwater::inspect::explain::explain(&plan, None, bytes, None, false).unwrap();
        let line = sheet.lines().find(|line| line.trim_start().starts_with("class")).unwrap();
        assert!(line.split_whitespace().nth(1) == Some(class), "{sheet}");
    }
}

/// 280 users with names of 1 MB made a tick that could not be published.
#[test]
fn users_types_and_carried_texts_are_bounded_and_stay_apart() {
    use headwater_decode::longest::LONGEST;
    let plan =
        plan("fields = { page = ['page'] }\nsessions = { carry = ['page'] }\nevents = { user = ['u', ['a', 'b']] }");
    let position = Position { source: 0, part: 0, offset: 0 };
    let long = "é".repeat(150_000);
    let read = |decoder: &mut Decoder, payload: &str, batch: &mut Batch| {
        let (format, framing, bytes) = (Format::Json, Framing::Lines, payload.as_bytes());
        decoder.read(&Block { position, format, framing, header: None, received: None, bytes }, batch);
    };
    let mut decoder = Decoder::new(plan.spec(), interpret::Range::default());
    let mut batch = Batch::default();
    // They differ in their last byte only.
    for last in ["a", "b", "a"] {
        let payload = format!(r#"{{"u":"{long}{last}","type":"{long}{last}","page":"{long}{last}"}}"#);
        read(&mut decoder, &payload, &mut batch);
    }
    assert_eq!(batch.texts_cut, 9);
    let users: Vec<_> = batch.input.records.iter().map(|record| record.event.user).collect();
    assert!(users[0] != users[1] && users[0] == users[2]);
    let signatures: Vec<_> = batch.input.records.iter().map(|record| record.event.signature).collect();
    assert!(signatures[0] != signatures[1] && signatures[0] == signatures[2]);
    let names: BTreeSet<&str> = batch.input.names.iter().map(|(_, name)| &**name).collect();
    let kinds: BTreeSet<&str> = batch.input.signatures.iter().filter_map(|(_, one)| one.kind.as_deref()).collect();
    let carried = batch.input.records.iter().filter_map(|record| record.event.details.as_ref()?.carried[0].as_deref());
    assert_eq!(names, kinds);
    assert_eq!(names, carried.collect());
    assert!(names.len() == 2 && names.iter().all(|name| name.len() <= LONGEST && name.starts_with("éé")));
    assert!(batch.input.names.iter().all(|(key, name)| *key == UserKey::of(name)));

    // What is composed is bounded as a whole, and up to the bound nothing changes.
    let half = "x".repeat(LONGEST / 2);
    for (payload, cut) in [
        (format!(r#"{{"a":"{half}","b":"{}"}}"#, &half[1..]), 0),
        (format!(r#"{{"a":"{half}","b":"{half}"}}"#), 1),
        (format!(r#"{{"u":"{half}{half}","page":"{half}{half}","type":"{half}{half}"}}"#), 0),
        (format!(r#"{{"u":"{half}{half}y"}}"#), 1),
        (format!(r#"{{"page":"{half}{half}y"}}"#), 1),
    ] {
        let mut batch = Batch::default();
        read(&mut decoder, &payload, &mut batch);
        assert_eq!(batch.texts_cut, cut, "{payload}");
        assert!(batch.input.names.iter().all(|(_, name)| name.len() <= LONGEST));
        assert!(cut > 0 || batch.input.names.iter().all(|(_, name)| name.len() == LONGEST));
    }
    let sheet =
        headwater::inspect::explain::explain(&plan, None, format!(r#"{{"u":"{long}"}}"#).as_bytes(), None, false)
            .unwrap();
    assert!(sheet.len() < 5 * LONGEST && sheet.contains("ends in a digest"), "{sheet}");
}
