//! Verbs that look and change nothing: `plan` shows what a configuration reads, `explain` how one event is read,
//! `doctor` whether a data folder is whole, `rules` what other rules would change, and `init` proposes a configuration.

pub mod doctor;
pub mod explain;
pub mod init;
pub mod outline;
pub mod rules;
