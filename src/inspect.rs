//! Verbs that look and change nothing: `plan` shows what a configuration reads, `explain` how one event is read,
//! `doctor` whether a data folder is whole, and `init` proposes a configuration.

pub mod doctor;
pub mod explain;
pub mod init;
pub mod outline;
