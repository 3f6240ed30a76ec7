//! Fact -> names and classes: what the identities of records stand for.
//!
//! Facts come beside the records: the string behind a user key, the descriptor behind a signature, the leaves of a
//! shape, a rule. One operator
//! keeps the dictionaries that they make, and one channel brings all facts. Nearly all ticks bring none, and would pay for
//! each operator and channel more.

use crate::classify::{Class, ClassSpine, Classifier, Label, News};
use crate::identity::{ShapeId, SignatureId, UserKey};
use crate::learn::Learning;
use crate::leaves::{Dictionary, Leaves};
use crate::operators::{Capabilities, Fold, Keyed, Output, Own, Past, Rows, Turn};
use crate::rules::{Descriptor, Rule};
use crate::time::{Tick, TotalTime};
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;

/// Something known beside the records, addressed to one worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fact {
    /// Index of the worker.
    to: u64,
    known: Known,
}

/// What a fact says. Repeats are fine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Known {
    /// How often it is said: what is said must be taken back as often.
    Name(UserKey, Arc<str>, isize),
    /// The user may be forgotten: the name is as often there as it was said so far.
    Doubt(UserKey),
    /// Whether the user is forgotten: then the name goes, as often as it had been said by then.
    Unname(UserKey, bool),
    Signature(SignatureId, Arc<Descriptor>),
    Rule(Arc<Rule>, isize),
    Shape(ShapeId, Arc<Leaves>),
    /// The latest one counts.
    Weight(SignatureId, u64),
    Learns(isize),
    Label(ShapeId, Class, isize),
}

impl Fact {
    /// Says which string a user key stands for, to the worker that owns the user.
    pub fn name(user: UserKey, name: Arc<str>, workers: usize) -> Fact {
        Fact::named(user, name, 1, workers)
    }

    /// Says the same several times.
    pub fn named(user: UserKey, name: Arc<str>, times: isize, workers: usize) -> Fact {
        Fact { to: user.worker(workers), known: Known::Name(user, name, times) }
    }

    /// Says that a user may be forgotten. From then on every worker says the name of the user again, if it knows one.
    pub(crate) fn doubt(user: UserKey, workers: usize) -> Fact {
        Fact { to: user.worker(workers), known: Known::Doubt(user) }
    }

    /// Says whether a user is forgotten: then what was said of the name before the doubt is taken back.
    pub(crate) fn unname(user: UserKey, is_forgotten: bool, workers: usize) -> Fact {
        Fact { to: user.worker(workers), known: Known::Unname(user, is_forgotten) }
    }

    /// Says what a signature stands for, to every worker: each resolves the events and sessions that it owns.
    pub fn signature(signature: SignatureId, descriptor: Descriptor, workers: usize) -> impl Iterator<Item = Fact> {
        Fact::everywhere(Known::Signature(signature, Arc::new(descriptor)), workers)
    }

    /// Says which leaves a shape has, to every worker: each may own the shape.
    pub fn shape(shape: ShapeId, leaves: Arc<Leaves>, workers: usize) -> impl Iterator<Item = Fact> {
        Fact::everywhere(Known::Shape(shape, leaves), workers)
    }

    /// Says how many events a signature has from now on, as [`crate::learn::step`] reads it, to every worker.
    pub(crate) fn weight(signature: SignatureId, weight: u64, workers: usize) -> impl Iterator<Item = Fact> {
        Fact::everywhere(Known::Weight(signature, weight), workers)
    }

    /// Lets classes be learned (1) or not any more (-1), at every worker.
    pub fn learns(diff: isize, workers: usize) -> impl Iterator<Item = Fact> {
        Fact::everywhere(Known::Learns(diff), workers)
    }

    /// Adds (1) or takes away (-1) a rule, at every worker.
    pub fn rule(rule: Rule, diff: isize, workers: usize) -> impl Iterator<Item = Fact> {
        Fact::everywhere(Known::Rule(Arc::new(rule), diff), workers)
    }

    /// Adds (1) or takes away (-1) the class that a person has given to a shape, at every worker.
    pub fn label(shape: ShapeId, class: Class, diff: isize, workers: usize) -> impl Iterator<Item = Fact> {
        Fact::everywhere(Known::Label(shape, class, diff), workers)
    }

    fn everywhere(known: Known, workers: usize) -> impl Iterator<Item = Fact> {
        (0..workers as u64).map(move |to| Fact { to, known: known.clone() })
    }
}

/// Names by user.
pub type NameSpine<T = Tick> = ValSpine<UserKey, Arc<str>, T, isize>;
/// Reads [`NameSpine`].
pub type NameTrace<T = Tick> = TraceAgent<NameSpine<T>>;

/// What [`describe`] gives.
pub struct Described<'s, T: TotalTime = Tick> {
    /// View: the string of each user key, at the worker that owns the user. It is written as far as `classes` is.
    pub names: NameTrace<T>,
    /// View: the label of each signature, whole on each worker.
    pub classes: Arranged<'s, TraceAgent<ClassSpine<T>>>,
    /// The leaves of shapes, whole on each worker; `None`: they are forgotten.
    pub leaves: Stream<'s, T, Vec<(ShapeId, Option<Arc<Leaves>>)>>,
    /// The names that go with users who are forgotten.
    pub unnamed: Unnamed<T>,
}

/// Names that go, and as often as they had been said, with their ticks. They are there when the names are written.
pub type Unnamed<T = Tick> = Rc<RefCell<Vec<(T, (UserKey, Arc<str>), isize)>>>;

/// Keeps what facts say. A signature is known in the tick of the first record that has it, or before.
/// `learning`: what a learned class needs, where classes may be learned.
pub fn describe<'s, T: TotalTime>(facts: Stream<'s, T, Vec<Fact>>, learning: Option<Learning>) -> Described<'s, T> {
    let mut operator = Keyed::<T, Describe<T>>::new("Describe", facts.scope());
    let (own_classes, classes) = operator.arranged();
    let (own_names, names) = operator.trace();
    let (leaves, leaf_stream) = operator.output();
    operator.input(facts, Exchange::new(|fact: &Fact| fact.to), |_, arrivals| {
        arrivals.each(|waiting, _, facts| facts.drain(..).for_each(|fact| waiting.add(fact.known)));
    });
    let unnamed = Unnamed::default();
    operator.build(Describe {
        doubted: BTreeMap::new(),
        unnamed: Rc::clone(&unnamed),
        names: own_names,
        name_rows: Rows::default(),
        classes: own_classes,
        class_rows: Rows::default(),
        classifier: Classifier::new(learning),
        shapes: Dictionary::default(),
        leaves,
    });
    Described { names, classes, leaves: leaf_stream, unnamed }
}

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Waiting {
    names: Vec<((UserKey, Arc<str>), isize)>,
    doubts: Vec<UserKey>,
    unnames: Vec<(UserKey, bool)>,
    news: News,
    shapes: Vec<(ShapeId, Arc<Leaves>)>,
}

impl Waiting {
    fn add(&mut self, known: Known) {
        match known {
            Known::Name(user, name, times) => self.names.push(((user, name), times)),
            Known::Doubt(user) => self.doubts.push(user),
            Known::Unname(user, is_forgotten) => self.unnames.push((user, is_forgotten)),
            Known::Signature(signature, descriptor) => self.news.signatures.push((signature, descriptor)),
            Known::Rule(rule, diff) => self.news.rules.push((rule, diff)),
            Known::Shape(shape, leaves) => self.shapes.push((shape, leaves)),
            Known::Weight(signature, weight) => self.news.weights.push((signature, weight)),
            Known::Learns(diff) => self.news.learns += diff,
            Known::Label(shape, class, diff) => self.news.labels.push(((shape, class), diff)),
        }
    }
}

/// One worker's dictionaries.
struct Describe<T: TotalTime> {
    /// The names of users who may be forgotten, and how often they had been said by then.
    doubted: BTreeMap<UserKey, Vec<(Arc<str>, isize)>>,
    unnamed: Unnamed<T>,
    names: Own<NameSpine<T>>,
    name_rows: Rows<UserKey, Arc<str>, T>,
    classes: Own<ClassSpine<T>>,
    class_rows: Rows<SignatureId, Label, T>,
    classifier: Classifier,
    shapes: Dictionary,
    leaves: Output<T, (ShapeId, Option<Arc<Leaves>>)>,
}

impl<T: TotalTime> Describe<T> {
    /// Notes how often the names of these users have been said in the ticks before, without those that are `gone` in this one.
    fn doubt(&mut self, mut users: Vec<UserKey>, gone: &[((UserKey, Arc<str>), isize)]) {
        if users.is_empty() {
            return;
        }
        users.sort_unstable();
        users.dedup();
        let batches = self.names.past();
        let mut past = Past::new(&batches);
        for user in users {
            past.key(&user);
            let mut said = Vec::new();
            while let Some((name, times)) = past.counted() {
                let less =
                    gone.iter().filter(|((other, text), _)| (*other, text) == (user, name)).map(|(_, diff)| diff);
                said.push((Arc::clone(name), times + less.sum::<isize>()));
                past.step();
            }
            self.doubted.insert(user, said);
        }
    }
}

impl<T: TotalTime> Fold<T> for Describe<T> {
    type Waiting = Waiting;

    fn tick(&mut self, tick: &T, waiting: &mut Waiting, at: &Capabilities<T>) -> Turn {
        let Waiting { mut names, doubts, unnames, mut news, shapes } = std::mem::take(waiting);
        let mut gone = Vec::new();
        for (user, is_forgotten) in unnames {
            let doubted = self.doubted.remove(&user).filter(|_| is_forgotten).unwrap_or_default();
            gone.extend(doubted.into_iter().map(|(name, times)| ((user, name), -times)));
        }
        self.doubt(doubts, &gone);
        self.unnamed.borrow_mut().extend(gone.iter().map(|(name, times)| (tick.clone(), name.clone(), *times)));
        names.append(&mut gone);
        consolidate(&mut names);
        let mut builder = ValBuilder::with_capacity(names.len(), names.len(), names.len());
        self.name_rows.extend(&mut builder, names.into_iter().map(|(row, diff)| (row, tick.clone(), diff)));
        self.names.write(self.name_rows.finish(builder).map(Rc::new));

        let leaves = self.shapes.tick(shapes);
        news.leaves = !leaves.is_empty();
        self.leaves.give(at, leaves);
        let mut changes = self.classifier.tick(news, &self.shapes);
        consolidate(&mut changes);
        let mut builder = ValBuilder::default();
        self.class_rows.extend(&mut builder, changes.into_iter().map(|(row, diff)| (row, tick.clone(), diff)));
        self.classes.write(self.class_rows.finish(builder).map(Rc::new));
        Turn::Done
    }
}
