//! `headwater rules propose`: `[[class]]` blocks for events, with what speaks for them.
//!
//! ```text
//! events ─▶ values by path and shape ─▶ tag: the path whose value best predicts the shape ─▶ a class for each value
//!     └─▶ shapes without a class ─▶ clusters by the names of leaves ─▶ paths that tell each from all others ─▶ a class each
//! ```

use super::look::{Look, Valued, look};
use crate::collections::shapes::kind_name;
use crate::config::sketch::{one_line, quoted};
use crate::error::Error;
use crate::plan::Plan;
use crate::text::plural;
use dataflows::classify::Layer;
use dataflows::facts::Facts;
use dataflows::learn::Learning;
use dataflows::leaves::Leaves;
use dataflows::{ShapeId, SignatureId, ValueKind};
use indicatif::HumanCount;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Classes that are proposed: of more, those with the most events.
const PROPOSED: usize = 20;
/// A tag is on at least this share of events.
const COVERS: f64 = 0.5;
/// The value of a tag says at least this share of what there is to know of the shape.
const PREDICTS: f64 = 0.3;
/// Events that a value of a tag has, on average.
const REPEATS: u64 = 4;
/// Shapes are of one cluster if they have at least this share of leaf names in common.
const ALIKE: f64 = 0.5;
/// Paths that a rule of a cluster names.
const PATHS: usize = 4;

/// Returns `[[class]]` blocks for events that the plan reads: its sources, or logs without a configuration.
///
/// # Errors
/// If the events cannot be read.
pub fn propose(plan: &Plan) -> Result<String, Error> {
    let look = look(plan)?;
    let labels = look.facts.under(&plan.rules, plan.learn.then(Learning::default));
    let events = look.events();
    let tag = tag(&look);
    let mut left = BTreeMap::<ShapeId, u64>::new();
    for (signature, label) in labels.all() {
        let Some(descriptor) = look.facts.signatures.get(&signature) else { continue };
        let has_tag = || tag.as_ref().is_some_and(|tag| has(&look.facts, descriptor.shape, &tag.path));
        let count = look.facts.events.get(&signature).copied().unwrap_or(0);
        if label.layer == Layer::Nothing && count > 0 && !has_tag() {
            *left.entry(descriptor.shape).or_default() += count;
        }
    }
    let clusters = clusters(&look.facts, &left);
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = write(&mut out, &look, events, tag.as_ref(), &clusters);
    Ok(out)
}

fn write(out: &mut String, look: &Look, events: u64, tag: Option<&Tag>, clusters: &[Cluster]) -> std::fmt::Result {
    writeln!(out, "# Made by `headwater rules propose` from {} events.", HumanCount(events))?;
    writeln!(out, "# See what they would change: headwater rules diff CONFIG THIS-FILE")?;
    let share = |count: u64| 100.0 * count as f64 / events.max(1) as f64;
    let example = |signature: Option<&SignatureId>| signature.and_then(|signature| look.example(*signature));
    if let Some(Tag { path, values, predicts, covers }) = tag {
        let kinds = values.len();
        writeln!(
            out,
            "\n# The value of {path} tells {:.0}% of what there is to know of the structure of events.",
            100.0 * predicts
        )?;
        writeln!(
            out,
            "# {kinds} values, in {:.1}% of events. Instead of these rules, it may be the type: type = {}",
            100.0 * covers,
            quoted(path)
        )?;
        for (value, of) in values.iter().take(PROPOSED) {
            writeln!(out, "\n# {}", evidence(of.events, share(of.events), of.shapes.len()))?;
            if let Some(example) = example(of.first.as_ref()) {
                writeln!(out, "# {}", one_line(&example))?;
            }
            let typed = if of.kind == ValueKind::String { quoted(value) } else { value.clone() };
            writeln!(out, "[[class]]\nname = {}\nwhen = {{ {} = {typed} }}", quoted(value), quoted(path))?;
        }
        more(out, kinds)?;
    }
    if !clusters.is_empty() {
        let all: u64 = clusters.iter().map(|cluster| cluster.events).sum();
        writeln!(
            out,
            "\n# {} events, {:.1}%, have no class. By the names of their leaves they are of {} {}.",
            HumanCount(all),
            share(all),
            clusters.len(),
            plural(clusters.len() as u64, "kind")
        )?;
    }
    let mut names = BTreeSet::new();
    for Cluster { shapes, events, name, when, others } in clusters.iter().take(PROPOSED) {
        let mut unique = name.clone();
        let mut number = 2;
        while !names.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        writeln!(out, "\n# {}", evidence(*events, share(*events), shapes.len()))?;
        let first = look.facts.signatures.iter().filter(|(_, descriptor)| shapes.contains(&descriptor.shape));
        let first = first.map(|(signature, _)| signature).min_by_key(|signature| look.place(**signature));
        if let Some(example) = example(first) {
            writeln!(out, "# {}", one_line(&example))?;
        }
        if *others > 0 {
            writeln!(out, "# {} other events fit too: no few paths tell these from them", HumanCount(*others))?;
        }
        let each = when.iter().map(|(path, exists)| format!("{} = {{ exists = {exists} }}", quoted(path)));
        let when = each.collect::<Vec<_>>().join(", ");
        writeln!(out, "[[class]]\nname = {}\nwhen = {{ {when} }}", quoted(&unique))?;
    }
    more(out, clusters.len())?;
    if tag.is_none() && clusters.is_empty() {
        writeln!(out, "\n# Every event has a class by rule, type or learning: nothing is proposed.")?;
    }
    Ok(())
}

fn evidence(events: u64, share: f64, shapes: usize) -> String {
    let (noun, nouns) = (plural(events, "event"), plural(shapes as u64, "shape"));
    format!("{} {noun}, {share:.1}%, of {shapes} {nouns}", HumanCount(events))
}

fn more(out: &mut String, all: usize) -> std::fmt::Result {
    match all.saturating_sub(PROPOSED) {
        0 => Ok(()),
        more => writeln!(out, "\n# and {more} more, of fewer events"),
    }
}

/// A path whose value predicts the structure.
struct Tag {
    path: String,
    /// By falling number of events.
    values: Vec<(String, Valued)>,
    predicts: f64,
    covers: f64,
}

/// Returns the path whose value best predicts the structure, if the type of the events does not do it as well.
fn tag(look: &Look) -> Option<Tag> {
    let events = look.events();
    let scored = look.values.iter().filter_map(|(path, values)| score(path, values, events));
    let (best, predicts, covers, path) = scored.fold(None, |best, next| match best {
        // Of equals, the one with fewer values, then the shorter path.
        Some((score, _, _, path)) if score > next.0 || score == next.0 && rank(look, path) <= rank(look, next.3) => {
            best
        }
        _ => Some(next),
    })?;
    if predicts < PREDICTS || best <= look.of_types(entropy) {
        return None;
    }
    let mut values: Vec<(String, Valued)> =
        look.values[path].iter().map(|(value, of)| (value.clone(), of.clone())).collect();
    values.sort_by(|(value, one), (text, other)| (other.events, value).cmp(&(one.events, text)));
    Some(Tag { path: path.to_owned(), values, predicts, covers })
}

/// How well a path tells the shape: its score, what its values say of the shape, its share of events, and the path.
type Score<'p> = (f64, f64, f64, &'p str);

/// Returns the score of a path; `None`: it is no tag.
fn score<'p>(path: &'p str, values: &BTreeMap<String, Valued>, events: u64) -> Option<Score<'p>> {
    let of_shapes = |shapes: &BTreeMap<ShapeId, u64>| entropy(shapes.values().copied());
    let covered: u64 = values.values().map(|of| of.events).sum();
    let covers = covered as f64 / events.max(1) as f64;
    if values.len() < 2 || covers < COVERS || covered < REPEATS * values.len() as u64 {
        return None;
    }
    let mut all = BTreeMap::<ShapeId, u64>::new();
    values.values().flat_map(|of| &of.shapes).for_each(|(shape, count)| *all.entry(*shape).or_default() += count);
    let whole = of_shapes(&all);
    let rest: f64 = values.values().map(|of| of.events as f64 / covered as f64 * of_shapes(&of.shapes)).sum();
    // Values say something of any sample by chance (Miller and Madow).
    let chance = ((values.len() - 1) * (all.len().max(1) - 1)) as f64 / (2.0 * covered as f64);
    let predicts = if whole > 0.0 { ((whole - rest - chance) / whole).max(0.0) } else { 0.0 };
    Some((predicts * covers, predicts, covers, path))
}

fn rank<'p>(look: &Look, path: &'p str) -> (usize, usize, &'p str) {
    (look.values.get(path).map_or(0, BTreeMap::len), path.len(), path)
}

/// Returns the entropy of some counts, in nats.
fn entropy(counts: impl Iterator<Item = u64> + Clone) -> f64 {
    let all: u64 = counts.clone().sum();
    counts.filter(|count| *count > 0).map(|count| count as f64 / all as f64).map(|share| -share * share.ln()).sum()
}

/// Shapes that are alike.
struct Cluster {
    shapes: BTreeSet<ShapeId>,
    events: u64,
    name: String,
    /// Paths that exist, and paths that do not.
    when: Vec<(String, bool)>,
    /// Events of other shapes that fit too.
    others: u64,
}

/// Returns the shapes of `left` by likeness of the names of their leaves, those with the most events first.
fn clusters(facts: &Facts, left: &BTreeMap<ShapeId, u64>) -> Vec<Cluster> {
    let mut shapes: Vec<(ShapeId, u64, &Leaves)> =
        left.iter().filter_map(|(shape, events)| Some((*shape, *events, &**facts.shapes.get(shape)?))).collect();
    shapes.sort_by_key(|(shape, events, _)| (std::cmp::Reverse(*events), *shape));
    let mut clusters: Vec<(BTreeSet<String>, Cluster)> = Vec::new();
    for (shape, events, leaves) in shapes {
        let names: BTreeSet<String> = leaves.named.iter().map(|leaf| name(&leaf.path, leaf.kind)).collect();
        let alike = |(seed, _): &&mut (BTreeSet<String>, Cluster)| {
            let common = seed.intersection(&names).count() as f64;
            common >= ALIKE * seed.union(&names).count() as f64
        };
        match clusters.iter_mut().find(alike) {
            Some((_, cluster)) => {
                cluster.events += events;
                cluster.shapes.insert(shape);
            }
            None => {
                let cluster =
                    Cluster { shapes: [shape].into(), events, name: String::new(), when: Vec::new(), others: 0 };
                clusters.push((names, cluster));
            }
        }
    }
    let mut clusters: Vec<Cluster> = clusters.into_iter().map(|(_, cluster)| cluster).collect();
    clusters.iter_mut().for_each(|cluster| cluster.tell(facts));
    clusters.sort_by_key(|cluster| std::cmp::Reverse(cluster.events));
    clusters
}

impl Cluster {
    /// Finds the paths that tell its events from all others: one after the other, that which leaves the fewest.
    fn tell(&mut self, facts: &Facts) {
        let mut events = BTreeMap::<ShapeId, u64>::new();
        for (signature, descriptor) in &facts.signatures {
            *events.entry(descriptor.shape).or_default() += facts.events.get(signature).copied().unwrap_or(0);
        }
        // Null and the empty text do not exist, so a leaf that may be null tells nothing.
        let exist = |shape: &ShapeId| -> BTreeSet<&str> {
            let leaves = facts.shapes.get(shape).map_or(&[][..], |leaves| &leaves.named);
            leaves.iter().filter(|leaf| leaf.kind != ValueKind::Null).map(|leaf| leaf.path.as_str()).collect()
        };
        let all = |shape: &ShapeId| -> BTreeSet<&str> {
            facts
                .shapes
                .get(shape)
                .map_or(&[][..], |leaves| &leaves.named)
                .iter()
                .map(|leaf| leaf.path.as_str())
                .collect()
        };
        let mut own = self.shapes.iter().map(exist);
        let first = own.next().unwrap_or_default();
        let common = own.fold(first, |common, next| common.intersection(&next).copied().collect());
        let any: BTreeSet<&str> = self.shapes.iter().flat_map(all).collect();
        let mut others: Vec<(BTreeSet<&str>, u64)> = events
            .iter()
            .filter(|(shape, _)| !self.shapes.contains(shape))
            .map(|(shape, events)| (exist(shape), *events))
            .collect();
        let elsewhere: BTreeSet<&str> = others.iter().flat_map(|(paths, _)| paths.iter().copied()).collect();
        let absent = elsewhere.difference(&any).map(|path| (*path, false));
        let asked: Vec<(&str, bool)> = common.iter().map(|path| (*path, true)).chain(absent).collect();
        while self.when.len() < PATHS && (!others.is_empty() || self.when.is_empty()) {
            let left = |(path, exists): (&str, bool)| -> u64 {
                others.iter().filter(|(paths, _)| paths.contains(path) == exists).map(|(_, events)| events + 1).sum()
            };
            // A path that exists says more to a reader than one that does not.
            let Some(best) = asked.iter().copied().min_by_key(|one| (left(*one), !one.1, one.0.len(), one.0)) else {
                break;
            };
            let before: u64 = others.iter().map(|(_, events)| events + 1).sum();
            if left(best) == before && !self.when.is_empty() {
                break;
            }
            self.when.push((best.0.to_owned(), best.1));
            others.retain(|(paths, _)| paths.contains(best.0) == best.1);
        }
        self.others = others.iter().map(|(_, events)| events).sum();
        let last = |path: &str| path.rsplit(['.', ']']).next().unwrap_or_default().trim_matches('"').to_owned();
        let names =
            self.when.iter().filter(|(_, exists)| *exists).map(|(path, _)| last(path)).filter(|name| !name.is_empty());
        self.name = names.take(2).collect::<Vec<_>>().join("_");
        if self.name.is_empty() {
            let shape = self.shapes.first().map_or(String::new(), ToString::to_string);
            self.name = format!("shape_{}", shape.get(..8).unwrap_or(&shape));
        }
    }
}

/// Returns the name of a leaf as models compare it: without the objects around it, with its kind.
fn name(path: &str, kind: ValueKind) -> String {
    format!("{} {}", path.rsplit('.').next().unwrap_or_default(), kind_name(kind))
}

fn has(facts: &Facts, shape: ShapeId, path: &str) -> bool {
    facts.shapes.get(&shape).is_some_and(|leaves| leaves.named.iter().any(|leaf| leaf.path == path))
}
