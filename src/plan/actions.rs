//! Actions, after every check: what calls them, what they look up, and what is done.

use super::Plan;
use crate::collections::Collection;
use crate::collections::filter::Filter;
use crate::observe::actions::Objective;
use dataflows::look_up::{LookUp, LookUps};
use headwater_decode::spec::{ActionSpec, StateWhen};

/// An action: which changes it decides on, and what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionPlan {
    pub name: String,
    pub on: On,
    /// The condition as it was typed.
    pub when: Option<String>,
    pub looks_up: LooksUp,
    pub timing: Timing,
    pub act: Do,
    /// The name of the sink that hands its decisions over.
    pub sink: Option<String>,
    /// Microseconds: a cause that is older at its tick is not acted upon.
    pub max_age: Option<i64>,
    /// The latency that it is to keep.
    pub objective: Option<Objective>,
    pub replay: Replay,
    /// What holds a cause back, of [`Do::Gate`].
    pub gate: Option<GatePlan>,
    /// A decision whose cause is gone is taken back.
    pub compensate: bool,
    /// Of a run.
    pub begins: Option<ActionBegins>,
}

/// What an action decides on.
#[derive(Clone, Debug, PartialEq)]
pub enum On {
    /// Each event, once.
    Events {
        /// The part of the condition that the event answers; `None`: all events.
        when: Option<StateWhen>,
    },
    /// Changes of a collection.
    Rows {
        collection: Collection,
        /// The part of the condition that the row answers; `None`: all rows.
        when: Option<Filter>,
        edge: Edge,
    },
}

impl On {
    /// Returns its name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            On::Events { .. } => EVENTS,
            On::Rows { collection, .. } => collection.name(),
        }
    }
}

/// The name of events in `on` of an action.
pub const EVENTS: &str = "events";

/// What an action looks up as of the tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LooksUp {
    /// The states, by index. All of them are of the same entities.
    pub states: Vec<u16>,
    /// Of events: the field whose value is the entity; `None`: the user.
    pub entity: Option<usize>,
    /// What `filter` asks of.
    pub columns: Vec<Looked>,
    /// The part of the condition that asks these columns.
    pub filter: Option<Filter>,
    /// Of events: what the cause shows of these columns, by name.
    pub shown: Vec<(String, usize)>,
}

/// What holds a cause back until it is handed over.
#[derive(Clone, Debug, PartialEq)]
pub struct GatePlan {
    /// As it was typed.
    pub until: String,
    /// The same, on [`LooksUp::columns`].
    pub filter: Filter,
    /// Microseconds after the tick of the cause.
    pub deadline: i64,
    /// What happens then.
    pub otherwise: Otherwise,
    /// Causes of one entity that wait at once, at most.
    pub limit: u32,
}

/// What happens to a cause that waits at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It is not handed over.
    Drop,
    /// It is handed over.
    Fire,
}

impl Otherwise {
    pub const ALL: [Otherwise; 2] = [Otherwise::Drop, Otherwise::Fire];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Otherwise::Drop => "drop",
            Otherwise::Fire => "fire",
        }
    }
}

/// A column that is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Of a state, by its place in [`LooksUp::states`].
    State(usize, usize),
    /// Of a table, by its index.
    Table(usize, usize),
}

/// Which changes of a view an action decides on. The rows of a journal only come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// A row fits the condition that did not before.
    Enter,
    /// A row does not fit the condition any more, or is gone.
    Leave,
    /// A row that fitted has changed, and fits still.
    Change,
}

impl Edge {
    pub const ALL: [Edge; 3] = [Edge::Enter, Edge::Leave, Edge::Change];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Edge::Enter => "enter",
            Edge::Leave => "leave",
            Edge::Change => "change",
        }
    }
}

/// When a decision is made and handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// At the tick of its cause, and at once.
    Now,
    /// It is made at the tick of its cause, and handed over at the next multiple of a number of microseconds since 1970, with
    /// all others that are due then.
    Every(i64),
    /// When a row has not changed for a number of microseconds of the clock of ticks.
    Settled(i64),
    /// When a session is closed.
    Closed,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// The decision is handed over, with its cause.
    Notify,
    /// The cause is handed over.
    Route,
    /// The same, when something that is looked up holds.
    Gate,
    /// The decision is counted.
    Count,
}

impl Do {
    pub const ALL: [Do; 4] = [Do::Notify, Do::Route, Do::Gate, Do::Count];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Do::Notify => "notify",
            Do::Route => "route",
            Do::Gate => "gate",
            Do::Count => "count",
        }
    }
}

/// What is done about history: events that were received before the action began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Nothing.
    Skip,
    /// The decision says what would have been done.
    Shadow,
    /// The same as about any other event.
    Fire,
}

impl Replay {
    pub const ALL: [Replay; 3] = [Replay::Skip, Replay::Shadow, Replay::Fire];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Replay::Skip => "skip",
            Replay::Shadow => "shadow",
            Replay::Fire => "fire",
        }
    }
}

/// Since when an action of a run decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionBegins {
    /// Not yet: the ticks at hand came before the action was in the configuration.
    Later,
    /// Milliseconds since 1970: what was received before is history. `None`: nothing is.
    Since(Option<i64>),
}

impl ActionPlan {
    /// Returns what decoding reads; `None`: no event calls it.
    pub(super) fn spec(&self, number: u16) -> Option<ActionSpec> {
        match (&self.on, self.begins) {
            (On::Events { when }, Some(ActionBegins::Since(_))) => {
                Some(ActionSpec { number, when: when.clone(), entity: self.looks_up.entity })
            }
            _ => None,
        }
    }

    /// Returns the microseconds between two batches in which a sink hands its decisions over, if it waits for them.
    pub fn batches(&self) -> Option<i64> {
        match self.timing {
            // Decisions that may be taken back are made when they are due.
            Timing::Every(every) => (!self.compensate).then_some(every),
            Timing::Now | Timing::Settled(_) | Timing::Closed => None,
        }
    }

    /// Returns whether events call it.
    pub fn is_on_events(&self) -> bool {
        matches!(self.on, On::Events { .. })
    }
}

impl Plan {
    /// Returns what the actions on events look up, by action; `None`: there are none.
    pub fn look_ups(&self) -> Option<LookUps> {
        let look_up = |action: &ActionPlan| LookUp {
            states: action.looks_up.states.clone().into_boxed_slice(),
            waits: action.gate.is_some(),
        };
        self.actions.iter().any(ActionPlan::is_on_events).then(|| self.actions.iter().map(look_up).collect())
    }
}
