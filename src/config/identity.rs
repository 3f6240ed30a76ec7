//! `[identity]`: which values of an event are ids of one person.

use super::error::Problems;
use super::events::{texts, within};
use super::fields::Fields;
use super::typed;
use crate::plan::IdentityPlan;
use dataflows::stitch::Rules;
use headwater_decode::spec::LinkSpec;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;

/// The kind that is the user of the event, whichever path gives it.
const USER: &str = "user";
const LINKS_HELP: &str = "name two ids that an event may have together, such as links = [[\"anonymous_id\", \"user\"]]";
/// Ids of a person, if it is not said.
const CAP: u32 = 64;
const CAPS: RangeInclusive<i64> = 2..=1000;
/// A kind has a bit of a word.
const KINDS: usize = 64;

/// Values that programs write where there is no id, if it is not said: beside those that stand for no value anyway.
const BLOCKED: [&str; 14] = [
    "0",
    "-1",
    "true",
    "false",
    "guest",
    "anonymous",
    "anon",
    "unknown",
    "default",
    "test",
    "none",
    "not_authenticated",
    "[object Object]",
    "id",
];

pub(super) fn check(
    typed: Option<&Spanned<typed::Identity>>,
    fields: &mut Fields,
    problems: &mut Problems,
) -> Option<IdentityPlan> {
    let section = typed?;
    let typed::Identity { links, unique, cap, block } = section.get_ref();
    let Some(links) = links.as_ref().filter(|links| !links.get_ref().is_empty()) else {
        problems.push(section.span(), "[identity] links nothing", LINKS_HELP);
        return None;
    };
    let mut kinds = Kinds { names: Vec::new(), fields: Vec::new() };
    let mut pairs = Vec::new();
    for link in links.get_ref() {
        let [one, other] = link.get_ref().as_slice() else {
            let message = format!("a link of {} ids", link.get_ref().len());
            problems.push(link.span(), message, LINKS_HELP);
            continue;
        };
        let ends = [one, other].map(|end| kinds.find(end.get_ref(), end.span(), fields, problems));
        let [Some(one_kind), Some(other_kind)] = ends else { continue };
        if one_kind == other_kind {
            let message = format!("`{}` is linked to itself", one.get_ref());
            problems.push(link.span(), message, LINKS_HELP);
            continue;
        }
        pairs.push([one_kind, other_kind]);
    }
    if kinds.names.len() > KINDS {
        let message = format!("{} kinds of ids, and at most {KINDS} fit", kinds.names.len());
        problems.push(links.span(), message, "link fewer fields");
    }
    let mut bits = 0;
    for (text, span) in unique.iter().flat_map(texts) {
        match kinds.names.iter().position(|name| name == text) {
            Some(kind) => bits |= 1_u64.checked_shl(kind as u32).unwrap_or(0),
            None => {
                let help = format!("name ids of `links`: {}", kinds.names.join(", "));
                problems.push(span, format!("no link has the id `{text}`"), help);
            }
        }
    }
    let cap = cap.as_ref().and_then(|cap| within(cap, CAPS, problems)).and_then(|cap| u32::try_from(cap).ok());
    let block = match block {
        Some(block) => texts(block).into_iter().map(|(text, _)| text.clone()).collect(),
        None => BLOCKED.map(str::to_owned).to_vec(),
    };
    let user = (0..).zip(&kinds.fields).find(|(_, field)| field.is_none()).map(|(kind, _)| kind);
    Some(IdentityPlan {
        rules: Rules { cap: cap.unwrap_or(CAP), unique: bits, user },
        kinds: kinds.names,
        spec: LinkSpec { kinds: kinds.fields, links: pairs, block },
        begins: None,
    })
}

/// The kinds of ids, in the order in which links name them.
struct Kinds {
    names: Vec<String>,
    /// `None`: the user.
    fields: Vec<Option<usize>>,
}

impl Kinds {
    fn find(&mut self, name: &str, span: Range<usize>, fields: &mut Fields, problems: &mut Problems) -> Option<u8> {
        let known = self.names.iter().position(|known| known == name);
        let kind = match known {
            Some(kind) => kind,
            None => {
                let field = if name == USER { None } else { Some(fields.resolve(name, span, problems)?) };
                self.names.push(name.to_owned());
                self.fields.push(field);
                self.names.len() - 1
            }
        };
        // More kinds than fit are refused.
        Some(u8::try_from(kind).unwrap_or(u8::MAX))
    }
}
