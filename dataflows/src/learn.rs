//! Labelled signatures -> classes of the others: naive Bayes over what events have, with counts that are read in
//! logarithmic steps.
//!
//! A **token** is a leaf as a model sees it: its name and kind, its whole path and kind, or the answer to a test. The name
//! is where flat and nested spellings of an event meet. Names also count where they are missing. Whole paths do not: an
//! event in the other spelling has none of them.
//!
//! ```text
//! signatures that a rule or a type classifies: class, weight, tokens ─▶ Model ─▶ the class of other tokens, or none
//! ```
//!
//! A model is a function of the set of these signatures and their weights, computed in whole numbers. So it depends on no
//! order and no machine. A weight is a number of events, cut to its two upper bits: it changes O(log n) times.
//!
//! Every probability is kept between 1/64 and 63/64, so no single token decides more than 6 bits. One token that all
//! labelled events have, such as the type itself, then counts the same against every class.

use crate::identity::value_hash;
use crate::leaves::Leaves;
use crate::rules::Descriptor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The name of a class.
type Class = Arc<str>;

/// Signatures that a model learns from: of more, those with the least ids.
pub const MAX_TAUGHT: usize = 4096;

/// Signatures that a model gives a class: of more, those with the least ids.
pub const MAX_ASKED: usize = 1 << 14;

/// What a learned class needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    /// How far the class has to be ahead of the second one: bits, times [`ONE`].
    pub margin: i64,
    /// How many events it has to have.
    pub support: u64,
}

/// At least 64 times as likely as the second one.
impl Default for Learning {
    fn default() -> Learning {
        Learning { margin: 6 * ONE, support: 16 }
    }
}

/// A bit, in the unit of [`Guess::margin`].
pub const ONE: i64 = 1 << 16;

/// Returns a number of events as a model reads it: its two upper bits.
pub fn step(events: u64) -> u64 {
    let below = (u64::BITS - events.leading_zeros()).saturating_sub(2);
    events >> below << below
}

/// What a model sees of a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tokens {
    /// Names of leaves and answers to tests.
    names: BTreeSet<u64>,
    /// Whole paths, of leaves within objects and arrays.
    paths: BTreeSet<u64>,
}

impl Tokens {
    /// Returns the tokens of a signature whose shape has these leaves.
    pub fn of(descriptor: &Descriptor, leaves: &Leaves) -> Tokens {
        let mut tokens = Tokens::default();
        for leaf in &leaves.named {
            let kind = leaf.kind as u8;
            let name = leaf.path.rsplit('.').next().unwrap_or_default();
            tokens.names.insert(value_hash(&format!("name {kind} {name}")));
            if name.len() < leaf.path.len() {
                tokens.paths.insert(value_hash(&format!("path {kind} {}", leaf.path)));
            }
        }
        for (test, _) in descriptor.answers.iter().enumerate().filter(|(_, answer)| **answer) {
            tokens.names.insert(value_hash(&format!("test {test}")));
        }
        tokens
    }
}

/// A signature that a rule or a type classifies.
#[derive(Clone, Copy, Debug)]
pub struct Taught<'a> {
    /// Its class.
    pub class: &'a Class,
    /// Its number of events: see [`step`].
    pub weight: u64,
    /// What it has.
    pub tokens: &'a Tokens,
}

/// The class that a model gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    /// The most likely class.
    pub class: Class,
    /// How far it is ahead of the second one: bits, times [`ONE`].
    pub margin: i64,
    /// The second one, if there are two.
    pub second: Option<Class>,
    /// Events of the class, by their weights.
    pub support: u64,
    /// Leaf names and answers that the event and the class have in common, and those that either has.
    pub fit: (usize, usize),
}

impl Guess {
    /// Returns whether events get the class. At least half of what they and the class have is in common: what nothing was
    /// learned of stays without a class.
    pub fn holds(&self, learning: Learning) -> bool {
        let (common, all) = self.fit;
        self.margin >= learning.margin && self.support >= learning.support && common * 2 >= all
    }
}

/// What is known of a token: the weight that it has in each class that has it.
type Having = BTreeMap<usize, u64>;

/// Everything that was learned.
#[derive(Debug, Default)]
pub struct Model {
    classes: Vec<Learned>,
    names: BTreeMap<u64, Having>,
    paths: BTreeMap<u64, Having>,
}

/// One class.
#[derive(Debug)]
struct Learned {
    class: Class,
    weight: u64,
    /// Of an event without any token.
    empty: i64,
    /// Names that most of its events have.
    typical: usize,
}

impl Model {
    /// Learns from all signatures at once, in any order.
    pub fn of<'a>(taught: impl IntoIterator<Item = Taught<'a>>) -> Model {
        let mut by_class: BTreeMap<&Class, Vec<Taught<'a>>> = BTreeMap::new();
        taught.into_iter().for_each(|one| by_class.entry(one.class).or_default().push(one));
        let mut model = Model::default();
        for (index, (class, taught)) in by_class.into_iter().enumerate() {
            let mut weight = 0;
            for Taught { weight: own, tokens, .. } in taught {
                weight += own;
                let add = |all: &mut BTreeMap<u64, Having>, token| {
                    *all.entry(token).or_default().entry(index).or_default() += own;
                };
                tokens.names.iter().for_each(|token| add(&mut model.names, *token));
                tokens.paths.iter().for_each(|token| add(&mut model.paths, *token));
            }
            model.classes.push(Learned { class: Class::clone(class), weight, empty: log2(weight + 1), typical: 0 });
        }
        // A name that a class does not have is as good as absent for sure.
        for class in &mut model.classes {
            class.empty += model.names.len() as i64 * absent(0, class.weight);
        }
        for having in model.names.values() {
            for (class, weight) in having {
                let Learned { weight: of_class, empty, typical, .. } = &mut model.classes[*class];
                *empty += absent(*weight, *of_class) - absent(0, *of_class);
                *typical += usize::from(weight * 2 > *of_class);
            }
        }
        model
    }

    /// Returns the most likely class; `None` if nothing was learned.
    pub fn guess(&self, tokens: &Tokens) -> Option<Guess> {
        let mut scores: Vec<i64> = self.classes.iter().map(|class| class.empty).collect();
        let mut common = vec![0; self.classes.len()];
        for having in tokens.names.iter().filter_map(|token| self.names.get(token)) {
            for (index, Learned { weight, .. }) in self.classes.iter().enumerate() {
                let own = having.get(&index).copied().unwrap_or(0);
                scores[index] += present(own, *weight) - absent(own, *weight);
                common[index] += usize::from(own * 2 > *weight);
            }
        }
        for having in tokens.paths.iter().filter_map(|token| self.paths.get(token)) {
            for (index, Learned { weight, .. }) in self.classes.iter().enumerate() {
                scores[index] += present(having.get(&index).copied().unwrap_or(0), *weight);
            }
        }
        // Of equals, the first by name.
        let best = |other: Option<usize>| {
            let others = (0..scores.len()).filter(|index| Some(*index) != other);
            others.rev().max_by_key(|index| scores[*index])
        };
        let first = best(None)?;
        let second = best(Some(first));
        let Learned { class, weight, typical, .. } = &self.classes[first];
        let all = tokens.names.len() + typical - common[first];
        Some(Guess {
            class: Class::clone(class),
            margin: second.map_or(i64::MAX, |second| scores[first] - scores[second]),
            second: second.map(|second| Class::clone(&self.classes[second].class)),
            support: *weight,
            fit: (common[first], all),
        })
    }
}

/// Log of the probability that an event of a class has a token: `of` of `all` events had it.
fn present(of: u64, all: u64) -> i64 {
    // One more event with it, and one without. Then 1/64 of certainty is left to chance.
    log2(62 * (of + 1) + all + 2) - log2(64 * (all + 2))
}

fn absent(of: u64, all: u64) -> i64 {
    present(all.saturating_sub(of), all)
}

/// Returns the binary logarithm in units of 1/[`ONE`], by squaring: the same on every machine. 0 has that of 1.
fn log2(number: u64) -> i64 {
    let number = number.max(1);
    let whole = i64::from(number.ilog2());
    // Between 1 and 2, as 1.62.
    let mut fraction = u128::from(number) << (62 - whole.min(62)) >> (whole - 62).max(0);
    let mut log = whole;
    for _ in 0..ONE.ilog2() {
        fraction = (fraction * fraction) >> 62;
        log <<= 1;
        if fraction >> 63 == 1 {
            fraction >>= 1;
            log += 1;
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ShapeId, ValueKind};
    use crate::leaves::Leaf;
    use proptest::prelude::*;

    fn tokens(paths: &[&str]) -> Tokens {
        let leaf = |path: &&str| Leaf { path: (*path).to_owned(), kind: ValueKind::String };
        let leaves = Leaves::of(paths.iter().map(leaf).collect());
        Tokens::of(&Descriptor { shape: ShapeId(0), kind: None, answers: vec![] }, &leaves)
    }

    fn model(taught: &[(&str, u64, &[&str])]) -> Model {
        let taught: Vec<(Class, u64, Tokens)> =
            taught.iter().map(|(class, weight, paths)| ((*class).into(), *weight, tokens(paths))).collect();
        Model::of(taught.iter().map(|(class, weight, tokens)| Taught { class, weight: *weight, tokens }))
    }

    #[test]
    fn logarithms_are_exact_to_their_unit() {
        for number in (1..2000).chain([u64::MAX, 1 << 40, (1 << 40) + 12_345]) {
            let exact = (number as f64).log2() * ONE as f64;
            assert!((log2(number) as f64 - exact).abs() < 2.0, "{number}: {} {exact}", log2(number));
        }
    }

    #[test]
    fn weights_move_in_steps() {
        assert_eq!([0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 1000].map(step), [0, 1, 2, 3, 4, 4, 6, 8, 8, 12, 768]);
        let steps: BTreeSet<u64> = (0..1_000_000).map(step).collect();
        assert!(steps.len() < 50, "{}", steps.len());
    }

    /// The nested events have a type, and the flat ones have lost it together with the objects around their leaves.
    #[test]
    fn flat_and_nested_spellings_meet_by_the_names_of_their_leaves() {
        let model = model(&[
            ("click", 1000, &["type", "user.id", "details.button_type", "details.page"]),
            ("purchase", 10, &["type", "user.id", "details.items[].unit_price", "details.total"]),
        ]);
        let class = |paths: &[&str]| {
            model.guess(&tokens(paths)).filter(|guess| guess.holds(Learning::default())).map(|guess| guess.class)
        };
        assert_eq!(class(&["id", "button_type", "page"]).as_deref(), Some("click"));
        assert_eq!(class(&["user.id", "details.button_type", "details.page"]).as_deref(), Some("click"));
        // A class of few events has too little support.
        assert_eq!(model.guess(&tokens(&["id", "unit_price", "total"])).unwrap().class.as_ref(), "purchase");
        assert_eq!(class(&["id", "unit_price", "total"]), None);
        // Nothing like it was learned.
        assert_eq!(class(&["temperature", "sensor", "id"]), None);
        // Both have it.
        assert_eq!(class(&["user.id"]), None);
    }

    #[test]
    fn nothing_is_learned_from_nothing() {
        assert_eq!(Model::default().guess(&tokens(&["a"])), None);
    }

    proptest! {
        /// Directly by the definition, with each token of each class.
        #[test]
        fn guesses_are_those_of_naive_bayes(
            taught in prop::collection::vec((0usize..3, 1u64..200, prop::collection::btree_set(0usize..8, 0..6)), 0..8),
            asked in prop::collection::btree_set(0usize..8, 0..6),
            turn in 0usize..8,
        ) {
            const PATHS: [&str; 8] = ["a", "b", "x.a", "x.b", "y.a", "c", "y.d", "e"];
            let paths = |of: &BTreeSet<usize>| of.iter().map(|path| PATHS[*path]).collect::<Vec<_>>();
            let mut all: Vec<(Class, u64, Tokens)> = taught
                .iter()
                .map(|(class, weight, of)| (["k", "l", "m"][*class].into(), *weight, tokens(&paths(of))))
                .collect();
            let asked = tokens(&paths(&asked));
            let guess = |all: &[(Class, u64, Tokens)]| {
                Model::of(all.iter().map(|(class, weight, tokens)| Taught { class, weight: *weight, tokens })).guess(&asked)
            };
            let found = guess(&all);
            let classes: BTreeSet<Class> = all.iter().map(|(class, _, _)| Class::clone(class)).collect();
            let names: BTreeSet<u64> = all.iter().flat_map(|(_, _, tokens)| tokens.names.clone()).collect();
            let known: BTreeSet<u64> = all.iter().flat_map(|(_, _, tokens)| tokens.paths.clone()).collect();
            let score = |class: &Class| {
                let own = || all.iter().filter(|(of, _, _)| of == class);
                let weight: u64 = own().map(|(_, weight, _)| weight).sum();
                let has = |has: &dyn Fn(&Tokens) -> bool| -> u64 {
                    own().filter(|(_, _, tokens)| has(tokens)).map(|(_, weight, _)| weight).sum()
                };
                let names = names.iter().map(|name| {
                    let of = has(&|tokens| tokens.names.contains(name));
                    if asked.names.contains(name) { present(of, weight) } else { absent(of, weight) }
                });
                let paths = known.intersection(&asked.paths);
                let paths = paths.map(|path| present(has(&|tokens| tokens.paths.contains(path)), weight));
                log2(weight + 1) + names.sum::<i64>() + paths.sum::<i64>()
            };
            let mut scores: Vec<(i64, Class)> = classes.into_iter().map(|class| (score(&class), class)).collect();
            scores.sort_by(|one, other| (other.0, &one.1).cmp(&(one.0, &other.1)));
            prop_assert_eq!(found.as_ref().map(|guess| &guess.class), scores.first().map(|(_, class)| class));
            if let [first, second, ..] = &scores[..] {
                prop_assert_eq!(found.as_ref().unwrap().margin, first.0 - second.0);
            }
            let turn = turn.min(all.len());
            all.rotate_left(turn);
            prop_assert_eq!(guess(&all), found);
        }
    }
}
