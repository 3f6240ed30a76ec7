//! `[sessions]`: the gap, and the values that a session's row keeps.

use super::error::Problems;
use super::events::duration;
use super::fields::Fields;
use super::typed::{self, OneOrMany};
use crate::collections::sessions::{self, SessionSchema};
use crate::plan::SessionPlan;
use std::collections::HashSet;

/// 30 minutes, which web analytics has used since the 1990s (Catledge and Pitkow 1995 measured 25.5).
const DEFAULT_GAP: i64 = 30 * 60 * 1_000_000;

pub(super) fn check(typed: &typed::Sessions, fields: &mut Fields, problems: &mut Problems) -> SessionPlan {
    let gap = typed.gap.as_ref().and_then(|gap| duration(gap, problems)).unwrap_or(DEFAULT_GAP);
    let always = sessions::columns(&SessionSchema::default());
    // In lower case: SQL engines take names that differ in case alone for one.
    let mut columns: HashSet<String> = always.into_iter().map(|column| column.name).collect();

    let mut sums = Vec::new();
    for (name, field) in typed::in_order(&typed.sum) {
        if name.get_ref().is_empty() {
            problems.push(name.span(), "a sum without a name", "give it the name of its column");
        }
        for column in sessions::sum_columns(name.get_ref()) {
            if !columns.insert(column.to_lowercase()) {
                problems.push(
                    name.span(),
                    format!("two columns of a session would have the name `{column}`"),
                    "give the sum another name",
                );
            }
        }
        if let Some(index) = fields.resolve(field.get_ref(), field.span(), problems) {
            sums.push((name.get_ref().clone(), index));
        }
    }

    let texts = match typed.carry.as_ref().map(|carry| (carry.get_ref(), carry.span())) {
        None => Vec::new(),
        Some((OneOrMany::One(text), span)) => vec![(text, span)],
        Some((OneOrMany::Many(texts), _)) => texts.iter().map(|text| (text.get_ref(), text.span())).collect(),
    };
    let mut carry = Vec::new();
    for (text, span) in texts {
        let Some(index) = fields.resolve(text, span.clone(), problems) else { continue };
        if carry.contains(&index) {
            problems.push(span, format!("`{text}` is carried twice"), "leave one of them out");
            continue;
        }
        for column in sessions::carried_columns(text) {
            if !columns.insert(column.to_lowercase()) {
                let message = format!("two columns of a session would have the name `{column}`");
                problems.push(span.clone(), message, "give the sum of that name another one");
            }
        }
        carry.push(index);
    }
    SessionPlan { gap, sums, carry }
}
