//! Signature -> class. The class of a signature follows from the rules, which are an input like any other: a changed
//! rule relabels signatures, and whatever counts signatures follows without one event being read again.

use crate::identity::{ShapeId, SignatureId, kind_rank};
use crate::learn::{Guess, Learning, MAX_ASKED, MAX_TAUGHT, Model, Taught, Tokens};
use crate::leaves::{Dictionary, Least, Leaves, MAX_SHAPES};
use crate::rules::{Descriptor, Rule, UNCLASSIFIED};
use crate::time::Tick;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::implementations::ValSpine;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Class of events whose type is one too many, see [`MAX_KINDS`].
pub const OVERFLOW: &str = "overflow";

/// Types that keep a class of their own. Of more, those with the least ranks (a hash) keep it, which does not depend
/// on the order in which they came; events of the others are of the class [`OVERFLOW`] unless a rule claims them. Such
/// a type field is rather an identifier, and each of its values would be a class in every output.
pub const MAX_KINDS: usize = 4096;

/// The name of a class.
pub type Class = Arc<str>;

/// What is known of all events with one signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// The class.
    pub class: Class,
    /// What gave it.
    pub layer: Layer,
    /// `None`: it is one too many to be kept apart, see [`crate::leaves::MAX_SHAPES`].
    pub shape: Option<ShapeId>,
}

/// What gives a class. The first that has an answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Layer {
    /// The rule with this place in the configuration, from 0.
    Rule(u32),
    /// The value of the type field.
    Kind,
    /// The value of the type field is one too many.
    Overflow,
    /// There is neither a rule that claims it nor a type.
    Nothing,
    /// There is neither, and this is the class of events like it: see [`crate::learn`].
    Learned,
    /// A person has given it to all events of the shape that no rule claims and that have no type of their own.
    Label,
}

/// Labels by signature.
pub type ClassSpine<T = Tick> = ValSpine<SignatureId, Label, T, isize>;
/// Reads [`ClassSpine`].
pub type ClassTrace<T = Tick> = TraceAgent<ClassSpine<T>>;

/// Why an event has its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// The rule that claims it.
    Rule(&'a Rule),
    /// The value of the type field.
    Kind,
    /// The value of the type field is one too many.
    Overflow,
    /// There is neither a rule that claims it nor a type.
    Nothing,
}

impl Why<'_> {
    /// Returns what gave the class.
    pub fn layer(self) -> Layer {
        match self {
            Why::Rule(rule) => Layer::Rule(rule.order),
            Why::Kind => Layer::Kind,
            Why::Overflow => Layer::Overflow,
            Why::Nothing => Layer::Nothing,
        }
    }
}

/// Everything that decides on classes, besides the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// In the order in which they are tried.
    rules: Vec<Rule>,
    /// Types of a greater rank overflow.
    cut: Option<u64>,
}

impl Definitions {
    /// `kinds`: the ranks of all types.
    pub fn new(mut rules: Vec<Rule>, kinds: &BTreeSet<u64>) -> Definitions {
        rules.sort_unstable_by(|one, other| {
            (other.priority, one.order, &one.name, &one.when).cmp(&(
                one.priority,
                other.order,
                &other.name,
                &other.when,
            ))
        });
        let last = || kinds.iter().nth(MAX_KINDS - 1).copied();
        let cut = if kinds.len() > MAX_KINDS { last() } else { None };
        Definitions { rules, cut }
    }

    /// In the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the class of a descriptor, and why it is that one.
    pub fn classify<'a>(&'a self, descriptor: &'a Descriptor) -> (&'a str, Why<'a>) {
        if let Some(rule) = self.rules.iter().find(|rule| rule.claims(descriptor)) {
            return (&rule.name, Why::Rule(rule));
        }
        match &descriptor.kind {
            Some(kind) if self.cut.is_some_and(|cut| kind_rank(kind) > cut) => (OVERFLOW, Why::Overflow),
            Some(kind) => (kind, Why::Kind),
            None => (UNCLASSIFIED, Why::Nothing),
        }
    }
}

/// What one worker knows of signatures and rules: after a tick it follows from all that has come, in whatever order.
///
/// It is asked tick by tick in one operator ([`crate::describe`]), instead of by `distinct`, `reduce` and `join`: each of
/// these waits for the progress of all workers, and a tick without a new signature, as nearly all are, would pay for each.
pub(crate) struct Classifier {
    known: BTreeMap<SignatureId, Known>,
    rules: BTreeMap<Arc<Rule>, isize>,
    /// By shape: classes that a person has given. Of several, the first by name counts, so that no order of arrival does.
    labels: BTreeMap<ShapeId, BTreeMap<Class, isize>>,
    /// Ranks of the types.
    kinds: BTreeSet<u64>,
    definitions: Definitions,
    /// Of the known signatures.
    shapes: Least,
    /// Of shapes that are kept apart.
    by_shape: BTreeMap<ShapeId, Vec<SignatureId>>,
    learning: Option<Learning>,
    /// Classes are learned while it is positive.
    learns: isize,
    weights: BTreeMap<SignatureId, u64>,
    /// Signatures of shapes that are kept apart and that a rule or a type classifies; and those that none does.
    taught: BTreeSet<SignatureId>,
    asked: BTreeSet<SignatureId>,
    tokens: BTreeMap<SignatureId, Arc<Tokens>>,
}

/// One signature.
struct Known {
    descriptor: Arc<Descriptor>,
    label: Label,
}

/// A taught signature: class, shape, weight, tokens.
type Lesson = (Class, ShapeId, u64, Arc<Tokens>);

fn model(taught: &[Lesson]) -> Model<'_> {
    Model::of(taught.iter().map(|(class, shape, weight, tokens)| Taught {
        class,
        shape: *shape,
        weight: *weight,
        tokens,
    }))
}

/// What came with a tick. Repeats are fine, and what has come stays.
#[derive(Default)]
pub(crate) struct News {
    pub signatures: Vec<(SignatureId, Arc<Descriptor>)>,
    pub rules: Vec<(Arc<Rule>, isize)>,
    pub weights: Vec<(SignatureId, u64)>,
    pub learns: isize,
    pub labels: Vec<((ShapeId, Class), isize)>,
    /// The dictionary of leaves has changed.
    pub leaves: bool,
}

impl News {
    fn is_empty(&self) -> bool {
        let News { signatures, rules, weights, learns, labels, leaves } = self;
        let none = signatures.is_empty() && rules.is_empty() && weights.is_empty() && labels.is_empty();
        none && *learns == 0 && !leaves
    }
}

impl Classifier {
    pub fn new(learning: Option<Learning>) -> Classifier {
        Classifier {
            known: BTreeMap::new(),
            rules: BTreeMap::new(),
            labels: BTreeMap::new(),
            kinds: BTreeSet::new(),
            definitions: Definitions::default(),
            shapes: Least::new(MAX_SHAPES),
            by_shape: BTreeMap::new(),
            learning,
            learns: 0,
            weights: BTreeMap::new(),
            taught: BTreeSet::new(),
            asked: BTreeSet::new(),
            tokens: BTreeMap::new(),
        }
    }

    /// Takes what came with a tick. Returns how the labels change, not consolidated.
    pub fn tick(&mut self, news: News, leaves: &Dictionary) -> Vec<((SignatureId, Label), isize)> {
        let mut changes = Vec::new();
        if news.is_empty() {
            return changes;
        }
        let mut learns_again = news.learns != 0;
        self.learns += news.learns;
        if news.leaves {
            self.tokens.clear();
            learns_again = true;
        }
        for (rule, diff) in news.rules {
            let count = self.rules.entry(rule).or_default();
            *count += diff;
        }
        self.rules.retain(|_, count| *count != 0);
        let mut labelled = BTreeSet::new();
        for ((shape, class), diff) in news.labels {
            let classes = self.labels.entry(shape).or_default();
            *classes.entry(class).or_default() += diff;
            classes.retain(|_, count| *count != 0);
            if classes.is_empty() {
                self.labels.remove(&shape);
            }
            labelled.insert(shape);
        }
        let mut added = BTreeMap::new();
        for (signature, descriptor) in news.signatures {
            if !self.known.contains_key(&signature) {
                self.kinds.extend(descriptor.kind.as_deref().map(kind_rank));
                added.insert(signature, descriptor);
            }
        }
        for descriptor in added.values() {
            if let Some(gone) = self.shapes.offer(descriptor.shape) {
                for signature in self.by_shape.remove(&gone).unwrap_or_default() {
                    self.forget(signature);
                    learns_again = true;
                    let declared = self.declared(signature);
                    self.change(signature, &mut changes, |label| {
                        (label.class, label.layer) = declared.unwrap_or((Class::clone(&label.class), label.layer));
                        label.shape = None;
                    });
                }
            }
        }
        let rules = self.rules.keys().map(|rule| Rule::clone(rule)).collect();
        let definitions = Definitions::new(rules, &self.kinds);
        if definitions != self.definitions {
            self.definitions = definitions;
            learns_again = true;
            for signature in self.known.keys().copied().collect::<Vec<_>>() {
                self.declare(signature, &mut changes);
            }
        } else if !labelled.is_empty() {
            learns_again = true;
            let of_shapes = self.known.iter().filter(|(_, known)| labelled.contains(&known.descriptor.shape));
            for signature in of_shapes.map(|(signature, _)| *signature).collect::<Vec<_>>() {
                self.declare(signature, &mut changes);
            }
        }
        for (signature, descriptor) in added {
            let shape = Some(descriptor.shape).filter(|shape| self.shapes.has(*shape));
            if let Some(shape) = shape {
                self.by_shape.entry(shape).or_default().push(signature);
            }
            let (class, layer) = self.says(&descriptor);
            let label = Label { class, layer, shape };
            changes.push(((signature, label.clone()), 1));
            self.known.insert(signature, Known { descriptor, label });
            self.place(signature);
            learns_again = true;
        }
        for (signature, weight) in news.weights {
            learns_again |= self.taught.contains(&signature);
            match weight {
                0 => self.weights.remove(&signature),
                weight => self.weights.insert(signature, weight),
            };
        }
        if learns_again {
            self.learn(leaves, &mut changes);
        }
        changes
    }

    /// What rules, type and labels say of a signature that is known.
    fn declared(&self, signature: SignatureId) -> Option<(Class, Layer)> {
        Some(self.says(&self.known.get(&signature)?.descriptor))
    }

    /// What rules, type and labels say. A label is for events that have no class otherwise: one shape may have many types.
    fn says(&self, descriptor: &Descriptor) -> (Class, Layer) {
        let (class, why) = self.definitions.classify(descriptor);
        let label = self.labels.get(&descriptor.shape).and_then(|classes| classes.keys().next());
        match (why, label) {
            (Why::Overflow | Why::Nothing, Some(label)) => (Class::clone(label), Layer::Label),
            _ => (Class::from(class), why.layer()),
        }
    }

    /// Takes what rules, type and labels say of a signature. A learned class stays while they say nothing.
    fn declare(&mut self, signature: SignatureId, changes: &mut Vec<((SignatureId, Label), isize)>) {
        let (Some((class, layer)), Some(known)) = (self.declared(signature), self.known.get(&signature)) else {
            return;
        };
        let before = match known.label.layer {
            Layer::Learned => Layer::Nothing,
            layer => layer,
        };
        if layer != before || known.label.layer != Layer::Learned && class != known.label.class {
            self.change(signature, changes, |label| (label.class, label.layer) = (class, layer));
            self.forget(signature);
            self.place(signature);
        }
    }

    /// Puts a signature among those that a model learns from, or those that it is asked of.
    fn place(&mut self, signature: SignatureId) {
        let Some(Known { label, .. }) = self.known.get(&signature) else { return };
        if self.learning.is_none() || label.shape.is_none() {
            return;
        }
        match label.layer {
            Layer::Rule(_) | Layer::Kind | Layer::Label => self.taught.insert(signature),
            Layer::Nothing | Layer::Learned => self.asked.insert(signature),
            Layer::Overflow => false,
        };
    }

    fn forget(&mut self, signature: SignatureId) {
        self.taught.remove(&signature);
        self.asked.remove(&signature);
        self.tokens.remove(&signature);
    }

    /// Learns from all signatures that have a class, and gives one to the others or takes it away.
    fn learn(&mut self, leaves: &Dictionary, changes: &mut Vec<((SignatureId, Label), isize)>) {
        let Some(learning) = self.learning else { return };
        let asked: Vec<SignatureId> = self.asked.iter().copied().collect();
        if asked.is_empty() {
            return;
        }
        let learns = self.learns > 0;
        let taught = if learns { self.taught(leaves) } else { Vec::new() };
        let model = model(&taught);
        for (index, signature) in asked.into_iter().enumerate() {
            let tokens = (learns && index < MAX_ASKED).then(|| self.tokens_of(signature, leaves)).flatten();
            let guess = tokens.and_then(|tokens| model.guess(&tokens)).filter(|guess| guess.holds(learning));
            let now = guess.map_or((UNCLASSIFIED.into(), Layer::Nothing), |guess| (guess.class, Layer::Learned));
            let before = self.known.get(&signature).map(|known| (&known.label.class, known.label.layer));
            if before.is_some_and(|before| before != (&now.0, now.1)) {
                self.change(signature, changes, |label| (label.class, label.layer) = now);
            }
        }
    }

    /// Returns what a model learns from.
    fn taught(&mut self, leaves: &Dictionary) -> Vec<Lesson> {
        let weighed = self.taught.iter().filter_map(|one| Some((*one, *self.weights.get(one)?)));
        let weighed: Vec<_> = weighed.take(MAX_TAUGHT).collect();
        let lesson = |(one, weight): (SignatureId, u64)| {
            let Known { label, descriptor } = self.known.get(&one)?;
            let (class, shape) = (Class::clone(&label.class), descriptor.shape);
            Some((class, shape, weight, self.tokens_of(one, leaves)?))
        };
        weighed.into_iter().filter_map(lesson).collect()
    }

    /// Returns what the model says of events with this descriptor and these leaves, whether it holds or not; `None`: nothing is
    /// learned.
    pub fn guess(&mut self, descriptor: &Descriptor, own: &Leaves, leaves: &Dictionary) -> Option<Guess> {
        let learns = self.learning.is_some() && self.learns > 0;
        let taught = if learns { self.taught(leaves) } else { Vec::new() };
        model(&taught).guess(&Tokens::of(descriptor, own))
    }

    fn tokens_of(&mut self, signature: SignatureId, leaves: &Dictionary) -> Option<Arc<Tokens>> {
        if let Some(tokens) = self.tokens.get(&signature) {
            return Some(Arc::clone(tokens));
        }
        let descriptor = &self.known.get(&signature)?.descriptor;
        let tokens = Arc::new(Tokens::of(descriptor, leaves.of(descriptor.shape)?));
        if self.tokens.len() > MAX_TAUGHT + MAX_ASKED {
            self.tokens.clear();
        }
        self.tokens.insert(signature, Arc::clone(&tokens));
        Some(tokens)
    }

    /// Changes the label of a signature that is known.
    fn change(
        &mut self,
        signature: SignatureId,
        changes: &mut Vec<((SignatureId, Label), isize)>,
        change: impl FnOnce(&mut Label),
    ) {
        if let Some(Known { label, .. }) = self.known.get_mut(&signature) {
            changes.push(((signature, label.clone()), -1));
            change(label);
            changes.push(((signature, label.clone()), 1));
        }
    }
}

#[cfg(test)]
mod tests;
