//! Reads the control partition that earlier starts have written: the numbers of sources, the definitions, and the
//! programs. Decides whether this program can go on from there.

use super::program::{check_states, former_program_of, program_of, states_of};
use crate::collections::{Begins, Collection, count};
use crate::error::Error;
use crate::plan::{Plan, StatePlan};
use crate::queue::control::Control;
use crate::queue::cursor::Cursors;
use crate::queue::definitions::{Definitions, NamedState};
use crate::queue::delivery::Delivery;
use crate::queue::labels::Labelled;
use crate::queue::numbers::{Numbers, SourceNumber};
use crate::queue::reference::Content;
use crate::queue::versions::{Versions, at_start};
use crate::text::nearest::nearest;
use dataflows::learn::MODEL;
use headwater_log::error::LogError;
use headwater_log::state::Generation;
use headwater_log::{CONTROL, Log, QUEUE};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the names of the collections of states and counts begin with.
const FOLLOWED: [&str; 2] = ["state.", count::PREFIX];

/// Version of the rows of root states ([`crate::worker::roots`]) that this program writes and reads.
const ROWS: u32 = 1;

pub struct History {
    /// Of the plan's sources.
    pub numbers: Arc<Numbers>,
    pub program: [u8; 32],
    /// As releases up to 0.1.0 wrote it, where the program is still the same.
    pub former_program: Option<[u8; 32]>,
    /// Everything that was published last was by this program.
    pub same_program: bool,
    pub memory: Memory,
    /// The definitions of all times, each with the offset in the control partition from which it holds. The last one is
    /// in force.
    /// By table: its content.
    pub tables: BTreeMap<String, Content>,
    pub definitions: Vec<(u64, Definitions)>,
    pub versions: Versions,
    /// In order.
    pub labels: Vec<Labelled>,
    /// Offset of the record in the control partition by which a collection begins.
    pub begins: BTreeMap<Collection, u64>,
    /// Where the sources go on.
    pub cursors: Cursors,
    /// The records of users who are forgotten, with their offsets in the control partition.
    pub forgets: Vec<(u64, Control)>,
}

/// The data of a snapshot beside the root states.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The fingerprint of everything that the root states depend on: see [`states_of`].
    pub states: String,
    /// Version of the rows of root states.
    #[serde(default = "first_rows")]
    pub rows: u32,
    pub cursors: Cursors,
}

/// Releases up to 0.1.0 did not say.
fn first_rows() -> u32 {
    1
}

impl History {
    /// Reads the control partition, and writes down what is new.
    ///
    /// # Errors
    /// If the snapshot was made with settings that give other states, and those of the log.
    pub fn read(log: &mut Log, plan: &Plan, epoch: u64, snapshot: Option<&Generation>) -> Result<History, Error> {
        let failed = |error: LogError| Error::run("read the control partition")(error);
        let mut records = Vec::new();
        let mut unknown = None;
        let (low, durable) = (log.control.low(), log.control.durable());
        let read = log.control.reader().read(low, durable, |record| match Control::decode(record.payload) {
            Ok(control) => records.push((record.offset, record.received_ms, control)),
            Err(what) => unknown = Some(what),
        });
        read.map_err(failed)?;
        if let Some(what) = unknown {
            return Err(Error::run("read the control partition")(what));
        }
        let memory = match snapshot {
            Some(snapshot) => remembered(&snapshot.extra, plan)?,
            None => Memory { states: states_of(plan), rows: ROWS, ..Memory::default() },
        };
        let mut known: BTreeMap<String, SourceNumber> = BTreeMap::new();
        let mut last = None;
        let (mut definitions, mut begins, mut followed) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut tables: BTreeMap<String, Content> = BTreeMap::new();
        let mut forgets = Vec::new();
        let (mut versions, mut labels) = (Versions::default(), Vec::new());
        for (offset, received_ms, record) in records {
            versions.record(offset, received_ms, &record);
            match record {
                Control::Forget { .. }
                | Control::Forgotten { .. }
                | Control::Remembered { .. }
                | Control::Receipt { .. } => forgets.push((offset, record)),
                Control::Definitions { definitions: defined } => definitions.push((offset, defined)),
                Control::Rules { applied } => {
                    let before = definitions.last().map(|(_, before)| before).cloned().unwrap_or_default();
                    definitions.push((offset, Definitions { rules: applied.rules, ..before }));
                }
                Control::Label { label } => {
                    let mut before = definitions.last().map(|(_, before)| before).cloned().unwrap_or_default();
                    label.apply(&mut before.labels);
                    definitions.push((offset, before));
                    labels.push(label);
                }
                Control::Taken { .. } => {}
                Control::Collection { name } if FOLLOWED.iter().any(|prefix| name.starts_with(prefix)) => {
                    followed.push((offset, name))
                }
                Control::Collection { name } => {
                    let collection = Collection::named(&name).ok_or_else(|| {
                        Error::usage(
                            format!(
                                "the data folder publishes a collection `{name}`, which this program does not know"
                            ),
                            "start the later version of headwater that wrote it",
                        )
                    })?;
                    begins.insert(collection, offset);
                }
                Control::Table { content } => drop(tables.insert(content.name.clone(), content)),
                Control::Source { source, name } => drop(known.insert(name, source)),
                Control::Generation { program, .. } => last = Some(program),
            }
        }
        check_models(&definitions, taken_of_control(log, snapshot)?)?;
        check_identity(definitions.last().map(|(_, of)| of), plan)?;
        let (program, former_program) = (program_of(plan), former_program_of(plan));
        let same_program = last == Some(program) || last.is_some() && last == former_program;
        let mut fresh = Vec::new();
        for source in &plan.sources {
            let next = SourceNumber(known.len() as u16);
            if !known.contains_key(&source.name) {
                known.insert(source.name.clone(), next);
                fresh.push(Control::Source { source: next, name: source.name.clone() });
            }
        }
        if last != Some(program) {
            fresh.push(Control::Generation { epoch, program });
        }
        let known_definitions = definitions.last().map(|(_, definitions)| definitions);
        begins.extend(still_followed(followed, known_definitions, plan)?);
        let states = plan.states.iter().filter(|state| state.changes).map(|state| state.schema.collection());
        let counts = plan.counts.iter().map(|count| count.schema.collection());
        let later = Collection::ALL.into_iter().chain(states).chain(counts);
        let later = later.filter(|collection| collection.begins() == Begins::WithARecord);
        for collection in later.filter(|collection| !begins.contains_key(collection)).collect::<Vec<_>>() {
            begins.insert(collection, log.control.next() + fresh.len() as u64);
            fresh.push(Control::Collection { name: collection.name().to_owned() });
        }
        // Of a folder without events, no state and no sequence misses any.
        let misses = known_definitions.is_some() && log.queue.iter().any(|part| part.reader().durable() > 0);
        let since = misses.then(crate::queue::intake::wall_ms);
        let wanted = known_definitions.cloned().unwrap_or_default().followed_by(plan, since);
        let now_ms = crate::queue::intake::wall_ms();
        let (wanted, own) = at_start(&versions, known_definitions, wanted, plan, now_ms);
        tell_states(known_definitions, &wanted, plan);
        tell_counts(known_definitions, &wanted);
        tell_sequences(known_definitions, &wanted, plan);
        tell_identity(known_definitions, &wanted);
        if known_definitions != Some(&wanted) {
            definitions.push((log.control.next() + fresh.len() as u64, wanted.clone()));
            fresh.push(Control::Definitions { definitions: wanted });
        }
        fresh.extend(own.map(|applied| Control::Rules { applied }));
        for (offset, record) in (log.control.next()..).zip(&fresh) {
            versions.record(offset, now_ms, record);
        }
        for table in &plan.tables {
            let before = tables.get(&table.name).filter(|content| content.is_of(table));
            match super::tables::read(table) {
                Ok(content) if before == Some(&content) => {}
                Ok(content) => {
                    tables.insert(table.name.clone(), content.clone());
                    fresh.push(Control::Table { content });
                }
                Err(why) if before.is_some() => super::tables::report(table, &why),
                Err(why) => {
                    let what = format!("cannot read the table `{}` from {}: {why}", table.name, table.path.display());
                    return Err(Error::usage(what, "put the file right: a table has to be there when the run begins"));
                }
            }
        }
        for record in &fresh {
            log.control.append(crate::queue::intake::wall_ms(), &record.encode()).map_err(failed)?;
        }
        log.control.sync().map_err(failed)?;
        let numbers = Arc::new(Numbers::new(plan.sources.iter().map(|source| known[&source.name]).collect()));
        let mut cursors = memory.cursors.clone();
        add_delivered(log, snapshot, &mut cursors)?;
        Ok(History {
            numbers,
            program,
            former_program,
            same_program,
            memory,
            definitions,
            versions,
            labels,
            begins,
            tables,
            cursors,
            forgets,
        })
    }
}

/// Returns how much of the control partition the ticks of a snapshot have taken.
fn taken_of_control(log: &Log, snapshot: Option<&Generation>) -> Result<u64, Error> {
    let Some(snapshot) = snapshot else { return Ok(0) };
    let binding = log.remap.reader().binding(snapshot.tick).map_err(Error::run("read the ticks"))?;
    Ok(binding.uppers.get(&(CONTROL, 0)).copied().unwrap_or(0))
}

/// Checks that this program has the model by which classes were learned in the last tick that it goes on from, and in those
/// that it computes again. What another model has said, this one cannot take back.
///
/// # Errors
/// If it has another one.
fn check_models(definitions: &[(u64, Definitions)], taken: u64) -> Result<(), Error> {
    let before = definitions.partition_point(|(offset, _)| *offset < taken);
    let in_force = &definitions[before.saturating_sub(1)..];
    let Some(model) = in_force.iter().find_map(|(_, of)| of.learn.filter(|model| *model != MODEL)) else {
        return Ok(());
    };
    let what = format!(
        "the data folder has classes that model {model} has learned, and this program learns by model {MODEL}: it would \
         change classes without retracting the rows of before"
    );
    let help = "start the version of headwater that learned them with learn = false in [classes], and stop it: \
                it retracts them. Then start this version. Or begin with another data_dir";
    Err(Error::usage(what, help))
}

/// Checks that ids are still joined as the folder has joined them: what was said of persons cannot be taken back.
///
/// # Errors
/// If they are not.
fn check_identity(known: Option<&Definitions>, plan: &Plan) -> Result<(), Error> {
    if !known.is_some_and(|known| known.join_otherwise(plan)) {
        return Ok(());
    }
    let what = match plan.identity {
        Some(_) => "the data folder has joined ids by another [identity] than that of the configuration",
        None => "the data folder publishes identities, and the configuration has no [identity]",
    };
    Err(Error::usage(what, "put [identity] back as it was, or begin with another data_dir: a replay shows the change"))
}

/// Logs identities that begin without the history of the folder.
fn tell_identity(known: Option<&Definitions>, wanted: &Definitions) {
    let begins = known.is_none_or(|known| known.identity.is_none());
    if begins && wanted.identity.as_ref().is_some_and(|identity| identity.since_ms.is_some()) {
        tracing::warn!(
            "identities begin with the events from now on: their rows say `partial_since`. A replay has them whole"
        );
    }
}

/// Returns where the states begin that the folder publishes. What was said of their rows has to be taken back by what made
/// them, so they stay as they are.
///
/// # Errors
/// If one is no longer followed, or another one.
fn still_followed(
    followed: Vec<(u64, String)>,
    known: Option<&Definitions>,
    plan: &Plan,
) -> Result<Vec<(Collection, u64)>, Error> {
    let mut begins = Vec::new();
    for (offset, name) in followed {
        if name.starts_with(count::PREFIX) {
            begins.push((still_counted(&name, known, plan)?, offset));
            continue;
        }
        let state = plan.states.iter().find(|state| state.schema.collection_name() == name && state.changes);
        let Some(state) = state else {
            let what = format!("the data folder publishes the changes of `{name}`, and the configuration does not");
            let help = "put the [[state]] back, with changes = true, or begin with another data_dir";
            return Err(Error::usage(what, help));
        };
        if known.is_some_and(|known| known.have_other_rows(plan, state)) {
            let what = format!("the data folder publishes the changes of `{name}`, and its definition has changed");
            let help =
                "put the [[state]] back as it was and give the new one another name, or begin with another data_dir";
            return Err(Error::usage(what, help));
        }
        begins.push((state.schema.collection(), offset));
    }
    Ok(begins)
}

/// Returns the collection of a count that the folder publishes.
///
/// # Errors
/// If there is none any more, or it is another one.
fn still_counted(name: &str, known: Option<&Definitions>, plan: &Plan) -> Result<Collection, Error> {
    let Some(count) = plan.counts.iter().find(|count| count.schema.collection_name() == name) else {
        let what = format!("the data folder publishes `{name}`, and the configuration has no such [[count]]");
        return Err(Error::usage(what, "put the [[count]] back, or begin with another data_dir"));
    };
    if known.is_some_and(|known| known.have_other_groups(plan, count)) {
        let what = format!("the data folder publishes `{name}`, and its definition has changed");
        let help = "put the [[count]] back as it was and give the new one another name, or begin with another data_dir";
        return Err(Error::usage(what, help));
    }
    Ok(count.schema.collection())
}

/// Logs the states that begin without the history of the folder, and those that end.
fn tell_states(known: Option<&Definitions>, wanted: &Definitions, plan: &Plan) {
    let before = known.map_or(&[][..], |known| &known.states);
    let known_id = |state: &NamedState| before.iter().any(|one| one.id() == state.id());
    let begun = |state: &&NamedState| !known_id(state) && state.since_ms.is_some();
    for state in wanted.states.iter().filter(begun) {
        let changed = before.iter().any(|one| one.name == state.name);
        let why = if changed { "its definition has changed" } else { "it is new" };
        tracing::warn!(
            state = state.name,
            "begins with the events from now on, as {why}: until then its rows say `partial_since`. A replay has them whole"
        );
    }
    for state in before.iter().filter(|state| !wanted.states.iter().any(|one| one.name == state.name)) {
        tracing::warn!(state = state.name, "is no longer in the configuration: what it kept is dropped");
    }
    let kept = |state: &StatePlan| before.iter().any(|one| one.name == state.schema.name);
    let by_class = |state: &&StatePlan| kept(state) && state.names_classes();
    if known.is_some_and(|known| known.rules != wanted.rules) {
        for state in plan.states.iter().filter(by_class) {
            tracing::warn!(
                state = state.schema.name,
                "asks for classes, and rules have changed: events that it has counted keep the class that they had"
            );
        }
    }
}

/// The same of counts.
fn tell_counts(known: Option<&Definitions>, wanted: &Definitions) {
    let before = known.map_or(&[][..], |known| &known.counts);
    for count in wanted.counts.iter().filter(|one| !before.contains(one) && one.since_ms.is_some()) {
        tracing::warn!(
            count = count.name,
            "begins with the events from now on, as it is new: its rows say `partial_since`. A replay has them whole"
        );
    }
}

/// The same of sequences.
fn tell_sequences(known: Option<&Definitions>, wanted: &Definitions, plan: &Plan) {
    let before = known.map_or(&[][..], |known| &known.sequences);
    for sequence in wanted.sequences.iter().filter(|one| !before.contains(one) && one.since_ms.is_some()) {
        let changed = before.iter().any(|one| one.name == sequence.name);
        let why = if changed { "its definition has changed" } else { "it is new" };
        tracing::warn!(
            sequence = sequence.name,
            "begins with the events from now on, as {why}: its rows say `partial_since`. A replay has them whole"
        );
    }
    for sequence in before.iter().filter(|sequence| !wanted.sequences.iter().any(|one| one.name == sequence.name)) {
        tracing::warn!(sequence = sequence.name, "is no longer in the configuration: its rows are taken back");
    }
    if known.is_some_and(|known| known.rules != wanted.rules) {
        for sequence in wanted.sequences.iter().filter(|sequence| before.contains(sequence)) {
            tracing::warn!(
                sequence = sequence.name,
                "asks for classes, and rules have changed: events that were read keep the steps that they were"
            );
        }
    }
    // A class may also be the type of an event, which no configuration knows.
    let classes = || plan.rules.iter().map(|rule| rule.name.as_str());
    for sequence in &plan.sequences {
        let named = sequence.spec.steps.iter().chain(&sequence.spec.excepts);
        for class in named.filter(|class| !classes().any(|known| known == *class)) {
            let Some(near) = nearest(class, classes()) else { continue };
            tracing::warn!(
                sequence = sequence.name,
                class,
                "no [[class]] gives this class: did you mean `{near}`? It counts where it is the type of an event"
            );
        }
    }
}

/// Returns the data of a snapshot, in the form in which the next one is written.
fn remembered(extra: &[u8], plan: &Plan) -> Result<Memory, Error> {
    let memory: Memory = serde_json::from_slice(extra).map_err(Error::run("read the snapshot"))?;
    check_states(&memory.states, plan).map_err(|(what, help)| Error::usage(what, help))?;
    if memory.rows != ROWS {
        let what = format!("the data folder holds states of version {}, this program knows {ROWS}", memory.rows);
        return Err(Error::usage(
            what,
            "start the version of headwater that wrote them, or begin with another data_dir",
        ));
    }
    Ok(Memory { states: states_of(plan), ..memory })
}

/// Adds the cursors of deliveries that are in the queue and not in the snapshot.
fn add_delivered(log: &Log, snapshot: Option<&Generation>, cursors: &mut Cursors) -> Result<(), Error> {
    let failed = || Error::run("read the queue");
    let taken = snapshot.map(|snapshot| log.remap.reader().binding(snapshot.tick)).transpose().map_err(failed())?;
    for (number, part) in (0..).zip(&log.queue) {
        let mut reader = part.reader();
        let taken = taken.as_ref().and_then(|binding| binding.uppers.get(&(QUEUE, number))).copied();
        let (from, durable) = (taken.unwrap_or(0).max(reader.low()), reader.durable());
        let read = reader.read(from, durable, |record| {
            if let Some(Delivery { source, cursors: behind, .. }) = Delivery::decode(record.payload) {
                behind.into_iter().for_each(|cursor| cursors.add(source, cursor));
            }
        });
        read.map_err(failed())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Learning is switched at the offsets 2, 5 and 9 of the control partition.
    #[test]
    fn classes_of_another_model_have_to_be_retracted_first() {
        let learn = |learn| Definitions { learn, ..Definitions::default() };
        let off = [(2, learn(None)), (5, learn(Some(MODEL)))];
        assert!(check_models(&off, 0).is_ok());
        let former = [(2, learn(Some(1))), (5, learn(None)), (9, learn(Some(MODEL)))];
        // Ticks with the former model have to be computed again, or its classes are in the rows of the snapshot.
        for taken in [0, 2, 3, 5] {
            let refused = check_models(&former, taken).unwrap_err();
            assert!(refused.to_string().contains("model 1"), "{refused}");
        }
        for taken in [6, 9, 10] {
            assert!(check_models(&former, taken).is_ok(), "{taken}");
        }
        assert!(check_models(&[(2, learn(Some(MODEL + 1)))], 3).is_err(), "of a later version");
        assert!(check_models(&[], 0).is_ok());
    }
}
