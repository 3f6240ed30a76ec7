//! `[[count]]`: what is counted, by which keys, and what is summed.

mod keys;

use super::error::{Problems, choose};
use super::events::within;
use super::expression;
use super::fields::Fields;
use super::rules::{Tests, WithClass};
use super::typed::{self, Count, When};
use crate::collections::count::{COUNT, CountSchema, KeyColumn, OVERFLOW, PARTIAL, PREFIX};
use crate::collections::filter::{Columns, Field, Filter};
use crate::collections::predicate::{self, Name, Names};
use crate::collections::{Collection, Held, Kind, Schema, Schemas, sessions};
use crate::plan::{CountPlan, Counted};
use dataflows::group::Over;
use headwater_decode::spec::StateWhen;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use toml::Spanned;

const NAME_CHARS: usize = 64;
const LIMITS: RangeInclusive<i64> = 1..=1_000_000;
const LIMIT: usize = 10_000;
/// Key columns, and sums.
const MOST: usize = 16;
/// Counts: each level of them is two stages of the graph.
const LEVELS: usize = 4;
const OVER_HELP: &str = "write over = \"events\", or a view: \"sessions\", \"users\", \"counts\", \"shapes\", \"closings\", \
                         \"activities\", \"funnels\", or \"count.NAME\"";

/// What counts may be over, and use.
pub(super) struct Known<'k> {
    pub text: &'k str,
    /// Of all collections but those of counts.
    pub schemas: &'k Schemas,
    pub fields: &'k mut Fields,
    pub tests: &'k mut Tests,
}

/// Returns the counts in the order of the file.
pub(super) fn check(counts: &[Spanned<Count>], known: Known<'_>, problems: &mut Problems) -> Vec<CountPlan> {
    let mut names = HashMap::new();
    for (index, count) in counts.iter().enumerate() {
        let Some(typed) = &count.get_ref().name else {
            problems.push(count.span(), "a [[count]] without `name`", "add name = \"...\": its rows are in count.NAME");
            continue;
        };
        let name = typed.get_ref();
        let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        if name.is_empty() || name.len() > NAME_CHARS || !name.chars().all(fits) {
            let help = format!("write at most {NAME_CHARS} letters, digits, `-` and `_`: it is the name of a file too");
            problems.push(typed.span(), format!("`{name}` is no name of a count"), help);
        } else if names.insert(name.to_ascii_lowercase(), index).is_some() {
            problems.push(
                typed.span(),
                format!("two counts have the name `{name}`"),
                "give each count a name of its own",
            );
        }
    }
    let mut checking = Checking { known, problems, counts, names, plans: HashMap::new(), open: Vec::new() };
    (0..counts.len()).for_each(|index| checking.one(index));
    let Checking { mut plans, .. } = checking;
    (0..counts.len()).filter_map(|index| plans.remove(&index).flatten()).collect()
}

struct Checking<'c, 'k> {
    known: Known<'k>,
    problems: &'c mut Problems,
    counts: &'c [Spanned<Count>],
    /// In lower case.
    names: HashMap<String, usize>,
    /// Of those that have been checked; `None`: it has a mistake.
    plans: HashMap<usize, Option<CountPlan>>,
    /// Those that are being checked, each over the next one.
    open: Vec<usize>,
}

impl Checking<'_, '_> {
    fn one(&mut self, index: usize) {
        if self.plans.contains_key(&index) {
            return;
        }
        self.open.push(index);
        let plan = self.plan(index);
        self.open.pop();
        self.plans.insert(index, plan);
    }

    fn plan(&mut self, index: usize) -> Option<CountPlan> {
        let count = &self.counts[index];
        let typed = count.get_ref();
        let name = typed.name.as_ref().map_or_else(String::new, |name| name.get_ref().clone());
        let limit = typed.limit.as_ref().and_then(|limit| within(limit, LIMITS, self.problems)).unwrap_or(LIMIT);
        let Some(over) = &typed.over else {
            self.problems.push(count.span(), format!("the count `{name}` has no `over`"), OVER_HELP);
            return None;
        };
        for (many, span, what) in [
            (typed.by.as_ref().map_or(0, |by| by.get_ref().len()), typed.by.as_ref().map(Spanned::span), "key columns"),
            (typed.sum.len(), typed.sum.keys().next().map(Spanned::span), "sums"),
        ] {
            if many > MOST {
                let message = format!("the count `{name}` has {many} {what}, and at most {MOST} fit");
                self.problems.push(span.unwrap_or(count.span()), message, "make two counts of it");
            }
        }
        let (of, columns) = match over.get_ref().as_str() {
            "events" => self.of_events(typed)?,
            _ => {
                let (over, schema) = self.over(over)?;
                self.of_rows(typed, over, &schema)?
            }
        };
        let schema = CountSchema {
            name,
            by: columns,
            sums: typed::in_order(&typed.sum).into_iter().map(|(name, _)| name.get_ref().clone()).collect(),
        };
        self.check_names(count, &schema);
        let when = typed.when.as_ref().map(|when| self.known.text[when.span()].to_owned());
        Some(CountPlan { schema, of, when, limit, begins: None })
    }

    /// No two columns of a row have the same name.
    fn check_names(&mut self, count: &Spanned<Count>, schema: &CountSchema) {
        let mut taken: HashSet<String> = [OVERFLOW, COUNT, PARTIAL].map(str::to_owned).into();
        let by = count.get_ref().by.iter().flat_map(|by| by.get_ref());
        let by = schema.by.iter().zip(by).map(|(column, typed)| (vec![column.name.clone()], typed.span()));
        let sums = typed::in_order(&count.get_ref().sum).into_iter();
        let sums = sums.map(|(name, _)| (sessions::sum_columns(name.get_ref()).to_vec(), name.span()));
        for (names, span) in by.chain(sums) {
            for name in names {
                if name.is_empty() {
                    self.problems.push(span.clone(), "a column without a name", "give it a name");
                } else if !taken.insert(name.to_lowercase()) {
                    let message = format!("two columns of the count would have the name `{name}`");
                    let help = "give it another one, such as { column = \"count\", name = \"n\" } or { hour = \"time\", name = \"at\" }";
                    self.problems.push(span.clone(), message, help);
                }
            }
        }
    }

    /// Returns the view that a count is over, and its columns.
    fn over(&mut self, over: &Spanned<String>) -> Option<(Over, Schema)> {
        let name = over.get_ref();
        if let Some(below) = name.strip_prefix(PREFIX) {
            return self.below(over, below);
        }
        let collection = self.known.schemas.named(name);
        let of = match collection.map(Collection::name) {
            Some("sessions") => Over::Sessions,
            Some("users") => Over::Users,
            Some("counts") => Over::Counts,
            Some("shapes") => Over::Shapes,
            Some("closings") => Over::Closings,
            Some("activities") => Over::Activities,
            Some("funnels") => Over::Funnels,
            Some(_) if collection.is_some_and(|of| of.held() == Held::State) => {
                let help = "count the events that the state is made of: over = \"events\"";
                self.problems.push(
                    over.span(),
                    format!("a count over `{name}`: its rows are made when they are read"),
                    help,
                );
                return None;
            }
            Some(journal) => {
                let message = format!("a count over the journal `{journal}`");
                self.problems.push(over.span(), message, OVER_HELP);
                return None;
            }
            None if matches!(name.as_str(), "activities" | "funnels") => {
                let message = format!("there are no {name}: the configuration has no [[sequence]]");
                self.problems.push(over.span(), message, "add one, or leave the count out");
                return None;
            }
            None => {
                let counts = self.counts.iter().filter_map(|count| count.get_ref().name.as_ref());
                let counts: Vec<String> = counts.map(|name| format!("{PREFIX}{}", name.get_ref())).collect();
                let known = ["events", "sessions", "users", "counts", "shapes", "closings", "activities", "funnels"];
                let known: Vec<&str> = known.into_iter().chain(counts.iter().map(String::as_str)).collect();
                let help = choose(name, &known, OVER_HELP);
                self.problems.push(over.span(), format!("unknown collection `{name}`"), help);
                return None;
            }
        };
        Some((of, self.known.schemas.of(collection?).clone()))
    }

    /// Returns the count below.
    fn below(&mut self, over: &Spanned<String>, name: &str) -> Option<(Over, Schema)> {
        let Some(index) = self.names.get(&name.to_ascii_lowercase()).copied() else {
            let names = self.counts.iter().filter_map(|count| count.get_ref().name.as_ref());
            let names: Vec<&str> = names.map(|name| name.get_ref().as_str()).collect();
            let help = choose(name, &names, &format!("the counts are: {}", names.join(", ")));
            self.problems.push(over.span(), format!("there is no count `{name}`"), help);
            return None;
        };
        if self.open.contains(&index) {
            let help = "count events or a view in one of them";
            self.problems.push(over.span(), "a count that counts itself, by way of others or at once", help);
            return None;
        }
        if self.open.len() >= LEVELS {
            let message = format!("more than {LEVELS} counts, each over the next one");
            self.problems.push(over.span(), message, "count the events or the view instead");
            return None;
        }
        self.one(index);
        let below = self.plans.get(&index)?.as_ref()?;
        // A file with more counts than that does not fit into memory.
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        Some((Over::Groups(number), Schema::with(below.schema.collection(), below.schema.columns())))
    }

    fn of_events(&mut self, typed: &Count) -> Option<(Counted, Vec<KeyColumn>)> {
        let mut by = Vec::new();
        let mut columns = Vec::new();
        for one in typed.by.iter().flat_map(|by| by.get_ref()) {
            let (key, column) = keys::of_event(one, self.known.fields, self.problems)?;
            by.push(key);
            columns.push(column);
        }
        let mut sums = Vec::new();
        for (_, field) in typed::in_order(&typed.sum) {
            sums.push(self.known.fields.resolve(field.get_ref(), field.span(), self.problems)?);
        }
        let when = match &typed.when {
            Some(when) => Some(self.when_of_events(when)?),
            None => None,
        };
        Some((Counted::Events { when, by, sums }, columns))
    }

    fn when_of_events(&mut self, when: &Spanned<When>) -> Option<StateWhen> {
        let Known { text, fields, tests, .. } = &mut self.known;
        let predicate = match when.get_ref() {
            When::Table(table) => super::rules::of_table(table, fields, true, self.problems),
            When::Text(typed) => match predicate::parse(typed, &mut WithClass(fields)) {
                Ok(predicate) => predicate,
                Err(error) => {
                    let place = expression::place(text, when.span(), &error);
                    self.problems.push(place, error.message, expression::HELP);
                    return None;
                }
            },
        };
        let (conditions, classes) = tests.of_state(&predicate);
        Some(StateWhen { conditions, classes })
    }

    fn of_rows(&mut self, typed: &Count, over: Over, schema: &Schema) -> Option<(Counted, Vec<KeyColumn>)> {
        let mut by = Vec::new();
        let mut columns = Vec::new();
        for one in typed.by.iter().flat_map(|by| by.get_ref()) {
            let (key, column) = keys::of_row(one, schema, self.problems)?;
            by.push(key);
            columns.push(column);
        }
        let mut sums = Vec::new();
        for (_, column) in typed::in_order(&typed.sum) {
            let (field, kind) = keys::column(column.get_ref(), column.span(), schema, self.problems)?;
            if kind != predicate::Kind::Number {
                let message = format!("`{}` has no numbers: there is no sum of it", column.get_ref());
                let numbers = schema.columns.iter().filter(|of| matches!(of.kind, Kind::Integer | Kind::Decimal));
                let numbers: Vec<&str> = numbers.map(|of| of.name.as_str()).collect();
                let help = format!("name a column of numbers: {}", numbers.join(", "));
                self.problems.push(column.span(), message, help);
                return None;
            }
            sums.push(field);
        }
        let when = match &typed.when {
            Some(when) => Some(self.when_of_rows(when, schema)?),
            None => None,
        };
        Some((Counted::Rows { collection: schema.collection, over, when, by, sums }, columns))
    }

    fn when_of_rows(&mut self, when: &Spanned<When>, schema: &Schema) -> Option<Filter> {
        let When::Text(text) = when.get_ref() else {
            let help = "write it as a text, such as when = 'events >= 3'";
            self.problems.push(when.span(), "a condition on rows is a text", help);
            return None;
        };
        match Filter::parse(text, schema) {
            Ok(filter) => Some(filter),
            Err(error) => {
                let place = expression::place(self.known.text, when.span(), &error);
                self.problems.push(place, error.message, expression::HELP);
                None
            }
        }
    }
}

/// Returns the column of this name, or the class of a column of classes, with the kind of its values.
fn find(name: &str, schema: &Schema) -> Result<(Field, predicate::Kind), String> {
    let parts = match schema.column(name) {
        Some(_) => vec![name.to_owned()],
        None => name.splitn(2, '.').map(str::to_owned).collect(),
    };
    let found = Columns(schema).find(&Name { text: name.to_owned(), parts })?;
    Ok((found.field, found.kind))
}
