//! A look at the beginning of files that come without a configuration: which paths have what the built-in names do not
//! find. `headwater init` writes down what is found here, and a replay without a configuration uses it.

use super::notice::Notice;
use super::survey::{Survey, survey};
use crate::plan::Plan;
use crate::source::{self, Chunk, Chunking, Chunks, Next, Part, SourceError};
use dataflows::engine::Input;
use dataflows::{EventTime, Position};
use headwater_decode::interpret::{self, Batch, Range, Role};
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

/// Looks into files of one format, at so many chunks of each.
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
    for role in [Role::User, Role::Time] {
        if none(&used, role)
            && let Some(path) = guess(&survey, role, explode.as_deref())
        {
            let candidates = Some(vec![Candidate { parts: vec![path.clone()] }]);
            match role {
                Role::User => plan.sources[0].events.user = candidates,
                _ => plan.sources[0].events.time = candidates,
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

/// How little a key looks like what is wanted: its word, whether it is no name, its different values, its length.
type Likeness = (usize, bool, std::cmp::Reverse<usize>, usize);

/// Returns the path that looks most like a user or a time.
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
        let place = match role {
            Role::User => USERS.iter().position(|word| last.contains(word)),
            _ => TIMES.iter().position(|word| last.contains(word)),
        };
        let times = values.distinct.iter().filter(|text| is_time(text)).count();
        let fits = match role {
            Role::User => times < values.distinct.len(),
            _ => !values.distinct.is_empty() && times == values.distinct.len(),
        };
        let place = match (role, place) {
            (_, Some(place)) => place,
            (Role::Time, None) => TIMES.len(),
            _ => continue,
        };
        let is_name = ["id", "name", "key"].iter().any(|end| last.ends_with(end));
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
