//! `shapes`: the structures that events have, with their classes.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, same_columns};
use dataflows::classify::{Layer, OVERFLOW};
use dataflows::leaves::{Leaf, Leaves};
use dataflows::shapes::ShapeTotals;
use dataflows::{EventTime, ShapeId, ValueKind};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write;

pub(super) const DEFINITION: Definition = Definition {
    name: "shapes",
    nature: Nature::View,
    key: &["shape"],
    lookup: &["shape"],
    columns: |_| {
        let columns = [
            ("shape", Kind::Text),
            ("class", Kind::Text),
            ("why", Kind::Text),
            ("events", Kind::Integer),
            ("classes", Kind::Classes),
            ("first_hour", Kind::Time),
            ("last_hour", Kind::Time),
            ("paths", Kind::Text),
        ];
        Column::nullable(Column::plain(columns), &["first_hour", "last_hour", "paths"])
    },
    decode,
    same_key: |one, other| same_columns(decode(one), decode(other), 1),
    held: Held::Shapes,
    begins: Begins::WithARecord,
};

/// Bytes of the paths in a row. Each tick that has an event of a shape writes its row.
const MAX_PATHS: usize = 1024;

/// A row in the log.
#[derive(Serialize, Deserialize)]
struct Encoded<'a> {
    shape: &'a str,
    /// Of most events.
    class: &'a str,
    why: &'a str,
    events: u64,
    #[serde(borrow)]
    classes: Vec<(&'a str, u64)>,
    hours: Option<(EventTime, EventTime)>,
    paths: Option<&'a str>,
}

/// `shape`: `None` for the row of all shapes that are not kept apart.
pub fn encode(shape: Option<ShapeId>, totals: &ShapeTotals) -> Vec<u8> {
    with_row(shape, totals, |row| encoded(&row))
}

/// Calls `with` with the values of a row, in the order of the columns.
pub fn with_values<R>(shape: Option<ShapeId>, totals: &ShapeTotals, with: impl FnOnce([Value<'_>; 8]) -> R) -> R {
    with_row(shape, totals, |row| with(values(row)))
}

fn with_row<R>(shape: Option<ShapeId>, totals: &ShapeTotals, with: impl FnOnce(Encoded<'_>) -> R) -> R {
    let id = shape.map(|shape| shape.to_string());
    let paths = totals.leaves.as_deref().map(paths);
    // Of equals, the first by name.
    let most = totals.classes.iter().rev().max_by_key(|class| class.events);
    let why = most.map_or(Cow::Borrowed(""), |most| why(most.layer));
    let mut classes: Vec<(&str, u64)> = Vec::with_capacity(totals.classes.len());
    for class in &totals.classes {
        match classes.last_mut() {
            Some((name, events)) if **name == *class.class => *events += class.events,
            _ => classes.push((&class.class, class.events)),
        }
    }
    with(Encoded {
        shape: id.as_deref().unwrap_or(OVERFLOW),
        class: most.map_or("", |most| &most.class),
        why: &why,
        events: totals.events(),
        classes,
        hours: totals.hours,
        paths: paths.as_deref(),
    })
}

/// Returns what gave a class, as rows say it.
pub fn why(layer: Layer) -> Cow<'static, str> {
    Cow::Borrowed(match layer {
        Layer::Rule(order) => return Cow::Owned(format!("rule {}", u64::from(order) + 1)),
        Layer::Kind => "type",
        Layer::Overflow => "too many types",
        Layer::Nothing => "none",
        Layer::Learned => "learned",
        Layer::Label => "label",
    })
}

/// Returns paths and kinds. A long list ends in how many are left out.
pub(crate) fn paths(leaves: &Leaves) -> String {
    let mut text = String::new();
    for (index, Leaf { path, kind }) in leaves.named.iter().enumerate() {
        if text.len() + path.len() > MAX_PATHS {
            let more = (leaves.named.len() - index) as u64 + leaves.more;
            more_behind(&mut text, more);
            return text;
        }
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing into a string does not fail.
        let _ = write!(text, "{separator}{path} {}", kind_name(*kind));
    }
    more_behind(&mut text, leaves.more);
    text
}

fn more_behind(text: &mut String, more: u64) {
    if more > 0 {
        let _ = write!(text, ", … {more} more");
    }
}

/// Returns the name of a kind in rows.
pub fn kind_name(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Null => "null",
        ValueKind::Bool => "bool",
        ValueKind::Number => "number",
        ValueKind::String => "string",
        ValueKind::EmptyObject => "{}",
        ValueKind::EmptyArray => "[]",
    }
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    Some(Row::new(values(postcard::from_bytes(bytes).ok()?)))
}

fn values(row: Encoded<'_>) -> [Value<'_>; 8] {
    let Encoded { shape, class, why, events, classes, hours, paths } = row;
    let (first, last) = hours.unzip();
    let [shape, class, why] = [shape, class, why].map(Value::Text);
    let [first, last] = [first, last].map(|hour| Value::or_null(hour, Value::Time));
    let (events, classes) = (Value::count(events), Value::Classes(Cow::Owned(classes)));
    [shape, class, why, events, classes, first, last, Value::or_null(paths, Value::Text)]
}
