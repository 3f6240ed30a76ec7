//! `[[table]]`: reference data that actions look up.

use super::error::{Problems, choose};
use super::fields::Fields;
use super::typed::{self, Table};
use crate::plan::{TableColumn, TableFormat, TablePlan};
use std::collections::HashSet;
use std::path::Path;
use toml::Spanned;

const PER: &str = "write \"user\", or the name of a field of [fields]";
const NAME_CHARS: usize = 64;

pub(super) fn check(
    typed: &[Spanned<Table>],
    fields: &Fields,
    folder: &Path,
    problems: &mut Problems,
) -> Vec<TablePlan> {
    let mut names = HashSet::new();
    typed.iter().filter_map(|table| check_one(table, &mut names, fields, folder, problems)).collect()
}

fn check_one(
    table: &Spanned<Table>,
    names: &mut HashSet<String>,
    fields: &Fields,
    folder: &Path,
    problems: &mut Problems,
) -> Option<TablePlan> {
    let of = table.get_ref();
    for (what, is_there, help) in [
        ("name", of.name.is_some(), "add name = \"...\": conditions ask for NAME.COLUMN"),
        ("path", of.path.is_some(), "name the file, such as path = \"plans.csv\""),
        ("key", of.key.is_some(), "name the column whose value names a row, such as key = \"user_id\""),
    ] {
        if !is_there {
            problems.push(table.span(), format!("a [[table]] without `{what}`"), help);
        }
    }
    if of.columns.is_empty() {
        let help = "add such as columns.plan = \"text\" or columns.limit = \"number\"";
        problems.push(table.span(), "a [[table]] without columns", help);
    }
    let (name, path, key) = (of.name.as_ref()?, of.path.as_ref()?, of.key.as_ref()?);
    let text = name.get_ref();
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '_';
    if text.is_empty() || text.len() > NAME_CHARS || !text.chars().all(fits) || text == "state" {
        let help = format!("write at most {NAME_CHARS} letters, digits and `_`, and not `state`");
        problems.push(name.span(), format!("`{text}` is no name of a table"), help);
    } else if !names.insert(text.to_ascii_lowercase()) {
        problems.push(name.span(), format!("two tables have the name `{text}`"), "give each table a name of its own");
    }
    let format = match Path::new(path.get_ref()).extension().and_then(|end| end.to_str()) {
        Some("csv") => TableFormat::Csv,
        Some("jsonl" | "ndjson") => TableFormat::JsonLines,
        _ => {
            let help = "name a file that ends with .csv, .jsonl or .ndjson";
            problems.push(path.span(), format!("`{}` has no format of a table", path.get_ref()), help);
            TableFormat::Csv
        }
    };
    let per = of.per.as_ref().filter(|per| per.get_ref() != "user").and_then(|per| {
        let field = fields.named(per.get_ref());
        if field.is_none() {
            let known: Vec<&str> = fields.names().chain(["user"]).collect();
            let message = format!("`per` names no field of [fields]: `{}`", per.get_ref());
            problems.push(per.span(), message, choose(per.get_ref(), &known, PER));
        }
        field
    });
    let mut columns = Vec::new();
    for (name, kind) in typed::in_order(&of.columns) {
        let is_number = match kind.get_ref().as_str() {
            "number" => true,
            "text" => false,
            other => {
                let message = format!("`{other}` is no type of a column of a table");
                problems.push(kind.span(), message, "write \"text\" or \"number\"");
                continue;
            }
        };
        columns.push(TableColumn { name: name.get_ref().clone(), is_number });
    }
    Some(TablePlan {
        name: text.clone(),
        path: folder.join(path.get_ref()),
        format,
        key: key.get_ref().clone(),
        per,
        columns,
    })
}
