//! Which candidate gives a value of an event, and that value.

use super::{Interpreter, NO_RANK, Role};
use crate::absent;
use crate::longest::LONGEST;
use crate::reading::{Reading, Slot, Value};
use crate::time;
use dataflows::decimal::{Digits, Rest};
use dataflows::{EventTime, NoTime, ValueKind};

/// A candidate that is present in a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its index among the candidates of its role.
    pub candidate: usize,
    /// The index of the value that it begins with.
    value: usize,
}

impl Interpreter {
    /// Returns by role the candidate that gives the value: the first that is present. Those of an element come before
    /// those of what is around it.
    pub fn choose(&self, reading: &Reading) -> [Option<Chosen>; 4] {
        self.choose_with_time(reading).0
    }

    /// As [`Interpreter::choose`], with the time that the event says.
    pub fn choose_with_time(&self, reading: &Reading) -> ([Option<Chosen>; 4], Result<EventTime, NoTime>) {
        let mut chosen = self.best(reading);
        let time = self.settle(reading, &mut chosen[Role::Time as usize]);
        (chosen, time)
    }

    /// Returns by role the first candidate that is present, before its time is read.
    pub(super) fn best(&self, reading: &Reading) -> [Option<Chosen>; 4] {
        self.that_count(reading, Best::of(reading, &self.ranks))
    }

    /// As [`Interpreter::best`], faster where an event of the same shape came before.
    #[inline]
    pub(super) fn best_again(&mut self, reading: &Reading) -> [Option<Chosen>; 4] {
        let best = self.choices.of(reading, &self.ranks);
        self.that_count(reading, best)
    }

    /// Returns the candidates of the first values, if these count, else those of the first that do.
    #[inline]
    fn that_count(&self, reading: &Reading, first: Best) -> [Option<Chosen>; 4] {
        // Nearly always it is the first of all values, and that one stands for something.
        match reading.own() == reading.len() && self.all_count(reading, first) {
            true => first.chosen(),
            false => self.best_of_those_that_count(reading),
        }
    }

    /// Returns whether each value is one that counts, whatever others there are.
    #[inline]
    fn all_count(&self, reading: &Reading, best: Best) -> bool {
        let [user, time, _, id] = best.0;
        let begins = |best: u64| best < NONE && self.absent.begins_with(reading.first_byte(best as u32 as usize));
        !(begins(user) || begins(time) || begins(id)) || self.all_count_by_text(reading, best)
    }

    #[inline(never)]
    fn all_count_by_text(&self, reading: &Reading, best: Best) -> bool {
        let [user, time, _, id] = best.chosen();
        let text = |chosen: Chosen| reading.nth(chosen.value).1.text;
        let is_absent = |chosen: Option<Chosen>| chosen.is_some_and(|chosen| self.absent.has(text(chosen)));
        !is_absent(user) && !is_absent(time) && !is_absent(id) && !user.is_some_and(|user| absent::is_weak(text(user)))
    }

    /// As [`Interpreter::best`], with a look at each value.
    #[cold]
    fn best_of_those_that_count(&self, reading: &Reading) -> [Option<Chosen>; 4] {
        let (mut best, mut outer) = (Best::default(), Best::default());
        let (mut weak, mut outer_weak) = (Best::default(), Best::default());
        for index in 0..reading.len() {
            let (best, weak) = match reading.is_inherited(index) {
                true => (&mut outer, &mut outer_weak),
                false => (&mut best, &mut weak),
            };
            let [user, time, kind, id] = self.ranks[reading.slot_of(index) as usize];
            let none = NO_RANK;
            if [user, time, kind, id] == [none; 4] {
                continue;
            }
            let text = reading.nth(index).1.text;
            if self.absent.has(text) {
                // A type may be any text.
                best.take([none, none, kind, none], index);
            } else if absent::is_weak(text) {
                best.take([none, time, kind, id], index);
                weak.take([user, none, none, none], index);
            } else {
                best.take([user, time, kind, id], index);
            }
        }
        best.or(outer);
        weak.or(outer_weak);
        best.or(weak);
        best.chosen()
    }

    /// Reads the time. A candidate whose time stands for none gives way to the next one.
    #[inline]
    pub(super) fn settle(&self, reading: &Reading, chosen: &mut Option<Chosen>) -> Result<EventTime, NoTime> {
        loop {
            let time = self.time(reading, *chosen);
            let Some(one) = *chosen else { return time };
            if !self.is_never(reading, one, time) {
                return time;
            }
            let all = &self.candidates[Role::Time as usize];
            let of = |candidate: usize| {
                let value = self.find(reading, Role::Time, all[candidate][0])?;
                Some(Chosen { candidate, value })
            };
            *chosen = (one.candidate + 1..all.len()).find_map(of);
        }
    }

    #[inline]
    fn is_never(&self, reading: &Reading, chosen: Chosen, time: Result<EventTime, NoTime>) -> bool {
        match time {
            Ok(time) => self.absent.is_never(time, self.events().time_unit.is_some()),
            Err(NoTime::Absent | NoTime::Apart(_)) => false,
            Err(NoTime::Unreadable) => self.absent.is_zero_date(reading.nth(chosen.value).1.text),
        }
    }

    /// Returns the index of the first value at a slot that does not stand for none.
    fn find(&self, reading: &Reading, role: Role, slot: Slot) -> Option<usize> {
        (0..reading.len()).find(|index| {
            let (at, value) = reading.nth(*index);
            at == slot && (role == Role::Kind || !self.absent.has(value.text))
        })
    }

    /// Returns the first value at a slot that does not stand for none.
    fn first<'r>(&self, reading: &'r Reading, role: Role, slot: Slot) -> Option<Value<'r>> {
        self.find(reading, role, slot).map(|index| reading.nth(index).1)
    }

    /// Returns the text of a candidate; several parts are joined into `joined`, without those that are absent. One that
    /// is kept, that of a user or a type, is bounded.
    #[inline]
    pub fn text<'a>(&self, reading: &'a Reading, role: Role, chosen: Chosen, joined: &'a mut String) -> Value<'a> {
        let parts = &self.candidates[role as usize][chosen.candidate];
        let first = reading.nth(chosen.value).1;
        // Nearly every value is one that stays as it is.
        let is_name = matches!(role, Role::User | Role::Id);
        let stays = !is_name || (first.kind == ValueKind::String && !self.is_text);
        if parts.len() == 1 && stays && first.text.len() <= LONGEST {
            return first;
        }
        self.made(reading, role, parts, first, joined)
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
    #[inline]
    pub fn time(&self, reading: &Reading, chosen: Option<Chosen>) -> Result<EventTime, NoTime> {
        let mut joined = String::new();
        let Some(chosen) = chosen else { return Err(NoTime::Absent) };
        let value = self.text(reading, Role::Time, chosen, &mut joined);
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

/// The ranks of the candidates that begin with a slot, by role; [`NO_RANK`]: there is none.
pub(super) type Ranks = [u16; 4];

/// By role the best candidate so far: its rank and the index of the value that it begins with, in one number. So the
/// smallest is the best candidate, at its first value.
#[derive(Clone, Copy)]
pub(super) struct Best([u64; 4]);

/// Of no candidate, with any index.
const NONE: u64 = (NO_RANK as u64) << 32;

impl Default for Best {
    fn default() -> Best {
        Best([NONE; 4])
    }
}

impl Best {
    /// Returns those of all values.
    pub fn of(reading: &Reading, ranks: &[Ranks]) -> Best {
        let mut best = Best::default();
        for (index, slot) in reading.slots().enumerate() {
            best.take(ranks[slot as usize], index);
        }
        best
    }

    /// Takes the candidates of a value that are better.
    #[inline]
    fn take(&mut self, ranks: Ranks, index: usize) {
        for (best, rank) in self.0.iter_mut().zip(ranks) {
            *best = (*best).min((u64::from(rank) << 32) | index as u64);
        }
    }

    /// Takes the candidates of `other` for the roles that have none.
    fn or(&mut self, other: Best) {
        self.0.iter_mut().zip(other.0).filter(|(best, _)| **best >= NONE).for_each(|(best, other)| *best = other);
    }

    #[inline]
    pub fn chosen(self) -> [Option<Chosen>; 4] {
        let of = |best| Chosen { candidate: (best >> 32) as usize, value: (best & u64::from(u32::MAX)) as usize };
        self.0.map(|best| (best < NONE).then(|| of(best)))
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

#[cfg(test)]
mod tests;
