//! Classes that people have given to shapes: the control record of one, and the labels of a run.
//!
//! ```text
//! PUT /v1/labels/SHAPE ─▶ change ─▶ Step ─ durable in the control partition ─▶ taken ─ a tick ─▶ took: what changed
//! ```

use crate::observe::labels::LabelReport;
use dataflows::classify::OVERFLOW;
use dataflows::leaves::MAX_SHAPES;
use dataflows::rules::UNCLASSIFIED;
use dataflows::{ShapeId, Tick};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Bytes of the name of a class.
const CLASS_BYTES: usize = 256;
/// Ticks whose effects are remembered until their clients have asked.
const EFFECTS: usize = 1000;

/// A record of the control partition: from here on, events of the shape have this class where no rule and no type gives one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    /// As rows of `shapes` write it.
    pub shape: String,
    /// `None`: the label is taken back.
    pub class: Option<String>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: i64,
    /// Who asked for it; empty if that is not known.
    pub by: String,
}

/// Labels in definitions: the class of each shape, as rows of `shapes` write shapes.
pub type Labels = BTreeMap<String, String>;

impl Labelled {
    /// Takes the label into those that hold.
    pub fn apply(&self, labels: &mut Labels) {
        match &self.class {
            Some(class) => labels.insert(self.shape.clone(), class.clone()),
            None => labels.remove(&self.shape),
        };
    }
}

/// Reads a shape as rows of `shapes` write it.
pub fn shape(text: &str) -> Option<ShapeId> {
    let is_one = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_one.then(|| u64::from_str_radix(text, 16).ok().map(ShapeId)).flatten()
}

/// Why a label is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("`{0}` is no shape: it has 16 hexadecimal digits, as the column `shape` of `shapes` has them")]
    Shape(String),
    #[error("the name of a class has 1 to {CLASS_BYTES} bytes, on one line")]
    Class,
    #[error("`{0}` is what events without a class have: to take a label back, remove it")]
    Reserved(String),
    #[error("there are {MAX_SHAPES} labels, which are all that there can be: a rule says the same of many shapes")]
    Many,
    /// Another change is about to become durable.
    #[error("another label is being stored")]
    Busy,
}

/// What a tick has changed that took labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Upper offset of the control partition at its end.
    control: u64,
    pub tick: Tick,
    /// Sessions with an event that got another class, and such events.
    pub sessions: u64,
    pub events: u64,
}

/// The answer to a change.
#[derive(Debug)]
pub enum Asked {
    /// It has to become durable.
    Step(Step),
    /// It is so already.
    Already,
}

/// The labels of a run.
pub struct Labelbook {
    state: Mutex<State>,
    effects: watch::Sender<VecDeque<Effect>>,
}

struct State {
    labels: BTreeMap<String, LabelReport>,
    is_busy: bool,
}

impl Labelbook {
    /// `records`: those of the control partition, in order.
    pub fn new(records: &[Labelled]) -> Arc<Labelbook> {
        let mut state = State { labels: BTreeMap::new(), is_busy: false };
        records.iter().for_each(|one| state.apply(one));
        Arc::new(Labelbook { state: Mutex::new(state), effects: watch::Sender::new(VecDeque::new()) })
    }

    /// Begins a change. `class`: `None` takes a label back.
    ///
    /// # Errors
    /// [`Refused`]: nothing changes.
    pub fn change(
        self: &Arc<Labelbook>,
        of: &str,
        class: Option<&str>,
        by: &str,
        now_ms: i64,
    ) -> Result<Asked, Refused> {
        shape(of).ok_or_else(|| Refused::Shape(of.to_owned()))?;
        if let Some(class) = class {
            if class.is_empty() || class.len() > CLASS_BYTES || class.chars().any(char::is_control) {
                return Err(Refused::Class);
            }
            if [UNCLASSIFIED, OVERFLOW].contains(&class) {
                return Err(Refused::Reserved(class.to_owned()));
            }
        }
        let mut state = self.lock();
        if state.is_busy {
            return Err(Refused::Busy);
        }
        if state.labels.get(of).map(|label| label.class.as_str()) == class {
            return Ok(Asked::Already);
        }
        if class.is_some() && !state.labels.contains_key(of) && state.labels.len() >= MAX_SHAPES {
            return Err(Refused::Many);
        }
        state.is_busy = true;
        let label =
            Labelled { shape: of.to_owned(), class: class.map(str::to_owned), at_ms: now_ms, by: by.to_owned() };
        Ok(Asked::Step(Step { of: Arc::clone(self), label }))
    }

    /// Records what a published tick has changed. `control`: the records that it has taken.
    pub fn took(&self, control: &Range<u64>, tick: Tick, sessions: u64, events: u64) {
        if !control.is_empty() {
            self.effects.send_modify(|effects| {
                effects.push_back(Effect { control: control.end, tick, sessions, events });
                if effects.len() > EFFECTS {
                    effects.pop_front();
                }
            });
        }
    }

    /// Returns what the tick has changed that takes a record of the control partition, when it is published.
    pub async fn effect(&self, offset: u64) -> Option<Effect> {
        let of = |effects: &VecDeque<Effect>| effects.iter().find(|effect| effect.control > offset).copied();
        let mut effects = self.effects.subscribe();
        effects.wait_for(|effects| of(effects).is_some()).await.ok().and_then(|effects| of(&effects))
    }

    /// Returns all labels, by shape.
    pub fn reports(&self) -> Vec<LabelReport> {
        self.lock().labels.values().cloned().collect()
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, Labelled { shape, class, at_ms, by }: &Labelled) {
        let (shape, by) = (shape.clone(), by.clone());
        match class.clone() {
            Some(class) => drop(self.labels.insert(shape.clone(), LabelReport { shape, class, at_ms: *at_ms, by })),
            None => drop(self.labels.remove(&shape)),
        }
    }
}

impl std::fmt::Debug for Labelbook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Labelbook").finish_non_exhaustive()
    }
}

/// A label on its way into the log. Dropped, nothing has happened.
#[derive(Debug)]
pub struct Step {
    of: Arc<Labelbook>,
    pub label: Labelled,
}

impl Step {
    /// Records that it is durable.
    pub fn durable(self) {
        self.of.lock().apply(&self.label);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.of.lock().is_busy = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: &str = "2ca34cd287291897";

    #[test]
    fn a_label_is_taken_once_it_is_durable_and_one_at_a_time() {
        let book = Labelbook::new(&[]);
        let change = |class| book.change(SHAPE, class, "ann", 7);
        let Ok(Asked::Step(step)) = change(Some("click")) else { panic!("there is none yet") };
        assert_eq!(change(Some("buy")).unwrap_err(), Refused::Busy);
        drop(step);
        assert_eq!(book.reports(), []);
        let Ok(Asked::Step(step)) = change(Some("click")) else { panic!("it was given up") };
        step.durable();
        assert!(matches!(change(Some("click")), Ok(Asked::Already)));
        assert_eq!(book.reports()[0].class, "click");
        let Ok(Asked::Step(step)) = change(None) else { panic!("there is one") };
        step.durable();
        assert!(matches!(change(None), Ok(Asked::Already)));
    }

    #[test]
    fn what_is_no_shape_or_no_class_is_refused() {
        let book = Labelbook::new(&[]);
        for wrong in ["", "2ca34cd28729189", "2CA34CD287291897", "+ca34cd287291897", "overflow"] {
            assert_eq!(book.change(wrong, Some("a"), "", 0).unwrap_err(), Refused::Shape(wrong.into()));
        }
        for wrong in ["", "a\nb", &"x".repeat(257)] {
            assert_eq!(book.change(SHAPE, Some(wrong), "", 0).unwrap_err(), Refused::Class);
        }
        assert!(matches!(book.change(SHAPE, Some("unclassified"), "", 0), Err(Refused::Reserved(_))));
        let all: Vec<Labelled> = (0..MAX_SHAPES)
            .map(|n| Labelled { shape: format!("{n:016x}"), class: Some("a".into()), at_ms: 0, by: String::new() })
            .collect();
        let full = Labelbook::new(&all);
        assert_eq!(full.change(SHAPE, Some("a"), "", 0).unwrap_err(), Refused::Many);
        assert!(matches!(full.change(&all[0].shape, Some("b"), "", 0), Ok(Asked::Step(_))));
    }
}
