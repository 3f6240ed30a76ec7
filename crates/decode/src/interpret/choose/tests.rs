use super::super::Range;
use super::*;
use crate::path::{Candidate, Path};
use crate::spec::{EventsPlan, Format, Spec};
use dataflows::ShapeId;
use proptest::prelude::*;
use std::sync::Arc;

const TEXTS: [&str; 6] = ["ann", "2024-05-01T10:00:00Z", "-", "null", "0", "false"];

fn interpreter() -> Interpreter {
    let all = |names: &[&str]| Some(names.iter().map(|name| candidate(name)).collect::<Vec<Candidate>>());
    let source = EventsPlan {
        user: all(&["a", "b", "c"]),
        time: all(&["c", "d", "a"]),
        kind: all(&["b", "d"]),
        id: all(&["d", "a", "e"]).unwrap(),
        ..EventsPlan::default()
    };
    let spec = Spec { sources: vec![source], ..Spec::default() };
    Interpreter::new(Arc::new(spec), 0, Format::Json, Range::default())
}

fn candidate(name: &str) -> Candidate {
    Candidate { parts: vec![Path::parse(name).unwrap()] }
}

/// The definition, a candidate after the other: those of the element, then those around it, then users that count only
/// if there is no other.
fn naive(interpreter: &Interpreter, reading: &Reading, role: Role) -> Option<Chosen> {
    let find = |inherited: bool, is_weak: bool| {
        interpreter.candidates[role as usize].iter().enumerate().find_map(|(candidate, parts)| {
            let value = (0..reading.len()).find(|index| {
                let (slot, value) = reading.nth(*index);
                let counts = match role {
                    Role::Kind => !is_weak,
                    Role::User => !interpreter.absent.has(value.text) && absent::is_weak(value.text) == is_weak,
                    Role::Time | Role::Id => !interpreter.absent.has(value.text) && !is_weak,
                };
                slot == parts[0] && reading.is_inherited(*index) == inherited && counts
            })?;
            Some(Chosen { candidate, value })
        })
    };
    [(false, false), (true, false), (false, true), (true, true)]
        .into_iter()
        .find_map(|(inherited, is_weak)| find(inherited, is_weak))
}

/// The values of an event: a slot, a text, and whether it lies around the element.
type Values = Vec<(u32, &'static str, bool)>;

fn values() -> impl Strategy<Value = Values> {
    prop::collection::vec((0_u32..5, prop::sample::select(&TEXTS[..]), any::<bool>()), 0..8)
}

fn reading(interpreter: &Interpreter, values: &Values, explodes: bool) -> Reading {
    let mut reading = Reading::default();
    for (slot, text, inherited) in values {
        let slot = slot % interpreter.paths().len() as u32;
        reading.push_of(slot, ValueKind::String, text, explodes && *inherited);
    }
    reading
}

proptest! {
    #[test]
    fn the_first_candidate_that_counts_is_chosen(values in values(), explodes in any::<bool>()) {
        let interpreter = interpreter();
        let reading = reading(&interpreter, &values, explodes);
        let chosen = interpreter.best(&reading);
        for role in Role::ALL {
            prop_assert_eq!(chosen[role as usize], naive(&interpreter, &reading, role), "{:?}", role);
        }
    }

    #[test]
    fn what_came_before_changes_no_choice(
        // Shapes that share a place, and one shape with other slots, such as those of empty texts.
        events in prop::collection::vec((values(), any::<bool>(), prop::sample::select(&[1_u64, 65, 2][..])), 1..12),
    ) {
        let mut interpreter = interpreter();
        for (values, explodes, shape) in events {
            let mut reading = reading(&interpreter, &values, explodes);
            reading.shape = Some(ShapeId(shape));
            prop_assert_eq!(interpreter.best_again(&reading), interpreter.best(&reading));
        }
    }
}
