//! The bytes of rows.

use super::sessions::SessionRow;
use super::*;
use crate::fingerprint::hex;
use dataflows::classify::Layer;
use dataflows::close::Closing;
use dataflows::leaves::{Leaf, Leaves};
use dataflows::sessionize::{Late, Lineage, Moved};
use dataflows::shapes::{ClassTotals, ShapeTotals};
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
