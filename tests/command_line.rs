//! The promise: the binary does what its help says. Every record of a file becomes an event or a dead letter. Every
//! form of a log file gives the same sessions. A failed run leaves the previous outputs. The exit code separates faults
//! of the user from those of headwater.

mod archives;
mod cases;
mod dead_letters;
mod duplicates;
mod events;
mod explain;
mod fit;
mod help;
mod inputs;
mod learned;
mod outputs;
mod parquet;
mod propose;
mod ranges;
mod rules;

/// The first second of 2020, from which the times of [`event`] and [`session`] count: 0 stands for no time.
const START: i64 = 1_577_836_800;

/// An event of `user` at `time` in seconds, as the built-in candidates read it.
fn event(user: &str, time: i64, kind: &str) -> String {
    let time = START + time;
    format!(r#"{{"user_id":"{user}","timestamp":{time},"event_type":"{kind}"}}"#)
}

/// Returns the session of [`event`]s of one user at these seconds, in the form of `Replay::rows`.
fn session(user: &str, start: i64, end: i64, events: u64) -> crate::headwater::Row {
    (user.to_string(), (START + start) * 1000, (START + end) * 1000, events)
}
