//! A look at the first records of each source: the keys that they have, and the values that could not be read. A replay
//! takes it only if it has something to explain.

use crate::plan::Plan;
use crate::source::{Chunk, Chunking, Chunks, Next, Part, SourceError};
use dataflows::{NoTime, Position};
use headwater_decode::framing::Framing;
use headwater_decode::interpret::{Interpreter, Range, Role};
use headwater_decode::path::Path;
use headwater_decode::spec::{FieldPlan, Format};
use headwater_decode::{Block, Decoder, Harvest, Read, clf, csv};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that are looked at of each source.
const BYTES: usize = 256 << 10;
/// Events that are looked at of each source.
const EVENTS: u64 = 200;
/// Keys that are kept of each source: a record may have any number.
const KEYS: usize = 500;

/// What the first records of a source have.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    pub records: u64,
    /// By path: the values there.
    pub keys: BTreeMap<String, Values>,
    /// Paths of arrays that hold objects.
    pub arrays: BTreeMap<String, u64>,
    /// Values at the time path that are no times: the first of them.
    pub unreadable: BTreeSet<String>,
    /// Events whose time was read.
    pub timed: u64,
    /// The columns of the file at hand, as fields from this one on.
    columns: Vec<String>,
    first_field: usize,
}

/// The values at one path.
#[derive(Clone, Debug, Default)]
pub struct Values {
    pub records: u64,
    /// The first of them.
    pub distinct: BTreeSet<String>,
}

/// Values that are kept of each path.
const DISTINCT: usize = 32;

impl Values {
    /// Returns whether there are values, and all that were kept are as expected.
    pub fn are(&self, expected: impl Fn(&str) -> bool) -> bool {
        !self.distinct.is_empty() && self.distinct.iter().all(|text| expected(text))
    }

    fn add(&mut self, text: &str) {
        self.records += 1;
        if self.distinct.len() < DISTINCT {
            self.distinct.insert(text.chars().take(60).collect());
        }
    }
}

/// Looks at each source of the plan that has a file.
///
/// # Errors
/// As a replay.
pub fn survey(plan: &Plan, parts: &[Part]) -> Result<BTreeMap<u16, Survey>, SourceError> {
    let mut surveys: BTreeMap<u16, Survey> = BTreeMap::new();
    for part in parts {
        let survey = surveys.entry(part.source.0).or_default();
        if survey.records < EVENTS {
            look(plan, part, survey)?;
        }
    }
    Ok(surveys)
}

fn look(plan: &Plan, part: &Part, survey: &mut Survey) -> Result<(), SourceError> {
    if !matches!(part.stored(), Ok(Some(_))) {
        return Ok(());
    }
    let events = &plan.sources[usize::from(part.source.0)].events;
    let event_bytes = events.limits.event_bytes;
    let explode = events.explode.as_ref().map(Path::to_string);
    let chunking = Chunking { chunk_bytes: BYTES, event_bytes, ..Chunking::default() };
    let chunks = Chunks::open(vec![part.clone()], chunking)?;
    let mut chunk = Chunk::default();
    if chunks.next(0, &mut chunk)? != Next::Chunk {
        return Ok(());
    }
    let Chunk { format, framing, header, bytes, .. } = &chunk;
    let mut length = bytes.len();
    if *format == Format::Json {
        for (number, (offset, record)) in framing.records(bytes).enumerate() {
            if number as u64 == EVENTS {
                length = offset;
                break;
            }
            survey.records += 1;
            if let Ok(value) = serde_json::from_slice::<Value>(record) {
                survey.value(&mut Vec::new(), &value, explode.as_deref());
            }
        }
    } else {
        survey.records += framing.records(bytes).take(EVENTS as usize).count() as u64;
        let names: Vec<String> = match (framing, header) {
            (Framing::Rows(dialect), Some(header)) => csv::names(header, *dialect).map(csv::unique).unwrap_or_default(),
            _ if *format == Format::Clf => clf::COLUMNS.map(str::to_owned).to_vec(),
            _ => Vec::new(),
        };
        survey.columns = names.iter().take(KEYS).map(|name| key(name)).collect();
        survey.columns.iter().for_each(|name| _ = survey.keys.entry(name.clone()).or_default());
    }
    let block = Block { bytes: &bytes[..length], ..chunk.block() };
    let mut spec = plan.spec();
    survey.first_field = spec.fields.len();
    let path = |name: &String| Some(FieldPlan { name: name.clone(), candidates: vec![Path::parse(name).ok()?] });
    let fields: Vec<FieldPlan> = survey.columns.iter().filter_map(path).collect();
    survey.columns = fields.iter().map(|field| field.name.clone()).collect();
    spec.fields.extend(fields);
    Decoder::new(spec, Range::default()).read(&block, survey);
    survey.columns.clear();
    Ok(())
}

impl Survey {
    /// Notes the keys of a record. Those of elements that are events begin at the element.
    fn value(&mut self, path: &mut Vec<Step>, value: &Value, explode: Option<&str>) {
        if self.keys.len() >= KEYS {
            return;
        }
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    path.push(Step::Key(key.clone()));
                    self.value(path, value, explode);
                    path.pop();
                }
            }
            Value::Array(elements) => {
                let text = written(path);
                let is_exploded = explode == Some(&text);
                if elements.iter().any(Value::is_object) {
                    *self.arrays.entry(text).or_default() += 1;
                }
                if let Some(first) = elements.first().filter(|_| is_exploded) {
                    return self.value(&mut Vec::new(), first, None);
                }
                if !self.entries(path, elements, explode) {
                    path.push(Step::Each);
                    elements.first().into_iter().for_each(|first| self.value(path, first, explode));
                    path.pop();
                }
            }
            Value::Null => {}
            Value::String(text) => {
                self.keys.entry(written(path)).or_default().add(text);
                // A text that is an object of JSON has keys of its own.
                if text.starts_with('{')
                    && let Ok(object @ Value::Object(_)) = serde_json::from_str(text)
                {
                    path.push(Step::Parsed);
                    self.value(path, &object, None);
                    path.pop();
                }
            }
            other => self.keys.entry(written(path)).or_default().add(&other.to_string()),
        }
    }

    /// Notes the elements of an array of keys and values by their keys. False if it is another array.
    fn entries(&mut self, path: &mut Vec<Step>, elements: &[Value], explode: Option<&str>) -> bool {
        let Some(key) = ["key", "name"].into_iter().find(|key| {
            let is_entry = |element: &Value| {
                element.as_object().is_some_and(|members| members.len() > 1 && members[*key].is_string())
            };
            !elements.is_empty() && elements.iter().all(|element| element.get(key).is_some() && is_entry(element))
        }) else {
            return false;
        };
        for element in elements {
            let members = element.as_object().into_iter().flatten();
            path.push(Step::Entry { key: key.into(), text: element[key].as_str().unwrap_or_default().into() });
            for (member, value) in members.filter(|(member, _)| *member != key) {
                path.push(Step::Key(member.clone()));
                self.value(path, value, explode);
                path.pop();
            }
            path.pop();
        }
        true
    }

    /// Returns the keys that are like `wanted` first, then the most frequent.
    pub fn nearest(&self, wanted: &str) -> Vec<&str> {
        let likeness = |key: &str| {
            let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_lowercase();
            let whole = strsim::normalized_damerau_levenshtein(&wanted.to_lowercase(), &key.to_lowercase());
            (whole.max(strsim::normalized_damerau_levenshtein(&last(wanted), &last(key))) * 1000.0) as u64
        };
        let mut keys: Vec<_> =
            self.keys.iter().map(|(key, values)| (likeness(key), values.records, key.as_str())).collect();
        keys.sort_by(|one, other| {
            let alike = |likeness: u64| if likeness >= 500 { likeness } else { 0 };
            (alike(other.0), other.1).cmp(&(alike(one.0), one.1)).then(one.2.cmp(other.2))
        });
        keys.into_iter().map(|(_, _, key)| key).collect()
    }
}

/// Finds times that cannot be read.
impl Harvest for Survey {
    type Mark = ();

    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, _: Position, _: &[u8]) {
        let Ok(reading) = read else { return };
        for (index, column) in self.columns.iter().enumerate() {
            let slot = interpreter.field(reading, self.first_field + index);
            if let Some(value) = slot.and_then(|slot| reading.first(slot)) {
                self.keys.entry(column.clone()).or_default().add(value.text);
            }
        }
        let chosen = interpreter.choose(reading)[Role::Time as usize];
        match interpreter.time(reading, chosen) {
            Ok(_) => self.timed += 1,
            Err(NoTime::Unreadable) if self.unreadable.len() < DISTINCT => {
                let Some(chosen) = chosen else { return };
                let mut joined = String::new();
                let text = interpreter.text(reading, Role::Time, chosen, &mut joined).text;
                self.unreadable.insert(text.chars().take(60).collect());
            }
            Err(_) => {}
        }
    }

    fn mark(&self) {}

    fn back_to(&mut self, (): ()) {}
}

/// Where a value lies in what is around it.
enum Step {
    Key(String),
    /// In the elements of an array.
    Each,
    /// In a text that is JSON.
    Parsed,
    /// In the element of an array whose `key` is `text`.
    Entry {
        key: String,
        text: String,
    },
}

/// Returns a path as the configuration writes it.
fn written(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Each => path.push_str("[]"),
            Step::Parsed => path.push_str("{}"),
            Step::Entry { key: name, text } => path.push_str(&format!("[{}={}]", key(name), entry_text(text))),
            Step::Key(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key(name));
            }
        }
    }
    path
}

/// Returns a key as paths write it, in quotes if need be.
fn key(name: &str) -> String {
    let is_plain = Path::parse(name).is_ok_and(|path| path.is_plain() && path.to_string() == *name);
    if is_plain { name.to_owned() } else { in_quotes(name) }
}

fn entry_text(text: &str) -> String {
    let is_plain = !text.is_empty() && !text.contains(['[', ']', '"', '\\']);
    if is_plain { text.to_owned() } else { in_quotes(text) }
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}
