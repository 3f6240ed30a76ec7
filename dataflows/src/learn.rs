//! Labelled signatures -> classes of the others: by the likeliest labelled one, with counts that are read in logarithmic
//! steps.
//!
//! A **token** is a leaf as a model sees it: its name and kind, its whole path and kind, or the answer to a test. The name
//! is where flat and nested spellings of an event meet.
//!
//! ```text
//! signatures that a rule or a type classifies: class, weight, tokens ─▶ Model ─▶ the class of other tokens, or none
//! ```
//!
//! An **example** is all that was taught of one class with the same tokens. The model takes an event for one of the
//! examples, with some tokens changed (naive Bayes around each example). How easily a token changes is learned: it is how
//! often two events of one class differ in it, over all classes. So a token that no class is sure of says little, one that
//! tells classes apart says much, and a class of few events is judged like one of many. Tokens that always come together
//! repeat each other: `n` of them count as the root of `n`.
//!
//! Whole paths count as long as the event has the spelling of the example. Another spelling costs once, as much as a token
//! that never changed; then names alone decide. So they do for an event that is flat. The likeliest example gives the class: of two that are as near, the one with
//! more events.
//!
//! A model is a function of the set of these signatures and their weights, computed in whole numbers. So it depends on no
//! order and no machine. A weight is a number of events, cut to its two upper bits: it changes O(log n) times.

use crate::identity::{ShapeId, value_hash};
use crate::leaves::Leaves;
use crate::rules::Descriptor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The name of a class.
type Class = Arc<str>;

/// The number of this model. It changes when the same facts give other classes: data folders say by which model they learn.
pub const MODEL: u32 = 2;

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
    /// Its shape.
    pub shape: ShapeId,
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
    /// The shape of the example that it is taken for. Of several with the same tokens, the one with the least id.
    pub like: ShapeId,
    /// Leaf names and answers that the event and the example have in common, and those that either has.
    pub fit: (usize, usize),
}

impl Guess {
    /// Returns whether events get the class. At least half of what they and the example have is in common: what nothing was
    /// learned of stays without a class.
    pub fn holds(&self, learning: Learning) -> bool {
        let (common, all) = self.fit;
        self.margin >= learning.margin && self.support >= learning.support && common * 2 >= all
    }
}

/// Everything that was learned.
#[derive(Debug, Default)]
pub struct Model<'a> {
    /// With their weights, in the order of their names.
    classes: Vec<(&'a Class, u64)>,
    /// Those of a class follow each other.
    examples: Vec<Example<'a>>,
    /// The cost of another spelling.
    spelling: i64,
    names: BTreeMap<u64, Token>,
    paths: BTreeMap<u64, Token>,
}

/// What was taught of one class with the same tokens.
#[derive(Debug)]
struct Example<'a> {
    /// Index of its class.
    class: usize,
    shape: ShapeId,
    weight: u64,
    tokens: &'a Tokens,
    /// The costs of its names, and of its paths: for an event that has none of them.
    costs: [i64; 2],
}

/// What is known of a token.
#[derive(Debug)]
struct Token {
    /// How much less likely an event is for each example that differs from it in the token.
    cost: i64,
    /// Indexes of the examples that have it, or of those that do not: whichever are fewer.
    examples: Vec<usize>,
    /// Whether they have it.
    have: bool,
}

impl<'a> Model<'a> {
    /// Learns from all signatures at once, in any order.
    pub fn of(taught: impl IntoIterator<Item = Taught<'a>>) -> Model<'a> {
        let mut examples: BTreeMap<(&Class, &Tokens), (u64, ShapeId)> = BTreeMap::new();
        for Taught { class, shape, weight, tokens } in taught {
            let (of_example, least) = examples.entry((class, tokens)).or_insert((0, shape));
            *of_example += weight;
            *least = shape.min(*least);
        }
        let mut model = Model::default();
        for ((class, tokens), (weight, shape)) in examples {
            match model.classes.last_mut() {
                Some((last, of_class)) if *last == class => *of_class += weight,
                _ => model.classes.push((class, weight)),
            }
            let class = model.classes.len() - 1;
            model.examples.push(Example { class, shape, weight, tokens, costs: [0; 2] });
        }
        model.spelling = cost(0, model.weight());
        model.names = model.tokens(|tokens| &tokens.names);
        model.paths = model.tokens(|tokens| &tokens.paths);
        let Model { names, paths, examples, .. } = &mut model;
        for example in examples {
            let Tokens { names: of_names, paths: of_paths } = example.tokens;
            example.costs = [(of_names, &*names), (of_paths, &*paths)]
                .map(|(own, known)| own.iter().filter_map(|token| known.get(token)).map(|token| token.cost).sum());
        }
        model
    }

    /// Returns the events of all classes.
    fn weight(&self) -> u64 {
        self.classes.iter().map(|(_, weight)| weight).sum()
    }

    fn tokens(&self, of: impl Fn(&'a Tokens) -> &'a BTreeSet<u64>) -> BTreeMap<u64, Token> {
        let mut having: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (index, example) in self.examples.iter().enumerate() {
            of(example.tokens).iter().for_each(|token| having.entry(*token).or_default().push(index));
        }
        let mut together: BTreeMap<Vec<usize>, u64> = BTreeMap::new();
        having.values().for_each(|examples| *together.entry(examples.clone()).or_default() += 1);
        let token = |(token, having): (u64, Vec<usize>)| {
            let by_class = having.chunk_by(|one, other| self.examples[*one].class == self.examples[*other].class);
            let differ = by_class.map(|own| {
                let has = own.iter().map(|index| self.examples[*index].weight).sum();
                differing(has, self.classes[self.examples[own[0]].class].1)
            });
            let cost = shared(cost(differ.sum(), self.weight()), together[&having]);
            let have = having.len() * 2 <= self.examples.len();
            let examples = if have { having } else { self.others(&having) };
            (token, Token { cost, examples, have })
        };
        having.into_iter().map(token).collect()
    }

    /// Returns the examples that are not among these.
    fn others(&self, examples: &[usize]) -> Vec<usize> {
        let mut but = examples.iter().peekable();
        (0..self.examples.len()).filter(|index| but.next_if_eq(&index).is_none()).collect()
    }

    /// Returns for each example what the tokens cost in which it differs from `own`. Those that are not known differ from all.
    fn differ(&self, sort: usize, known: &BTreeMap<u64, Token>, own: &BTreeSet<u64>) -> Vec<i64> {
        let mut costs: Vec<i64> = self.examples.iter().map(|example| example.costs[sort]).collect();
        let mut all = 0;
        for Token { cost, examples, have } in own.iter().filter_map(|token| known.get(token)) {
            // An example that has it does not pay for it, and the others do.
            all += if *have { *cost } else { -*cost };
            let change = if *have { -2 * cost } else { 2 * cost };
            examples.iter().for_each(|index| costs[*index] += change);
        }
        costs.iter_mut().for_each(|cost| *cost += all);
        costs
    }

    /// Returns the most likely class; `None` if nothing was learned.
    pub fn guess(&self, tokens: &Tokens) -> Option<Guess> {
        let names = self.differ(0, &self.names, &tokens.names);
        let paths = self.differ(1, &self.paths, &tokens.paths);
        // Without any object around a leaf there is nothing to compare.
        let spelling = if tokens.paths.is_empty() { 0 } else { self.spelling };
        let score = |index: usize| log2(self.examples[index].weight) - names[index] - paths[index].min(spelling);
        let scores: Vec<i64> = (0..self.examples.len()).map(score).collect();
        // Of equals, the first by name.
        let best = |other: Option<usize>| {
            let others = self.examples.iter().enumerate().filter(|(_, example)| Some(example.class) != other);
            others.rev().max_by_key(|(index, _)| scores[*index])
        };
        let (first, example) = best(None)?;
        let second = best(Some(example.class));
        let (class, support) = self.classes[example.class];
        let common = tokens.names.intersection(&example.tokens.names).count();
        Some(Guess {
            class: Class::clone(class),
            margin: second.map_or(i64::MAX, |(second, _)| scores[first] - scores[second]),
            second: second.map(|(_, second)| Class::clone(self.classes[second.class].0)),
            support,
            like: example.shape,
            fit: (common, tokens.names.len() + example.tokens.names.len() - common),
        })
    }
}

/// Returns how many of the `all` events of a class differ from another one of it in a token that `has` of them have, in
/// 64ths.
fn differing(has: u64, all: u64) -> u128 {
    128 * u128::from(has) * u128::from(all - has) / u128::from(all.max(1))
}

/// Returns how surprising a token is that differs, if it differs in `differ` 64ths of `all` events: the log of the odds.
fn cost(differ: u128, all: u64) -> i64 {
    // One more event that differs, and one that does not.
    let (differ, all) = (differ + 64, 64 * (u128::from(all) + 2));
    let log = |number: u128| log2(u64::try_from(number).unwrap_or(u64::MAX));
    (log(all.saturating_sub(differ)) - log(differ)).max(0)
}

/// Returns the part of a cost that falls on each of `tokens` that always come together: all count as the root of their number.
fn shared(cost: i64, tokens: u64) -> i64 {
    let root = (tokens << 32).isqrt();
    // Both are in units of 1/65536, and a cost is at most 64 bits.
    (cost << 16) / i64::try_from(root).unwrap_or(i64::MAX)
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
    use crate::identity::ValueKind;
    use crate::leaves::Leaf;
    use proptest::prelude::*;

    fn tokens(paths: &[&str]) -> Tokens {
        let leaf = |path: &&str| Leaf { path: (*path).to_owned(), kind: ValueKind::String };
        let leaves = Leaves::of(paths.iter().map(leaf).collect());
        Tokens::of(&Descriptor { shape: ShapeId(0), kind: None, answers: vec![] }, &leaves)
    }

    type All = Vec<(Class, u64, Tokens)>;

    fn all(taught: &[(&str, u64, &[&str])]) -> All {
        taught.iter().map(|(class, weight, paths)| ((*class).into(), *weight, tokens(paths))).collect()
    }

    /// Each has its place as its shape.
    fn model(all: &All) -> Model<'_> {
        let shapes = (0..).map(ShapeId);
        Model::of(shapes.zip(all).map(|(shape, (class, weight, tokens))| Taught {
            class,
            shape,
            weight: *weight,
            tokens,
        }))
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
        let all = all(&[
            ("click", 1000, &["type", "user.id", "details.button_type", "details.page"]),
            ("purchase", 10, &["type", "user.id", "details.items[].unit_price", "details.total"]),
        ]);
        let model = model(&all);
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

    /// One class has most events, with leaves that come and go; of another there are two.
    #[test]
    fn few_events_of_a_class_have_their_say() {
        let mut all = all(&[
            ("query", 6000, &["type", "id", "name", "answer"]),
            ("query", 3000, &["type", "id", "name", "answer", "ttl"]),
            ("query", 900, &["type", "id", "name"]),
            ("login", 100, &["type", "id", "user", "host"]),
            ("reboot", 2, &["type", "id", "host", "reason"]),
        ]);
        let reboot = model(&all).guess(&tokens(&["id", "host", "reason"])).unwrap();
        assert_eq!((&*reboot.class, reboot.support, reboot.like, reboot.fit), ("reboot", 2, ShapeId(4), (3, 4)));
        assert_eq!(reboot.second.as_deref(), Some("login"));
        // An answer comes and goes: an event without one, but with a time to live, is a query nevertheless.
        let query = model(&all).guess(&tokens(&["id", "name", "ttl"])).unwrap();
        assert_eq!(&*query.class, "query");
        assert!(query.margin > reboot.margin, "{query:?} {reboot:?}");
        // Of two classes with the same leaves, the one with more events.
        all.push(("ping".into(), 12_000, tokens(&["type", "id", "name", "answer"])));
        let ping = model(&all).guess(&tokens(&["id", "name", "answer"])).unwrap();
        assert_eq!((&*ping.class, ping.margin), ("ping", ONE));
    }

    proptest! {
        /// Directly by the definition, with each token of each example.
        #[test]
        fn guesses_are_by_the_likeliest_example(
            taught in prop::collection::vec((0usize..3, 1u64..200, prop::collection::btree_set(0usize..8, 0..6)), 0..8),
            asked in prop::collection::btree_set(0usize..8, 0..6),
            turn in 0usize..8,
        ) {
            const PATHS: [&str; 8] = ["a", "b", "x.a", "x.b", "y.a", "c", "y.d", "e"];
            let paths = |of: &BTreeSet<usize>| of.iter().map(|path| PATHS[*path]).collect::<Vec<_>>();
            let mut all: All = taught
                .iter()
                .map(|(class, weight, of)| (["k", "l", "m"][*class].into(), *weight, tokens(&paths(of))))
                .collect();
            let asked = tokens(&paths(&asked));
            let found = model(&all).guess(&asked);
            let weight = |of: &dyn Fn(&(Class, u64, Tokens)) -> bool| -> u64 {
                all.iter().filter(|one| of(one)).map(|one| one.1).sum()
            };
            let classes: BTreeSet<Class> = all.iter().map(|one| Class::clone(&one.0)).collect();
            let tokens_of = |one: &(Class, u64, Tokens), sort: usize| [&one.2.names, &one.2.paths][sort].clone();
            let having = |sort: usize, token: u64| -> BTreeSet<(Class, BTreeSet<u64>, BTreeSet<u64>)> {
                let having = all.iter().filter(|one| tokens_of(one, sort).contains(&token));
                having.map(|one| (one.0.clone(), one.2.names.clone(), one.2.paths.clone())).collect()
            };
            let known = |sort: usize| -> BTreeSet<u64> { all.iter().flat_map(|one| tokens_of(one, sort)).collect() };
            let cost_of = |sort: usize, token: u64| {
                let differ = classes.iter().map(|class| {
                    let of_class = weight(&|one| one.0 == *class);
                    differing(weight(&|one| one.0 == *class && tokens_of(one, sort).contains(&token)), of_class)
                });
                let together = known(sort).into_iter().filter(|other| having(sort, *other) == having(sort, token));
                shared(cost(differ.sum(), weight(&|_| true)), together.count() as u64)
            };
            let score = |one: &(Class, u64, Tokens)| {
                let differ = |sort: usize| -> i64 {
                    let asked = [&asked.names, &asked.paths][sort];
                    let own = tokens_of(one, sort);
                    let differ = known(sort).into_iter().filter(|token| asked.contains(token) != own.contains(token));
                    differ.map(|token| cost_of(sort, token)).sum()
                };
                let events = weight(&|other| (&other.0, &other.2) == (&one.0, &one.2));
                let spelling = if asked.paths.is_empty() { 0 } else { cost(0, weight(&|_| true)) };
                log2(events) - differ(0) - differ(1).min(spelling)
            };
            let best = |class: &Class| all.iter().filter(|one| one.0 == *class).map(score).max();
            let mut scores: Vec<(i64, &Class)> = classes.iter().filter_map(|class| Some((best(class)?, class))).collect();
            scores.sort_by(|one, other| (other.0, one.1).cmp(&(one.0, other.1)));
            prop_assert_eq!(found.as_ref().map(|guess| &guess.class), scores.first().map(|(_, class)| *class));
            if let [first, second, ..] = &scores[..] {
                prop_assert_eq!(found.as_ref().unwrap().margin, first.0 - second.0);
                prop_assert_eq!(found.as_ref().unwrap().second.as_ref(), Some(second.1));
            }
            let turned = |guess: Option<Guess>| guess.map(|guess| Guess { like: ShapeId(0), ..guess });
            let turn = turn.min(all.len());
            all.rotate_left(turn);
            prop_assert_eq!(turned(model(&all).guess(&asked)), turned(found));
        }
    }
}
