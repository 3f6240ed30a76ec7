//! What a replay says about what it read: which candidates gave users, times, types and ids, and what looks wrong.

use super::dates;
use super::notice::{Given, Notice, ReadFrom};
use super::outcome::Totals;
use super::summary::Summary;
use super::survey::{Survey, survey};
use super::{Share, guess};
use crate::config::sketch::{self, Sketch, SourceSketch};
use crate::plan::lint::lint;
use crate::plan::{Plan, SourcePlan};
use crate::source::{self, Part, SourceError};
use crate::text::nearest::nearest;
use crate::text::{plural, units};
use dataflows::Sessionless;
use headwater_decode::defaults::{self, Meaning};
use headwater_decode::interpret::{self, Interpreter, Range, Role};
use headwater_decode::path::Path;
use headwater_decode::spec::{Candidate, Format};
use headwater_decode::usage::{self, Usage, Used};
use indicatif::HumanCount;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Gives what was used of each source, by falling number of events.
pub fn read_from(plan: &Plan, usage: &Usage) -> Vec<ReadFrom> {
    let of = |((source, format), used): (&(u16, Format), &Used)| {
        let plan = &plan.sources[usize::from(*source)];
        let given = |role: Role| {
            let candidates = interpret::candidates(&plan.events, *format, role);
            let names = candidates.iter().map(|candidate| Some(name(candidate))).chain([None]);
            let counts = used.roles[role as usize].iter().copied();
            let mut given: Vec<Given> = names
                .zip(counts)
                .map(|(path, events)| Given { path, events })
                .filter(|given| given.events > 0)
                .collect();
            given.sort_by_key(|given| (given.path.is_none(), std::cmp::Reverse(given.events)));
            given
        };
        let id = if plan.events.id.is_empty() { Vec::new() } else { given(Role::Id) };
        ReadFrom {
            source: plan.name.clone(),
            format: format.name(),
            user: given(Role::User),
            time: given(Role::Time),
            kind: given(Role::Kind),
            id,
        }
    };
    usage.iter().map(of).collect()
}

/// Returns the configuration that reads the parts as the built-in candidates did.
pub fn configuration(plan: &Plan, parts: &[Part], usage: &Usage) -> Result<String, SourceError> {
    let mut paths: BTreeMap<(u16, Format), Vec<String>> = BTreeMap::new();
    // As the command line names them, if all are of one format.
    let given = usage.keys().next().filter(|_| usage.len() == 1);
    if let Some((source, format)) = given {
        let given = plan.sources[usize::from(*source)].paths.iter();
        paths.insert((*source, *format), given.map(|path| path.to_string_lossy().into_owned()).collect());
    }
    for part in parts.iter().filter(|_| given.is_none()) {
        let event_bytes = plan.sources[usize::from(part.source.0)].events.limits.event_bytes;
        if let Some(content) = source::probe(part, event_bytes)?.content {
            let path = part.file().to_string_lossy().into_owned();
            let paths = paths.entry((part.source.0, content.format)).or_default();
            // Files of one archive follow each other.
            if paths.last() != Some(&path) {
                paths.push(path);
            }
        }
    }
    let mut sketch = Sketch { gap: units::typed(plan.sessions.gap), ..Sketch::default() };
    for ((of, format), used) in usage {
        let events = &plan.sources[usize::from(*of)].events;
        // Lines of a log may lie as texts in objects.
        let is_one = *format == Format::Json || given.is_some();
        let first = parts.iter().find(|part| part.source.0 == *of).filter(|_| is_one);
        let unwrap = match first {
            Some(part) => guess::unwrapped(part, events.limits.event_bytes)?,
            None => None,
        };
        let role = |role: Role| {
            let candidates = interpret::candidates(events, *format, role).into_iter();
            let given = candidates.zip(&used.roles[role as usize]).filter(|(_, events)| **events > 0);
            sketch::Role { candidates: given.map(|(candidate, _)| candidate).collect(), remark: String::new() }
        };
        sketch.sources.push(SourceSketch {
            name: format.name().into(),
            paths: paths.remove(&(*of, *format)).unwrap_or_default(),
            format: if unwrap.is_some() { Format::Json } else { *format },
            unwrap,
            explode: events.explode.as_ref().map(Path::to_string),
            time_formats: events.time_formats.clone(),
            user: role(Role::User),
            time: role(Role::Time),
            kind: role(Role::Kind),
        });
    }
    Ok(sketch.text())
}

fn name(candidate: &Candidate) -> String {
    candidate.parts.iter().map(Path::to_string).collect::<Vec<_>>().join(" + ")
}

/// Gives the usage of all workers together, of the sources and formats that have events.
pub(super) fn usage_of(shares: &[Share]) -> Usage {
    let mut all = Usage::default();
    shares.iter().for_each(|share| usage::add(&mut all, &share.tally.usage));
    all.retain(|_, used| used.roles[Role::User as usize].iter().any(|events| *events > 0));
    all
}

/// Returns what to say if no record became an event.
pub fn nothing_read(summary: &Summary) -> Option<Notice> {
    if summary.events > 0 || summary.outside > 0 {
        return None;
    }
    let most = summary.dead_letter_reasons.iter().max_by_key(|(_, letters)| **letters);
    Some(match most {
        Some((reason, _)) => Notice {
            code: "only_dead_letters",
            message: format!(
                "no record became an event: all {} are dead letters, most of them `{reason}`; dead_letters.jsonl has each \
                 with its message, and `format` says how files are written if they were taken for another format",
                HumanCount(summary.dead_letters)
            ),
        },
        None => Notice { code: "no_records", message: "the files hold no records".into() },
    })
}

/// Says what is wrong with rules, whatever the events.
pub fn faults_of_rules(plan: &Plan) -> impl Iterator<Item = Notice> + use<> {
    lint(plan).into_iter().map(|fault| Notice { code: "rule_fault", message: fault.message() })
}

/// Says which classes that policies name no event has.
pub fn classes_not_met(plan: &Plan, summary: &Summary) -> Option<Notice> {
    let cues = &plan.sessions.policies.as_ref()?.cues;
    let of_gaps = cues.class_gaps.iter().map(|(class, _)| class);
    let named = cues.start.iter().chain(&cues.end).chain(&cues.keepalive).chain(of_gaps);
    let missing: BTreeSet<&String> = named.filter(|class| !summary.classes.contains_key(*class)).collect();
    let shown = missing.iter().map(|class| match nearest(class, summary.classes.keys().map(String::as_str)) {
        Some(near) => format!("`{class}` (did you mean `{near}`?)"),
        None => format!("`{class}`"),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let message = format!("no event is of a class that [sessions] names: {shown}");
    (!missing.is_empty() && summary.events > 0).then_some(Notice { code: "class_not_met", message })
}

/// What the notices of a replay follow from.
pub struct Findings<'a> {
    pub plan: &'a Plan,
    pub parts: &'a [Part],
    pub usage: &'a Usage,
    pub totals: &'a Totals,
    pub sessionless: &'a BTreeMap<Sessionless, u64>,
    surveys: OnceCell<BTreeMap<u16, Survey>>,
}

/// An event has a user, and it is this one of all.
const MOST: f64 = 0.5;

impl<'a> Findings<'a> {
    pub fn new(
        plan: &'a Plan,
        parts: &'a [Part],
        usage: &'a Usage,
        totals: &'a Totals,
        sessionless: &'a BTreeMap<Sessionless, u64>,
    ) -> Findings<'a> {
        Findings { plan, parts, usage, totals, sessionless, surveys: OnceCell::new() }
    }

    /// Gives everything that looks wrong, the most serious first.
    ///
    /// # Errors
    /// If the files cannot be read again.
    pub fn notices(&self) -> Result<Vec<Notice>, SourceError> {
        let mut notices = Vec::new();
        self.missing_values(&mut notices)?;
        self.missing_paths(&mut notices)?;
        self.arrays(&mut notices)?;
        self.times(&mut notices)?;
        self.meanings(&mut notices);
        self.users(&mut notices);
        Ok(notices)
    }

    /// Returns the survey of a source.
    fn survey(&self, source: u16) -> Result<Option<&Survey>, SourceError> {
        let surveys = match self.surveys.get() {
            Some(surveys) => surveys,
            None => {
                let surveys = survey(self.plan, self.parts)?;
                self.surveys.get_or_init(|| surveys)
            }
        };
        Ok(surveys.get(&source))
    }

    /// Returns the events by source.
    fn sources(&self) -> BTreeMap<u16, u64> {
        let mut events = BTreeMap::new();
        for ((source, _), used) in self.usage {
            *events.entry(*source).or_insert(0) += used.roles[Role::User as usize].iter().sum::<u64>();
        }
        events
    }

    fn without(&self, source: u16, role: Role) -> u64 {
        let of_source = self.usage.iter().filter(|((of, _), _)| *of == source);
        of_source.map(|(_, used)| used.roles[role as usize].last().copied().unwrap_or_default()).sum()
    }

    /// Most events of a source have no user, or no time.
    fn missing_values(&self, notices: &mut Vec<Notice>) -> Result<(), SourceError> {
        for (source, events) in self.sources() {
            for (role, code) in [(Role::User, "no_user"), (Role::Time, "no_time")] {
                let without = self.without(source, role);
                if without == 0 || (without as f64) < 0.9 * events as f64 {
                    continue;
                }
                let all = if without == events {
                    "no event".to_owned()
                } else {
                    format!("{without} of {events} events have no value, none")
                };
                let keys = self.keys(source, role.name())?;
                let role = role.name();
                let message = format!(
                    "{all} of source `{}` has a {role} at the {role} paths{keys}; name one: {role} = \"…\"",
                    self.plan.sources[usize::from(source)].name,
                );
                notices.push(Notice { code, message });
            }
        }
        Ok(())
    }

    /// Returns the keys of a source, those like `wanted` first, as the end of a sentence.
    fn keys(&self, source: u16, wanted: &str) -> Result<String, SourceError> {
        let Some(survey) = self.survey(source)? else { return Ok(String::new()) };
        let nearest = survey.nearest(wanted);
        if nearest.is_empty() {
            return Ok("; its records have no keys".into());
        }
        let shown: Vec<String> = nearest.iter().take(8).map(|key| format!("`{key}`")).collect();
        let more = nearest.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Ok(format!("; its records have {}{more}", shown.join(", ")))
    }

    /// Configured paths at which no event has anything.
    fn missing_paths(&self, notices: &mut Vec<Notice>) -> Result<(), SourceError> {
        let spec = Arc::new(self.plan.spec());
        // By field: no source has it.
        let mut fields = vec![true; self.plan.fields.len()];
        for ((source, format), used) in self.usage {
            let interpreter = Interpreter::new(Arc::clone(&spec), *source, *format, Range::default());
            let missing = |path: &&Path| !interpreter.slot(path).is_some_and(|slot| used.has_seen(slot));
            let of = &self.plan.sources[usize::from(*source)];
            let configured = [&of.events.user, &of.events.time, &of.events.kind, &Some(of.events.id.clone())];
            for (role, candidates) in Role::ALL.into_iter().zip(configured) {
                let paths = candidates.iter().flatten().flat_map(|candidate| &candidate.parts);
                for path in paths.filter(missing) {
                    let (path, role) = (path.to_string(), role.name());
                    notices.push(self.missing(*source, &path, &format!("the {role} path `{path}`"))?);
                }
            }
            for (field, none) in self.plan.fields.iter().zip(&mut fields) {
                *none &= field.candidates.iter().all(|path| missing(&path));
            }
        }
        let Some(source) = self.usage.keys().map(|(source, _)| *source).next() else { return Ok(()) };
        let sums = self.plan.sessions.sums.iter().map(|(name, field)| (*field, format!("the sum `{name}`")));
        let carried = self.plan.sessions.carry.iter().map(|field| (*field, "the carried field".to_owned()));
        for (field, of) in sums.chain(carried).filter(|(field, _)| fields[*field]) {
            let paths: Vec<String> =
                self.plan.fields[field].candidates.iter().map(|path| format!("`{path}`")).collect();
            let first = self.plan.fields[field].candidates.first().map(Path::to_string).unwrap_or_default();
            notices.push(self.missing(source, &first, &format!("{of}: at {}", paths.join(", ")))?);
        }
        for test in self.plan.tests.iter().filter(|test| fields[test.field]) {
            let name = &self.plan.fields[test.field].name;
            let first = self.plan.fields[test.field].candidates.first().map(Path::to_string).unwrap_or_default();
            let notice = self.missing(source, &first, &format!("`{name}` of a rule"))?;
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
        Ok(())
    }

    fn missing(&self, source: u16, path: &str, what: &str) -> Result<Notice, SourceError> {
        let keys = self.keys(source, path)?;
        let source = &self.plan.sources[usize::from(source)].name;
        Ok(Notice {
            code: "missing_path",
            message: format!("no event of source `{source}` has a value for {what}{keys}"),
        })
    }

    /// Arrays of events that are not exploded, or are not there.
    fn arrays(&self, notices: &mut Vec<Notice>) -> Result<(), SourceError> {
        for (source, events) in self.sources() {
            let SourcePlan { name, events: settings, .. } = &self.plan.sources[usize::from(source)];
            match &settings.explode {
                Some(path) => {
                    let Some(survey) = self.survey(source)? else { continue };
                    let path = path.to_string();
                    if survey.records == 0 || survey.arrays.contains_key(&path) {
                        continue;
                    }
                    let arrays: Vec<String> = survey.arrays.keys().map(|array| format!("`{array}`")).collect();
                    let has = if arrays.is_empty() { "none".to_owned() } else { arrays.join(", ") };
                    let message = format!(
                        "the first records of source `{name}` have no array of objects at `{path}` to explode; of \
                         arrays they have {has}"
                    );
                    notices.push(Notice { code: "missing_path", message });
                }
                None => {
                    let without = self.without(source, Role::User).max(self.without(source, Role::Time));
                    if events == 0 || (without as f64) < MOST * events as f64 {
                        continue;
                    }
                    let Some(survey) = self.survey(source)? else { continue };
                    let most = |(_, records): &(&String, &u64)| **records as f64 >= MOST * survey.records as f64;
                    if let Some((array, _)) = survey.arrays.iter().filter(most).max_by_key(|(_, records)| **records) {
                        let message = format!(
                            "each record of source `{name}` holds an array `{array}`: if its elements are the \
                             events, write explode = \"{array}\""
                        );
                        notices.push(Notice { code: "not_exploded", message });
                    }
                }
            }
        }
        Ok(())
    }

    /// Times that cannot be read, or are hard to believe.
    fn times(&self, notices: &mut Vec<Notice>) -> Result<(), SourceError> {
        if let Some(events) = self.sessionless.get(&Sessionless::UnreadableTime).filter(|events| **events > 0) {
            for source in self.sources().into_keys() {
                let example = self.survey(source)?.and_then(|survey| survey.unreadable.first().cloned());
                if let Some(example) = example {
                    let message = format!(
                        "{} {} a time in a form that is not known, such as `{example}`; {}",
                        HumanCount(*events),
                        if *events == 1 { "event has" } else { "events have" },
                        dates::advice(&example),
                    );
                    notices.push(Notice { code: "unreadable_times", message });
                    break;
                }
            }
        }
        let sum = |of: fn(&Used) -> u64| self.usage.values().map(of).sum::<u64>();
        for (count, code, when) in [
            (sum(|used| used.early), "early_times", "before 1990"),
            (sum(|used| used.late), "late_times", "later than a day from now"),
        ] {
            if count > 0 {
                let are = if count == 1 { "event time is" } else { "event times are" };
                let message = format!(
                    "{} {are} {when}; if the numbers are no epochs of seconds, write time_unit or time_format",
                    HumanCount(count)
                );
                notices.push(Notice { code, message });
            }
        }
        Ok(())
    }

    /// Users of a source come from values that mean different things.
    fn meanings(&self, notices: &mut Vec<Notice>) {
        for ((source, format), used) in self.usage {
            let of = &self.plan.sources[usize::from(*source)];
            let candidates = interpret::candidates(&of.events, *format, Role::User);
            let counts = &used.roles[Role::User as usize];
            let mut by_meaning: BTreeMap<Meaning, Vec<String>> = BTreeMap::new();
            for (candidate, events) in candidates.iter().zip(counts).filter(|(_, events)| **events > 0) {
                if let Some(meaning) = defaults::meaning(&candidate.parts[0].to_string()) {
                    let shown = format!("`{}` {}", candidate.parts[0], HumanCount(*events));
                    by_meaning.entry(meaning).or_default().push(shown);
                }
            }
            if by_meaning.len() < 2 {
                continue;
            }
            let shown: Vec<String> = by_meaning
                .iter()
                .map(|(meaning, paths)| {
                    format!("{} from an {}", paths.join(", "), meaning.name()).replace("an p", "a p")
                })
                .collect();
            let message = format!(
                "users of source `{}` come from values that mean different things: {}; one person may count as \
                 several: name one path with user = \"…\"",
                of.name,
                shown.join(", ")
            );
            notices.push(Notice { code: "mixed_users", message });
        }
    }

    /// One user has most events, or the users are addresses with ports.
    fn users(&self, notices: &mut Vec<Notice>) {
        let Totals { users, visits, largest, ports, lists, looked_at, folded, .. } = self.totals;
        if let Some((events, name)) = largest {
            let share = *events as f64 / (*visits).max(1) as f64;
            let outlandish = match users {
                0 => false,
                1 => *events >= 5,
                2..100 => share > MOST && *events >= 10 && *users > 2,
                _ => share > 0.2,
            };
            if outlandish {
                let name: String = name.chars().take(60).collect();
                let message = format!(
                    "the user `{name}` has {:.0}% of all events in sessions ({} of {}); if it stands for no user, \
                     or for a proxy, name another path, or absent = [\"{name}\"]",
                    100.0 * share,
                    HumanCount(*events),
                    HumanCount(*visits),
                );
                notices.push(Notice { code: "one_user", message });
            }
        }
        let alike = looked_at - folded.len() as u64;
        // A few names that differ so may be two users.
        if alike > 0 && alike * 50 >= *looked_at {
            let message = format!(
                "{} of {} users that were compared have the name of another one in upper or lower case or with blanks \
                 around it; make them one with user = {{ path = \"…\", as = [\"trim\", \"lower\"] }}",
                HumanCount(alike),
                HumanCount(*looked_at),
            );
            notices.push(Notice { code: "users_differ_in_case", message });
        }
        for (count, code, what, transform) in [
            (*ports, "users_with_ports", "an address with a port", "without_port"),
            (*lists, "users_are_lists", "a list of addresses", "first_of_list"),
        ] {
            if count > 0 && count * 2 >= *users {
                let message = format!(
                    "{} of {} {} {what}; cut it with user = {{ path = \"…\", as = [\"{transform}\", \"ip\"] }}",
                    HumanCount(count),
                    HumanCount(*users),
                    if *users == 1 { "user is".to_owned() } else { format!("{} are", plural(2, "user")) },
                );
                notices.push(Notice { code, message });
            }
        }
    }
}
