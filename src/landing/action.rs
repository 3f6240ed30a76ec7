//! The actions of a Delta log, as far as the landing writes and reads them: one JSON object for each line of a commit.
//! After the [protocol](https://github.com/delta-io/delta/blob/master/PROTOCOL.md), "Actions".

use headwater_log::histories::StartId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Commits of the landing say that they are its own.
pub const ENGINE: &str = "headwater ";

/// A line of a commit: exactly one of them is there, or one that the landing does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_info: Option<CommitInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<MetaData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<Txn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<Add>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<Remove>,
}

/// What a commit says about itself. Readers ignore it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommitInfo {
    /// Milliseconds since 1970: the `now_ms` of the last tick.
    pub timestamp: i64,
    pub operation: String,
    pub operation_parameters: BTreeMap<String, String>,
    pub engine_info: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headwater: Option<Landed>,
}

/// How far the landing had come with a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// The start that has landed it: a restored backup has others.
    pub start: StartId,
    /// The first tick of the commit, and the last.
    pub from: u64,
    pub to: u64,
    /// By part of the queue: the offset behind the last one that was landed.
    pub queue: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    pub min_reader_version: i32,
    pub min_writer_version: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetaData {
    pub id: String,
    pub format: Format,
    pub schema_string: String,
    pub partition_columns: Vec<String>,
    #[serde(default)]
    pub configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    pub provider: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// The progress of a writer in the table: `version` is the last tick that is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    pub app_id: String,
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Relative to the table, with `%` before the code of what an URL cannot hold.
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    pub modification_time: i64,
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    pub data_change: bool,
}

impl Action {
    pub fn protocol() -> Action {
        Action { protocol: Some(Protocol { min_reader_version: 1, min_writer_version: 2 }), ..Action::default() }
    }

    /// Returns the actions of a commit.
    ///
    /// # Errors
    /// The line that is no action, and why.
    pub fn parse(commit: &[u8]) -> Result<Vec<Action>, String> {
        let lines = commit.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        let parsed =
            lines.map(|(at, line)| serde_json::from_slice(line).map_err(|error| format!("line {}: {error}", at + 1)));
        parsed.collect()
    }

    /// Returns the bytes of a commit of these actions.
    pub fn write(actions: &[Action]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut bytes, action).expect("texts and numbers are always JSON");
            bytes.push(b'\n');
        }
        bytes
    }
}

impl From<CommitInfo> for Action {
    fn from(commit_info: CommitInfo) -> Action {
        Action { commit_info: Some(commit_info), ..Action::default() }
    }
}

impl From<MetaData> for Action {
    fn from(meta_data: MetaData) -> Action {
        Action { meta_data: Some(meta_data), ..Action::default() }
    }
}

impl From<Txn> for Action {
    fn from(txn: Txn) -> Action {
        Action { txn: Some(txn), ..Action::default() }
    }
}

impl From<Add> for Action {
    fn from(add: Add) -> Action {
        Action { add: Some(add), ..Action::default() }
    }
}

impl From<Remove> for Action {
    fn from(remove: Remove) -> Action {
        Action { remove: Some(remove), ..Action::default() }
    }
}
