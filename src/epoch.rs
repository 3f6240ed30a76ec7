//! Which start of a data folder this is: each is higher than all before, so that what an earlier process still writes is
//! refused.

use crate::durable;
use crate::log::segment::LogId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// In the data folder.
pub const FILE: &str = "EPOCH";

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Epoch {
    pub number: u64,
    /// Of the log in this folder.
    pub log: LogId,
}

/// Takes the next epoch of the folder, durably. Two processes that do so at once may take the same one; then the lock of
/// the log lets one of them pass.
pub fn next(folder: &Path) -> io::Result<Epoch> {
    let next = match last(folder)? {
        Some(last) => Epoch { number: last.number + 1, ..last },
        None => Epoch { number: 1, log: random()? },
    };
    durable::replace(&folder.join(FILE), &serde_json::to_vec(&next)?)?;
    Ok(next)
}

/// The epoch that was taken last; `None` if there was none.
pub fn last(folder: &Path) -> io::Result<Option<Epoch>> {
    match fs::read(folder.join(FILE)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn random() -> io::Result<LogId> {
    let mut id = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(LogId(id))
}
