//! Fingerprints as releases up to 0.1.0 wrote them: hashes of the text that `Debug` printed. They are frozen here, so
//! that older data folders open after any change of those structs. Nothing new is written in this form.

use crate::fingerprint::hex;
use crate::plan::Plan;
use headwater_decode::spec;
use std::fmt;

/// The value of both constants at that time.
const SEMANTICS: u32 = 1;
const IDENTITY: u8 = 1;

/// Returns the fingerprint as the control partition holds it.
pub(super) fn program_of(plan: &Plan) -> [u8; 32] {
    let sources: Vec<_> = plan
        .sources
        .iter()
        .map(|source| (source.name.as_str(), source.format.map(Format::of), EventsPlan::of(&source.events)))
        .collect();
    *blake3::hash(format!("{:?}", (SEMANTICS, IDENTITY, sources, sessions_of(plan))).as_bytes()).as_bytes()
}

/// Returns the fingerprint as snapshots hold it.
pub(super) fn states_of(plan: &Plan) -> String {
    hex(blake3::hash(format!("{:?}", (SEMANTICS, IDENTITY, sessions_of(plan))).as_bytes()).as_bytes())
}

fn sessions_of(plan: &Plan) -> String {
    let field = |index: usize| FieldPlan::of(&plan.fields[index]);
    let carried: Vec<_> = plan.sessions.carry.iter().map(|index| field(*index)).collect();
    let sums: Vec<_> = plan.sessions.sums.iter().map(|(name, index)| (name.as_str(), field(*index))).collect();
    format!("{:?}", (plan.sessions.gap, sums, carried))
}

/// A path as it is written, without quotes.
struct Path(String);

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn paths(paths: &[headwater_decode::path::Path]) -> Vec<Path> {
    paths.iter().map(|path| Path(path.to_string())).collect()
}

#[allow(dead_code, reason = "printed by `Debug`")]
#[derive(Debug)]
struct FieldPlan {
    name: String,
    candidates: Vec<Path>,
}

impl FieldPlan {
    fn of(field: &spec::FieldPlan) -> FieldPlan {
        FieldPlan { name: field.name.clone(), candidates: paths(&field.candidates) }
    }
}

#[derive(Debug)]
enum Format {
    Json,
    Csv,
    Clf,
    /// Later than those releases: nothing that they wrote is equal.
    Later,
}

impl Format {
    fn of(format: spec::Format) -> Format {
        match format {
            spec::Format::Json => Format::Json,
            spec::Format::Csv => Format::Csv,
            spec::Format::Clf => Format::Clf,
            spec::Format::Log | spec::Format::Ltsv | spec::Format::Logfmt | spec::Format::Text => Format::Later,
        }
    }
}

#[allow(dead_code, reason = "printed by `Debug`")]
#[derive(Debug)]
struct EventsPlan {
    user: Option<Vec<Candidate>>,
    time: Option<Vec<Candidate>>,
    kind: Option<Vec<Candidate>>,
    id: Vec<Candidate>,
    join: String,
    zone: String,
    dedupe: Option<i64>,
    max_future: i64,
    explode: Option<Path>,
    limits: Limits,
}

#[allow(dead_code, reason = "printed by `Debug`")]
#[derive(Debug)]
struct Candidate {
    parts: Vec<Path>,
}

#[allow(dead_code, reason = "printed by `Debug`")]
#[derive(Debug)]
struct Limits {
    event_bytes: usize,
    depth: usize,
    keys: usize,
}

impl EventsPlan {
    fn of(events: &spec::EventsPlan) -> EventsPlan {
        let candidates = |all: &[spec::Candidate]| -> Vec<Candidate> {
            all.iter().map(|candidate| Candidate { parts: paths(&candidate.parts) }).collect()
        };
        let limits = &events.limits;
        EventsPlan {
            user: events.user.as_deref().map(candidates),
            time: events.time.as_deref().map(candidates),
            kind: events.kind.as_deref().map(candidates),
            id: candidates(&events.id),
            join: events.join.clone(),
            zone: events.zone.clone(),
            dedupe: events.dedupe,
            max_future: events.max_future,
            explode: events.explode.as_ref().map(|path| Path(path.to_string())),
            limits: Limits { event_bytes: limits.event_bytes, depth: limits.depth, keys: limits.keys },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::tests::{LARGE, SMALL, plan};
    use super::*;

    /// Data folders of those releases hold these.
    #[test]
    fn former_fingerprints_are_pinned() {
        let of = |text: &str| (hex(&program_of(&plan(text))), states_of(&plan(text)));
        let pinned = |program: &str, states: &str| (program.to_owned(), states.to_owned());
        assert_eq!(
            [of(SMALL), of(LARGE)],
            [
                pinned(
                    "49fe7346c65ab96d4f9ffe3ad478ed00303d65c51c1f4ea74744669d362b6b3a",
                    "61804f61bc10b147b6e095dff8f8c0fd3b571ba29ff6717f2f7ae46dd44c37d5"
                ),
                pinned(
                    "1885e39e6baf7f9a9d7c84a3ee6e86aba0443797ec8f161f2186ef0b4a4a6099",
                    "017a8fb34cd992df17d7f3677988afd90e7f131a915df2c78171055dd16ce783"
                )
            ]
        );
    }

    #[test]
    fn the_frozen_text_is_that_of_the_structs_as_they_were() {
        for text in [SMALL, LARGE] {
            let plan = plan(text);
            for (events, field) in plan.sources.iter().map(|source| &source.events).zip(&plan.fields) {
                // Settings that came later: a configuration of before has none of them.
                let later =
                    ["time_unit: None, time_formats: [], year: None, absent: None, ", "order: None, ties: None, "];
                let now = later.iter().fold(format!("{events:?}"), |text, later| text.replace(later, ""));
                assert_eq!(format!("{:?}", EventsPlan::of(events)), now);
                assert_eq!(format!("{:?}", FieldPlan::of(field)), format!("{field:?}"));
            }
        }
    }
}
