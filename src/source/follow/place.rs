//! A file as the operating system knows it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

/// The place of a file, under any name. The time of creation separates it from an earlier file in the same inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    device: u64,
    inode: u64,
    /// Not every file system knows.
    created: Option<SystemTime>,
}

impl Place {
    pub fn of(metadata: &Metadata) -> Place {
        Place { device: metadata.dev(), inode: metadata.ino(), created: metadata.created().ok() }
    }
}

/// Changes whenever content does. Ordered by when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    modified: (i64, i64),
    pub size: u64,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp { size: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}
