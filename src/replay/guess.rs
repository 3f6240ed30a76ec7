//! A look at the beginning of files that come without a `[[source]]`: which paths have what the built-in names do not
//! find. `headwater init` writes down what is found here, and a replay without a configuration uses it.

use super::dates::{self, is_time};
use super::notice::Notice;
use super::survey::{Survey, survey};
use crate::plan::Plan;
use crate::source::{self, Chunk, Chunking, Chunks, Next, Part, SourceError};
use dataflows::Position;
use dataflows::engine::Input;
use headwater_decode::defaults;
use headwater_decode::interpret::{self, Batch, Range, Role};
use headwater_decode::log::Heading;
use headwater_decode::path::Path;
use headwater_decode::spec::{Candidate, Format};
use headwater_decode::time::TimeReader;
use headwater_decode::usage::Used;
use headwater_decode::{Block, Decoder};
use std::collections::BTreeMap;

/// Files that a replay looks into.
const FILES: usize = 3;

/// A plan of one source that finds more than the built-in names do.
pub struct Guessed {
    pub plan: Plan,
    pub explode: Option<String>,
    /// The format of the times, where it is a guess.
    pub time_format: Option<String>,
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
    let (_, mut used) = beginning(&plan, format, parts, chunks, |_| ())?;
    let none = |used: &Used, role: Role| {
        let counts = &used.roles[role as usize];
        counts.last() == Some(&counts.iter().sum())
    };
    let mut explode = None;
    // A record without a time that holds an array of objects holds events. So does one without a user, if the objects
    // have times and users.
    let configured = plan.sources[0].events.clone();
    let is_free = configured.explode.is_none() && configured.time.is_none();
    if is_free
        && (none(&used, Role::Time) || none(&used, Role::User))
        && let Some(array) = array_of_events(&survey, none(&used, Role::Time))
        && let Ok(path) = Path::parse(&array)
    {
        plan.sources[0].events.explode = Some(path);
        explode = Some(array);
        (_, used) = beginning(&plan, format, parts, chunks, |_| ())?;
    }
    let time_format = match survey.timed {
        0 if configured.time_formats.is_empty() => dates::format_of(&survey.unreadable).map(str::to_owned),
        _ => None,
    };
    plan.sources[0].events.time_formats.extend(time_format.clone());
    // Beside the built-in names, those that look like one.
    let mut paths = [const { None }; 4];
    for role in [Role::User, Role::Time, Role::Kind] {
        let is_free = match role {
            Role::User => configured.user.is_none(),
            Role::Time => configured.time.is_none(),
            // Rules give classes to what has no type.
            Role::Kind | Role::Id => configured.kind.is_none() && plan.rules.is_empty(),
        };
        if is_free
            && none(&used, role)
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
    Ok(Guessed { plan, explode, time_format, paths, survey })
}

/// Returns the plan with which to read files of which no `[[source]]` says anything, and what to say of it. What is
/// configured in `[events]` stays.
///
/// # Errors
/// If a file cannot be read.
pub fn without_source(plan: &Plan, parts: &[Part]) -> Result<Option<(Plan, Vec<Notice>)>, SourceError> {
    let is_file = |part: &&Part| matches!(part.stored(), Ok(Some(_)));
    let parts: Vec<Part> = parts.iter().filter(is_file).take(FILES).cloned().collect();
    let event_bytes = plan.sources[0].events.limits.event_bytes;
    let mut formats = Vec::new();
    for part in &parts {
        formats.extend(source::probe(part, event_bytes)?.content.map(|content| content.format));
    }
    formats.dedup();
    let [format] = formats[..] else { return Ok(None) };
    let Guessed { plan: guess, explode, time_format, paths, survey } = guessed(plan, format, &parts, 1)?;
    let mut notices = Vec::new();
    if let Some(key) = object_of_events(&survey) {
        let message = format!(
            "the file is one object, and its values look like events, such as that of `{key}`; headwater reads events of \
             arrays, or one after the other: `jq -c '.[]' FILE` writes them so"
        );
        notices.push(Notice { code: "object_of_events", message });
        return Ok(Some((plan.clone(), notices)));
    }
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
    if let Some(format) = time_format {
        let message = format!(
            "the order of day and month is a guess: the times are read as `{format}`; if they are others, write \
             time_format = \"…\""
        );
        notices.push(Notice { code: "guessed", message });
    }
    Ok((!notices.is_empty()).then_some((guess, notices)))
}

/// Values of one object that are alike, at least, to look like events.
const ALIKE: usize = 3;

/// Returns the first key of a file that is one object of objects with the same keys.
fn object_of_events(survey: &Survey) -> Option<&str> {
    let mut keys_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for key in survey.keys.keys() {
        let (first, rest) = key.split_once('.')?;
        keys_of.entry(first).or_default().push(rest);
    }
    let (key, keys) = keys_of.first_key_value()?;
    let alike = survey.records == 1 && keys_of.len() >= ALIKE && keys_of.values().all(|other| other == keys);
    alike.then_some(*key)
}

/// Decodes the beginning of each file, and hands over what comes out. Returns what was used, of which format: events may
/// lie as texts in other objects.
///
/// # Errors
/// If a file cannot be read.
pub fn beginning(
    plan: &Plan,
    format: Format,
    parts: &[Part],
    chunks_of_each: usize,
    mut each: impl FnMut(&mut Input),
) -> Result<(Format, Used), SourceError> {
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
    // The text in a field of other objects may be of another format.
    let events = |used: &Used| used.roles[Role::Time as usize].iter().sum::<u64>();
    let found = batch.usage.into_iter().map(|((_, format), used)| (format, used));
    let found = found.filter(|(_, used)| events(used) > 0).max_by_key(|(_, used)| events(used));
    let counts = |role| interpret::candidates(&plan.sources[0].events, format, role).len();
    Ok(found.unwrap_or_else(|| (format, Used::new(Role::ALL.map(counts), 0))))
}

/// Returns the array of objects that most records have, the outermost one whose elements have a time themselves. Unless
/// `any` will do, they have to have a user with a built-in name too.
fn array_of_events(survey: &Survey, any: bool) -> Option<String> {
    let reader = TimeReader::new("UTC").ok()?;
    let own = |array: &str| {
        let prefix = format!("{array}[].");
        let keys = survey.keys.iter().filter_map(move |(key, values)| Some((key.strip_prefix(&prefix)?, values)));
        keys.filter(|(key, _)| !key.contains('['))
    };
    let has_times = |array: &str| own(array).any(|(_, values)| values.are(|text| is_time(&reader, text)));
    let has_users = |array: &str| own(array).any(|(key, _)| defaults::meaning(key).is_some());
    let likeness = |array: &&String| (has_times(array), survey.arrays[*array], std::cmp::Reverse(array.len()));
    let arrays = survey.arrays.keys().filter(|array| any || has_times(array) && has_users(array));
    arrays.max_by_key(likeness).cloned()
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
        let times = values.distinct.iter().filter(|text| is_time(&reader, text)).count();
        let fits = match role {
            Role::User => times < values.distinct.len(),
            Role::Time => values.are(|text| is_time(&reader, text)),
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
