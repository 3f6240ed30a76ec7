//! `headwater explain`: shows how one event is read, and the reason for its class.

use crate::collections::shapes;
use crate::error::Error;
use crate::plan::{Plan, SourceKind};
use crate::replay::facts;
use crate::text::{BOLD, COLUMNS, DIM, Text, printable, rfc3339, wrap};
use dataflows::classify::{Definitions, Layer, Why};
use dataflows::facts::{Facts, Labels};
use dataflows::learn::{Learning, ONE};
use dataflows::leaves::Leaves;
use dataflows::rules::UNCLASSIFIED;
use dataflows::{Descriptor, NoTime, Position, Sessionless, ShapeId, UserKey, ValueKind};
use headwater_decode::detect::{Opened, Refused};
use headwater_decode::fault::Fault;
use headwater_decode::interpret::{Chosen, Interpreter, Range, Role};
use headwater_decode::path::Path;
use headwater_decode::reading::{Reading, Value};
use headwater_decode::spec::Format;
use headwater_decode::{Block, Decoder, Harvest, Read, detect};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::sync::Arc;

/// Explains every event in `bytes` (an event of the named source, or of the only one) in words, with styles for a terminal
/// if `color` says so. `learned`: what other events have taught, if that is known.
pub fn explain(
    plan: &Arc<Plan>,
    source: Option<&str>,
    bytes: &[u8],
    learned: Option<Learned>,
    color: bool,
) -> Result<String, Error> {
    let names = || plan.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
    let index = match source {
        Some(name) => plan.sources.iter().position(|source| source.name == name),
        None => (plan.sources.len() == 1).then_some(0),
    };
    let wrong = |message: &str, help: &str| Error::usage(message, help);
    let which = || format!("--source with one of: {}", names());
    let index = index.ok_or_else(|| wrong("it is not clear which source the event is of", &which()))?;
    let source = &plan.sources[index];
    let configured = match source.kind {
        // Whatever is posted is read as JSON.
        SourceKind::Http => Some(Format::Json),
        SourceKind::Kafka | SourceKind::File { .. } => source.format,
    };
    let opened = detect::open(bytes, configured, &source.syntax, source.events.limits.event_bytes, true);
    let opened = opened.map_err(|refused| {
        let help = match refused {
            Refused::Unknown(Some(advice)) => advice,
            _ => "set `format` in its [[source]]".into(),
        };
        wrong("cannot tell the format of the event", &help)
    })?;
    let Opened { format, framing, header, start: offset, .. } = opened;
    let body = &bytes[offset..];
    let position = Position { source: index as u16, part: 0, offset: offset as u64 };
    let block = Block { position, format, framing, header: header.as_ref(), received: None, bytes: body };
    let definitions = Definitions::new(plan.rules.clone(), &BTreeSet::new());
    let mut sheets = Sheets { plan, definitions, learned, leaves: BTreeMap::new(), color, done: Vec::new() };
    Decoder::new(plan.spec(), Range::default()).read(&block, &mut sheets);
    if sheets.done.is_empty() {
        return Err(wrong(
            "there is no event in the input",
            "give one JSON object, a log line, or a CSV header and rows",
        ));
    }
    Ok(sheets.done.join("\n"))
}

/// One for each event, printed.
struct Sheets<'p> {
    plan: &'p Plan,
    definitions: Definitions,
    learned: Option<Learned>,
    /// A reader says those of a shape once.
    leaves: BTreeMap<ShapeId, Arc<Leaves>>,
    color: bool,
    done: Vec<String>,
}

impl Harvest for Sheets<'_> {
    type Mark = usize;

    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]) {
        let title = format!("event at byte {}, {} bytes", position.offset, payload.len());
        let mut sheet = Sheet { title, rows: Vec::new() };
        match read {
            Ok(reading) => self.reading(interpreter, reading, &mut sheet),
            Err(Fault { reason, message }) => sheet.add("dead letter", reason.code(), &message),
        }
        self.done.push(sheet.render(self.color));
    }

    fn mark(&self) -> usize {
        self.done.len()
    }

    fn back_to(&mut self, mark: usize) {
        self.done.truncate(mark);
    }
}

impl Sheets<'_> {
    fn reading(&mut self, interpreter: &mut Interpreter, reading: &Reading, sheet: &mut Sheet) {
        let Sheets { plan, definitions, learned, leaves, .. } = self;
        event(plan, interpreter, reading, definitions, sheet, |descriptor, sheet| {
            if let Some(own) = &reading.leaves {
                leaves.insert(descriptor.shape, Arc::clone(own));
            }
            match learned {
                Some(learned) => {
                    let none = Arc::default();
                    learned.tell(descriptor, leaves.get(&descriptor.shape).unwrap_or(&none), sheet);
                }
                None if plan.learn => {
                    sheet.add(
                        "class",
                        UNCLASSIFIED,
                        "by rules and type; --learned says which one it learns from others",
                    );
                }
                None => sheet.add("class", UNCLASSIFIED, "there is no type and no rule claims it"),
            }
        });
    }
}

/// Adds what is known of an event. `unclaimed` adds the class of one that no rule and no type gives one.
fn event(
    plan: &Plan,
    interpreter: &mut Interpreter,
    reading: &Reading,
    definitions: &Definitions,
    sheet: &mut Sheet,
    unclaimed: impl FnOnce(&Descriptor, &mut Sheet),
) {
    let chosen = interpreter.choose(reading);
    let has_ids = !interpreter.events().id.is_empty();
    let [user, _, kind, _] = Role::ALL.map(|role| {
        let mut joined = String::new();
        let value = chosen[role as usize].map(|one| interpreter.text(reading, role, one, &mut joined));
        match (value, chosen[role as usize]) {
            (Some(value), Some(one)) => {
                let paths: Vec<_> = interpreter.parts(role, one).map(Path::to_string).collect();
                let from = format!("from {}", paths.join(" + "));
                match role {
                    Role::Time => sheet.add(
                        role.name(),
                        &read_time(interpreter, reading, one),
                        &format!("{from} = {}", value.text),
                    ),
                    _ => sheet.add(role.name(), value.text, &from),
                }
            }
            _ if role == Role::Id && !has_ids => sheet.add(role.name(), "-", "not configured"),
            _ => sheet.add(role.name(), "-", "none of the candidate paths is present"),
        }
        value.map(|value| value.text.to_owned())
    });
    for (index, field) in plan.fields.iter().enumerate() {
        match interpreter.field(reading, index) {
            Some(slot) => {
                let values: Vec<_> = reading.all(slot).map(|value| value.text).collect();
                sheet.add(&field.name, &values.join(", "), &format!("from {}", interpreter.paths().path(slot)));
            }
            None if interpreter.exists(reading, index) => {
                sheet.add(&field.name, "-", "exists, as an object or an array, which has no value of its own");
            }
            None => sheet.add(&field.name, "-", "none of its paths is present"),
        }
    }
    if interpreter.texts_cut() > 0 {
        sheet.add("note", "cut", "a user or a type has more than 1 KiB: it ends in a digest of the whole");
    }
    if reading.ambiguous {
        sheet.add("note", "ambiguous", "a path is there both as a dotted key and nested: the nested one counts");
    }
    let kind = kind.as_deref().map(|text| Value { kind: ValueKind::String, text });
    let descriptor = interpreter.descriptor(reading, kind);
    sheet.add("shape", &descriptor.shape.to_string(), "");
    sheet.add("signature", &interpreter.signature_id(reading, kind).to_string(), "");
    let (class, why) = definitions.classify(&descriptor);
    let is_apart = matches!(why, Why::Rule(rule) if !rule.sessions);
    match why {
        Why::Rule(rule) => {
            let why = format!("by rule {} of {}, priority {}", rule.order + 1, plan.rules.len(), rule.priority);
            sheet.add("class", class, &why);
        }
        Why::Kind => sheet.add("class", class, "the type, as no rule claims it"),
        Why::Overflow => sheet.add("class", class, "one type too many"),
        Why::Nothing => unclaimed(&descriptor, sheet),
    }
    let user = user.map(|user| UserKey::of(&user));
    let time = interpreter.time(reading, chosen[Role::Time as usize]);
    let time = time.and_then(|time| if is_apart { Err(NoTime::Apart(time)) } else { Ok(time) });
    let session = match (user, time) {
        (Some(user), Ok(_)) => return sheet.add("session", "yes", &format!("of user key {user:?}")),
        (None, _) => Sessionless::NoUser,
        (_, Err(NoTime::Absent)) => Sessionless::NoTime,
        (_, Err(NoTime::Unreadable)) => Sessionless::UnreadableTime,
        (_, Err(NoTime::Apart(_))) => Sessionless::Apart,
    };
    sheet.add("session", "no", &format!("{}: it counts by class, but belongs to no session", session.code()));
}

/// What the events of a configuration have taught.
pub struct Learned {
    labels: Labels,
    facts: Facts,
}

impl Learned {
    /// Reads all sources of the plan, or its landing, as a replay does. `None`: it learns no classes.
    ///
    /// # Errors
    /// As a replay.
    pub fn of(plan: &Plan, landing: bool) -> Result<Option<Learned>, Error> {
        if !plan.learn {
            return Ok(None);
        }
        let facts = facts::read(plan, landing, |_| (), |(), _| ())?.seen.facts;
        Ok(Some(Learned { labels: facts.under(&plan.rules, Some(Learning::default())), facts }))
    }

    /// Adds the class, and what it follows from.
    fn tell(&mut self, descriptor: &Descriptor, leaves: &Leaves, sheet: &mut Sheet) {
        let learning = Learning::default();
        let Some(guess) = self.labels.guess(descriptor, leaves) else {
            return sheet.add("class", UNCLASSIFIED, "no other event has a class: there is nothing to learn from");
        };
        let known = self.labels.of(descriptor.signature()).map(|label| label.layer);
        let class = &*guess.class;
        match known {
            _ if !guess.holds(learning) => {
                let why = format!("learned none: it is most like `{class}`, but not enough");
                sheet.add("class", UNCLASSIFIED, &why);
            }
            Some(layer) if layer != Layer::Learned => {
                sheet.add("class", UNCLASSIFIED, "there are too many shapes, and this one learns nothing");
            }
            _ => {
                sheet.add("class", class, "learned: no rule and no type gives one, and it is like others of this class")
            }
        }
        let bits = |bits: i64| format!("{:.1} bits", bits as f64 / ONE as f64);
        let needs = format!("at least {} are needed", bits(learning.margin));
        match &guess.second {
            Some(second) => {
                sheet.add("margin", &bits(guess.margin), &format!("over `{second}`, the runner-up; {needs}"))
            }
            None => sheet.add("margin", "-", "there is no other class"),
        }
        let support = format!("events of `{class}`, counted in steps; at least {} are needed", learning.support);
        sheet.add("support", &guess.support.to_string(), &support);
        let (common, all) = guess.fit;
        sheet.add(
            "fit",
            &format!("{common} of {all}"),
            "names and answers that it and the nearest shape have in common; half are needed",
        );
        let paths = self.facts.shapes.get(&guess.like).map_or(String::new(), |leaves| shapes::paths(leaves));
        sheet.add("like", &guess.like.to_string(), &format!("the nearest shape of `{class}`: {paths}"));
    }
}

fn read_time(interpreter: &Interpreter, reading: &Reading, chosen: Chosen) -> String {
    interpreter.time(reading, Some(chosen)).map_or("unreadable".into(), rfc3339)
}

/// Rows of name, value and remark, aligned when printed.
struct Sheet {
    title: String,
    rows: Vec<[String; 3]>,
}

/// Values up to this width are aligned.
const VALUE_WIDTH: usize = 40;

impl Sheet {
    fn add(&mut self, name: &str, value: &str, remark: &str) {
        self.rows.push([name, value, remark].map(printable));
    }

    /// Writes the rows within 80 columns. A long value goes on below itself, and so does a remark that has no room.
    fn render(&self, color: bool) -> String {
        let mut text = Text::new(color);
        // Writing into a string does not fail.
        let _ = self.write(&mut text);
        text.out
    }

    fn write(&self, text: &mut Text) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(move |row| row[column].chars().count());
        let name_width = width(0).max().unwrap_or(0);
        let value_width = width(1).filter(|width| *width <= VALUE_WIDTH).max().unwrap_or(0);
        let indent = 2 + name_width + 2;
        let room = COLUMNS.saturating_sub(indent).max(VALUE_WIDTH);
        let (dim, plain) = text.style(DIM);
        let (bold, end) = text.style(BOLD);
        text.heading(&self.title)?;
        for [name, value, remark] in &self.rows {
            let characters: Vec<char> = value.chars().collect();
            let mut lines: Vec<String> = characters.chunks(room).map(|line| line.iter().collect()).collect();
            let last = lines.pop().unwrap_or_default();
            write!(text.out, "  {name:<name_width$}  ")?;
            for line in lines {
                write!(text.out, "{bold}{line}{end}\n{:indent$}", "")?;
            }
            write!(text.out, "{bold}{last}{end}")?;
            let used = last.chars().count();
            let column = used.max(value_width) + 2;
            if remark.is_empty() {
                writeln!(text.out)?;
            } else if column + remark.chars().count() <= room {
                writeln!(text.out, "{:1$}{dim}{remark}{plain}", "", column - used)?;
            } else {
                writeln!(text.out)?;
                for line in wrap(remark, room - 2) {
                    writeln!(text.out, "{:indent$}  {dim}{line}{plain}", "")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_and_remarks_go_on_below() {
        let mut sheet = Sheet { title: "event".into(), rows: Vec::new() };
        sheet.add("user", "ann", "from user_id");
        sheet.add("agent", &"x".repeat(100), &"from agent ".repeat(9));
        let text = sheet.render(false);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(text.starts_with("event\n  user   ann  from user_id\n  agent  xxxx"), "{text}");
        assert_eq!(text.matches('x').count(), 100);
        assert!(sheet.render(true).contains("\x1b[2mfrom user_id\x1b[0m"));
    }
}
