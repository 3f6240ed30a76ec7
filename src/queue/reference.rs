//! Tables of reference data: a file -> the content of a control record -> rows by key. A content enters at a tick, like
//! every other input, and holds until the next one of its table.
//!
//! A file is taken whole or not at all. One that is still being written, or has a mistake, leaves the content before it.

use crate::plan::{TableFormat, TablePlan};
use dataflows::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The largest file of a table: a control record holds it, and each worker keeps its rows in memory.
pub const LARGEST: usize = 16 << 20;

/// The content of a table, as a control record holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    pub name: String,
    /// With whether its values are numbers.
    pub columns: Vec<(String, bool)>,
    /// By key: the value of each column.
    pub rows: BTreeMap<String, Vec<Option<String>>>,
}

/// The rows of a table, as they are looked up.
#[derive(Clone, Debug, Default)]
pub struct Table(HashMap<String, Vec<Option<Cell>>, foldhash::fast::FixedState>);

/// A value of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Text(String),
    Number(Decimal),
}

/// The tables of a worker as of a tick, by name.
pub type Tables = BTreeMap<String, Arc<Table>>;

impl Content {
    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with them, for the operator.
    pub fn read(plan: &TablePlan, bytes: &[u8]) -> Result<Content, String> {
        if bytes.len() > LARGEST {
            return Err(format!("it has {} bytes, and at most {LARGEST} fit", bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("its last line has no end: it is still being written, or lacks a line break".into());
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let columns = plan.columns.iter().map(|column| (column.name.clone(), column.is_number)).collect();
        let mut content = Content { name: plan.name.clone(), columns, rows: BTreeMap::new() };
        match plan.format {
            TableFormat::Csv => content.csv(plan, text)?,
            TableFormat::JsonLines => content.json(plan, text)?,
        }
        Ok(content)
    }

    /// Returns whether it has the columns of a plan.
    pub fn is_of(&self, plan: &TablePlan) -> bool {
        self.columns
            .iter()
            .map(|(name, is_number)| (name, *is_number))
            .eq(plan.columns.iter().map(|column| (&column.name, column.is_number)))
    }

    fn csv(&mut self, plan: &TablePlan, text: &str) -> Result<(), String> {
        let mut rows = rows_of_csv(text).into_iter();
        let header = rows.next().ok_or("it is empty: the first line has the names of columns")?;
        let place = |name: &str| {
            let found = header.iter().position(|column| column == name);
            found.ok_or_else(|| format!("it has no column `{name}`; its columns are {}", header.join(", ")))
        };
        let key = place(&plan.key)?;
        let places = plan.columns.iter().map(|column| place(&column.name)).collect::<Result<Vec<_>, _>>()?;
        for (line, row) in (2..).zip(rows) {
            if row.len() != header.len() {
                return Err(format!("row {line} has {} values, and the header has {}", row.len(), header.len()));
            }
            let value = |place: &usize| Some(row[*place].clone()).filter(|value| !value.is_empty());
            self.add(line, value(&key), places.iter().map(value).collect())?;
        }
        Ok(())
    }

    fn json(&mut self, plan: &TablePlan, text: &str) -> Result<(), String> {
        use serde_json::Value;
        for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
            let row: serde_json::Map<String, Value> =
                serde_json::from_str(row).map_err(|error| format!("line {line} is no JSON object: {error}"))?;
            let value = |name: &str| match row.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
                Some(_) => Err(format!("line {line}: `{name}` is an object or a list")),
            };
            let values = plan.columns.iter().map(|column| value(&column.name)).collect::<Result<_, _>>()?;
            self.add(line, value(&plan.key)?, values)?;
        }
        Ok(())
    }

    fn add(&mut self, line: usize, key: Option<String>, values: Vec<Option<String>>) -> Result<(), String> {
        let key = key.ok_or_else(|| format!("line {line} has no key"))?;
        for ((name, _), value) in self.columns.iter().zip(&values).filter(|((_, is_number), _)| *is_number) {
            if let Some(value) = value.as_ref().filter(|value| Decimal::summand(value).is_none()) {
                return Err(format!("line {line}: `{value}` is no number, and `{name}` is of type \"number\""));
            }
        }
        if self.rows.contains_key(&key) {
            return Err(format!("line {line}: the key `{key}` is there twice"));
        }
        self.rows.insert(key, values);
        Ok(())
    }

    /// Returns the rows, to be looked up.
    pub fn table(self) -> Table {
        let Content { columns, rows, .. } = self;
        let cell = |(value, (_, is_number)): (Option<String>, &(String, bool))| match is_number {
            true => value.and_then(|value| Decimal::summand(&value)).map(Cell::Number),
            false => value.map(Cell::Text),
        };
        let row =
            |(key, values): (String, Vec<Option<String>>)| (key, values.into_iter().zip(&columns).map(cell).collect());
        Table(rows.into_iter().map(row).collect())
    }
}

impl Table {
    /// Returns the value of a column in the row of a key.
    pub fn get(&self, key: &str, column: usize) -> Option<&Cell> {
        self.0.get(key)?.get(column)?.as_ref()
    }
}

/// Returns the rows of a text of CSV, the header first.
fn rows_of_csv(text: &str) -> Vec<Vec<String>> {
    use csv_core::ReadFieldResult;
    let (mut reader, mut rest) = (csv_core::Reader::new(), text.as_bytes());
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), Vec::new());
    let mut out = [0; 1024];
    loop {
        let (result, read, written) = reader.read_field(rest, &mut out);
        rest = &rest[read..];
        field.extend_from_slice(&out[..written]);
        match result {
            ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
            ReadFieldResult::Field { record_end } => {
                row.push(String::from_utf8_lossy(&field).into_owned());
                field.clear();
                if record_end {
                    rows.push(std::mem::take(&mut row));
                }
            }
            ReadFieldResult::End => return rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TableColumn;

    fn plan(format: TableFormat) -> TablePlan {
        let column = |name: &str, is_number| TableColumn { name: name.into(), is_number };
        let columns = vec![column("plan", false), column("limit", true)];
        TablePlan { name: "plans".into(), path: "p".into(), format, key: "user_id".into(), per: None, columns }
    }

    #[test]
    fn both_formats_have_the_same_content() {
        let csv = "user_id,other,limit,plan\nann,x,2.50,\"pro, yearly\"\nbob,,,\n\"it\"\"s\",y,-3,free\n";
        let json = "{\"user_id\":\"ann\",\"limit\":\"2.50\",\"plan\":\"pro, yearly\"}\n\n\
                    {\"user_id\":\"bob\",\"limit\":null}\n{\"user_id\":\"it\\\"s\",\"plan\":\"free\",\"limit\":\"-3\",\"x\":[]}\n";
        let content = Content::read(&plan(TableFormat::Csv), csv.as_bytes()).unwrap();
        assert_eq!(Content::read(&plan(TableFormat::JsonLines), json.as_bytes()).unwrap(), content);
        assert!(content.is_of(&plan(TableFormat::Csv)));
        let table = content.table();
        assert_eq!(table.get("ann", 0), Some(&Cell::Text("pro, yearly".into())));
        assert_eq!(table.get("it\"s", 1), Decimal::summand("-3").map(Cell::Number).as_ref());
        assert_eq!((table.get("bob", 0), table.get("eve", 0)), (None, None));
    }

    #[test]
    fn a_file_with_a_mistake_says_where_it_is() {
        let wrong = |format, text: &str| Content::read(&plan(format), text.as_bytes()).unwrap_err();
        let csv = |text: &str| wrong(TableFormat::Csv, text);
        assert_eq!(csv(""), "it is empty: the first line has the names of columns");
        assert_eq!(csv("user_id,plan\n"), "it has no column `limit`; its columns are user_id, plan");
        assert_eq!(csv("user_id,plan,limit\nann,pro,1\nann,pro,1\n"), "line 3: the key `ann` is there twice");
        assert_eq!(csv("user_id,plan,limit\n,pro,1\n"), "line 2 has no key");
        assert_eq!(csv("user_id,plan,limit\nann,pro\n"), "row 2 has 2 values, and the header has 3");
        assert!(csv("user_id,plan,limit\nann,pro,much\n").contains("line 2: `much` is no number"));
        assert!(csv("user_id,plan,limit\nann,pro,1").contains("still being written"));
        assert!(wrong(TableFormat::JsonLines, "{}\n[1]\n").starts_with("line 1 has no key"));
        assert!(wrong(TableFormat::JsonLines, "[1]\n").starts_with("line 1 is no JSON object"));
    }
}
