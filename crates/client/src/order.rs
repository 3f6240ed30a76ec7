//! Checks the order of frames within a connection. A server that breaks it has a fault, and going on would hide the
//! fault.
//!
//! ```text
//! hello ─ snapshot … snapshot(last) ─┐
//!   └────────────────────────────────┴─ { delta … delta(last) } ─ progress ─ { … } ─ progress ─ …
//! ```

use super::error::ClientError;
use super::frame::{Head, Kind, Progress};
use crate::Tick;

#[derive(Debug)]
pub(crate) struct Order {
    /// A snapshot has to come, unless the collection is a journal.
    wants_snapshot: bool,
    /// No tick below this one may come.
    lower: Tick,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Silent,
    /// The snapshot, as of this tick if it has begun.
    Snapshot(Option<Tick>),
    /// This tick, which is not complete.
    Tick(Tick),
    /// Whole ticks.
    Between,
    /// Whole ticks, and nothing since the last progress.
    Consistent,
}

impl Order {
    /// `lower`: the upper of the last progress; 0 without one.
    pub(crate) fn new(wants_snapshot: bool, lower: Tick) -> Order {
        Order { wants_snapshot, lower, state: State::Silent }
    }

    /// # Errors
    /// [`ClientError::Protocol`] if this may not come now.
    pub(crate) fn take(&mut self, head: &Head) -> Result<(), ClientError> {
        let lower = self.lower;
        match (head, self.state) {
            (Head::Other | Head::Error(_), _) => {}
            (Head::Hello(hello), State::Silent) => {
                let is_fresh = self.wants_snapshot && hello.kind == Kind::View;
                self.state = if is_fresh { State::Snapshot(None) } else { State::Between };
            }
            (Head::Snapshot { as_of, last }, State::Snapshot(begun)) if begun.is_none_or(|begun| begun == *as_of) => {
                self.state = State::Snapshot(Some(*as_of));
                if *last {
                    (self.lower, self.state) = (as_of.saturating_add(1), State::Between);
                }
            }
            (Head::Delta { tick, last }, State::Between | State::Consistent) if *tick >= lower => {
                self.tick(*tick, *last);
            }
            (Head::Delta { tick, last }, State::Tick(open)) if *tick == open => self.tick(*tick, *last),
            (Head::Progress(Progress { upper, .. }), State::Between | State::Consistent) if *upper >= lower => {
                (self.lower, self.state) = (*upper, State::Consistent);
            }
            _ => {
                let state = match self.state {
                    State::Silent => "before a hello".to_owned(),
                    State::Snapshot(None) => "where a snapshot had to come".to_owned(),
                    State::Snapshot(Some(as_of)) => format!("within the snapshot as of {as_of}"),
                    State::Tick(tick) => format!("within tick {tick}"),
                    State::Between | State::Consistent => format!("when everything below {lower} had come"),
                };
                return Err(ClientError::protocol(format!("the server sent {} {state}", name(head))));
            }
        }
        Ok(())
    }

    fn tick(&mut self, tick: Tick, last: bool) {
        (self.lower, self.state) =
            if last { (tick.saturating_add(1), State::Between) } else { (tick, State::Tick(tick)) };
    }

    /// Returns whether nothing has come since the last progress of this connection.
    pub(crate) fn is_consistent(&self) -> bool {
        self.state == State::Consistent
    }
}

fn name(head: &Head) -> String {
    match head {
        Head::Hello(_) => "a second hello".to_owned(),
        Head::Snapshot { as_of, .. } => format!("a snapshot as of {as_of}"),
        Head::Delta { tick, .. } => format!("a delta of tick {tick}"),
        Head::Progress(Progress { upper, .. }) => format!("progress to {upper}"),
        Head::Error(_) => "an error".to_owned(),
        Head::Other => "something unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::head;
    use super::*;

    /// `h`ello of a view, `j`: of a journal, `s`napshot or `d`elta of a tick (`+`: not the last of it), `p`rogress,
    /// `e`rror, `x`: unknown.
    fn frame(word: &str) -> Head {
        let (kind, rest) = word.split_at(1);
        let (number, last) = (rest.trim_end_matches('+'), !rest.ends_with('+'));
        head(&match kind {
            "h" => r#"{"type":"hello","kind":"view","key":[],"upper":9}"#.to_owned(),
            "j" => r#"{"type":"hello","kind":"journal","key":[],"upper":9}"#.to_owned(),
            "s" => format!(r#"{{"type":"snapshot","as_of":{number},"last":{last}}}"#),
            "d" => format!(r#"{{"type":"delta","tick":{number},"last":{last}}}"#),
            "p" => format!(r#"{{"type":"progress","upper":{number},"token":""}}"#),
            "e" => r#"{"type":"error","code":""}"#.to_owned(),
            _ => r#"{"type":"x"}"#.to_owned(),
        })
        .unwrap()
    }

    /// Returns the number of frames that are taken.
    fn taken(mut order: Order, frames: &str) -> usize {
        frames.split(' ').take_while(|word| order.take(&frame(word)).is_ok()).count()
    }

    #[test]
    fn what_may_come_comes_and_nothing_else() {
        let whole = [
            (true, 0, "h s5+ s5+ s5 p6 d6 p7 p7 d9+ d9+ x d9 d12 p20 e"),
            (true, 0, "h s5 d6 d7 p8"),
            (true, 0, "j p0 d3 p4"),
            (false, 7, "h d7 p8"),
            (false, 7, "j p7"),
            (false, 0, "h d3 p4"),
        ];
        for (snapshot, lower, frames) in whole {
            assert_eq!(taken(Order::new(snapshot, lower), frames), frames.split(' ').count(), "{frames}");
        }
        // The last one of each has no place there.
        let broken = [
            (true, 0, "p1"),
            (true, 0, "d1"),
            (true, 0, "h h"),
            (true, 0, "h d1"),
            (true, 0, "h p1"),
            (true, 0, "h s5+ s6"),
            (true, 0, "h s5+ p6"),
            (true, 0, "h s5 s5"),
            (true, 0, "h s5 d5"),
            (true, 0, "h s5 p5"),
            (true, 0, "h s5 d6+ d7"),
            (true, 0, "h s5 d6+ p6"),
            (true, 0, "h s5 d6 d6"),
            (true, 0, "h s5 d6 p6"),
            (true, 0, "h s5 p6 p5"),
            (true, 0, "j s5"),
            (false, 7, "h s7"),
            (false, 7, "h d6"),
            (false, 7, "h p6"),
        ];
        for (snapshot, lower, frames) in broken {
            assert_eq!(taken(Order::new(snapshot, lower), frames), frames.split(' ').count() - 1, "{frames}");
        }
    }
}
