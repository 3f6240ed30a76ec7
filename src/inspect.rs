//! Verbs that look and change nothing: `plan` shows what a configuration reads, `explain` how one event is read, and
//! `doctor` whether a data folder is whole.

pub mod doctor;
pub mod explain;
pub mod outline;
