//! `by` of a `[[count]]`: the key columns of a group.

use super::find;
use crate::collections::count::KeyColumn;
use crate::collections::filter::Field;
use crate::collections::{Kind, Schema, predicate};
use crate::config::error::Problems;
use crate::config::events::zone;
use crate::config::fields::Fields;
use crate::config::typed::{By as Typed, ByTable};
use crate::plan::ByColumn;
use headwater_decode::bucket::{Bucket, Unit};
use headwater_decode::spec::By;
use std::ops::Range;
use toml::Spanned;

const HELP: &str = "write one of { minute = …, hour = …, day = …, week = …, month = … }, with the time that is meant, such as \
                    { hour = \"time\" }; or { column = \"country\", name = \"land\" }";

/// What a table of `by` asks for.
enum Asked<'t> {
    /// A field or a column.
    Column(&'t Spanned<String>),
    Time(Unit, &'t Spanned<String>),
}

/// Returns a key column of a count over events.
pub(super) fn of_event(by: &Spanned<Typed>, fields: &mut Fields, problems: &mut Problems) -> Option<(By, KeyColumn)> {
    let table = match by.get_ref() {
        Typed::Name(name) => {
            let key = value(name, by.span(), fields, problems)?;
            return Some((key, KeyColumn { name: name.clone(), kind: Kind::Text }));
        }
        Typed::Table(table) => table,
    };
    match asked(by, table, problems)? {
        Asked::Column(of) => {
            let key = value(of.get_ref(), of.span(), fields, problems)?;
            Some((key, KeyColumn { name: name(table, of.get_ref()), kind: Kind::Text }))
        }
        Asked::Time(unit, of) => {
            if of.get_ref() != "time" {
                let message = format!("an event has one time, and not `{}`", of.get_ref());
                problems.push(of.span(), message, format!("write {{ {} = \"time\" }}", unit.name()));
                return None;
            }
            let bucket = bucket(unit, table, problems)?;
            Some((By::Time(bucket), KeyColumn { name: name(table, unit.name()), kind: Kind::Time }))
        }
    }
}

/// Returns a key column of a count over rows.
pub(super) fn of_row(by: &Spanned<Typed>, schema: &Schema, problems: &mut Problems) -> Option<(ByColumn, KeyColumn)> {
    let table = match by.get_ref() {
        Typed::Name(name) => {
            let (field, kind) = key(name, by.span(), schema, problems)?;
            return Some((ByColumn::Value(field), KeyColumn { name: name.clone(), kind }));
        }
        Typed::Table(table) => table,
    };
    match asked(by, table, problems)? {
        Asked::Column(of) => {
            let (field, kind) = key(of.get_ref(), of.span(), schema, problems)?;
            Some((ByColumn::Value(field), KeyColumn { name: name(table, of.get_ref()), kind }))
        }
        Asked::Time(unit, of) => {
            let is_time = |column: &&crate::collections::Column| {
                column.kind == Kind::Time || column.kind == Kind::Integer && column.name.ends_with("_us")
            };
            let times = schema.columns.iter().filter(is_time);
            if !times.clone().any(|column| column.name == *of.get_ref()) {
                let message = format!("`{}` of {} has no times", of.get_ref(), schema.collection.name());
                let names: Vec<&str> = times.map(|column| column.name.as_str()).collect();
                let help = match names.is_empty() {
                    true => "it has no column of times: leave this key out".to_owned(),
                    false => format!("name a column of times: {}", names.join(", ")),
                };
                problems.push(of.span(), message, help);
                return None;
            }
            let (field, _) = column(of.get_ref(), of.span(), schema, problems)?;
            let bucket = bucket(unit, table, problems)?;
            Some((ByColumn::Time(field, bucket), KeyColumn { name: name(table, unit.name()), kind: Kind::Time }))
        }
    }
}

/// Returns the column of this name, with the kind of its values.
pub(super) fn column(
    name: &str,
    span: Range<usize>,
    schema: &Schema,
    problems: &mut Problems,
) -> Option<(Field, predicate::Kind)> {
    let found = find(name, schema);
    found.map_err(|message| problems.push(span, message, "name a column, or a class as classes.NAME")).ok()
}

/// Returns the column of this name, if its values may be a key.
fn key(name: &str, span: Range<usize>, schema: &Schema, problems: &mut Problems) -> Option<(Field, Kind)> {
    let (field, _) = column(name, span.clone(), schema, problems)?;
    let kind = match &field {
        Field::Column(column) => schema.columns[*column].kind,
        Field::Class(..) => Kind::Integer,
    };
    if matches!(kind, Kind::Classes | Kind::Object) {
        let help = format!("name a column of texts or numbers, or one class: {name}.NAME");
        problems.push(span, format!("`{name}` is an object, which cannot be a key"), help);
        return None;
    }
    Some((field, kind))
}

/// Returns what an event has of this name. A field comes first.
fn value(name: &str, span: Range<usize>, fields: &mut Fields, problems: &mut Problems) -> Option<By> {
    let special = match name {
        "user" => Some(By::User),
        "class" => Some(By::Class),
        "type" => Some(By::Type),
        _ => None,
    };
    match special.filter(|_| fields.named(name).is_none()) {
        Some(by) => Some(by),
        None if name == "time" && fields.named(name).is_none() => {
            let help = "write the part of time that is meant, such as { hour = \"time\" }";
            problems.push(span, "a count by the time itself has a row for each event", help);
            None
        }
        None => fields.resolve(name, span, problems).map(By::Field),
    }
}

fn name(table: &ByTable, default: &str) -> String {
    table.name.as_ref().map_or(default, |name| name.get_ref()).to_owned()
}

fn bucket(unit: Unit, table: &ByTable, problems: &mut Problems) -> Option<Bucket> {
    let zone = match &table.zone {
        Some(name) => zone(name, problems)?,
        None => "UTC".to_owned(),
    };
    // It was checked above.
    Bucket::new(unit, &zone).ok()
}

fn asked<'t>(by: &Spanned<Typed>, table: &'t ByTable, problems: &mut Problems) -> Option<Asked<'t>> {
    let ByTable { column, minute, hour, day, week, month, zone, name: _ } = table;
    let units = [minute, hour, day, week, month];
    let units = units.into_iter().zip(Unit::ALL).filter_map(|(of, unit)| Some(Asked::Time(unit, of.as_ref()?)));
    let mut all: Vec<Asked<'t>> = column.iter().map(Asked::Column).chain(units).collect();
    if all.len() != 1 {
        let message = if all.is_empty() { "a key that says nothing" } else { "a key that says several things" };
        problems.push(by.span(), message, HELP);
        return None;
    }
    let one = all.remove(0);
    if let (Asked::Column(_), Some(zone)) = (&one, zone) {
        problems.push(zone.span(), "a `zone` without a part of time", "leave `zone` out");
        return None;
    }
    Some(one)
}
