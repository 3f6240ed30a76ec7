//! Verbs that look and change nothing: what a configuration reads (`plan`), how one event is read (`explain`), whether a
//! data folder is whole (`doctor`).

pub mod doctor;
pub mod explain;
pub mod outline;
