//! Which candidate gives a value of an event, and that value.

use super::{Interpreter, NO_RANK, Role};
use crate::absent;
use crate::longest::LONGEST;
use crate::reading::{Reading, Slot, Value};
use crate::time;
use dataflows::decimal::{Digits, Rest};
use dataflows::{EventTime, NoTime, ValueKind};

impl Interpreter {
    /// Returns by role the index of the candidate that gives the value: the first that is present. Those of an element
    /// come before those of what is around it.
    pub fn choose(&self, reading: &Reading) -> [Option<usize>; 4] {
        self.choose_with_time(reading).0
    }

    /// As [`Interpreter::choose`], with the time that the event says.
    pub fn choose_with_time(&self, reading: &Reading) -> ([Option<usize>; 4], Result<EventTime, NoTime>) {
        let mut chosen = self.best(reading);
        let time = self.settle(reading, &mut chosen[Role::Time as usize]);
        (chosen, time)
    }

    /// Returns by role the first candidate that is present, before its time is read.
    #[inline]
    pub(super) fn best(&self, reading: &Reading) -> [Option<usize>; 4] {
        let mut best = Best::default();
        let own = reading.own();
        for index in 0..own {
            self.rank(reading, index, &mut best);
        }
        if own < reading.len() {
            let mut outer = Best::default();
            for index in own..reading.len() {
                let best = if reading.is_inherited(index) { &mut outer } else { &mut best };
                self.rank(reading, index, best);
            }
            best.or(outer);
        }
        let Best { mut ranks, weak } = best;
        if ranks[Role::User as usize] == NO_RANK {
            ranks[Role::User as usize] = weak;
        }
        ranks.map(|rank| (rank != NO_RANK).then_some(rank as usize))
    }

    /// Notes the candidates that begin with a value.
    #[inline]
    fn rank(&self, reading: &Reading, index: usize, best: &mut Best) {
        let mut ranks = self.ranks[reading.slot_of(index) as usize];
        if ranks == [NO_RANK; 4] {
            return;
        }
        let text = reading.nth(index).1.text;
        if self.absent.has(text) {
            // A type may be any text.
            ranks = std::array::from_fn(|role| if role == Role::Kind as usize { ranks[role] } else { NO_RANK });
        } else if absent::is_weak(text) {
            best.weak = best.weak.min(ranks[Role::User as usize]);
            ranks[Role::User as usize] = NO_RANK;
        }
        best.ranks.iter_mut().zip(ranks).for_each(|(best, rank)| *best = (*best).min(rank));
    }

    /// Reads the time. A candidate whose time stands for none gives way to the next one.
    #[inline]
    pub(super) fn settle(&self, reading: &Reading, candidate: &mut Option<usize>) -> Result<EventTime, NoTime> {
        loop {
            let time = self.time(reading, *candidate);
            let Some(rank) = *candidate else { return time };
            if !self.is_never(reading, rank, time) {
                return time;
            }
            let all = &self.candidates[Role::Time as usize];
            *candidate = (rank + 1..all.len()).find(|next| self.first(reading, Role::Time, all[*next][0]).is_some());
        }
    }

    #[inline]
    fn is_never(&self, reading: &Reading, candidate: usize, time: Result<EventTime, NoTime>) -> bool {
        match time {
            Ok(time) => self.absent.is_never(time, self.events().time_unit.is_some()),
            Err(NoTime::Absent | NoTime::Apart(_)) => false,
            Err(NoTime::Unreadable) => {
                let text = self.first(reading, Role::Time, self.candidates[Role::Time as usize][candidate][0]);
                text.is_some_and(|text| self.absent.is_zero_date(text.text))
            }
        }
    }

    /// Returns the first value at a slot that does not stand for none.
    #[inline]
    fn first<'r>(&self, reading: &'r Reading, role: Role, slot: Slot) -> Option<Value<'r>> {
        match role {
            Role::Kind => reading.first(slot),
            _ => reading.all(slot).find(|value| !self.absent.has(value.text)),
        }
    }

    /// Returns the text of a candidate; several parts are joined into `joined`, without those that are absent. One that
    /// is kept, that of a user or a type, is bounded.
    #[inline]
    pub fn text<'a>(
        &self,
        reading: &'a Reading,
        role: Role,
        candidate: usize,
        joined: &'a mut String,
    ) -> Option<Value<'a>> {
        let parts = &self.candidates[role as usize][candidate];
        let first = self.first(reading, role, parts[0])?;
        // Nearly every value is one that stays as it is.
        let is_name = matches!(role, Role::User | Role::Id);
        let stays = !is_name || (first.kind == ValueKind::String && !self.is_text);
        if parts.len() == 1 && stays && first.text.len() <= LONGEST {
            return Some(first);
        }
        Some(self.made(reading, role, parts, first, joined))
    }

    /// Makes the text of a candidate whose first part has a value.
    #[inline(never)]
    fn made<'a>(
        &self,
        reading: &'a Reading,
        role: Role,
        parts: &[Slot],
        first: Value<'a>,
        joined: &'a mut String,
    ) -> Value<'a> {
        let kept = matches!(role, Role::User | Role::Kind);
        let is_name = matches!(role, Role::User | Role::Id);
        if parts.len() == 1 {
            if is_name && let Some(number) = self.whole(first) {
                *joined = number;
                return Value { kind: first.kind, text: joined };
            }
            if !kept || first.text.len() <= LONGEST {
                return first;
            }
            joined.clear();
            joined.push_str(&self.bounded(first.text));
            return Value { kind: first.kind, text: joined };
        }
        joined.clear();
        // A day and a time of day are read together.
        let between = if role == Role::Time { " " } else { &self.events().join };
        let others = parts[1..].iter().filter_map(|slot| self.first(reading, role, *slot));
        for (index, value) in std::iter::once(first).chain(others).enumerate() {
            if index > 0 {
                joined.push_str(between);
            }
            match is_name.then(|| self.whole(value)).flatten() {
                Some(number) => joined.push_str(&number),
                None => joined.push_str(value.text),
            }
        }
        if kept && joined.len() > LONGEST {
            *joined = self.bounded(joined).into_owned();
        }
        Value { kind: ValueKind::String, text: joined }
    }

    /// Returns the one form of a whole number that is written in another: `123` for `123.0` and `1.23e2`.
    #[inline]
    fn whole(&self, value: Value<'_>) -> Option<String> {
        match value.kind {
            ValueKind::Number if value.text.bytes().all(|byte| byte.is_ascii_digit()) => None,
            ValueKind::Number => whole_number(value.text),
            // A table has no kinds. Programs that read one write the numbers of a column with gaps so.
            ValueKind::String if self.is_text => {
                let (whole, zeros) = value.text.split_once('.')?;
                let digits = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
                (digits && !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0')).then(|| whole.to_owned())
            }
            _ => None,
        }
    }

    /// Reads the event time at the candidate that was chosen.
    pub fn time(&self, reading: &Reading, candidate: Option<usize>) -> Result<EventTime, NoTime> {
        let mut joined = String::new();
        let value = candidate.and_then(|candidate| self.text(reading, Role::Time, candidate, &mut joined));
        let Some(value) = value else { return Err(NoTime::Absent) };
        self.time.read(value).or_else(|| self.with_day(reading, value.text)).ok_or(NoTime::Unreadable)
    }

    /// Reads a time of day together with the day that stands beside it.
    #[cold]
    fn with_day(&self, reading: &Reading, text: &str) -> Option<EventTime> {
        if self.days.is_empty() || !time::is_time_of_day(text) {
            return None;
        }
        let days = self.days.iter().filter_map(|slot| self.first(reading, Role::Time, *slot));
        days.into_iter().find_map(|day| {
            let text = format!("{} {text}", day.text.trim());
            self.time.read(Value { kind: ValueKind::String, text: &text })
        })
    }
}

/// The best candidates so far, by role.
struct Best {
    ranks: [u16; 4],
    /// Of a user that counts only if there is no other.
    weak: u16,
}

impl Default for Best {
    fn default() -> Best {
        Best { ranks: [NO_RANK; 4], weak: NO_RANK }
    }
}

impl Best {
    /// Takes the candidates of `other` for the roles that have none.
    fn or(&mut self, other: Best) {
        for (rank, other) in self.ranks.iter_mut().zip(other.ranks) {
            if *rank == NO_RANK {
                *rank = other;
            }
        }
        if self.weak == NO_RANK {
            self.weak = other.weak;
        }
    }
}

/// Returns the digits of a whole number. `None`: it is none, or has more than 30 digits.
fn whole_number(text: &str) -> Option<String> {
    let digits = Digits::parse(text.as_bytes()).filter(|digits| digits.magnitude <= 30)?;
    match digits.scaled(0)? {
        (0, Rest::Zero) => Some("0".into()),
        (whole, Rest::Zero) => Some(format!("{}{whole}", if digits.negative { "-" } else { "" })),
        _ => None,
    }
}
