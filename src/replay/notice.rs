//! What a summary says of the reading: which candidates gave the values, and what looks wrong.

use serde::Serialize;

/// Where the values of the events of one source in one format came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadFrom {
    pub source: String,
    pub format: &'static str,
    pub user: Vec<Given>,
    pub time: Vec<Given>,
    #[serde(rename = "type")]
    pub kind: Vec<Given>,
    pub id: Vec<Given>,
}

/// A candidate, and how many events have their value from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Given {
    /// `None`: from none of the candidates.
    pub path: Option<String>,
    pub events: u64,
}

/// Something that the user should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Stable, for programs.
    pub code: &'static str,
    pub message: String,
}
