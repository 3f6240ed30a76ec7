//! The promise: the binary does what its help says. Whatever lies in a file becomes an event or a dead letter, every form
//! of a log gives the same sessions, a failed run leaves the previous outputs, and the exit code tells who is at fault.

mod dead_letters;
mod duplicates;
mod explain;
mod fit;
mod help;
mod inputs;
mod outputs;
mod ranges;

/// An event of `user` at `time` in epoch seconds, as the built-in candidates read it.
fn event(user: &str, time: i64, kind: &str) -> String {
    format!(r#"{{"user_id":"{user}","timestamp":{time},"event_type":"{kind}"}}"#)
}

/// What [`event`]s of one user at these seconds are as one session, in the words of `Replay::rows`.
fn session(user: &str, start: i64, end: i64, events: u64) -> crate::headwater::Row {
    (user.to_string(), start * 1000, end * 1000, events)
}
