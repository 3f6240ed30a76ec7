//! A look at the beginning of files that come without a configuration: which paths have what the built-in names do not
//! find. `headwater init` writes down what is found here, and a replay without a configuration uses it.

use super::notice::Notice;
use super::survey::{Survey, survey};
use crate::plan::Plan;
use crate::source::{self, Chunk, Chunking, Chunks, Next, Part, SourceError};
use dataflows::engine::Input;
use dataflows::{EventTime, Position};
use headwater_decode::interpret::{self, Batch, Range, Role};
use headwater_decode::log::Heading;
use headwater_decode::path::Path;
use headwater_decode::reading::Value;
use headwater_decode::spec::{Candidate, Format};
use headwater_decode::time::TimeReader;
use headwater_decode::usage::Used;
use headwater_decode::{Block, Decoder};

/// Files that a replay looks into.
const FILES: usize = 3;

/// A plan of one source that finds more than the built-in names do.
pub struct Guessed {
    pub plan: Plan,
    pub explode: Option<String>,
    /// By role: a path that is a guess.
    pub paths: [Option<Path>; 4],
    pub survey: Survey,
}

/// Looks into files of one format, at the first `chunks` of each.
///
/// # Errors
/// If a file cannot be read.
pub fn guessed(plan: &Plan, format: Format, parts: &[Part], chunks: usize) -> Result<Guessed, SourceError> {
    let mut plan = plan.clone();
    let survey = survey(&plan, parts)?.remove(&0).unwrap_or_default();
    let mut used = beginning(&plan, format, parts, chunks, |_| ())?;
    let none = |used: &Used, role: Role| {
        let counts = &used.roles[role as usize];
        counts.last() == Some(&counts.iter().sum())
    };
    let mut explode = None;
    // A record without a time that holds an array of objects holds events.
    if none(&used, Role::Time)
        && let Some((array, _)) =
            survey.arrays.iter().max_by_key(|(array, records)| (**records, std::cmp::Reverse(array.len())))
        && let Ok(path) = Path::parse(array)
    {
        plan.sources[0].events.explode = Some(path);
        explode = Some(array.clone());
        used = beginning(&plan, format, parts, chunks, |_| ())?;
    }
    // Beside the built-in names, those that look like one.
    let mut paths = [const { None }; 4];
    for role in [Role::User, Role::Time, Role::Kind] {
        if none(&used, role)
            && let Some(path) = guess(&survey, role, explode.as_deref())
        {
            let candidates = Some(vec![Candidate { parts: vec![path.clone()] }]);
            let events = &mut plan.sources[0].events;
            match role {
                Role::User => events.user = candidates,
                Role::Time => events.time = candidates,
                Role::Kind | Role::Id => events.kind = candidates,
            }
            paths[role as usize] = Some(path);
        }
    }
    Ok(Guessed { plan, explode, paths, survey })
}

/// Returns the plan with which to read files that have no configuration, and what to say of it.
///
/// # Errors
/// If a file cannot be read.
pub fn without_configuration(plan: &Plan, parts: &[Part]) -> Result<Option<(Plan, Vec<Notice>)>, SourceError> {
    let is_file = |part: &&Part| matches!(part.stored(), Ok(Some(_)));
    let parts: Vec<Part> = parts.iter().filter(is_file).take(FILES).cloned().collect();
    let event_bytes = plan.sources[0].events.limits.event_bytes;
    let mut formats = Vec::new();
    for part in &parts {
        formats.extend(source::probe(part, event_bytes)?.content.map(|content| content.format));
    }
    formats.dedup();
    let [format] = formats[..] else { return Ok(None) };
    let Guessed { plan, explode, paths, .. } = guessed(plan, format, &parts, 1)?;
    let mut notices = Vec::new();
    let mut say = |what: &str, setting: &str, value: &str| {
        let message = format!(
            "{what} is a guess: no built-in name is there, and `{value}` looks like it by its name and values; if it is \
             another one, write {setting} = \"…\""
        );
        notices.push(Notice { code: "guessed", message });
    };
    explode.iter().for_each(|array| say("the array of the events", "explode", array));
    for (role, path) in Role::ALL.into_iter().zip(&paths) {
        path.iter().for_each(|path| say(&format!("the {}", role.name()), role.name(), &path.to_string()));
    }
    Ok((!notices.is_empty()).then_some((plan, notices)))
}

/// Decodes the beginning of each file, and hands over what comes out. Returns what was used.
///
/// # Errors
/// If a file cannot be read.
pub fn beginning(
    plan: &Plan,
    format: Format,
    parts: &[Part],
    chunks_of_each: usize,
    mut each: impl FnMut(&mut Input),
) -> Result<Used, SourceError> {
    let mut decoder = Decoder::new(plan.spec(), Range::default());
    let mut batch = Batch::default();
    let event_bytes = plan.sources[0].events.limits.event_bytes;
    for part in parts {
        let chunks = Chunks::open(vec![part.clone()], Chunking { event_bytes, ..Chunking::default() })?;
        let mut chunk = Chunk::default();
        for _ in 0..chunks_of_each {
            if chunks.next(u64::MAX, &mut chunk)? != Next::Chunk {
                break;
            }
            let Chunk { format, framing, header, bytes, .. } = &chunk;
            let position = Position { source: 0, part: 0, offset: 0 };
            let block =
                Block { position, format: *format, framing: *framing, header: header.as_ref(), received: None, bytes };
            decoder.read(&block, &mut batch);
            each(&mut batch.input);
            batch.input.signatures.clear();
            batch.input.records.clear();
            batch.input.names.clear();
            batch.dead_letters.clear();
        }
    }
    let used = batch.usage.remove(&(0, format));
    let counts = |role| interpret::candidates(&plan.sources[0].events, format, role).len();
    Ok(used.unwrap_or_else(|| Used::new(Role::ALL.map(counts), 0)))
}

/// Values that a type may have, among those that are looked at.
const KINDS_AT_MOST: usize = 20;

/// Returns whether a value may be the type of an event.
fn is_word(text: impl AsRef<str>) -> bool {
    let text = text.as_ref();
    text.len() <= 40 && text.starts_with(char::is_alphabetic) && !text.contains(['/', '@', '='])
}

/// How little a key looks like what is wanted: its word, whether it is no name, its different values, its length.
type Likeness = (usize, bool, std::cmp::Reverse<usize>, usize);

/// Returns the field of the objects of a file whose text is the event, if that was recognised.
///
/// # Errors
/// If the file cannot be read.
pub fn unwrapped(part: &Part, event_bytes: usize) -> Result<Option<String>, SourceError> {
    if !matches!(part.stored(), Ok(Some(_))) {
        return Ok(None);
    }
    let chunks = Chunks::open(vec![part.clone()], Chunking { event_bytes, ..Chunking::default() })?;
    let mut chunk = Chunk::default();
    let is_read = chunks.next(0, &mut chunk)? == Next::Chunk && chunk.format == Format::Json;
    let heading = chunk.header.as_ref().filter(|_| is_read).map(|text| Heading::parse(text));
    Ok(heading.map(|heading| heading.layout).filter(|field| !field.is_empty()))
}

/// Returns the path that looks most like a user, a time or a type.
fn guess(survey: &Survey, role: Role, explode: Option<&str>) -> Option<Path> {
    const USERS: [&str; 25] = [
        "user",
        "visitor",
        "customer",
        "client",
        "member",
        "account",
        "person",
        "patient",
        "passenger",
        "player",
        "subscriber",
        "employee",
        "author",
        "actor",
        "owner",
        "email",
        "session",
        "case",
        "uid",
        "anon",
        "device",
        "login",
        "tracking",
        "package",
        "parcel",
    ];
    const TIMES: [&str; 6] = ["time", "date", "timestamp", "when", "created", "ts"];
    const KINDS: [&str; 9] = ["event", "action", "activity", "type", "operation", "verb", "kind", "status", "state"];
    let words: &[&str] = match role {
        Role::User => &USERS,
        Role::Time => &TIMES,
        Role::Kind | Role::Id => &KINDS,
    };
    let reader = TimeReader::new("UTC").ok()?;
    let is_time = |text: &str| {
        let kind = dataflows::ValueKind::String;
        let time = reader.read(Value { kind, text }).map(EventTime::micros);
        time.is_some_and(|micros| (631_152_000_000_000..4_102_444_800_000_000).contains(&micros))
    };
    let mut best: Option<(Likeness, Path)> = None;
    for (key, values) in &survey.keys {
        // Of an array, the keys of its elements.
        let key = explode.and_then(|array| key.strip_prefix(&format!("{array}[]."))).unwrap_or(key);
        let Ok(path) = Path::parse(key) else { continue };
        let last = name_of(key);
        // The program of a user is none.
        if last.contains("agent") {
            continue;
        }
        // An action is another thing.
        let named = last.replace("transaction", "");
        let place = words.iter().position(|word| named.contains(word));
        let times = values.distinct.iter().filter(|text| is_time(text)).count();
        let fits = match role {
            Role::User => times < values.distinct.len(),
            Role::Time => !values.distinct.is_empty() && times == values.distinct.len(),
            // A few words.
            Role::Kind | Role::Id => {
                let few = values.distinct.len() <= KINDS_AT_MOST && values.distinct.iter().all(is_word);
                few && !last.ends_with("id")
            }
        };
        let place = match (role, place) {
            (_, Some(place)) => place,
            (Role::Time, None) => TIMES.len(),
            _ => continue,
        };
        let is_name = ["id", "name", "key"].iter().any(|end| last.ends_with(end)) && role != Role::Kind;
        let likeness = (place, !is_name, std::cmp::Reverse(values.distinct.len()), key.len());
        if fits && best.as_ref().is_none_or(|(known, _)| likeness < *known) {
            best = Some((likeness, path));
        }
    }
    best.map(|(_, path)| path)
}

/// Returns the part of a path that says what is there: its last key, with what is around it if that is a key of anything.
fn name_of(key: &str) -> String {
    const OF_ANYTHING: [&str; 15] = [
        "id",
        "id_str",
        "name",
        "key",
        "value",
        "string",
        "stringvalue",
        "int_value",
        "intvalue",
        "long",
        "s",
        "n",
        "$oid",
        "$date",
        "$numberlong",
    ];
    let key = key.to_lowercase();
    let mut start = key.len();
    loop {
        let end = start;
        start = key[..end].rfind(['.', '[']).unwrap_or_default();
        let word = key[start..end].trim_matches(['.', '[', ']']);
        if start == 0 || !OF_ANYTHING.contains(&word) {
            return key[start..].trim_start_matches(['.', '[']).to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_what_is_around_a_key_of_anything() {
        for (key, name) in [
            ("a.userId", "userid"),
            ("a.author.id", "author.id"),
            ("id", "id"),
            ("Item.userId.S", "userid.s"),
            ("a[key=user.id].value.stringValue", "key=user.id].value.stringvalue"),
            ("created.$date.$numberLong", "created.$date.$numberlong"),
        ] {
            assert_eq!(name_of(key), name);
        }
    }
}
