//! What `GET /v1/labels` says of the classes that people have given, and the queue of what is most worth a label.

use crate::text::{plural, printable, rfc3339};
use dataflows::classify::OVERFLOW;
use dataflows::rules::UNCLASSIFIED;
use dataflows::{EventTime, Tick};
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelReport {
    pub shape: String,
    pub class: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: i64,
    /// Who asked for it; empty if that is not known.
    pub by: String,
}

/// The answer of `GET /v1/labels`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsReport {
    /// By shape.
    pub labels: Vec<LabelReport>,
}

/// The answer to what changes a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelChanged {
    pub shape: String,
    /// `None`: there is none any more.
    pub class: Option<String>,
    /// Whether the request has changed it.
    pub changed: bool,
    /// The tick from which on it holds; `None` if it is not known yet, or nothing has changed.
    pub tick: Option<Tick>,
    /// Sessions with an event that got another class in this tick, and such events.
    pub sessions: Option<u64>,
    pub events: Option<u64>,
}

impl LabelChanged {
    /// Returns the outcome for people.
    pub fn render(&self) -> String {
        let shape = printable(&self.shape);
        let is = match &self.class {
            Some(class) => format!("shape {shape} is `{}`", printable(class)),
            None => format!("shape {shape} has no label"),
        };
        match (self.tick, self.sessions.zip(self.events)) {
            _ if !self.changed => format!("nothing has changed: {is}\n"),
            (Some(tick), Some((sessions, events))) => format!(
                "{is}\n  {} {} and {} {} changed, at tick {tick}\n",
                HumanCount(sessions),
                plural(sessions, "session"),
                HumanCount(events),
                plural(events, "event"),
            ),
            _ => format!("{is}\n  it is stored, and its tick is still computed\n"),
        }
    }
}

impl LabelsReport {
    /// Returns the list for people.
    pub fn render(&self) -> String {
        let line = |LabelReport { shape, class, at_ms, by }: &LabelReport| {
            let at = EventTime::from_micros(at_ms.saturating_mul(1000)).map(rfc3339).unwrap_or_default();
            let by = if by.is_empty() { String::new() } else { format!(" by {}", printable(by)) };
            format!("{}  {}, given{by} at {at}\n", printable(shape), printable(class))
        };
        match self.labels.is_empty() {
            true => "no labels\n".to_owned(),
            false => self.labels.iter().map(line).collect(),
        }
    }
}

/// A shape that is worth a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worth {
    pub shape: String,
    /// Events without a class.
    pub unclassified: u64,
    pub events: u64,
    /// The class of most events, and what gave it.
    pub class: String,
    pub why: String,
    #[serde(default)]
    pub paths: Option<String>,
}

/// A row of `shapes`.
#[derive(Debug, Deserialize)]
pub struct ShapeRow {
    shape: String,
    class: String,
    why: String,
    events: u64,
    classes: BTreeMap<String, u64>,
    paths: Option<String>,
}

/// Returns the first `most` of the shapes that are worth a label. Shapes come first of which most events have no class;
/// shapes with a learned class follow. If a rule or a type gives the class of a shape, it needs no label.
pub fn queue(rows: Vec<ShapeRow>, most: usize) -> Vec<Worth> {
    let worth = |row: ShapeRow| {
        let ShapeRow { shape, class, why, events, classes, paths } = row;
        let of = |class: &str| classes.get(class).copied().unwrap_or(0);
        Worth { unclassified: of(UNCLASSIFIED) + of(OVERFLOW), shape, events, class, why, paths }
    };
    // All shapes that are not kept apart are one row, which is no shape.
    let shapes = rows.into_iter().filter(|row| row.shape != OVERFLOW).map(worth);
    let mut all: Vec<Worth> = shapes.filter(|worth| worth.unclassified > 0 || worth.why == "learned").collect();
    all.sort_by(|one, other| {
        let key = |worth: &Worth| std::cmp::Reverse((worth.unclassified, worth.events));
        key(one).cmp(&key(other)).then_with(|| one.shape.cmp(&other.shape))
    });
    all.truncate(most);
    all
}

impl Worth {
    /// Returns a line for people.
    pub fn render(&self) -> String {
        let Worth { shape, unclassified, events, class, .. } = self;
        let paths = self.paths.as_deref().unwrap_or("its paths are not kept");
        let what = match unclassified {
            0 => format!("{} {}, learned as `{}`", HumanCount(*events), plural(*events, "event"), printable(class)),
            all => format!("{} {} without a class", HumanCount(*all), plural(*all, "event")),
        };
        format!("{}  {what}: {}\n", printable(shape), printable(paths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_without_a_class_are_worth_more_than_learned_ones_and_others_nothing() {
        let row = |shape: &str, why: &str, classes: &[(&str, u64)]| ShapeRow {
            shape: shape.into(),
            class: "c".into(),
            why: why.into(),
            events: classes.iter().map(|(_, events)| events).sum(),
            classes: classes.iter().map(|(class, events)| ((*class).to_owned(), *events)).collect(),
            paths: None,
        };
        let rows = vec![
            row("a", "learned", &[("c", 900)]),
            row("b", "type", &[("c", 9000)]),
            row("c", "none", &[("unclassified", 5)]),
            row("d", "type", &[("c", 50), ("overflow", 7)]),
            row("e", "learned", &[("c", 1000)]),
            row("overflow", "none", &[("unclassified", 5000)]),
            row("f", "none", &[("unclassified", 5)]),
        ];
        let shapes: Vec<String> = queue(rows, 4).into_iter().map(|worth| worth.shape).collect();
        assert_eq!(shapes, ["d", "c", "f", "e"]);
    }
}
