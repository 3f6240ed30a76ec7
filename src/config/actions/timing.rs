//! `timing` and `objective` of an action: when it decides and hands over, and how soon that is to be.

use super::super::typed::Action;
use super::Checking;
use crate::collections::Collection;
use crate::observe::actions::{Objective, Origin};
use crate::plan::{On, Timing};
use crate::text::units;
use std::ops::RangeInclusive;
use toml::Spanned;

/// Microseconds between two batches. The output log keeps decisions for 24 hours, if nothing else is said.
const EVERY: RangeInclusive<i64> = 1_000_000..=12 * 3_600_000_000;
/// Microseconds without a change.
const SETTLED: RangeInclusive<i64> = 1_000_000..=7 * 24 * 3_600_000_000;

/// Views of users or other entities: all rows of one are at the worker of its key, wherever a start finds it.
pub(super) const PLACED: [Collection; 4] =
    [Collection::SESSIONS, Collection::USERS, Collection::CLOSINGS, Collection::ACTIVITIES];

impl Checking<'_, '_> {
    pub(super) fn timing(&mut self, timing: Option<&Spanned<String>>) -> Timing {
        let Some(typed) = timing else { return Timing::Now };
        let text = typed.get_ref().as_str();
        let (message, help) = match text.split_once(' ') {
            _ if text == "now" => return Timing::Now,
            _ if text == "closed" => return Timing::Closed,
            Some(("every", every)) => match units::duration(every.trim()) {
                Ok(every) if EVERY.contains(&every) => return Timing::Every(every),
                Ok(_) => (
                    format!("`{every}` between two batches"),
                    "write every 1s to every 12h: the output log keeps decisions for a time",
                ),
                Err(wrong) => (wrong, units::DURATION_HELP),
            },
            Some(("settled", after)) => match units::duration(after.trim()) {
                Ok(after) if SETTLED.contains(&after) => return Timing::Settled(after),
                Ok(_) => (format!("`{after}` without a change"), "write settled 1s to settled 7d"),
                Err(wrong) => (wrong, units::DURATION_HELP),
            },
            _ => (
                format!("`{text}` is no timing"),
                "write timing = \"now\", \"every 1h\", \"settled 30s\" or \"closed\"",
            ),
        };
        self.problems.push(typed.span(), message, help);
        Timing::Now
    }

    pub(super) fn objective(&mut self, typed: Option<&Spanned<String>>, timing: Timing) -> Option<Objective> {
        const HELP: &str = "write objective = \"250ms from arrival\", or \"2s from event\"";
        let typed = typed?;
        let text = typed.get_ref();
        if timing != Timing::Now {
            let help = "leave `objective` out: `timing` says when decisions are handed over";
            let what = match timing {
                Timing::Every(_) => "an action that hands over in batches has no objective",
                _ => "an action that waits has no objective",
            };
            self.problems.push(typed.span(), what, help);
            return None;
        }
        let froms = [("arrival", Origin::Arrival), ("event", Origin::Event)];
        let parts = text.split_once(" from ").and_then(|(within, from)| {
            let from = froms.iter().find(|(name, _)| *name == from.trim()).map(|(_, from)| *from)?;
            Some((within.trim(), from))
        });
        let Some((within, from)) = parts else {
            self.problems.push(typed.span(), format!("`{text}` is no objective"), HELP);
            return None;
        };
        match units::duration(within) {
            Ok(micros) => Some(Objective { within_ms: micros.div_euclid(1000), from }),
            Err(wrong) => {
                self.problems.push(typed.span(), wrong, HELP);
                None
            }
        }
    }

    /// Checks that the collection has what the timing asks for.
    pub(super) fn fits(&mut self, typed: &Action, on: &On, timing: Timing) {
        let Some(span) = typed.timing.as_ref().map(Spanned::span) else { return };
        let collection = match on {
            On::Rows { collection, .. } => Some(*collection),
            On::Events { .. } => None,
        };
        match timing {
            Timing::Now | Timing::Every(_) => return,
            Timing::Closed if collection != Some(Collection::SESSIONS) => {
                let message = format!("`{}` has no rows that are closed", on.name());
                self.problems.push(
                    span,
                    message,
                    "write on = \"sessions\": a session is closed when its gap has passed",
                );
            }
            Timing::Settled(_) if !collection.is_some_and(|one| PLACED.contains(&one)) => {
                let (message, help) = match collection {
                    Some(one) if one.is_view() => (
                        format!("an action on `{}` does not wait until a row has settled", one.name()),
                        "write timing = \"now\", or on = \"sessions\", \"users\", \"closings\" or \"activities\"",
                    ),
                    _ => (
                        format!("`{}` has no rows that change", on.name()),
                        "write timing = \"now\": settled is a row of a view that does not change for a time",
                    ),
                };
                self.problems.push(span, message, help);
            }
            Timing::Closed | Timing::Settled(_) => {}
        }
        if let Some(edge) = &typed.edge {
            let help = "leave `edge` out: `timing` says when a row is decided";
            self.problems.push(edge.span(), "an action that waits for a row has no `edge`", help);
        }
    }
}
