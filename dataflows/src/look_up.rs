//! Call -> Answered: what the actions that events call look up of states, as of the tick of the event.
//!
//! A call goes to the worker of the entity that its action looks up. There it waits until the states have taken its tick.
//! So the event itself counts in the state that its action sees, and so does every other event of the tick.

use crate::operators::as_of;
use crate::record::Call;
use crate::state::{Accumulated, Entity, SharedTable};
use crate::time::TotalTime;
use smallvec::SmallVec;
use std::sync::Arc;
use timely::dataflow::Stream;

/// By action: what it looks up.
pub type LookUps = Arc<[LookUp]>;

/// What one action looks up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookUp {
    /// The states, by index. All of them are of the same entities.
    pub states: Box<[u16]>,
    /// Its calls go to the worker of their entity in any case: they may wait there.
    pub waits: bool,
}

/// A call with what its action looks up.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The call.
    pub call: Call,
    /// By state that the action looks up: the entity as of the tick; `None`: it has no item.
    pub found: Found,
}

/// What an action finds in the states that it looks up.
pub type Found = SmallVec<[Option<Entity>; 1]>;

/// Answers what calls look up in `states`.
pub fn look_up<'s, T: TotalTime>(
    calls: Stream<'s, T, Vec<Call>>,
    states: Option<&Accumulated<'s, T>>,
    look_ups: LookUps,
) -> Stream<'s, T, Vec<(Answered, T)>> {
    let (here, workers) = (calls.scope().index() as u64, calls.scope().peers());
    let tables: Vec<SharedTable<T>> = states.map_or_else(Vec::new, |states| states.tables.clone());
    let of_action = Arc::clone(&look_ups);
    let place = move |call: &Call| {
        let look_up = of_action.get(usize::from(call.action));
        let placed = look_up.is_some_and(|look_up| look_up.waits || !look_up.states.is_empty());
        call.entity.filter(|_| placed).map_or(here, |entity| entity.worker(workers))
    };
    as_of(calls, place, states.map(|states| states.rejections.clone()), move |tick, call| {
        let states = look_ups.get(usize::from(call.action)).map_or(&[][..], |look_up| &*look_up.states);
        let entity = |state: &u16| tables[usize::from(*state)].borrow().entity(call.entity?, tick);
        Answered { found: states.iter().map(entity).collect(), call }
    })
}
