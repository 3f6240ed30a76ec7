//! Tables of reference data, after every check.

use std::path::PathBuf;

/// A table that actions look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlan {
    pub name: String,
    pub path: PathBuf,
    pub format: TableFormat,
    /// The column of the file whose value names a row.
    pub key: String,
    /// The field whose value is looked up; `None`: the user.
    pub per: Option<usize>,
    /// Each with its name in the file.
    pub columns: Vec<TableColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    pub name: String,
    /// Every value is a number.
    pub is_number: bool,
}

/// The format of a file, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    Csv,
    JsonLines,
}
