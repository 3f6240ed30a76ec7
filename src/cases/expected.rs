//! Cases as typed -> cases that can run: every name and value is checked against the plan, and told with its place.

use super::typed::{self, Given, Numbers, Rows};
use super::value::{self, Wanted};
use crate::collections::Column;
use crate::config::{ConfigError, Problems};
use crate::plan::Plan;
use crate::replay::events::event_table;
use crate::tables;
use crate::text::nearest::nearest;
use dataflows::{EventTime, Reason, Sessionless};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::Spanned;

/// A case that can run.
#[derive(Debug)]
pub(super) struct Case {
    pub name: String,
    /// In the file, from 1.
    pub line: usize,
    pub inputs: Vec<Input>,
    pub now: Option<EventTime>,
    /// The class of each event, in the order of the input.
    pub classes: Option<Vec<String>>,
    pub tables: Vec<Table>,
    /// `None`: there are to be none.
    pub dead_letters: Option<BTreeMap<String, u64>>,
    pub sessionless: Option<BTreeMap<String, u64>>,
}

impl Case {
    /// Returns whether it looks at single events.
    pub fn wants_events(&self) -> bool {
        self.classes.is_some() || self.tables.iter().any(|table| table.name == "session_events")
    }
}

/// What the source of this index reads.
#[derive(Debug)]
pub(super) struct Input {
    pub source: usize,
    pub content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Files(Vec<PathBuf>),
}

/// The rows that a table has.
#[derive(Debug)]
pub(super) struct Table {
    pub name: String,
    /// All columns.
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

/// What is expected of a row: columns that matter, with their values.
#[derive(Debug)]
pub(super) struct Row {
    pub line: usize,
    pub columns: Vec<(String, Wanted)>,
    /// As it is written in the file.
    pub written: String,
}

/// Checks all cases of a file. `name` and `text` are of the file, `folder` is that in which it is.
///
/// # Errors
/// All mistakes, each with its place.
pub(super) fn check(
    cases: &Spanned<Vec<Spanned<typed::Case>>>,
    plan: &Plan,
    (name, text, folder): (&str, &str, &Path),
) -> Result<Vec<Case>, ConfigError> {
    let mut checker = Checker { plan, text, folder, problems: Problems::default() };
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for typed in cases.get_ref() {
        let case = checker.case(typed);
        if !names.insert(case.name.clone()) {
            let message = format!("there is another case `{}`", case.name);
            checker.problems.push(typed.span(), message, "give each case its own name");
        }
        all.push(case);
    }
    if all.is_empty() {
        checker.problems.push(cases.span(), "the file has no case", "add a [[case]] with events, and what they give");
    }
    match checker.problems.is_empty() {
        true => Ok(all),
        false => Err(checker.problems.into_error_of("test file", name, text)),
    }
}

struct Checker<'c> {
    plan: &'c Plan,
    text: &'c str,
    folder: &'c Path,
    problems: Problems,
}

impl Checker<'_> {
    fn case(&mut self, typed: &Spanned<typed::Case>) -> Case {
        let (at, case) = (typed.span(), typed.get_ref());
        let line = self.line(at.start);
        if case.name.as_ref().is_none_or(|name| name.get_ref().is_empty()) {
            self.problems.push(
                at.clone(),
                "a [[case]] without `name`",
                "add name = \"...\", which says what is promised",
            );
        }
        let mut inputs = Vec::new();
        for (given, is_files) in [(&case.events, false), (&case.files, true)] {
            if let Some(given) = given {
                self.given(given, is_files, &mut inputs);
            }
        }
        let mut known = BTreeSet::new();
        if let Some(twice) = inputs.iter().find(|input| !known.insert(input.source)) {
            let message = format!("source `{}` has both events and files", self.plan.sources[twice.source].name);
            self.problems.push(at.clone(), message, "put them into two cases, or all into files");
        }
        if case.events.is_none() && case.files.is_none() {
            let help = "add events = '''…''' with the lines that the source reads, or files = [\"…\"]";
            self.problems.push(at.clone(), "a case without events", help);
        }
        if let Some(actions) = &case.actions {
            let help = "only a run decides actions: expect the rows that they look at";
            self.problems.push(actions.span(), "a replay has no `actions`", help);
        }
        let now = case.now.as_ref().and_then(|now| {
            let text = now.get_ref().as_str().map_or_else(|| now.get_ref().to_string(), str::to_owned);
            let time = value::time(&text);
            if time.is_none() {
                self.problems.push(now.span(), "`now` is no time", "write a time such as \"2024-05-01T10:00:00Z\"");
            }
            time
        });
        let tables = self.tables(case);
        let classes = case.classes.as_ref();
        let classes = classes.map(|all| all.get_ref().iter().map(|class| class.get_ref().clone()).collect());
        let reasons: Vec<&str> = Reason::ALL.into_iter().map(Reason::code).collect();
        let dead_letters = self.numbers(case.dead_letters.as_ref(), &reasons);
        let reasons: Vec<&str> = Sessionless::ALL.into_iter().map(Sessionless::code).collect();
        let sessionless = self.numbers(case.sessionless.as_ref(), &reasons);
        if tables.is_empty() && classes.is_none() && dead_letters.is_none() && sessionless.is_none() {
            let help = "add what its events give, such as classes = [\"…\"] or [[case.sessions]]";
            self.problems.push(at, "a case that expects nothing", help);
        }
        let name = case.name.as_ref().map_or_else(String::new, |name| name.get_ref().clone());
        Case { name, line, inputs, now, classes, tables, dead_letters, sessionless }
    }

    /// Returns the line of a place in the file, from 1.
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
    }

    fn given(&mut self, given: &Spanned<Given>, is_files: bool, inputs: &mut Vec<Input>) {
        let sources = &self.plan.sources;
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        match given.get_ref() {
            Given::BySource(by_source) => {
                for (name, given) in by_source {
                    match names.iter().position(|known| known == name.get_ref()) {
                        Some(source) => self.content(source, given, is_files, inputs),
                        None => self.unknown(name, "source", &names),
                    }
                }
            }
            _ if sources.len() == 1 => self.content(0, given, is_files, inputs),
            _ => {
                let key = if is_files { "files" } else { "events" };
                let message = format!("it is not clear which source reads them: there are {}", names.join(", "));
                let help = format!("write {key}.{} = …", names.first().unwrap_or(&"NAME"));
                self.problems.push(given.span(), message, help);
            }
        }
    }

    fn content(&mut self, source: usize, given: &Spanned<Given>, is_files: bool, inputs: &mut Vec<Input>) {
        let file = |name: &String| self.folder.join(name);
        let content = match (given.get_ref(), is_files) {
            (Given::Text(text), false) => Content::Text(text.clone()),
            (Given::Text(name), true) => Content::Files(vec![file(name)]),
            (Given::List(names), true) => Content::Files(names.iter().map(|name| file(name.get_ref())).collect()),
            (Given::List(_), false) => {
                return self.problems.push(given.span(), "`events` is a list", "write its lines as one text: '''…'''");
            }
            (Given::BySource(_), _) => {
                return self.problems.push(given.span(), "a table within a table", "write a text for each source");
            }
        };
        inputs.push(Input { source, content });
    }

    fn tables(&mut self, case: &typed::Case) -> Vec<Table> {
        let plan = self.plan;
        let mut tables = Vec::new();
        let mut add = |checker: &mut Self, name: &str, columns: Vec<Column>, rows: &Rows| {
            let rows = rows.get_ref().iter().map(|row| checker.row(row, name, &columns)).collect();
            tables.push(Table { name: name.to_owned(), columns, rows });
        };
        for (table, rows) in [
            (tables::session_table(&plan.session_schema()), &case.sessions),
            (tables::user_table(), &case.users),
            (tables::counts_table(), &case.counts),
            (tables::shape_table(), &case.shapes),
            (event_table(plan), &case.session_events),
        ] {
            if let Some(rows) = rows {
                add(self, table.name, table.columns, rows);
            }
        }
        let of_sequences =
            [(tables::activity_table(), &case.activities), (tables::funnel_table(), &case.funnels)].into_iter();
        for (table, rows) in of_sequences {
            match rows {
                Some(rows) if plan.sequences.is_empty() => {
                    let message = format!("there are no {}: the configuration has no [[sequence]]", table.name);
                    self.problems.push(rows.span(), message, "add one to the configuration");
                }
                Some(rows) => add(self, table.name, table.columns, rows),
                None => {}
            }
        }
        match &case.identities {
            Some(rows) if plan.identity.is_none() => {
                let message = "there are no identities: the configuration has no [identity]";
                self.problems.push(rows.span(), message, "add the section to the configuration");
            }
            Some(rows) => add(self, "identities", tables::identity_table().columns, rows),
            None => {}
        }
        for (name, rows) in &case.state {
            match plan.states.iter().find(|state| state.schema.name == *name.get_ref()) {
                Some(state) => {
                    let table = tables::state_table(&state.schema);
                    add(self, table.name, table.columns, rows);
                }
                None => {
                    let known: Vec<&str> = plan.states.iter().map(|state| state.schema.name.as_str()).collect();
                    self.unknown(name, "state", &known);
                }
            }
        }
        for (name, rows) in &case.count {
            match plan.counts.iter().find(|count| count.schema.name == *name.get_ref()) {
                Some(count) => {
                    let table = tables::count_table(&count.schema);
                    add(self, table.name, table.columns, rows);
                }
                None => {
                    let known: Vec<&str> = plan.counts.iter().map(|count| count.schema.name.as_str()).collect();
                    self.unknown(name, "count", &known);
                }
            }
        }
        tables
    }

    fn row(&mut self, row: &Spanned<typed::Row>, table: &str, columns: &[Column]) -> Row {
        let mut known: Vec<(usize, String, Wanted)> = Vec::new();
        let mut written: Vec<(usize, String)> = Vec::new();
        for (name, typed) in row.get_ref() {
            let as_written = self.text.get(typed.span()).unwrap_or_default();
            written.push((name.span().start, format!("{} = {as_written}", name.get_ref())));
            let Some(column) = columns.iter().find(|column| column.name == *name.get_ref()) else {
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                let help = match nearest(name.get_ref(), names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("its columns are {}", names.join(", ")),
                };
                self.problems.push(name.span(), format!("{table} has no column `{}`", name.get_ref()), help);
                continue;
            };
            match Wanted::of(column.kind, typed.get_ref(), as_written) {
                Ok(wanted) => known.push((name.span().start, column.name.clone(), wanted)),
                Err(help) => {
                    let message = format!("`{}` of {table} cannot have this value", column.name);
                    self.problems.push(typed.span(), message, help);
                }
            }
        }
        known.sort_by_key(|(at, ..)| *at);
        written.sort();
        let written: Vec<String> = written.into_iter().map(|(_, one)| one).collect();
        Row {
            line: self.line(row.span().start),
            columns: known.into_iter().map(|(_, name, wanted)| (name, wanted)).collect(),
            written: format!("{{ {} }}", written.join(", ")),
        }
    }

    fn numbers(&mut self, typed: Option<&Numbers>, reasons: &[&str]) -> Option<BTreeMap<String, u64>> {
        let mut numbers = BTreeMap::new();
        for (name, number) in typed?.get_ref() {
            if !reasons.contains(&name.get_ref().as_str()) {
                let near = nearest(name.get_ref(), reasons.iter().copied());
                let help = near.map_or_else(
                    || format!("the reasons are {}", reasons.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.problems.push(name.span(), format!("there is no reason `{}`", name.get_ref()), help);
            }
            if *number.get_ref() > 0 {
                numbers.insert(name.get_ref().clone(), *number.get_ref());
            }
        }
        Some(numbers)
    }

    fn unknown(&mut self, name: &Spanned<String>, noun: &str, known: &[&str]) {
        let help = match nearest(name.get_ref(), known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "add one to the configuration".into(),
            None => format!("those of the configuration are {}", known.join(", ")),
        };
        let message = format!("the configuration has no {noun} `{}`", name.get_ref());
        self.problems.push(name.span(), message, help);
    }
}
