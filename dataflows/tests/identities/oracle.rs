//! Identities in the slow and obvious way, for tests: all links of a set are taken in order, at once.

use super::{Alias, EventTime, Identity, Link, Rules};
use std::collections::BTreeMap;

/// Returns what is known of each alias of these links.
pub fn persons(links: &BTreeMap<Link, EventTime>, rules: Rules) -> BTreeMap<Alias, Identity> {
    let mut of: BTreeMap<&Alias, Vec<(EventTime, &Alias)>> = BTreeMap::new();
    for (link, time) in links {
        let [one, other] = link.ends();
        of.entry(one).or_default().push((*time, other));
        of.entry(other).or_default().push((*time, one));
    }
    of.values_mut().for_each(|places| places.sort());
    let considers = |end: &Alias, time: EventTime, other: &Alias| {
        of[end].iter().take(rules.considered()).any(|place| *place == (time, other))
    };
    let mut person: BTreeMap<&Alias, &Alias> = of.keys().map(|alias| (*alias, *alias)).collect();
    let mut counts: BTreeMap<&Alias, [u32; 3]> = of.keys().map(|alias| (*alias, [0; 3])).collect();
    let mut ordered: Vec<(EventTime, &Link)> = links.iter().map(|(link, time)| (*time, link)).collect();
    ordered.sort();
    for (time, link) in ordered {
        let [one, other] = link.ends();
        let members = |end: &Alias| -> Vec<&Alias> {
            person.iter().filter(|(_, label)| **label == person[end]).map(|(alias, _)| *alias).collect()
        };
        let (ones, others) = (members(one), members(other));
        let is_unique = |alias: &&&Alias| rules.unique >> alias.kind & 1 == 1;
        let clash = ones.iter().filter(is_unique).any(|alias| others.iter().any(|with| with.kind == alias.kind));
        let state = if !considers(one, time, other) || !considers(other, time, one) {
            1
        } else if person[one] == person[other] {
            0
        } else if clash {
            2
        } else if ones.len() + others.len() > rules.cap as usize {
            1
        } else {
            let label = person[one];
            others.into_iter().for_each(|alias| _ = person.insert(alias, label));
            0
        };
        [one, other].into_iter().for_each(|end| counts.get_mut(end).expect("each end has counts")[state] += 1);
    }
    let row = |alias: &Alias| {
        let members = person.iter().filter(|(_, label)| **label == person[alias]).map(|(member, _)| *member);
        let members: Vec<&Alias> = members.collect();
        let first = members.iter().map(|member| (of[*member][0].0, *member)).min().expect("a person has an alias");
        let [links, capped, refused] = counts[alias];
        let aliases = members.len() as u32;
        let (of, first_seen) = (first.1.clone(), of[alias][0].0);
        Identity { alias: alias.clone(), of, first_seen, aliases, links, capped, refused }
    };
    of.keys().map(|alias| ((*alias).clone(), row(alias))).collect()
}
