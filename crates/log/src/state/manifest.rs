//! The manifest of a generation: a file with the header of a segment and two frames. The first is JSON of [`Generation`],
//! the second its `extra`.

use super::{Runs, is_state, run_name};
use crate::Tick;
use crate::error::LogError;
use crate::partition::Context;
use crate::segment::{self, HEADER, Header, Kind, LogId};
use crate::vfs::{Role, read_all};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const VERSION: u8 = 1;

/// A snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Later generations have higher numbers.
    pub sequence: u64,
    /// Of the process that wrote it.
    pub epoch: u64,
    /// The state is that after this tick.
    pub tick: Tick,
    /// The tick's clock: milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    /// Of the tick's remap record.
    pub remap_digest: [u8; 32],
    /// Fingerprint of code semantics and graph configuration.
    pub program: [u8; 32],
    /// The runs of each state, oldest first.
    pub states: BTreeMap<String, Vec<Listed>>,
    /// Further data of the engine: the second frame of the file.
    #[serde(skip)]
    pub extra: Vec<u8>,
}

/// A run as a manifest lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Of the generation that it was written for.
    pub sequence: u64,
    /// Number of rows.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub digest: [u8; 32],
}

impl Generation {
    /// Names of its files.
    pub(super) fn files(&self) -> impl Iterator<Item = String> {
        let runs = self.states.iter().flat_map(|(state, runs)| runs.iter().map(|run| run_name(state, run.sequence)));
        runs.chain([name(self.sequence)])
    }

    pub(super) fn encode(&self, id: LogId) -> Vec<u8> {
        let Generation { sequence, epoch, tick, now_ms, .. } = *self;
        let header = Header { role: Role::State, part: 0, id, epoch, base: sequence, low: tick };
        let mut json = vec![VERSION];
        serde_json::to_writer(&mut json, self).expect("numbers and text are always JSON, and memory can be written to");
        let mut bytes = header.encode().to_vec();
        for (payload, offset) in [&json, &self.extra].into_iter().zip(0..) {
            segment::encode(&mut bytes, header.seed(), Kind::Record, offset, now_ms, payload);
        }
        bytes
    }
}

/// Returns the generation of a manifest that is there.
pub(super) fn read(context: &Context, dir: &Path, sequence: u64) -> Result<Generation, LogError> {
    let path = path(dir, sequence);
    let bytes = read_all(&*context.vfs.open(&path).map_err(LogError::Read)?).map_err(LogError::Read)?;
    let header = Header::decode(&bytes, Role::State, 0).map_err(|what| LogError::corrupt(&path, 0, what))?;
    if header.id != context.id || header.epoch > context.epoch {
        let name = |id: [u8; 16], epoch| format!("log {:032x}, epoch {epoch}", u128::from_be_bytes(id));
        let (ours, theirs) = (name(context.id.0, context.epoch), name(header.id.0, header.epoch));
        return Err(LogError::Foreign { dir: dir.to_path_buf(), ours, theirs });
    }
    let mut at = HEADER;
    let mut frame = |offset| {
        let corrupt = |what: &str| LogError::corrupt(&path, at as u64, what);
        let frame = segment::decode(&bytes[at..], header.seed()).map_err(|fault| corrupt(fault.what()))?;
        if frame.kind != Kind::Record || frame.record.offset != offset {
            return Err(corrupt("this is no part of a manifest"));
        }
        at += frame.size;
        Ok(frame.record.payload)
    };
    let (json, extra) = (frame(0)?, frame(1)?);
    let corrupt = |at: usize, what: String| LogError::corrupt(&path, at as u64, what);
    if at != bytes.len() {
        return Err(corrupt(at, "there is something behind the manifest".into()));
    }
    let generation: Generation = match json.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|error| corrupt(HEADER, error.to_string()))?,
        _ => return Err(corrupt(HEADER, "the manifest has a version that this program does not know".into())),
    };
    if (generation.sequence, generation.sequence, generation.tick) != (sequence, header.base, header.low) {
        return Err(corrupt(40, "this is the manifest of another snapshot".into()));
    }
    if let Some(state) = generation.states.keys().find(|state| !is_state(state)) {
        return Err(corrupt(HEADER, format!("`{state}` cannot be the name of a state")));
    }
    Ok(Generation { extra: extra.to_vec(), ..generation })
}

/// Returns the entries of a manifest for `runs`.
pub(super) fn list(runs: &Runs) -> BTreeMap<String, Vec<Listed>> {
    let listed = |(state, runs): (&String, &Vec<_>)| {
        (state.clone(), runs.iter().map(|run: &std::sync::Arc<super::Run>| run.listed).collect())
    };
    runs.iter().map(listed).collect()
}

fn name(sequence: u64) -> String {
    format!("{sequence:020}.gen")
}

pub(super) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(name(sequence))
}

pub(super) fn draft(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{}.draft", name(sequence)))
}

/// Returns the sequence number of a manifest, a draft or a run; `None` if the file is something else, which is left
/// alone.
pub(super) fn sequence(name: &str) -> Option<u64> {
    let (number, rest) = name.split_at_checked(20)?;
    let run = || rest.strip_prefix('-')?.strip_suffix(".run").filter(|state| is_state(state));
    if rest != ".gen" && rest != ".gen.draft" && run().is_none() {
        return None;
    }
    number.parse().ok()
}
