//! The bytes of rows.

use super::identities::IdentitySchema;
use super::sequences::SequenceSchema;
use super::sessions::SessionRow;
use super::*;
use crate::fingerprint::hex;
use dataflows::classify::Layer;
use dataflows::close::Closing;
use dataflows::leaves::{Leaf, Leaves};
use dataflows::link::Alias;
use dataflows::sequence::{Activity, ActivityId, Counts, Definition, FunnelKey, Repeat, State, StepEvent, Ties};
use dataflows::sessionize::{Late, Lineage, Moved};
use dataflows::shapes::{ClassTotals, ShapeTotals};
use dataflows::stitch::{Identity, Moved as MovedAlias, Why};
use dataflows::users::UserTotals;
use dataflows::{DeadLetter, Decimal, EventTime, Measure, Position, Reason, ShapeId, SignatureId, UserKey, ValueKind};
use std::sync::Arc;

/// Output logs hold these bytes: they are what version 1 and 2 of blocks mean.
#[test]
fn a_row_of_each_collection_is_pinned() {
    let at = |micros| EventTime::from_micros(micros).unwrap();
    let (user, key) = ("\u{fc}", UserKey::of("\u{fc}"));
    let whole = sessions::encode(&SessionRow {
        key,
        user,
        start: at(1_000_000),
        end: at(2_000_000),
        events: 3,
        classes: &[("a", 1), ("b", 2)],
        first_class: "b",
        last_class: "a",
        sums: &[Measure { sum: Decimal::from_millionths(-1_500_000), numbers: 2, others: 1 }],
        carried: &[(Some("/a"), Some("/b")), (None, None)],
        ended_by: None,
    });
    let closed = Closing { until: at(2_000_000), end: at(2_000_000), user: key, start: at(1_000_000), events: 3 };
    let came = Late { user: key, time: at(1_000_000), signature: SignatureId(5), session: at(-1_000_000) };
    let moved = Lineage { user: key, old: at(2_000_000), new: at(1_000_000), reason: Moved::Merged };
    let of_user = UserTotals { first_seen: at(-1_000_000), last_seen: at(2_000_000), sessions: 3, events: 300 };
    let leaf = |path: &str, kind| Leaf { path: path.to_owned(), kind };
    let leaves = Leaves::of(vec![leaf("b", ValueKind::Number), leaf("a.c", ValueKind::String)]);
    let of_class = |layer, events| ClassTotals { class: "a".into(), layer, events };
    let of_shape = ShapeTotals {
        leaves: Some(Arc::new(leaves)),
        classes: vec![of_class(Layer::Rule(1), 300), of_class(Layer::Kind, 1)],
        hours: Some((at(0), at(3_600_000_000))),
    };
    let letter = DeadLetter {
        position: Position { source: 0, part: 3, offset: 70_000 },
        reason: Reason::NoJson,
        message: "why".into(),
        payload: b"{\"\xff".to_vec(),
        length: 3,
    };
    let rows = [
        (
            Collection::SESSIONS,
            whole,
            "02c3bc80897a8092f40103020161010162020162016101bf8db70102010201022f6101022f620000",
        ),
        (Collection::COUNTS, counts::encode("a", Some(at(3_600_000_000)), 300), "01610180909de91aac02"),
        (Collection::COUNTS, counts::encode("a", None, 1), "01610001"),
        (
            Collection::SHAPES,
            shapes::encode(Some(ShapeId(5)), &of_shape),
            "103030303030303030303030303030303501610672756c652032ad02010161ad02010080909de91a0114612e6320737472696e672c2062206e756d626572",
        ),
        (
            Collection::SHAPES,
            shapes::encode(None, &ShapeTotals { leaves: None, hours: None, ..of_shape }),
            "086f766572666c6f7701610672756c652032ad02010161ad020000",
        ),
        (Collection::USERS, users::encode(user, &of_user), "02c3bcff887a8092f40103ac02"),
        (Collection::CLOSINGS, closings::encode(user, &closed, 2_000_000), "02c3bc80897a8092f4010380ade204"),
        (Collection::LATE, late::encode(user, "a", &came), "02c3bc80897a0161ff887a"),
        (Collection::SESSION_LINEAGE, session_lineage::encode(user, &moved), "02c3bc8092f40180897a066d6572676564"),
        (
            Collection::LABEL_CHANGES,
            label_changes::encode("0a", "0b", ["c", "d"], "rules 3"),
            "023061023062016301640772756c65732033",
        ),
        (
            Collection::DEAD_LETTERS,
            dead_letters::encode("web", &letter),
            "0377656203f0a204076e6f5f6a736f6e03776879037b22ff03",
        ),
    ];
    for (collection, row, pinned) in rows {
        assert_eq!(hex(&row), pinned, "{}", collection.name());
        assert!(collection.decode(&row).is_some(), "{}", collection.name());
    }
}

/// As the other rows: those of sequences, and of a state that is followed.
#[test]
fn a_row_of_a_sequence_and_of_a_state_is_pinned() {
    let at = |micros| EventTime::from_micros(micros).unwrap();
    let definition = Definition::new(9_000_000, &[false, true, false], &[], Repeat::Tight, Ties::Ordered).unwrap();
    let steps = ["cart", "shipping", "buy"].map(String::from).to_vec();
    let by = vec!["country".to_owned()];
    let since = Some(at(7_000_000));
    let sequence = SequenceSchema { name: "checkout".into(), definition: definition.clone(), steps, by, since };
    let breakdown = Some(Arc::new(vec![Some(Arc::from("DE"))]));
    let start = StepEvent::new(at(1_000_000), 1, 0, 300, breakdown.clone());
    // An activity is made by the graph alone: these are its fields.
    let fields = (start, State::Matched, 2_u8, [-1_i64, 2_000_000, -1, -1, -1, -1, -1], 2_000_000_i64);
    let activity: Activity = postcard::from_bytes(&encoded(&fields)).unwrap();
    let key = FunnelKey { sequence: 0, hour: at(3_600_000_000), by: breakdown };
    let mut counts = Counts::default();
    counts.add(&activity, &definition, 3);
    use dataflows::state::Value::{Count, Number, Text};
    let values = [Count(300), Text(Some("/a")), Number(None)];
    // The mark has pins of its own.
    let mark = hex(&encoded(&ActivityId::mark("checkout", &activity.start)));
    let activity_row = format!(
        "08636865636b6f757402c3bc{mark}80897a02020362757901809bee02020362757980897a046361727400010a636f756e7472793d44450180bfd606"
    );
    let rows = [
        (Collection::ACTIVITIES, activities::encode(&sequence, "\u{fc}", &activity), activity_row),
        (Collection::FUNNELS, funnels::encode(&sequence, &key, &counts), "08636865636b6f757480909de91a010a636f756e7472793d4445030362757903046361727403087368697070696e670000000300010103809bee020180bfd606".to_owned()),
        (
            super::state::StateSchema { name: "s".into(), key: "user".into(), columns: Vec::new() }.collection(),
            super::state::encode("\u{fc}", &values, since),
            "050102c3bc02d80401022f61000580bfd606".to_owned(),
        ),
    ];
    for (collection, row, pinned) in rows {
        assert_eq!(hex(&row), pinned, "{}", collection.name());
        assert!(collection.decode(&row).is_some(), "{}", collection.name());
    }
    let shown = |collection: Collection, row: &[u8]| {
        let (schema, mut json) = (Schemas::new(&SessionSchema::default(), true, &[]), Vec::new());
        let schema = schema.of(collection);
        collection.decode(row).unwrap().json(schema, 1..schema.columns.len(), &mut json);
        String::from_utf8(json).unwrap()
    };
    let json = r#"{"sequence":"checkout","key":"ü","start":"1970-01-01T00:00:01Z","state":"matched","reached":2,"step":"buy","ended":"1970-01-01T00:00:03Z","took_us":2000000,"steps":{"buy":2000000,"cart":0},"by":"country=DE","partial_since":"1970-01-01T00:00:07Z"}"#;
    assert_eq!(shown(Collection::ACTIVITIES, &activities::encode(&sequence, "\u{fc}", &activity)), json);
    let json = r#"{"hour":"1970-01-01T01:00:00Z","by":"country=DE","reached":{"buy":3,"cart":3,"shipping":0},"open":0,"expired":0,"matched":3,"broken":0,"took":{"<=10s":3},"took_us":6000000,"partial_since":"1970-01-01T00:00:07Z"}"#;
    assert_eq!(shown(Collection::FUNNELS, &funnels::encode(&sequence, &key, &counts)), json);
}

/// As the other rows: those of identities.
#[test]
fn a_row_of_identities_is_pinned() {
    let alias = |kind, text: &str| Alias { kind, text: text.into() };
    let at = |micros| EventTime::from_micros(micros).unwrap();
    let schema = IdentitySchema { kinds: vec!["cookie".into(), "user".into()], since: Some(at(7_000_000)) };
    let (user, cookie) = (alias(1, "ann"), alias(0, "c"));
    let (first_seen, aliases, links, capped, refused) = (at(1_000_000), 3, 300, 1, 0);
    let row = Identity { alias: user.clone(), of: cookie.clone(), first_seen, aliases, links, capped, refused };
    let moved = MovedAlias { alias: user.clone(), from: user, to: cookie, why: Why::Merged };
    let rows = [
        (
            Collection::IDENTITIES,
            identities::encode(&schema, &row),
            "03616e6e0475736572016306636f6f6b696580897a03ac0201000180bfd606",
            r#"{"kind":"user","identity":"c","identity_kind":"cookie","first_seen":"1970-01-01T00:00:01Z","ids":3,"links":300,"capped":1,"refused":0,"partial_since":"1970-01-01T00:00:07Z"}"#,
        ),
        (
            Collection::IDENTITY_CHANGES,
            identities::encode_change(&schema, &moved),
            "03616e6e047573657203616e6e0475736572016306636f6f6b6965066d6572676564",
            r#"{"kind":"user","old":"ann","old_kind":"user","new":"c","new_kind":"cookie","reason":"merged"}"#,
        ),
    ];
    let schemas = Schemas::new(&SessionSchema::default(), false, &[]).with_identities(true);
    for (collection, row, pinned, shown) in rows {
        assert_eq!(hex(&row), pinned, "{}", collection.name());
        let (schema, mut json) = (schemas.of(collection), Vec::new());
        collection.decode(&row).unwrap().json(schema, 1..schema.columns.len(), &mut json);
        assert_eq!(String::from_utf8(json).unwrap(), shown);
    }
}
