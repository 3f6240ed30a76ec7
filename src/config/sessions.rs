//! `[sessions]`: the gap, the policies, and the values that a session's row keeps.

use super::error::{Problems, choose};
use super::events::{duration, texts, zone};
use super::fields::Fields;
use super::typed::{self, OneOrMany};
use crate::collections::sessions::{self, SessionSchema};
use crate::plan::{PolicyPlan, SessionPlan, SourcePlan};
use dataflows::record::Cue;
use dataflows::sessionize::Gaps;
use headwater_decode::spec::CueSpec;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use toml::Spanned;

/// 30 minutes, which web analytics has used since the 1990s (Catledge and Pitkow 1995 measured 25.5).
const DEFAULT_GAP: i64 = 30 * 60 * 1_000_000;

pub(super) fn check(
    typed: &typed::Sessions,
    classes: &[Spanned<typed::Class>],
    sources: &[SourcePlan],
    fields: &mut Fields,
    problems: &mut Problems,
) -> SessionPlan {
    let gap = typed.gap.as_ref().and_then(|gap| duration(gap, problems)).unwrap_or(DEFAULT_GAP);
    let policies = policies(typed, classes, sources, fields, problems);
    let always = sessions::columns(&SessionSchema { ended_by: policies.is_some(), ..SessionSchema::default() });
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
    SessionPlan { gap, sums, carry, policies }
}

/// Returns what ends sessions beside the gap; `None`: nothing does.
fn policies(
    typed: &typed::Sessions,
    classes: &[Spanned<typed::Class>],
    sources: &[SourcePlan],
    fields: &mut Fields,
    problems: &mut Problems,
) -> Option<PolicyPlan> {
    let mut plan = PolicyPlan::default();
    plan.graph.max_duration = typed.max_duration.as_ref().and_then(|most| duration(most, problems));
    plan.graph.max_events = typed.max_events.as_ref().and_then(|most| {
        if *most.get_ref() < 1 {
            let message = format!("a session of at most {} events", most.get_ref());
            problems.push(most.span(), message, "write 1 or more, or leave `max_events` out");
        }
        u64::try_from(*most.get_ref()).ok()
    });
    plan.cues.split_on = typed.split_on.as_ref().and_then(|text| fields.resolve(text.get_ref(), text.span(), problems));
    let zone = typed.zone.as_ref().and_then(|name| zone(name, problems));
    match &typed.split_at {
        None => {
            if let Some(zone) = &typed.zone {
                let help = "add split_at = \"midnight\"; the zone of times without one belongs to [events]";
                problems.push(zone.span(), "a `zone` of sessions without `split_at`", help);
            }
        }
        Some(at) if at.get_ref() == "midnight" => plan.cues.split_at = Some(zone.unwrap_or_else(|| "UTC".into())),
        Some(at) => {
            let help = "write \"midnight\", and the zone beside it: zone = \"Europe/Berlin\"";
            problems.push(at.span(), format!("unknown time of day `{}`", at.get_ref()), help);
        }
    }
    let CueSpec { start, end, keepalive, .. } = &mut plan.cues;
    for (typed, plan) in [(&typed.start, start), (&typed.end, end), (&typed.keepalive, keepalive)] {
        for (class, span) in typed.iter().flat_map(texts) {
            if is_class(class, span, classes, problems) && !plan.contains(class) {
                plan.push(class.clone());
            }
        }
    }
    for (class, span) in typed.keepalive.iter().flat_map(texts).filter(|(class, _)| plan.cues.start.contains(class)) {
        let message = format!("events of class `{class}` start sessions, and keep them alive only");
        problems.push(span, message, "leave it out of `start` or of `keepalive`");
    }
    gaps(typed, classes, sources, &mut plan, problems);
    (plan != PolicyPlan::default()).then_some(plan)
}

/// Checks the gaps by class and by source, and gives numbers to them.
fn gaps(
    typed: &typed::Sessions,
    classes: &[Spanned<typed::Class>],
    sources: &[SourcePlan],
    plan: &mut PolicyPlan,
    problems: &mut Problems,
) {
    let (mut of_classes, mut of_sources) = (Vec::new(), Vec::new());
    for (class, gap) in typed::in_order(&typed.gap_by_class) {
        let gap = duration(gap, problems);
        if is_class(class.get_ref(), class.span(), classes, problems) {
            of_classes.extend(gap.map(|gap| (class.get_ref().clone(), gap)));
        }
    }
    for (source, gap) in typed::in_order(&typed.gap_by_source) {
        let (name, gap) = (source.get_ref(), duration(gap, problems));
        match sources.iter().zip(0..).find(|(known, _)| known.name == *name) {
            Some((_, index)) => of_sources.extend(gap.map(|gap| (index, gap))),
            None => {
                let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
                let message = format!("there is no source `{name}`");
                problems.push(source.span(), message, choose(name, &names, "write the `name` of a [[source]]"));
            }
        }
    }
    of_classes.sort();
    of_sources.sort_unstable();
    // Data folders hold the numbers: they follow from the set of gaps, and not from the order in the file.
    let gaps = of_classes.iter().map(|(_, gap)| *gap).chain(of_sources.iter().map(|(_, gap): &(u16, i64)| *gap));
    let gaps: Vec<i64> = gaps.collect::<BTreeSet<_>>().into_iter().collect();
    let Some(known) = Gaps::new(&gaps) else {
        let first =
            typed::in_order(&typed.gap_by_class).into_iter().chain(typed::in_order(&typed.gap_by_source)).next();
        let message = format!("{} different gaps, and at most {} are possible", gaps.len(), Cue::GAPS);
        let span = first.map_or(0..0, |(name, _)| name.span());
        return problems.push(span, message, "give some classes or sources the same gap");
    };
    let number = |gap: i64| gaps.partition_point(|known| *known < gap) as u8 + 1;
    plan.graph.gaps = known;
    plan.cues.class_gaps = of_classes.into_iter().map(|(class, gap)| (class, number(gap))).collect();
    plan.cues.source_gaps = of_sources.into_iter().map(|(source, gap)| (source, number(gap))).collect();
}

/// Returns whether events of a class may be in sessions, and else reports it.
fn is_class(class: &str, span: Range<usize>, classes: &[Spanned<typed::Class>], problems: &mut Problems) -> bool {
    if class.is_empty() {
        problems.push(span, "a class without a name", "name a class of a rule, or a type");
    } else if classes.iter().any(|other| keeps_out(other.get_ref(), class)) {
        let message = format!("events of class `{class}` are never in a session");
        problems.push(span, message, "take `sessions = false` out of the class, or leave it out here");
    } else {
        return true;
    }
    false
}

/// Returns whether a rule keeps the class of this name out of sessions.
fn keeps_out(rule: &typed::Class, class: &str) -> bool {
    rule.sessions == Some(false) && rule.name.as_ref().is_some_and(|name| name.get_ref() == class)
}
