//! Conditions of actions: what the event or row answers, and what is looked up of states and tables.

use super::super::error::Problems;
use super::super::expression;
use super::Known;
use crate::collections;
use crate::collections::filter;
use crate::collections::predicate::{self, Found, Kind, Name, Names, Predicate, PredicateError};
use crate::plan::{Looked, LooksUp, TablePlan};
use crate::text::nearest::nearest;
use std::ops::Range;

const LOOKED_UP: &str = "the column of a row: state.NAME.COLUMN, of a [[state]]";

/// A condition in two parts, both of which have to hold.
pub(super) struct Terms<F> {
    pub own: Option<Predicate<F>>,
    pub looks_up: LooksUp,
}

/// Reads a condition on the names of `names` and on columns that are looked up. `user`: there is one to
/// look up. `events`: the names are those of events.
pub(super) fn terms<N: Names>(
    file: &str,
    known: &Known<'_>,
    span: Range<usize>,
    text: &str,
    names: &mut N,
    (user, events): (bool, bool),
    problems: &mut Problems,
) -> Option<Terms<N::Field>> {
    let mut with = WithLookUps { own: names, known, user, events, looks_up: LooksUp::default() };
    let parsed = match predicate::parse(text, &mut with) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.push(expression::place(file, span, &error), error.message, expression::HELP);
            return None;
        }
    };
    let mut looks_up = with.looks_up;
    let mut all = Vec::new();
    flatten(parsed, &mut all);
    let (mut own, mut looked) = (Vec::new(), Vec::new());
    for one in all {
        let (mut owns, mut looks) = (false, false);
        one.fields(&mut |term| match term {
            Term::Own(_) => owns = true,
            Term::Looked(_) => looks = true,
        });
        match (owns, looks) {
            (true, true) => {
                let help = "join them by `and` at the outside, or make an action of each side of `or`";
                let message = "one comparison asks for what is looked up, and another one beside it by `or` or under `not` does not";
                problems.push(span, message, help);
                return None;
            }
            (_, true) => looked.push(one),
            _ => own.push(one),
        }
    }
    let own = (!own.is_empty()).then(|| {
        Predicate::All(own).map(&|term| match term {
            Term::Own(field) => field,
            Term::Looked(_) => unreachable!("a term that is looked up is in the other part"),
        })
    });
    let looked = (!looked.is_empty()).then(|| {
        Predicate::All(looked).map(&|term| match term {
            Term::Looked(column) => filter::Field::Column(column),
            Term::Own(_) => unreachable!("a term of the row is in the other part"),
        })
    });
    looks_up.filter = looked;
    Some(Terms { own, looks_up })
}

/// Reads a condition on what is looked up alone. The columns that it asks for are added to `looks_up`.
pub(super) fn looked_up(
    text: &str,
    known: &Known<'_>,
    (user, events): (bool, bool),
    looks_up: &mut LooksUp,
) -> Result<filter::Filter, PredicateError> {
    let mut own = Nothing;
    let of = std::mem::take(looks_up);
    let mut with = WithLookUps { own: &mut own, known, user, events, looks_up: of };
    let parsed = predicate::parse(text, &mut with);
    *looks_up = with.looks_up;
    Ok(parsed?.map(&|term| match term {
        Term::Looked(column) => filter::Field::Column(column),
        Term::Own(()) => unreachable!("nothing else has a name"),
    }))
}

/// Finds a column that is added to events. Returns its place among those of `looks_up`.
///
/// # Errors
/// Why there is none.
pub(super) fn find(name: &str, known: &Known<'_>, looks_up: &mut LooksUp) -> Result<usize, String> {
    let parts = name.split('.').map(str::to_owned).collect();
    let name = Name { text: name.to_owned(), parts };
    let mut own = Nothing;
    let of = std::mem::take(looks_up);
    let mut with = WithLookUps { own: &mut own, known, user: true, events: true, looks_up: of };
    let is_there = match &name.parts[..] {
        [first, _, _] if first == "state" => true,
        [table, _] => known.tables.iter().any(|of| of.name == *table),
        _ => false,
    };
    let found = is_there.then(|| with.find(&name));
    *looks_up = with.looks_up;
    match found.unwrap_or_else(|| Err(format!("`{}` is no column of a state or a table", name.text)))?.field {
        Term::Looked(column) => Ok(column),
        Term::Own(()) => unreachable!("nothing else has a name"),
    }
}

/// The names of a cause that is held back: it does not change meanwhile.
struct Nothing;

impl Names for Nothing {
    type Field = ();

    const NOUN: &'static str = "column";
    const EMPTY_IS_ABSENT: bool = false;

    fn find(&mut self, name: &Name) -> Result<Found<()>, String> {
        let (name, help) = (&name.text, "ask for state.NAME.COLUMN, or for the column of a table");
        Err(format!("a gate on `{name}` never opens: it does not change while it is held back; {help}"))
    }
}

/// Takes a predicate apart where all of its parts have to hold.
fn flatten<F>(predicate: Predicate<F>, all: &mut Vec<Predicate<F>>) {
    match predicate {
        Predicate::All(parts) => parts.into_iter().for_each(|part| flatten(part, all)),
        one => all.push(one),
    }
}

/// What a comparison asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Term<F> {
    Own(F),
    /// A column that is looked up, by its place among those of the action.
    Looked(usize),
}

/// Names of a row or an event, and of what is looked up.
struct WithLookUps<'n, 'k, N> {
    own: &'n mut N,
    known: &'n Known<'k>,
    user: bool,
    events: bool,
    looks_up: LooksUp,
}

impl<N: Names> Names for WithLookUps<'_, '_, N> {
    type Field = Term<N::Field>;

    const NOUN: &'static str = N::NOUN;
    const EMPTY_IS_ABSENT: bool = N::EMPTY_IS_ABSENT;

    fn find(&mut self, name: &Name) -> Result<Found<Term<N::Field>>, String> {
        match name.parts.as_slice() {
            [first, state, column] if first == "state" => self.column(state, column),
            [table, column] if self.known.tables.iter().any(|of| of.name == *table) => self.cell(table, column),
            // An event may have a path of that form.
            [first, state] if first == "state" && self.known.states.iter().any(|of| of.schema.name == *state) => {
                Err(format!("`{}` is no column of a state: write state.NAME.COLUMN", name.text))
            }
            _ => self.own.find(name).map(|Found { field, kind }| Found { field: Term::Own(field), kind }),
        }
    }
}

impl<N: Names> WithLookUps<'_, '_, N> {
    fn cell<F>(&mut self, table: &str, column: &str) -> Result<Found<Term<F>>, String> {
        let tables = self.known.tables;
        let index = tables.iter().position(|one| one.name == table).unwrap_or_default();
        let TablePlan { columns, per, .. } = &tables[index];
        if !self.events && (per.is_some() || !self.user) {
            return Err(format!("a row of a collection has no key of `{table}`: leave `{table}.{column}` out"));
        }
        let Some(place) = columns.iter().position(|one| one.name == column) else {
            let names = || columns.iter().map(|column| column.name.as_str());
            let help = match nearest(column, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its columns are {}", names().collect::<Vec<_>>().join(", ")),
            };
            return Err(format!("there is no column `{column}` of the table `{table}`: {help}"));
        };
        let kind = if columns[place].is_number { Kind::Number } else { Kind::Text };
        let looked = place_of(Looked::Table(index, place), &mut self.looks_up.columns);
        Ok(Found { field: Term::Looked(looked), kind })
    }

    fn column<F>(&mut self, state: &str, column: &str) -> Result<Found<Term<F>>, String> {
        let states = self.known.states;
        let Some(index) = states.iter().position(|one| one.schema.name == state) else {
            let names = states.iter().map(|state| state.schema.name.as_str());
            let help = match nearest(state, names.clone()) {
                Some(near) => format!("did you mean `state.{near}`?"),
                None if states.is_empty() => "add a [[state]] of that name".to_owned(),
                None => format!("the states are {}", names.collect::<Vec<_>>().join(", ")),
            };
            return Err(format!("there is no state `{state}`: {help}"));
        };
        if !self.user {
            return Err(format!("a row without a user has no state: leave `state.{state}.{column}` out"));
        }
        let columns = states[index].schema.columns();
        let Some(place) = columns.iter().position(|one| one.name == column) else {
            let names = || columns.iter().map(|column| column.name.as_str());
            let help = match nearest(column, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{LOOKED_UP}. Those of `{state}` are {}", names().collect::<Vec<_>>().join(", ")),
            };
            return Err(format!("there is no column `{column}` of the state `{state}`: {help}"));
        };
        let kind = match columns[place].kind {
            collections::Kind::Integer | collections::Kind::Decimal => Kind::Number,
            collections::Kind::Classes => {
                return Err(format!("`state.{state}.{column}` has several values: ask for another column"));
            }
            collections::Kind::Text | collections::Kind::Time | collections::Kind::Object => Kind::Text,
        };
        let LooksUp { states: of, columns: asked, .. } = &mut self.looks_up;
        // A file with more states than that does not fit into memory.
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let at = of.iter().position(|known| *known == number).unwrap_or_else(|| {
            of.push(number);
            of.len() - 1
        });
        Ok(Found { field: Term::Looked(place_of(Looked::State(at, place), asked)), kind })
    }
}

/// Returns the place of a column among those that are asked, at which it is added if it is new.
pub(super) fn place_of(looked: Looked, asked: &mut Vec<Looked>) -> usize {
    asked.iter().position(|known| *known == looked).unwrap_or_else(|| {
        asked.push(looked);
        asked.len() - 1
    })
}
