//! What a sequence is: its steps, and what belongs to one attempt.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A sequence to recognise. Its answer is a function of the *set* of step events of one key; docs/guide/sequences.md has the
/// words of it, and [`crate::sequence`] the whole definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Microseconds from the first step to the last one, inclusive.
    within: i64,
    /// Number of steps.
    steps: u8,
    /// The steps that make a match, by index, in order.
    required: Vec<u8>,
    optional: Vec<Optional>,
    excepts: Vec<Except>,
    repeat: Repeat,
    ties: Ties,
}

/// A step that is recorded if it comes, and that never makes or breaks a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Optional {
    /// How many required steps come before it: at least one.
    pub after: u8,
    /// Its index.
    pub step: u8,
}

/// What breaks an attempt off between two of its required steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Except {
    /// Indexes among the required steps.
    pub from: u8,
    /// Greater than `from`.
    pub to: u8,
}

/// Which attempts count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repeat {
    /// Tightest matches, and the attempts that were given up. No event is the same step of two of them.
    #[default]
    Tight,
    /// Every event of the first step is an attempt.
    Overlap,
}

/// Whether events of the same microsecond may follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ties {
    /// They follow each other in the order of the steps.
    #[default]
    Ordered,
    /// The next step has a later time.
    Apart,
}

/// What is wrong with a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// There are no steps, or more than [`Definition::STEPS`].
    Steps(usize),
    /// The first or the last step is optional.
    OptionalEnd,
    /// `within` is not positive, or longer than [`Definition::LONGEST`].
    Within(i64),
    /// There are more than [`Definition::EXCEPTS`] exceptions.
    Excepts(usize),
    /// An exception lies between steps of which the first is not before the second, or one is optional or not there.
    Between(usize, usize),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Steps(steps) => write!(f, "a sequence has 1 to {} steps, not {steps}", Definition::STEPS),
            Invalid::OptionalEnd => f.write_str("the first and the last step of a sequence are not optional"),
            Invalid::Within(_) => f.write_str("`within` is more than 0 and at most 366 days"),
            Invalid::Excepts(number) => {
                write!(f, "a sequence has at most {} exceptions, not {number}", Definition::EXCEPTS)
            }
            Invalid::Between(..) => {
                f.write_str("an exception lies between two steps that are not optional, the earlier one first")
            }
        }
    }
}

impl std::error::Error for Invalid {}

impl Definition {
    /// Steps of a sequence at most: a step event has one bit for each.
    pub const STEPS: usize = 8;
    /// Exceptions of a sequence at most.
    pub const EXCEPTS: usize = 8;
    /// The longest `within`, in microseconds.
    pub const LONGEST: i64 = 366 * 86_400_000_000;

    /// Checks a definition. `steps` says of each step whether it is optional; `excepts` has the indexes of the steps between
    /// which each exception lies, both exclusive. `within` is in microseconds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(
        within: i64,
        steps: &[bool],
        excepts: &[(usize, usize)],
        repeat: Repeat,
        ties: Ties,
    ) -> Result<Definition, Invalid> {
        if steps.is_empty() || steps.len() > Self::STEPS {
            return Err(Invalid::Steps(steps.len()));
        }
        if steps[0] || steps[steps.len() - 1] {
            return Err(Invalid::OptionalEnd);
        }
        if !(1..=Self::LONGEST).contains(&within) {
            return Err(Invalid::Within(within));
        }
        if excepts.len() > Self::EXCEPTS {
            return Err(Invalid::Excepts(excepts.len()));
        }
        let (mut required, mut optional) = (Vec::new(), Vec::new());
        for (step, is_optional) in (0..).zip(steps) {
            if *is_optional {
                optional.push(Optional { after: required.len() as u8, step });
            } else {
                required.push(step);
            }
        }
        let level = |step: usize| required.iter().position(|other| usize::from(*other) == step);
        let excepts = excepts.iter().map(|(from, to)| match (level(*from), level(*to)) {
            (Some(one), Some(other)) if one < other => Ok(Except { from: one as u8, to: other as u8 }),
            _ => Err(Invalid::Between(*from, *to)),
        });
        let excepts = excepts.collect::<Result<Vec<_>, _>>()?;
        Ok(Definition { within, steps: steps.len() as u8, required, optional, excepts, repeat, ties })
    }

    /// Returns the number of steps.
    pub fn steps(&self) -> usize {
        self.steps.into()
    }

    /// Returns the indexes of the steps that make a match.
    pub fn required(&self) -> &[u8] {
        &self.required
    }

    /// Returns the longest time from the first step to the last one, in microseconds.
    pub fn within(&self) -> i64 {
        self.within
    }

    /// Returns which attempts count.
    pub fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// Returns whether events of the same microsecond may follow each other.
    pub fn ties(&self) -> Ties {
        self.ties
    }

    /// Returns of each step whether it is optional.
    pub fn is_optional(&self) -> Vec<bool> {
        (0..self.steps).map(|step| !self.required.contains(&step)).collect()
    }

    /// Returns the indexes of the steps between which each exception lies, both exclusive.
    pub fn between(&self) -> Vec<(usize, usize)> {
        let step = |level: u8| usize::from(self.required[usize::from(level)]);
        self.excepts.iter().map(|except| (step(except.from), step(except.to))).collect()
    }

    pub(super) fn optional(&self) -> &[Optional] {
        &self.optional
    }

    pub(super) fn excepts(&self) -> &[Except] {
        &self.excepts
    }

    /// The number of required steps.
    pub(super) fn levels(&self) -> usize {
        self.required.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn define(within: i64, steps: &[bool], excepts: &[(usize, usize)]) -> Result<Definition, Invalid> {
        Definition::new(within, steps, excepts, Repeat::Tight, Ties::Ordered)
    }

    #[test]
    fn a_definition_says_what_is_wrong_with_it() {
        assert_eq!(define(1, &[], &[]), Err(Invalid::Steps(0)));
        assert_eq!(define(1, &[false; 9], &[]), Err(Invalid::Steps(9)));
        assert_eq!(define(1, &[true, false], &[]), Err(Invalid::OptionalEnd));
        assert_eq!(define(1, &[false, true], &[]), Err(Invalid::OptionalEnd));
        assert_eq!(define(0, &[false], &[]), Err(Invalid::Within(0)));
        assert_eq!(define(Definition::LONGEST + 1, &[false], &[]), Err(Invalid::Within(Definition::LONGEST + 1)));
        assert_eq!(define(1, &[false; 2], &[(0, 1); 9]), Err(Invalid::Excepts(9)));
        for between in [(1, 0), (0, 0), (0, 1), (1, 2), (0, 3)] {
            assert_eq!(define(1, &[false, true, false], &[between]), Err(Invalid::Between(between.0, between.1)));
        }
    }

    #[test]
    fn optional_steps_and_exceptions_are_placed_among_the_required_steps() {
        let definition = define(Definition::LONGEST, &[false, true, false, false], &[(0, 3), (2, 3)]).unwrap();
        assert_eq!(definition.required(), [0, 2, 3]);
        assert_eq!(definition.optional(), [Optional { after: 1, step: 1 }]);
        assert_eq!(definition.excepts(), [Except { from: 0, to: 2 }, Except { from: 1, to: 2 }]);
        assert_eq!(definition.is_optional(), [false, true, false, false]);
        assert_eq!(definition.between(), [(0, 3), (2, 3)]);
    }
}
