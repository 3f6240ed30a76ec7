//! `headwater explain`: how one event is read, and why it is of its class.

use crate::decode::fault::Fault;
use crate::decode::interpret::{Interpreter, Range, Role};
use crate::decode::reading::Reading;
use crate::decode::{Block, Decoder, detect};
use crate::error::Error;
use crate::plan::{Format, Plan};
use dataflows::classify::{Definitions, Why};
use dataflows::{NoTime, Position, UserKey};
use std::fmt::Write;
use std::sync::Arc;

/// Explains every event in `bytes` (an event of the named source, or of the only one) in words.
pub fn explain(plan: &Arc<Plan>, source: Option<&str>, bytes: &[u8]) -> Result<String, Error> {
    let names = || plan.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
    let index = match source {
        Some(name) => plan.sources.iter().position(|source| source.name == name),
        None => (plan.sources.len() == 1).then_some(0),
    };
    let wrong = |message: &str, help: &str| Error::usage(message, help);
    let which = || format!("--source with one of: {}", names());
    let index = index.ok_or_else(|| wrong("it is not clear which source the event is of", &which()))?;
    let detected = detect::detect(bytes);
    let format = plan.sources[index].format.or(detected.map(|detected| detected.format));
    let format =
        format.ok_or_else(|| wrong("cannot tell the format of the event", "set `format` in its [[source]]"))?;
    let framing = detect::framing(format, bytes);
    let (header, offset, body) = match format {
        Format::Csv => {
            let row = framing
                .records(bytes)
                .next()
                .ok_or_else(|| wrong("there is no header row", "give a CSV header and a row"))?;
            let end = row.0 + row.1.len();
            (Some(Arc::from(row.1)), end, &bytes[end..])
        }
        _ => (None, 0, bytes),
    };
    let position = Position { source: index as u16, part: 0, offset: offset as u64 };
    let block = Block { position, format, framing, header: header.as_ref(), bytes: body };
    let definitions = Definitions::new(plan.rules.clone(), Vec::new());
    let mut text = String::new();
    Decoder::new(Arc::clone(plan), Range::default()).read(&block, &mut |interpreter, read, position, payload| {
        let separator = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{separator}event at byte {}, {} bytes", position.offset, payload.len());
        match read {
            Ok(reading) => event(plan, interpreter, reading, &definitions, index, &mut text),
            Err(Fault { reason, message }) => row(&mut text, "dead letter", reason.code(), &message),
        }
    });
    if text.is_empty() {
        return Err(wrong(
            "there is no event in the input",
            "give one JSON object, a log line, or a CSV header and rows",
        ));
    }
    Ok(text)
}

fn event(
    plan: &Plan,
    interpreter: &mut Interpreter,
    reading: &Reading,
    definitions: &Definitions,
    source: usize,
    text: &mut String,
) {
    let chosen = interpreter.choose(reading);
    let mut kind = None;
    for (role, name) in Role::ALL.into_iter().zip(["user", "time", "type", "id"]) {
        let mut joined = String::new();
        let value = chosen[role as usize].and_then(|one| interpreter.text(reading, role, one, &mut joined));
        let from = chosen[role as usize]
            .map(|one| interpreter.parts(role, one).map(|path| path.to_string()).collect::<Vec<_>>().join(" + "));
        match (value, from, role) {
            (Some(value), Some(from), Role::Time) => match interpreter.time(reading, chosen[Role::Time as usize]) {
                Ok(time) => {
                    let from = format!("from {from} = {}", value.text);
                    row(text, name, &crate::sink::rfc3339(time), &from);
                }
                Err(_) => row(text, name, "unreadable", &format!("from {from} = {}", value.text)),
            },
            (Some(value), Some(from), _) => row(text, name, value.text, &format!("from {from}")),
            (_, _, Role::Id) if plan.sources[source].events.id.is_empty() => row(text, name, "-", "not configured"),
            _ => row(text, name, "-", "none of the candidate paths is present"),
        }
        if role == Role::Kind {
            kind = value.map(|value| value.text.to_string());
        }
    }
    for (index, field) in plan.fields.iter().enumerate() {
        match interpreter.field(reading, index) {
            Some(slot) => {
                let values: Vec<_> = reading.all(slot).map(|value| value.text).collect();
                let from = format!("from {}", interpreter.paths().path(slot));
                row(text, &field.name, &values.join(", "), &from);
            }
            None => row(text, &field.name, "-", "none of its paths is present"),
        }
    }
    if reading.ambiguous {
        row(text, "note", "", "a path is there both as a dotted key and nested: the nested one counts");
    }
    let kind =
        kind.as_deref().map(|kind| crate::decode::reading::Value { kind: dataflows::ValueKind::String, text: kind });
    let descriptor = interpreter.descriptor(reading, kind);
    row(text, "shape", &descriptor.shape.to_string(), "");
    row(text, "signature", &interpreter.signature_id(reading, kind).to_string(), "");
    let (class, why) = definitions.classify(&descriptor);
    let why = match why {
        Why::Rule(rule) => format!("by rule {} of {}, priority {}", rule.order + 1, plan.rules.len(), rule.priority),
        Why::Kind => "the type, as no rule claims it".into(),
        Why::Overflow => "one type too many".into(),
        Why::Nothing => "there is no type and no rule claims it".into(),
    };
    row(text, "class", class, &why);
    let user = chosen[Role::User as usize].and_then(|one| {
        interpreter.text(reading, Role::User, one, &mut String::new()).map(|value| UserKey::of(value.text))
    });
    match (user, interpreter.time(reading, chosen[Role::Time as usize])) {
        (Some(user), Ok(_)) => row(text, "session", "yes", &format!("of user key {user:?}")),
        (None, _) => row(text, "session", "no", "no_user: it is counted by class, but belongs to no session"),
        (_, Err(NoTime::Absent)) => row(text, "session", "no", "no_time: it is counted by class under a null hour"),
        (_, Err(NoTime::Unreadable)) => row(text, "session", "no", "unreadable_time: it is counted under a null hour"),
    }
}

fn row(text: &mut String, name: &str, value: &str, remark: &str) {
    let line = format!("  {name:<12} {value:<36} {remark}");
    let _ = writeln!(text, "{}", line.trim_end());
}
